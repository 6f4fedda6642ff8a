"""Creates and updates the streams of the contract. The online half of `fleetbus init`, with the controller's key."""

from __future__ import annotations

from typing import Any

import orjson

from fleetbus.runtime.nats_jetstream import answered
from fleetbus.runtime.ports import Bus
from fleetbus.schemas.errors import NotFound
from fleetbus.schemas.streams import STREAMS, Stream
from fleetbus.schemas.subjects import jetstream_api

_TIMEOUT_S = 10.0


async def ensure_streams(bus: Bus, *, replicas: int = 1) -> None:
    """Make every stream what the contract says; those that are so already stay untouched.

    Raises BusUnavailable, or MessageMalformed when the server refuses a change (such as other storage).
    """
    for stream in STREAMS:
        await _ensure(bus, stream, replicas)


async def _ensure(bus: Bus, stream: Stream, replicas: int) -> None:
    wanted = stream.configuration(replicas)
    try:
        told = await _call(bus, f"STREAM.INFO.{stream.name}", {})
    except NotFound:
        await _call(bus, f"STREAM.CREATE.{stream.name}", wanted)
        return
    present = told.get("config")
    if not isinstance(present, dict) or not _is_within(wanted, present):
        await _call(bus, f"STREAM.UPDATE.{stream.name}", wanted)


def _is_within(wanted: dict[str, Any], present: dict[str, Any]) -> bool:
    """Whether the server holds everything wanted; what it leaves out of its answer is false or empty."""
    return all((present.get(key) or None) == (value or None) for key, value in wanted.items())


async def _call(bus: Bus, verb: str, body: dict[str, Any]) -> dict[str, Any]:
    subject = jetstream_api(verb)
    message = await bus.request(subject, orjson.dumps(body), timeout_s=_TIMEOUT_S)
    return answered(message.data, subject)
