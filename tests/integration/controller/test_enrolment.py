"""Join tokens on the real server: who is let in, who is not, and that each refusal is an event."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleetbus.runtime.bus import NatsBus
from fleetbus.schemas import subjects
from fleetbus.schemas.capabilities import clusters as words
from fleetbus.schemas.credentials import Credential
from fleetbus.schemas.documents import API_VERSION
from fleetbus.schemas.errors import AlreadyExists, NotPossible
from fleetbus.schemas.events import CloudEvent
from fleetbus.schemas.nats_jwt import verify
from fleetbus.schemas.nkeys import seed_of
from fleetbus.schemas.signing import signer
from fleetbus.schemas.subjects import ClusterId
from tests.bus_server import CLOCK, FleetServer
from tests.integration.controller.enrolling import Candidate, admitted_token, ask
from tests.integration.controller.people import Operator, controlling, events
from tests.waiting import wait_until


async def told(bus: NatsBus, type_: str, reason: str) -> list[CloudEvent]:
    """The events of this kind, once there is one."""
    found: list[CloudEvent] = []

    async def is_there() -> bool:
        found[:] = [
            one for one in await events(bus) if (one.short_type, one.data["reason"]) == (type_, reason)
        ]
        return bool(found)

    assert await wait_until(is_there, CLOCK, 10)
    return found


async def document(operator: Operator, name: str) -> dict[str, Any]:
    rows = (await operator.ask("list", {"kind": "Cluster", "names": [name]}))["rows"]
    found: dict[str, Any] = rows[0]["document"]
    return found


async def test_a_token_lets_one_cluster_in_once(
    fleet: FleetServer, bus: NatsBus, operator: Operator, tmp_path: Path
) -> None:
    async with controlling(fleet, tmp_path):
        await operator.wait_answered()
        token = await admitted_token(fleet, operator, "new", labels={"env": "prod"})
        first, second = Candidate("uid-1"), Candidate("uid-2")
        answer = await first.enrol(token)
        assert answer.outcome == "admitted", answer
        claims = verify(answer.user)
        assert 0.9 * 86400 - 2 <= claims.expires_at - claims.issued_at <= 86400
        assert verify(answer.renewer).expires_at == 0
        found = await document(operator, "new")
        assert (found["spec"]["key"], found["spec"]["uid"]) == (first.nkey, "uid-1")
        assert found["metadata"]["labels"] == {"env": "prod"}
        # A lost answer is asked for again; nobody else gets anything by this token.
        assert (await first.enrol(token)).outcome == "admitted"
        for other in (second, Candidate("uid-1")):
            refused = await other.enrol(token)
            assert (refused.outcome, refused.reason) == ("refused", words.REASON_TOKEN_USED)
            assert (refused.user, refused.renewer) == ("", "")
        (await told(bus, words.EVENT_ENROLLED, words.REASON_ENROLLED))
        both = (await told(bus, words.EVENT_ENROLMENT_REFUSED, words.REASON_TOKEN_USED))[0].data["message"]
        assert "uid-1" in both
        assert "uid-2" in both
        assert (await document(operator, "new"))["spec"]["key"] == first.nkey
        # The credential is an agent's own.
        new = ClusterId("main", "new")
        joined = replace(
            fleet,
            credentials={**fleet.credentials, "new": Credential(answer.user, seed_of(first.key))},
            inboxes={**fleet.inboxes, "new": subjects.inbox("main", "new")},
        )
        async with joined.bus("new") as agent:
            await agent.get_last("DESIRED", subjects.desired(new))
        renewed = await first.renew(fleet, new, answer.renewer)
        assert renewed.outcome == "admitted"
        assert renewed.controller_keys == answer.controller_keys


async def test_a_token_for_one_cluster_lets_no_other_in_and_one_that_expired_nobody(
    fleet: FleetServer, bus: NatsBus, operator: Operator, tmp_path: Path
) -> None:
    async with controlling(fleet, tmp_path):
        await operator.wait_answered()
        bound = await admitted_token(fleet, operator, "bound", uid="uid-1")
        refused = await Candidate("uid-2").enrol(bound)
        assert (refused.outcome, refused.reason) == ("refused", words.REASON_WRONG_CLUSTER)
        await told(bus, words.EVENT_ENROLMENT_REFUSED, words.REASON_WRONG_CLUSTER)
        assert (await Candidate("uid-1").enrol(bound)).outcome == "admitted"
        another = await admitted_token(fleet, operator, "second")
        refused = await Candidate("uid-1").enrol(another)
        assert (refused.outcome, refused.reason) == ("refused", words.REASON_OTHER_NAME)
        await told(bus, words.EVENT_ENROLMENT_REFUSED, words.REASON_OTHER_NAME)
        short = await admitted_token(fleet, operator, "short", ttlS=2)

        async def has_expired() -> bool:
            return CLOCK.now() > short.admitted.expires_at

        assert await wait_until(has_expired, CLOCK, 10)
        refused = await Candidate("uid-9").enrol(short)
        assert (refused.outcome, refused.reason) == ("refused", words.REASON_TOKEN_EXPIRED)
        await told(bus, words.EVENT_ENROLMENT_REFUSED, words.REASON_TOKEN_EXPIRED)


async def test_a_second_cluster_that_claims_a_name_is_quarantined(
    fleet: FleetServer, bus: NatsBus, operator: Operator, tmp_path: Path
) -> None:
    async with controlling(fleet, tmp_path):
        await operator.wait_answered()
        first, copy = Candidate("uid-1"), Candidate("uid-2")
        answer = await first.enrol(await admitted_token(fleet, operator, "prod"))
        again = await admitted_token(fleet, operator, "prod")
        claimed = await copy.enrol(again)
        assert (claimed.outcome, claimed.user) == ("quarantined", "")
        event = (await told(bus, words.EVENT_QUARANTINED, words.REASON_NAME_CLAIMED))[0]
        for name in (first.nkey, copy.nkey, "uid-1", "uid-2"):
            assert name in event.data["message"]
        # A restored copy has the key as well, and another kube-system.
        restored = Candidate("uid-3", first.key)
        claimed = await restored.renew(fleet, ClusterId("main", "prod"), answer.renewer)
        assert (claimed.outcome, claimed.user) == ("quarantined", "")
        rows = (await operator.ask("enrolments", {}))["rows"]
        assert [(row["name"], row["outcome"], row["memberUid"]) for row in rows] == [
            ("prod", "quarantined", "uid-1")
        ]
        assert (await document(operator, "prod"))["spec"]["uid"] == "uid-1"
        with pytest.raises(AlreadyExists):
            await admitted_token(fleet, operator, "prod", uid="uid-2")
        await operator.ask("approve", {"name": "prod", "dismiss": True})
        assert (await operator.ask("enrolments", {}))["rows"] == []
        replacing = await admitted_token(fleet, operator, "prod", replace=True)
        assert (await copy.enrol(replacing)).outcome == "admitted"
        assert (await document(operator, "prod"))["spec"]["uid"] == "uid-2"
        lost = await first.renew(fleet, ClusterId("main", "prod"), answer.renewer)
        assert (lost.outcome, lost.reason) == ("refused", words.REASON_NO_MEMBER)


async def test_it_waits_until_an_operator_approves(
    fleet: FleetServer, bus: NatsBus, operator: Operator, tmp_path: Path
) -> None:
    async with controlling(fleet, tmp_path):
        await operator.wait_answered()
        token = await admitted_token(fleet, operator, "new", approve=True)
        first, thief = Candidate("uid-1"), Candidate("uid-2")
        waiting = await first.enrol(token)
        assert (waiting.outcome, waiting.user) == ("waiting", "")
        assert waiting.again_in_s > 0
        await told(bus, words.EVENT_ENROLMENT_WAITING, words.REASON_WAITING)
        assert (await thief.enrol(token)).reason == words.REASON_TOKEN_USED
        row = (await operator.ask("enrolments", {"name": "new"}))["rows"][0]
        assert (row["outcome"], row["uid"], row["nkey"]) == ("waiting", "uid-1", first.nkey)
        with pytest.raises(NotPossible):
            await operator.ask("approve", {"name": "new", "nkey": thief.nkey})
        await operator.ask("approve", {"name": "new", "nkey": first.nkey})
        assert (await thief.enrol(token)).outcome == "refused"
        assert (await first.enrol(token)).outcome == "admitted"


async def test_a_revoked_key_is_refused_by_every_later_controller_under_every_name(
    fleet: FleetServer, bus: NatsBus, operator: Operator, tmp_path: Path
) -> None:
    """Also after everything else of the name is gone, as the key that a cluster had before, and in a document."""
    first = Candidate("uid-1")
    async with controlling(fleet, tmp_path):
        await operator.wait_answered()
        answer = await first.enrol(await admitted_token(fleet, operator, "gone"))
        await operator.ask("retire", {"name": "gone", "left": "revoked", "purge": True})
    async with controlling(fleet, tmp_path, "two", ["one"]):
        await operator.wait_answered()
        renewed = await first.renew(fleet, ClusterId("main", "gone"), answer.renewer)
        assert (renewed.reason, renewed.user) == (words.REASON_KEY_REVOKED, "")
        for name in ("gone", "another"):
            asked = await first.enrol(await admitted_token(fleet, operator, name))
            assert (asked.reason, asked.user) == (words.REASON_KEY_REVOKED, "")
        follower, token = Candidate("uid-1"), await admitted_token(fleet, operator, "gone")
        async with token.bus() as joining:
            shown = follower.request(former=first.nkey)
            sign = signer(token.key, follower.key, first.key)
            refused = await ask(joining, subjects.enrol(token.cluster), shown, sign)
        assert (refused.reason, refused.user) == (words.REASON_KEY_REVOKED, "")
        spec = {"realm": "main", "key": first.nkey, "uid": "uid-1"}
        metadata = {"name": "third"}
        with pytest.raises(NotPossible, match="was revoked"):
            await operator.apply(
                {"apiVersion": API_VERSION, "kind": "Cluster", "metadata": metadata, "spec": spec}
            )
        # By its new key alone it comes back.
        assert (await follower.enrol(token)).outcome == "admitted"
        assert (await document(operator, "gone"))["spec"]["key"] == follower.nkey
