"""A join token, and a renewer, in foreign hands: requests that are not what they should be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson
from nacl.signing import SigningKey

from fleetbus.schemas import subjects
from fleetbus.schemas.enrolment import CredentialAnswer
from fleetbus.schemas.nkeys import key_of_seed
from fleetbus.schemas.signing import Sign, signer, unverified
from tests.attacks.attack import Attack, Attempt, Result, Scene, judged
from tests.attacks.world import AGENT, ATTACKER, MEMBER, NEWCOMER, OTHER_AGENT, RENEWER, TOKEN
from tests.integration.bus.raw import publication
from tests.integration.controller.enrolling import Candidate

THIEF = SigningKey(b"\x0b" * 32)
Made = Callable[[Scene], bytes]
ENROL, RENEW = subjects.enrol(NEWCOMER), subjects.renew(MEMBER)


def _key(scene: Scene, who: str = "") -> SigningKey:
    return key_of_seed(scene.world.fleet.seed(who or scene.who))


def _request(subject: str, sign: Sign, key: SigningKey = THIEF, **changes: Any) -> bytes:
    """What a cluster with this key would ask, with `changes` that no model has looked at."""
    asked = orjson.loads(Candidate("uid-thief", key).request().to_bytes())
    return sign(subject, orjson.dumps({**asked, **changes}))


ENROLMENTS: Mapping[str, Made] = {
    "bytes": lambda scene: b"\xff\xfe\x00",
    "nothing": lambda scene: b"",
    "no signature": lambda scene: b"fleetbus1 \n" + Candidate("uid-thief", THIEF).request().to_bytes(),
    "only the token's signature": lambda scene: _request(ENROL, signer(_key(scene))),
    "only the cluster's signature": lambda scene: _request(ENROL, signer(THIEF)),
    "a stranger's signature": lambda scene: _request(ENROL, signer(THIEF, SigningKey.generate())),
    "signatures for another name": lambda scene: _request(
        subjects.enrol(ATTACKER), signer(_key(scene), THIEF)
    ),
    "another fleet": lambda scene: _request(ENROL, signer(_key(scene), THIEF), fleet="another"),
    "the token's own key": lambda scene: _request(ENROL, signer(_key(scene)), key=_key(scene)),
    "the key of a member without its signature": lambda scene: _request(
        ENROL, signer(_key(scene), THIEF), nkey=scene.world.fleet.public_key(AGENT)
    ),
    "to follow a member without its signature": lambda scene: _request(
        ENROL, signer(_key(scene), THIEF), former=scene.world.fleet.public_key(OTHER_AGENT)
    ),
    "a UID with a path": lambda scene: _request(ENROL, signer(_key(scene), THIEF), uid="../../x"),
    "a UID with an escape sequence": lambda scene: _request(ENROL, signer(_key(scene), THIEF), uid="\x1b[2J"),
    "a nonce of a megabyte's part": lambda scene: _request(
        ENROL, signer(_key(scene), THIEF), nonce="x" * 40_000
    ),
    "an issuer without an end": lambda scene: _request(
        ENROL, signer(_key(scene), THIEF), issuer="h" * 40_000
    ),
    "ten thousand keys": lambda scene: _request(
        ENROL, signer(_key(scene), THIEF), serviceAccountKeys=[{}] * 10_000
    ),
    "a key that is none": lambda scene: _request(ENROL, signer(_key(scene), THIEF), nkey="U" + "A" * 55),
}
RENEWALS: Mapping[str, Made] = {
    "bytes": lambda scene: b"\xff\xfe\x00",
    "no signature": lambda scene: b"fleetbus1 \n" + Candidate("uid-member", _key(scene)).request().to_bytes(),
    "another key": lambda scene: _request(RENEW, signer(THIEF)),
    "the neighbour's key, which signs": lambda scene: _request(
        RENEW, signer(_key(scene, OTHER_AGENT)), key=_key(scene, OTHER_AGENT)
    ),
    "both keys": lambda scene: _request(RENEW, signer(_key(scene), THIEF)),
    "another fleet": lambda scene: _request(RENEW, signer(_key(scene)), key=_key(scene), fleet="another"),
    "a signature for another name": lambda scene: _request(
        subjects.renew(ATTACKER), signer(_key(scene)), key=_key(scene)
    ),
}


def attacks() -> Iterator[Attack]:
    for what, made in ENROLMENTS.items():
        yield Attack(
            f"enrol with {what}", TOKEN, f"asks to be let in with {what}", Result.DENIED, _asks(ENROL, made)
        )
    for what, made in RENEWALS.items():
        yield Attack(
            f"renew with {what}",
            RENEWER,
            f"asks for a credential with {what}",
            Result.DENIED,
            _asks(RENEW, made),
        )
    what = "asks from a copy of the cluster, restored elsewhere"
    yield Attack("renew from a copy", RENEWER, what, Result.DENIED, _asks(RENEW, _copied))
    what = "asks for a credential for a key of the thief's, over the agent's connection"
    yield Attack("renew for a thief", AGENT, what, Result.DENIED, _asks(subjects.renew(ATTACKER), _stolen))


def _copied(scene: Scene) -> bytes:
    return _request(RENEW, signer(_key(scene)), key=_key(scene), uid="uid-copy")


def _stolen(scene: Scene) -> bytes:
    return _request(subjects.renew(ATTACKER), signer(THIEF))


def _asks(subject: str, made: Made) -> Attempt:
    """It is answered that it is not to be, or with an error; and nothing that it could use."""

    async def attempt(scene: Scene) -> Result:
        inbox = scene.inbox.encode()
        async with scene.peer() as peer:
            await peer.write(b"SUB %b 1\r\n" % inbox)
            result = judged(await peer.say(publication(subject.encode(), made(scene), reply=inbox)))
            if result is not Result.NOTHING:
                return result
            await peer.wait_heard()
            heard = peer.heard[0]
        if not heard.data:
            return Result.DENIED if b"Nats-Service-Error" in heard.block else Result.SUCCEEDED
        answer = CredentialAnswer.from_bytes(unverified(heard.data))
        return Result.SUCCEEDED if answer.outcome == "admitted" or answer.user else Result.DENIED

    return attempt
