"""Every subject of the server's own that an agent, a subscriber or an operator could ask, and none may."""

from __future__ import annotations

from collections.abc import Iterator

from fleetbus.schemas import subjects
from fleetbus.schemas.streams import AUDIT, DESIRED, DOCUMENTS, EVENTS, STATE, STREAMS
from tests.attacks.attack import Attack, Result, each, publishing, subscribing
from tests.attacks.world import AGENT, ATTACKER, BYSTANDER, OPERATOR, RENEWER, SUBSCRIBER, TEAM, TOKEN, VIEWER

STREAM_VERBS = (
    "CREATE",
    "UPDATE",
    "INFO",
    "DELETE",
    "PURGE",
    "MSG.GET",
    "MSG.DELETE",
    "SNAPSHOT",
    "RESTORE",
    "PEER.REMOVE",
    "PEER.EVACUATE",
    "LEADER.STEPDOWN",
    "CANCEL_MOVE",
)
CONSUMER_VERBS = (
    "CREATE",
    "DURABLE.CREATE",
    "INFO",
    "DELETE",
    "MSG.NEXT",
    "PAUSE",
    "RESET",
    "UNPIN",
    "LEADER.STEPDOWN",
    "PEER.REMOVE",
)
WHOLE = (
    "INFO",
    "STREAM.NAMES",
    "STREAM.LIST",
    "CONSUMER.NAMES.DESIRED",
    "CONSUMER.LIST.DESIRED",
    "CONSUMER.CREATE.DESIRED",
    f"CONSUMER.CREATE.DESIRED.evil.{subjects.ALL_HEADS}",
    "STREAM.TEMPLATE.CREATE.evil",
    "META.LEADER.STEPDOWN",
    "META.RESCUE",
    "SERVER.REMOVE",
    "SERVER.EVACUATE",
    "ACCOUNT.PURGE.FLEET",
    "ACCOUNT.STREAM.MOVE.FLEET.DESIRED",
    "ACCOUNT.STREAM.CANCEL_MOVE.FLEET.DESIRED",
)
BESIDE = (
    "$JS.hub.API.STREAM.DELETE.DOCUMENTS",
    "$JS.ACK.DESIRED.c.1.1.1.1.1",
    "$JS.ACK.*.*.1.1.1.1.1",
    "$JS.ACK.hub.account.DESIRED.c.1.1.1.1.1.x",
    "$JS.ACK.DESIRED.c.1.1.1.1.1.extra",
    "$JS.FC.DESIRED.c.x",
    "$JS.EVENT.ADVISORY.STREAM.DELETED.DOCUMENTS",
    "$JSC.CI.x.y.DESIRED",
    "$NRG.V.DESIRED",
    "$KV.bucket.key",
    "$O.bucket.C.x",
    "$MQTT.sub.x",
    "$LDS.x",
    "$GR.x",
    "_GR_.x.y.z",
)
SYSTEM = (
    "$SYS.REQ.SERVER.PING",
    "$SYS.REQ.SERVER.PING.CONNZ",
    "$SYS.REQ.SERVER.NX.KICK",
    "$SYS.REQ.SERVER.NX.LDM",
    "$SYS.REQ.SERVER.NX.RELOAD",
    "$SYS.REQ.ACCOUNT.FLEET.CONNZ",
    "$SYS.REQ.ACCOUNT.FLEET.CLAIMS.LOOKUP",
    "$SYS.REQ.ACCOUNT.PING.CONNZ",
    "$SYS.REQ.USER.INFO",
    "$SYS.REQ.USER.x.INFO",
    "$SYS.REQ.USER.AUTH",
    "$SYS.DEBUG.SUBSCRIBERS",
    "$SYS.ACCOUNT.FLEET.CONNECT",
    "$SYS.ACCOUNT.FLEET.DISCONNECT",
    "$SYS.REQ.CLAIMS.LIST",
    "$SYS.REQ.CLAIMS.DELETE",
    "$SYS.REQ.CLAIMS.PACK",
    subjects.CLAIMS_UPDATE,
    "$SYS._INBOX.x.y",
)
DIRECT = (
    *(subjects.direct_get(stream.name) for stream in STREAMS if stream is not EVENTS),
    subjects.direct_get(DESIRED.name, subjects.desired(BYSTANDER)),
    subjects.direct_get(DESIRED.name, subjects.command(BYSTANDER)),
    subjects.direct_get(DESIRED.name, subjects.desired(ATTACKER).replace(ATTACKER.name, "*")),
    subjects.direct_get(DESIRED.name, subjects.ALL_DESIRED),
    subjects.direct_get(DESIRED.name, subjects.TERM),
    subjects.direct_get(DOCUMENTS.name, subjects.document("bundle", "web")),
    subjects.direct_get(STATE.name, subjects.state(ATTACKER, "facts")),
    subjects.direct_get(EVENTS.name, subjects.events_of(BYSTANDER.realm, BYSTANDER.name)),
    subjects.direct_get(EVENTS.name, subjects.events_of(BYSTANDER.realm, subjects.FLEET)),
    subjects.direct_get(EVENTS.name, subjects.ALL_EVENTS),
)
EARS = (
    ">",
    "*",
    "*.>",
    "fleet.>",
    "_R_.>",
    "_INBOX.>",
    "_INBOX*.>",
    "$JS.>",
    "$JS.ACK.>",
    "$JS.EVENT.>",
    "$SYS.>",
    "$SYS.ACCOUNT.*.CONNECT",
    "$SRV.>",
    subjects.ALL_API,
    subjects.ALL_STATES,
    subjects.ALL_HEARTBEATS,
    subjects.ALL_HEADS,
    subjects.ALL_DOCUMENTS,
    subjects.ALL_EMITS,
    subjects.CONTROLLER_INBOX + ".>",
    subjects.SYSTEM_INBOX + ".>",
    subjects.inbox(BYSTANDER.realm, BYSTANDER.name) + ".>",
)


