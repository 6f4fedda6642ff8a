"""Having the server write for the attacker: what it answers goes to a reply subject, which nobody checks.

In an arrangement of one account this deletes streams and writes others' rows. Here the answer stays in the account
of who asked.
"""

from __future__ import annotations

from collections.abc import Iterator

from fleetbus.schemas import subjects
from fleetbus.schemas.streams import ARTIFACTS, ASPECTS, DESIRED, EVENTS, STREAMS
from fleetbus.schemas.subjects import MAIN
from tests.attacks import world
from tests.attacks.attack import OWN_FACTS, Attack, Attempt, Result, Scene, each, judged, publishing
from tests.attacks.world import ATTACKER, BYSTANDER, MEMBER
from tests.integration.bus.raw import publication

MISSING = "b" * 64
GET = subjects.direct_get
QUESTIONS = (
    GET(ARTIFACTS.name, subjects.artifact(MISSING)),
    GET(DESIRED.name, subjects.desired(ATTACKER)),
    GET(DESIRED.name, subjects.command(ATTACKER)),
    GET(EVENTS.name, subjects.events_of(MAIN, ATTACKER.name)),
    OWN_FACTS,
    subjects.result(ATTACKER),
    subjects.heartbeat(ATTACKER),
    subjects.answer(ATTACKER),
    subjects.renew(ATTACKER),
)
"""All that an agent may publish, or of a kind one: what is answered, is stored, or is heard."""

STREAM_TARGETS = tuple(
    subjects.jetstream_api(f"STREAM.{verb}.{stream.name}")
    for stream in STREAMS
    for verb in ("DELETE", "PURGE")
)
SERVER_TARGETS = (
    subjects.jetstream_api("STREAM.CREATE.EVIL"),
    subjects.jetstream_api("STREAM.UPDATE.STATE"),
    subjects.jetstream_api("STREAM.MSG.DELETE.DOCUMENTS"),
    subjects.jetstream_api("CONSUMER.CREATE.DESIRED"),
    subjects.jetstream_api("META.LEADER.STEPDOWN"),
    "$SYS.REQ.SERVER.PING",
    subjects.CLAIMS_UPDATE,
    "$SRV.PING",
)
CONTROLLERS = (
    subjects.desired(BYSTANDER),
    subjects.command(BYSTANDER),
    subjects.desired(ATTACKER),
    subjects.TERM,
    subjects.LEASE,
    subjects.artifact(MISSING),
    subjects.document("bundle", "web"),
    subjects.document("cluster", BYSTANDER.name),
    subjects.status("bundle", "web"),
    subjects.audit(1),
    subjects.audit(2**40),
    subjects.enrolment(BYSTANDER),
    subjects.emit(MAIN, BYSTANDER.name, "bundle.applied"),
    subjects.event(MAIN, BYSTANDER.name, "bundle.applied"),
)
NEIGHBOURS = (
    *(subjects.state(BYSTANDER, aspect) for aspect in ASPECTS),
    subjects.result(BYSTANDER),
    subjects.heartbeat(BYSTANDER),
    subjects.answer(BYSTANDER),
    subjects.renew(BYSTANDER),
    subjects.enrol(BYSTANDER),
)
EARS = (
    subjects.nudge(BYSTANDER, "desired"),
    subjects.nudge(BYSTANDER, "command"),
    subjects.query(BYSTANDER),
    subjects.query_all(MAIN),
    subjects.inbox(MAIN, BYSTANDER.name) + ".x",
    subjects.CONTROLLER_INBOX + ".x",
    subjects.api("list"),
    subjects.api("apply"),
)
RESERVED = ("$JS.ACK.DESIRED.c.1.1.1.1.1", "$JS.ACK.x", "_R_.x", "_R_.x.y", "_GR_.x.y.z")
"""What the server itself lets nobody name as a reply."""


def _answered_to(victim: str) -> Attempt:
    """Every question that the attacker may ask, with the answer to go to the victim."""

    async def attempt(scene: Scene) -> Result:
        async with scene.peer() as peer:
            wire = (publication(one.encode(), b"", reply=victim.encode()) for one in QUESTIONS)
            return judged(await peer.say(b"".join(wire)))

    return attempt


def attacks() -> Iterator[Attack]:
    for victim in (*STREAM_TARGETS, *SERVER_TARGETS, *CONTROLLERS, *NEIGHBOURS, *EARS):
        what = f"has every answer that it may ask for sent to `{victim}`"
        yield Attack(f"reply {victim}", world.AGENT, what, Result.NOTHING, _answered_to(victim))
    for victim in RESERVED:
        what = f"has every answer that it may ask for sent to `{victim}`"
        yield Attack(f"reply {victim}", world.AGENT, what, Result.REFUSED, _answered_to(victim))
    yield from _of_people()
    yield from _of_candidates()


GROUPS = {
    "the API of streams": (*STREAM_TARGETS, *SERVER_TARGETS),
    "what only the controller writes": CONTROLLERS,
    "other clusters' rows": NEIGHBOURS,
    "others' ears": EARS,
}


def _of_people() -> Iterator[Attack]:
    asked = {
        world.SUBSCRIBER: (GET(EVENTS.name),),
        world.TEAM: (subjects.api("events"),),
        world.VIEWER: (subjects.api("list"), subjects.api("overview"), GET(EVENTS.name), "$SRV.PING"),
        world.OPERATOR: (subjects.api("list"), subjects.api("apply"), GET(EVENTS.name)),
    }
    body = b'{"seq":1,"batch":5}'
    for who, questions in asked.items():
        for name, victims in GROUPS.items():
            tried = [publishing(one, reply=to, data=body) for one in questions for to in victims]
            what = f"has answers sent to {name}, {len(victims)} subjects"
            yield Attack(f"reply to {name}", who, what, Result.NOTHING, each(tried))
        live = (
            subjects.event(MAIN, BYSTANDER.name, "bundle.applied"),
            GET(EVENTS.name),
            subjects.api("events"),
        )
        what = "has answers sent where subscribers listen, so that they look like events, and back to the question"
        tried = [publishing(one, reply=to, data=body) for one in questions for to in live]
        yield Attack("reply to subscribers", who, what, Result.NOTHING, each(tried))


def _of_candidates() -> Iterator[Attack]:
    for who, own in ((world.TOKEN, subjects.enrol(world.NEWCOMER)), (world.RENEWER, subjects.renew(MEMBER))):
        for name, victims in GROUPS.items():
            what = f"has the answer to its request sent to {name}, {len(victims)} subjects"
            tried = [publishing(own, reply=to) for to in victims]
            yield Attack(f"reply to {name}", who, what, Result.NOTHING, each(tried))
