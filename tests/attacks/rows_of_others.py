"""Writing and listening where only somebody else may: each subject of the contract that is not one's own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from fleetbus.schemas import subjects
from fleetbus.schemas.roles import NEEDS, OPERATOR, SUBSCRIBER_VERBS, VIEWER, suffices
from fleetbus.schemas.streams import ASPECTS
from fleetbus.schemas.subjects import MAIN, ClusterId
from tests.attacks import world
from tests.attacks.attack import Attack, Result, each, publishing, subscribing
from tests.attacks.world import ATTACKER, BYSTANDER, MEMBER, NEWCOMER

ELSEWHERE = ClusterId("edge", ATTACKER.name)
DIGEST = "a" * 64

CONTROLLERS = (
    subjects.desired(ATTACKER),
    subjects.command(ATTACKER),
    subjects.desired(BYSTANDER),
    subjects.command(BYSTANDER),
    subjects.TERM,
    subjects.LEASE,
    subjects.artifact(DIGEST),
    subjects.nudge(ATTACKER, "desired"),
    subjects.nudge(BYSTANDER, "desired"),
    subjects.emit(MAIN, ATTACKER.name, "bundle.applied"),
    subjects.emit(MAIN, subjects.FLEET, "cluster.connected"),
    subjects.event(MAIN, ATTACKER.name, "bundle.applied"),
    subjects.document("bundle", "web"),
    subjects.document("cluster", ATTACKER.name),
    subjects.status("bundle", "web"),
    subjects.audit(1),
    subjects.enrolment(ATTACKER),
    subjects.query(ATTACKER),
    subjects.query_all(MAIN),
    subjects.CONTROLLER_INBOX + ".x",
    "_R_.x.y",
)
"""What only the controller writes."""
NEIGHBOURS = (
    *(subjects.state(BYSTANDER, aspect) for aspect in ASPECTS),
    subjects.result(BYSTANDER),
    subjects.heartbeat(BYSTANDER),
    subjects.answer(BYSTANDER),
    subjects.renew(BYSTANDER),
    subjects.inbox(MAIN, BYSTANDER.name) + ".x",
)
"""What only another cluster's agent writes: its answers among them."""
BEYOND = (
    subjects.state(ATTACKER, "unknown"),
    subjects.state(ATTACKER, "facts") + ".more",
    subjects.state(ELSEWHERE, "facts"),
    subjects.heartbeat(ELSEWHERE),
    subjects.result(ELSEWHERE),
    subjects.enrol(ATTACKER),
    subjects.enrol(NEWCOMER),
    "fleet.v2.state.main.c1.facts",
)
WILDCARDS = (
    ">",
    "*.>",
    "fleet.>",
    subjects.ALL_STATES,
    subjects.ALL_RESULTS,
    subjects.ALL_HEARTBEATS,
    subjects.state(ATTACKER, "facts").replace(ATTACKER.name, "*"),
    subjects.states_of(ATTACKER),
    subjects.states_of(BYSTANDER),
)
EARS = (
    subjects.nudges(BYSTANDER),
    subjects.ALL_NUDGES,
    subjects.query(BYSTANDER),
    subjects.ALL_QUERIES,
    subjects.desired(ATTACKER),
    subjects.command(ATTACKER),
    subjects.states_of(ATTACKER),
    subjects.events_of(MAIN, ATTACKER.name),
    subjects.heartbeat(BYSTANDER),
    subjects.ALL_ENROLS,
    subjects.ALL_RENEWALS,
)


def attacks() -> Iterator[Attack]:
    foreign = (*CONTROLLERS, *NEIGHBOURS, *BEYOND, *WILDCARDS, *map(subjects.api, NEEDS))
    yield from (_writes(world.AGENT, subject) for subject in foreign)
    for subject in EARS:
        yield Attack(
            f"listen {subject}", world.AGENT, f"listens to `{subject}`", Result.REFUSED, subscribing(subject)
        )
    yield from _of_people()
    yield from _of_candidates()


