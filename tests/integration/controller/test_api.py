"""What operators ask, what they are answered, and who they are."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from fleetbus.cli.ceremony.issue import sign
from fleetbus.cli.ceremony.record import read_record
from fleetbus.runtime.bus import NatsBus
from fleetbus.schemas import api, subjects
from fleetbus.schemas.accounts import OPERATORS, role_key_name, user_claims
from fleetbus.schemas.audit import OUTCOME_DONE, OUTCOME_ORDERED, AuditRecord
from fleetbus.schemas.credentials import Credential
from fleetbus.schemas.errors import (
    BusUnavailable,
    DocumentInvalid,
    FleetbusError,
    MessageMalformed,
    NotFound,
    NotPermitted,
    Refused,
    SignatureRefused,
)
from fleetbus.schemas.nkeys import Kind, public_key, seed_of
from fleetbus.schemas.roles import ADMIN, changes
from fleetbus.schemas.signing import unverified
from fleetbus.schemas.streams import DOCUMENTS
from tests.bus_server import FleetServer
from tests.integration.bus.raw import raw_publisher
from tests.integration.controller.people import CLOCK, Operator, Speaker, controlling, events
from tests.integration.controller.toy import bundle_document, cluster_document
from tests.waiting import wait_until


async def audits(bus: NatsBus, outcome: str = OUTCOME_DONE) -> list[AuditRecord]:
    found = await bus.get_many(DOCUMENTS.name, subjects.ALL_AUDITS)
    records = [AuditRecord.from_bytes(unverified(message.data)) for message in found]
    return [record for record in records if record.outcome == outcome]


async def test_all_documents_are_written_or_none(
    fleet: FleetServer, bus: NatsBus, operator: Operator, tmp_path: Path
) -> None:
    async with controlling(fleet, tmp_path):
        await operator.wait_answered()
        wrong = bundle_document("bad")
        wrong["spec"]["pruen"] = True
        with pytest.raises(DocumentInvalid, match=r"spec\.pruen: unknown field"):
            await operator.apply(bundle_document("good"), wrong)
        assert await audits(bus) == []
        assert await operator.apply(bundle_document("good"), dry_run=True) == ["created"]
        assert await audits(bus) == []

        assert await operator.apply(bundle_document("good"), bundle_document("too")) == ["created", "created"]
        assert await operator.apply(bundle_document("good"), bundle_document("too", "b")) == [
            "unchanged",
            "configured",
        ]

        told = [(one.actor, one.action, one.object, one.generation_after) for one in await audits(bus)]
        assert told == [
            ("ana", "apply", "bundle/good", 1),
            ("ana", "apply", "bundle/too", 1),
            ("ana", "apply", "bundle/too", 2),
        ]


async def test_who_asks_is_what_the_server_says(
    fleet: FleetServer, bus: NatsBus, operator: Operator, tmp_path: Path
) -> None:
    """A forged header is replaced by the server; a request from inside the controller's account is nobody's."""
    forged = {"Nats-Request-Info": '{"acc":"OPERATORS","user":"UFORGED"}'}
    async with controlling(fleet, tmp_path):
        await operator.wait_answered()
        await operator.ask("apply", {"documents": [bundle_document("a")]}, headers=forged)
        lower = {"nats-request-info": '{"user":"UFORGED"}'}
        await operator.ask("apply", {"documents": [bundle_document("b")]}, headers=lower)
        assert {one.actor for one in await audits(bus)} == {"ana"}

        real = {"Nats-Request-Info": f'{{"acc":"OPERATORS","user":"{fleet.public_key("operator")}"}}'}
        with pytest.raises(NotPermitted):
            await Operator(bus, operator.credential).ask(
                "apply", {"documents": [bundle_document("c")]}, headers=real
            )

        async with fleet.bus("c1") as agent, fleet.bus("subscriber") as subscriber:
            for stranger in (agent, subscriber):
                with pytest.raises((NotPermitted, BusUnavailable)):
                    await stranger.request(subjects.api("list"), b'{"kind":"Bundle"}', timeout_s=1)


@pytest.mark.parametrize("claimed", ["nkey", "user"])
async def test_no_operator_passes_for_another(
    fleet: FleetServer, bus: NatsBus, operator: Operator, tmp_path: Path, claimed: str
) -> None:
    """A client may call itself what it likes when it connects, and the server repeats it."""
    key, keys = SigningKey.generate(), read_record(fleet.folder).keys
    role = await fleet.keys.find(role_key_name(OPERATORS, ADMIN), Kind.ACCOUNT)
    token = await sign(user_claims(public_key(key), "eve", OPERATORS, ADMIN, keys, 1), role)
    eve = replace(fleet, credentials={"eve": Credential(token, seed_of(key))})
    async with (
        controlling(fleet, tmp_path),
        raw_publisher(eve, "eve", {claimed: fleet.public_key("operator")}) as raw,
    ):
        await operator.wait_answered()
        await raw.write(b"SUB _INBOX_%b.> 1\r\n" % public_key(key).encode())
        reply = subjects.personal_inbox(public_key(key)).encode() + b".x"
        body = api.ApplyRequest(documents=(bundle_document("a"),)).model_dump_json(by_alias=True).encode()
        await raw.publish(subjects.api("apply").encode(), body, reply=reply)

        async def answered() -> bool:
            await raw.write(b"")
            return any(b"no operator of this fleet" in one.data for one in raw.heard)

        assert await wait_until(answered, CLOCK, 5)
        assert await audits(bus) == []


async def test_two_headers_do_not_make_somebody_else(
    fleet: FleetServer, bus: NatsBus, operator: Operator, tmp_path: Path
) -> None:
    async with controlling(fleet, tmp_path), raw_publisher(fleet, "operator") as raw:
        await operator.wait_answered()
        block = (
            b'NATS/1.0\r\nNats-Request-Info: {"user":"U1"}\r\nNats-Request-Info : {"user":"U2"}\r\n'
            b'Nats-Request-Info: {"user":"U3"}\r\n\r\n'
        )
        reply = subjects.personal_inbox(fleet.public_key("operator")).encode() + b".x"
        body = operator.signed("apply", {"documents": [bundle_document("a")]})
        await raw.publish(subjects.api("apply").encode(), body, reply=reply, block=block)

        async def written() -> bool:
            return bool(await audits(bus))

        assert await wait_until(written, CLOCK, 5)
        assert [one.actor for one in await audits(bus)] == ["ana"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"\xff", b'{"kind":7}', b'{"kind":"Nothing"}', b'{"x":1}']
)
async def test_no_request_ends_the_service(
    fleet: FleetServer, operator: Operator, tmp_path: Path, body: bytes
) -> None:
    async with controlling(fleet, tmp_path):
        await operator.wait_answered()
        for verb in api.VERBS:
            if verb in ("overview", "commands"):
                continue
            with pytest.raises((DocumentInvalid, MessageMalformed)):
                await operator.send(verb, operator.stated(verb, body))
            if changes(verb):
                with pytest.raises(SignatureRefused):
                    await operator.send(verb, body)
        assert (await operator.ask("overview", {}))["fleet"] == "test"


async def test_a_capability_that_fails_is_told_without_a_traceback(
    fleet: FleetServer, operator: Operator, tmp_path: Path
) -> None:
    async with controlling(fleet, tmp_path):
        await operator.wait_answered()
        await operator.apply(bundle_document("one", "broken"), bundle_document("two", "refused"))

        async def conditions(name: str) -> list[dict[str, str]]:
            described = await operator.ask("describe", {"kind": "bundle", "name": name})
            found: list[dict[str, str]] = described["document"].get("status", {}).get("conditions", [])
            return found

        async def told() -> bool:
            return bool(await conditions("one")) and bool(await conditions("two"))

        assert await wait_until(told, CLOCK, 10)
        assert [(one["type"], one["reason"]) for one in await conditions("one")] == [
            ("Reconciled", "InternalError"),
            ("Ready", "InternalError"),
        ]
        assert "nobody renders that" in (await conditions("two"))[1]["message"]
        await operator.apply(bundle_document("one"), cluster_document("c1", fleet.public_key("c1")))

        async def mended() -> bool:
            return all(one["status"] == "True" for one in await conditions("one"))

        assert await wait_until(mended, CLOCK, 10)


async def test_deleting_is_refused_where_something_depends_on_it(
    fleet: FleetServer, operator: Operator, tmp_path: Path
) -> None:
    source = {
        "apiVersion": "fleetbus.dev/v1alpha1",
        "kind": "Source",
        "metadata": {"name": "none"},
        "spec": {"git": {"url": "/nowhere"}},
    }
    async with controlling(fleet, tmp_path):
        await operator.wait_answered()
        result = await operator.ask("apply", {"documents": [bundle_document("web")]})
        assert result["warnings"] == ["Bundle web: there is no Source `none` yet"]
        await operator.apply(source)
        with pytest.raises(Refused, match="1 bundle uses it: web"):
            await operator.ask("delete", {"kind": "source", "name": "none"})
        with pytest.raises(NotFound):
            await operator.ask("delete", {"kind": "bundle", "name": "nothing"})
        await operator.ask("delete", {"kind": "bundle", "name": "web"})

        async def gone() -> bool:
            rows: list[object] = (await operator.ask("list", {"kind": "bundles"}))["rows"]
            return rows == []

        assert await wait_until(gone, CLOCK, 10)
        assert await operator.apply(bundle_document("web")) == ["created"]


async def test_a_watcher_is_answered_when_something_moves(
    fleet: FleetServer, operator: Operator, c1: Speaker, tmp_path: Path
) -> None:
    async with controlling(fleet, tmp_path):
        await operator.wait_answered()
        await operator.apply(cluster_document("c1", fleet.public_key("c1")))

        async def connected() -> bool:
            rows = (await operator.ask("list", {"kind": "Cluster"}))["rows"]
            conditions = rows[0]["document"]["status"].get("conditions", [])
            return [one["status"] for one in conditions] == ["True"] * 2

        assert await wait_until(connected, CLOCK, 10)
        version = 0

        async def quiet() -> bool:
            """What follows from the connection, such as its event, may still be on its way."""
            nonlocal version
            version = (await operator.ask("list", {"kind": "Cluster"}))["version"]
            after = await operator.ask("watch", {"kind": "Cluster", "version": version, "waitS": 0.2})
            return bool(after["version"] == version)

        assert await wait_until(quiet, CLOCK, 10)
        watching = asyncio.create_task(
            operator.ask("watch", {"kind": "Cluster", "version": version, "waitS": 15})
        )
        await CLOCK.sleep(0.1)
        await c1.beat()
        moved = await asyncio.wait_for(watching, 5)

    assert moved["version"] > version
    live = moved["rows"][0]["live"]
    assert live["connected"] is True
    assert live["server"]
    assert datetime.fromisoformat(live["lastSeenAt"]) <= CLOCK.now()


async def test_a_command_is_issued_listed_and_cancelled(
    fleet: FleetServer, bus: NatsBus, operator: Operator, c1: Speaker, tmp_path: Path
) -> None:
    order = {"cluster": "c1", "driver": "rehearsal", "arguments": {"steps": 2}, "reason": "INC-1"}
    async with controlling(fleet, tmp_path, "one") as one:
        await operator.wait_answered()
        with pytest.raises(NotFound):
            await operator.ask("command", {"action": "run", "order": order})
        await operator.apply(cluster_document("c1", fleet.public_key("c1")))
        with pytest.raises(Refused, match="never reported"):
            await operator.ask("command", {"action": "run", "order": order})
        await c1.start()
        await CLOCK.sleep(0.2)
        with pytest.raises(DocumentInvalid, match="steps"):
            await operator.ask("command", {"action": "run", "order": {**order, "arguments": {"steps": 0}}})
        issued = (await operator.ask("command", {"action": "run", "order": order}))["commands"][0]
        assert (issued["phase"], issued["issuedBy"]) == ("Issued", "ana")
        await one.kill()

    async with controlling(fleet, tmp_path, "two", gone=["one"]):
        await operator.wait_answered()
        cancel = {"action": "cancel", "id": issued["id"], "reason": "too late"}
        cancelled = (await operator.ask("command", cancel))["commands"][0]
        assert cancelled["phase"] == "Cancelling"
        result = {
            "id": issued["id"],
            "driver": "rehearsal",
            "phase": "Cancelled",
            "finishedAt": issued["issuedAt"],
        }
        await c1.say("result", {"commands": [result]})

        async def ended() -> bool:
            rows = (await operator.ask("commands", {"cluster": "c1"}))["commands"]
            return [row["phase"] for row in rows] == ["Cancelled"]

        assert await wait_until(ended, CLOCK, 5)
        with pytest.raises(FleetbusError, match="ended already"):
            await operator.ask("command", {"action": "cancel", "id": issued["id"]})

        async def told() -> bool:
            return [event.short_type for event in await events(bus)].count("command.issued") == 1

        assert await wait_until(told, CLOCK, 5)
        (event,) = [one for one in await events(bus) if one.short_type == "command.issued"]
        assert (event.data["by"], event.data["why"]) == ("ana", "INC-1")
        assert event.data["message"] == "rehearsal to c1, by ana: INC-1"
    written = [(one.actor, one.action, one.object, one.reason) for one in await audits(bus, OUTCOME_ORDERED)]
    assert written == [
        ("ana", "command-run", f"command/{issued['id']}", "INC-1"),
        ("ana", "command-cancel", f"command/{issued['id']}", "too late"),
    ], "what was refused was not done"
