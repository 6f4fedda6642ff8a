"""What is remembered of each binding, and its JSON form in the agent's kept state. Nothing secret. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from fleetbus.agent.capabilities.secrets.plan import Live, Place, Record, Trouble, Wanted
from fleetbus.schemas import conditions
from fleetbus.schemas.capabilities import secrets as schema
from fleetbus.schemas.capabilities.secrets import SecretState
from fleetbus.schemas.conditions import Condition
from fleetbus.schemas.errors import MessageMalformed

KEY = "secrets"

STARTING = Trouble("Unknown", schema.REASON_PROGRESSING, "it is being looked at", passing=True)
UNTOLD = Trouble(
    "Unknown",
    schema.REASON_PROGRESSING,
    "the cluster is told nothing about this binding any more; its Secret stays as it is",
)


def as_json(records: Mapping[str, Record]) -> dict[str, Any]:
    return {
        "bindings": {
            id_: {
                "state": record.state.as_json(),
                "namespace": record.place.namespace if record.place else "",
                "name": record.place.name if record.place else "",
                "uid": record.uid,
                "seen": record.seen,
                "written": record.written,
            }
            for id_, record in sorted(records.items())
        }
    }


def from_json(kept: Mapping[str, Any] | None) -> dict[str, Record]:
    """Inverse of `as_json`; what cannot be read is left out, and found again by its marks in the cluster."""
    bindings = (kept or {}).get("bindings")
    found: dict[str, Record] = {}
    for id_, value in bindings.items() if isinstance(bindings, Mapping) else ():
        try:
            state = SecretState.from_json(value["state"])
            place = Place(str(value["namespace"]), str(value["name"])) if value["name"] else None
            uid, seen = str(value["uid"]), str(value["seen"])
            found[id_] = Record(state, place, uid, seen, int(value["written"]))
        except (MessageMalformed, KeyError, TypeError, ValueError):
            continue
    return found


def with_trouble(want: Wanted, record: Record | None, trouble: Trouble, now: datetime) -> Record:
    """The record after a look that wrote nothing. While the API server is only asked again it stays."""
    if record is None:
        record = Record(_first(want, trouble, now))
    elif trouble.passing and trouble.reason == schema.REASON_PROGRESSING and record.state.generation:
        return record
    return replace(record, state=_moved(want, record.state, trouble, now))


def written(
    want: Wanted, record: Record | None, live: Live, trouble: Trouble, now: datetime, before: str
) -> Record:
    """The record after the Secret was written and stands as `live`; `before` is its resource version before."""
    old = record.state if record else _first(want, trouble, now)
    unchanged = live.resource_version == before and old.synced_at is not None
    state = _moved(want, old, trouble, now).model_copy(
        update={
            "version": live.version,
            "secret": str(live.place),
            "synced_at": old.synced_at if unchanged else now,
            "removed": False,
            "removed_at": None,
            "confirmed_at": None,
        }
    )
    generation = want.entry.generation if want.entry else 0
    return Record(state, live.place, live.uid, live.resource_version, generation)


def seen_synced(want: Wanted, record: Record, trouble: Trouble, now: datetime) -> Record:
    """The record after a look that found everything in step."""
    return replace(record, state=_moved(want, record.state, trouble, now))


def gone(want: Wanted, record: Record | None, removed_at: datetime, now: datetime) -> Record:
    """The receipt. The first one stands: looking again does not change its times."""
    trouble = _GONE[want.aim]
    before = record.state if record else _first(want, trouble, now)
    receipt = (before.removed_at, before.confirmed_at) if before.removed else (removed_at, now)
    state = _moved(want, before, trouble, now).model_copy(
        update={"removed": True, "removed_at": receipt[0], "confirmed_at": receipt[1]}
    )
    return Record(state, record.place if record else want.place)


_GONE = {
    "revoke": Trouble("False", schema.REASON_REVOKED, "revoked; a read has shown that the Secret is gone"),
    "remove": Trouble("False", schema.REASON_REMOVED, "the binding is deleted, and its Secret with it"),
    "keep": Trouble("False", schema.REASON_RELEASED, "the binding is deleted; the Secret stays, nobody's"),
}


def _first(want: Wanted, trouble: Trouble, now: datetime) -> SecretState:
    return SecretState(
        id=want.id,
        name=want.name,
        secret=str(want.place) if want.place else "",
        condition=_condition(want, trouble, now),
    )


def _moved(want: Wanted, before: SecretState, trouble: Trouble, now: datetime) -> SecretState:
    condition = conditions.put((before.condition,), _condition(want, trouble, now))[0]
    generation = want.entry.generation if want.entry else before.generation
    return before.model_copy(update={"name": want.name, "generation": generation, "condition": condition})


def _condition(want: Wanted, trouble: Trouble, now: datetime) -> Condition:
    return Condition(
        type=schema.SYNCED,
        status=trouble.status,
        reason=trouble.reason,
        message=trouble.message,
        last_transition_at=now,
        observed_generation=want.entry.generation if want.entry else 0,
    )


def recovered(live: Live, now: datetime) -> Record:
    """A record for a Secret that carries our marks and that nothing is remembered of."""
    want = Wanted(live.binding_id, live.binding_name, "follow")
    state = _first(want, STARTING, now).model_copy(
        update={"secret": str(live.place), "version": live.version}
    )
    return Record(state, live.place, live.uid)
