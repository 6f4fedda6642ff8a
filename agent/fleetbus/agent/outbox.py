"""One aspect as it is kept between processes, in the sizes that the cluster and the bus allow. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from fleetbus.agent.text import cut
from fleetbus.schemas.canonical import canonical, compress, decompress, parse_json
from fleetbus.schemas.errors import FleetbusError
from fleetbus.schemas.events import CloudEvent, Happened, Outbox, emitted_in
from fleetbus.schemas.states import State

MAX_STATE_BYTES = 400 * 1024
_PLAIN_UP_TO_BYTES = 4 * 1024
_UNPACKED_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Record:
    """An aspect's newest body and outbox. `serial` 0: never reported."""

    serial: int = 0
    at: datetime | None = None
    body: dict[str, Any] = field(default_factory=dict)
    outbox: Outbox = field(default_factory=Outbox)

    def again(self, serial: int, at: datetime, outbox: Outbox | None = None) -> Record:
        """The same body under a new serial."""
        return replace(self, serial=serial, at=at, outbox=self.outbox if outbox is None else outbox)

    def kept(self) -> dict[str, Any]:
        """As JSON; packed when it is large, since all of the agent's memory is one object of at most 1.5 MB."""
        content = canonical({"serial": self.serial, "body": self.body, "outbox": self.outbox.as_json()})
        if len(content) <= _PLAIN_UP_TO_BYTES:
            return {"serial": self.serial, "body": self.body, "outbox": self.outbox.as_json()}
        return {"packed": base64.b64encode(compress(content)).decode()}


def parse_record(kept: Mapping[str, Any] | None) -> Record:
    """Inverse of `kept`. What cannot be read counts as nothing: it is reported anew."""
    if not kept:
        return Record()
    try:
        if "packed" in kept:
            kept = parse_json(decompress(base64.b64decode(str(kept["packed"])), _UNPACKED_BYTES))
        return Record(
            serial=int(kept["serial"]), body=dict(kept["body"]), outbox=Outbox.from_json(kept["outbox"])
        )
    except (FleetbusError, KeyError, TypeError, ValueError):
        return Record()


def bounded(state: State) -> State:
    """`state`, with the newest transitions left out while it is larger than a message may be.

    They stay in the outbox and follow once the older ones have become events.
    """
    while len(state.outbox.pending) > 1 and len(state.to_bytes()) > MAX_STATE_BYTES:
        pending = state.outbox.pending
        fewer = state.outbox.model_copy(update={"pending": pending[: len(pending) // 2]})
        state = state.model_copy(update={"outbox": fewer})
    return state


def fitting(one: Happened) -> Happened:
    """With a message of the length that is reported."""
    message = cut(one.message)
    return one if message == one.message else one.model_copy(update={"message": message})


def published_up_to(content: bytes, headers: Mapping[str, str], uid: str) -> dict[str, int]:
    """Aspect → transition, as the last event of this cluster's chain tells how far each origin has come."""
    emitted = emitted_in(headers)
    try:
        event = CloudEvent.from_bytes(content)
        emitted[event.origin] = max(event.transition, emitted.get(event.origin, 0))
    except FleetbusError:
        pass
    own = f"{uid}/"
    return {
        origin.removeprefix(own): sequence for origin, sequence in emitted.items() if origin.startswith(own)
    }
