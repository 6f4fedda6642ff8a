"""Whether a fleet is where its operators want it to be: read from the servers alone, compared with their wishes."""

from __future__ import annotations

import base64
from collections.abc import Iterator

from fleetbus.agent.capabilities.commands.drivers.rehearsal import map_name
from fleetbus.schemas import conditions, subjects
from fleetbus.schemas.capabilities.commands import EVENT_ISSUED
from fleetbus.schemas.documents import Status
from fleetbus.schemas.errors import Refused
from fleetbus.schemas.signing import unverified, verify
from fleetbus.schemas.states import FINISHED, RESULT_ASPECT, Results, State
from fleetbus.schemas.streams import STATE, STATUS
from tests.simulation.fleet import APPS, CLUSTERS, SimulatedFleet
from tests.simulation.invariants import contains
from tests.simulation.wishes import Wishes

_PHASES = {
    "succeeds": {"Succeeded"},
    "dies": {"Succeeded"},
    "fails": {"Failed"},
    "hangs": set(),
}
_ALWAYS = {"Expired", "Cancelled"}


def open_points(fleet: SimulatedFleet, wishes: Wishes) -> Iterator[str]:
    """What is not as it must be in the end; nothing when all is done."""
    yield from _objects(fleet, wishes)
    yield from _secrets(fleet, wishes)
    yield from _conditions(fleet, wishes)
    yield from _commands(fleet, wishes)
    yield from _outboxes(fleet)


def _objects(fleet: SimulatedFleet, wishes: Wishes) -> Iterator[str]:
    for name in CLUSTERS:
        server = fleet.members[name].server
        for place, wanted in wishes.objects(name).items():
            stored = server.stored(place)
            if stored is None:
                yield f"{name}: {place} is missing"
            elif not contains(stored.object, wanted):
                yield f"{name}: {place} differs"
        for place in wishes.absent(name):
            if server.stored(place) is not None:
                yield f"{name}: {place} is still there"


def _secrets(fleet: SimulatedFleet, wishes: Wishes) -> Iterator[str]:
    for name in CLUSTERS:
        for target, value in wishes.secrets(name).items():
            stored = fleet.members[name].server.stored((("", "secrets"), (APPS, target)))
            found = stored.object.get("data") if stored else None
            wanted = {"password": base64.b64encode(value.encode()).decode()} if value is not None else None
            if found != wanted:
                yield f"{name}: Secret {target} {'is missing' if stored is None else 'is not as it should be'}"


def statuses(fleet: SimulatedFleet) -> Iterator[Status]:
    stream = fleet.bus.streams[STATUS.name]
    for message in stream.last_per_subject(subjects.ALL_STATUSES, fleet.clock.now()):
        yield Status.from_bytes(unverified(message.data))


def states(fleet: SimulatedFleet) -> Iterator[State]:
    stream = fleet.bus.streams[STATE.name]
    for pattern in (subjects.ALL_STATES, subjects.ALL_RESULTS):
        for message in stream.last_per_subject(pattern, fleet.clock.now()):
            try:
                yield State.from_bytes(verify(message.subject, message.data, fleet.signers))
            except Refused:
                continue


def _conditions(fleet: SimulatedFleet, wishes: Wishes) -> Iterator[str]:
    known = {(one.kind, one.name): one for one in statuses(fleet) if one.kind != "Fleet"}
    expected = wishes.ready()
    for key, may_be in expected.items():
        ready = conditions.find(known[key].conditions, conditions.READY) if key in known else None
        found = (ready.status, ready.reason) if ready else ("", "nothing is said")
        if found not in may_be:
            said = f": {ready.message}" if ready else ""
            yield f"{key[0]} {key[1]} is {' '.join(found)} and not {' '.join(sorted(may_be)[0])}{said}"
    for key in known.keys() - expected.keys():
        yield f"{key[0]} {key[1]} is not gone"


def _commands(fleet: SimulatedFleet, wishes: Wishes) -> Iterator[str]:
    results = {
        one.id: one
        for state in states(fleet)
        if state.aspect == RESULT_ASPECT
        for one in Results.from_json(state.body).commands
    }
    issued = [event.subject for event in fleet.invariants.events if event.short_type == EVENT_ISSUED]
    for listed in fleet.commands().values():
        for one in listed:
            result = results.get(one.id)
            outcome = wishes.commands[str(one.arguments.get("message"))]
            phase = result.phase if result else "unknown"
            if phase not in FINISHED:
                yield f"command {one.id} ({outcome}) is {phase}"
            elif phase not in _PHASES[outcome] | _ALWAYS:
                yield f"command {one.id} ({outcome}) ended as {phase}"
            elif phase == "Expired" and fleet.invariants.effects.get(map_name(one.id)):
                yield f"command {one.id} is Expired and took effect"
            if issued.count(f"command/{one.id}") != 1:
                yield f"command {one.id} was issued {issued.count(f'command/{one.id}')} times"


def _outboxes(fleet: SimulatedFleet) -> Iterator[str]:
    origins = [(one.uid, one.outbox) for one in statuses(fleet)]
    origins += [(f"{one.uid}/{one.aspect}", one.outbox) for one in states(fleet)]
    for origin, outbox in origins:
        if outbox.pending:
            yield f"{origin} holds {len(outbox.pending)} transitions"
        emitted = fleet.invariants.emitted.get(origin, 0)
        if outbox.sequence != emitted:
            yield f"{origin} counts {outbox.sequence} transitions, {emitted} are events"