def api_forms() -> Iterator[str]:
    for verb in STREAM_VERBS:
        yield f"STREAM.{verb}.{DOCUMENTS.name}"
    for verb in CONSUMER_VERBS:
        yield f"CONSUMER.{verb}.{DESIRED.name}.evil"
    for stream in STREAMS:
        yield f"STREAM.DELETE.{stream.name}" if stream is not DOCUMENTS else f"STREAM.PURGE.{AUDIT.name}"
    yield from WHOLE


AGENT_ASKS = (*(subjects.jetstream_api(one) for one in api_forms()), *BESIDE, *SYSTEM, *DIRECT)
"""With an agent's credential each form is tried."""
OTHERS_ASK = tuple(
    dict.fromkeys(
        (
            *(subjects.jetstream_api(f"STREAM.DELETE.{stream.name}") for stream in STREAMS),
            *(subjects.jetstream_api(f"CONSUMER.{verb}.{EVENTS.name}.x") for verb in ("CREATE", "MSG.NEXT")),
            "$JS.ACK.EVENTS.c.1.1.1.1.1",
            "$SYS.REQ.SERVER.PING",
            subjects.CLAIMS_UPDATE,
            subjects.direct_get(DESIRED.name),
            subjects.direct_get(DOCUMENTS.name, subjects.document("bundle", "web")),
        )
    )
)
PEOPLE = (SUBSCRIBER, TEAM, VIEWER, OPERATOR, TOKEN, RENEWER)


def attacks() -> Iterator[Attack]:
    for subject in AGENT_ASKS:
        yield Attack(
            f"ask {subject}", AGENT, f"asks the server `{subject}`", Result.REFUSED, publishing(subject)
        )
    for subject in EARS:
        yield Attack(
            f"listen {subject}", AGENT, f"listens to `{subject}`", Result.REFUSED, subscribing(subject)
        )
    for who in PEOPLE:
        what = (
            f"asks the server for streams, consumers, acknowledgements and accounts, {len(OTHERS_ASK)} forms"
        )
        yield Attack("ask the server", who, what, Result.REFUSED, each(map(publishing, OTHERS_ASK)))
        what = f"listens to what is others', {len(EARS)} wildcards and inboxes"
        yield Attack("listen to others", who, what, Result.REFUSED, each(map(subscribing, EARS)))