def _writes(who: str, subject: str) -> Attack:
    return Attack(f"write {subject}", who, f"writes to `{subject}`", Result.REFUSED, publishing(subject))


def _group(who: str, what: str, rows: Iterable[str]) -> Attack:
    tried = tuple(rows)
    return Attack(
        f"write {what}",
        who,
        f"writes to {what}, {len(tried)} subjects",
        Result.REFUSED,
        each(map(publishing, tried)),
    )


def _of_people() -> Iterator[Attack]:
    agents = (
        subjects.states_of(ATTACKER)[:-1] + "facts",
        subjects.heartbeat(ATTACKER),
        subjects.renew(ATTACKER),
    )
    for who in (world.SUBSCRIBER, world.TEAM, world.VIEWER, world.OPERATOR):
        yield _group(who, "what only the controller writes", CONTROLLERS)
        yield _group(who, "what only agents write", agents)
    beyond: Mapping[str, Iterable[str]] = {
        world.VIEWER: (verb for verb in NEEDS if not suffices(VIEWER, NEEDS[verb])),
        world.OPERATOR: (verb for verb in NEEDS if not suffices(OPERATOR, NEEDS[verb])),
        world.SUBSCRIBER: NEEDS,
        world.TEAM: (verb for verb in NEEDS if verb not in SUBSCRIBER_VERBS),
    }
    for who, verbs in beyond.items():
        yield _group(who, "verbs that its role does not have", map(subjects.api, verbs))
    hidden = (subjects.ALL_EVENTS, subjects.events_matching("secret.*"), "fleet.v1.event.*.*.>")
    what = "listens to events of types that are not its own"
    yield Attack("listen to other types", world.TEAM, what, Result.REFUSED, each(map(subscribing, hidden)))
    reads = (
        subjects.direct_get("EVENTS"),
        subjects.direct_get("EVENTS", subjects.event(MAIN, ATTACKER.name, "bundle.applied")),
        subjects.direct_get("EVENTS", subjects.events_matching("bundle.*")),
        "$SRV.PING",
    )
    what = "reads the stream of events itself, which would give it every type"
    yield Attack("read the stream", world.TEAM, what, Result.REFUSED, each(map(publishing, reads)))


def _of_candidates() -> Iterator[Attack]:
    """Who has a token or a renewer has one subject."""
    asks = [
        build(one)
        for build in (subjects.enrol, subjects.renew)
        for one in (ATTACKER, NEWCOMER, MEMBER, ClusterId("edge", NEWCOMER.name))
    ]
    verbs = [subjects.api(verb) for verb in NEEDS]
    reads = (
        subjects.direct_get("EVENTS"),
        subjects.direct_get("DESIRED", subjects.desired(NEWCOMER)),
        subjects.direct_get("ARTIFACTS", subjects.artifact(DIGEST)),
    )
    rows = (subjects.state(NEWCOMER, "session"), subjects.heartbeat(MEMBER), subjects.answer(NEWCOMER))
    for who, own in ((world.TOKEN, subjects.enrol(NEWCOMER)), (world.RENEWER, subjects.renew(MEMBER))):
        yield _group(who, "others' enrolments and renewals", (one for one in asks if one != own))
        yield _group(who, "wildcards", (subjects.ALL_ENROLS, subjects.ALL_RENEWALS, *WILDCARDS))
        yield _group(who, "what only the controller writes", CONTROLLERS)
        yield _group(who, "what only agents write", rows)
        yield _group(who, "the controller's API", verbs)
        yield _group(who, "direct gets", reads)
        heard = (own, subjects.ALL_ENROLS, subjects.ALL_RENEWALS, subjects.ALL_EVENTS)
        what = "listens to who else asks to be let in"
        yield Attack("listen to the door", who, what, Result.REFUSED, each(map(subscribing, heard)))
