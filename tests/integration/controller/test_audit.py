"""The audit chain on a real server: one chain, nothing overwritten or half-written, refusals in it and bounded."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from nacl.signing import SigningKey

from fleetbus.client import Fleet
from fleetbus.controller.audit import AuditChain, Author, Entry
from fleetbus.controller.refusals import MOST_KINDS
from fleetbus.runtime.bus import NatsBus
from fleetbus.runtime.nats_streams import ensure_streams
from fleetbus.runtime.ports import Message, Put
from fleetbus.schemas import api, subjects
from fleetbus.schemas.audit import (
    ORIGIN,
    OUTCOME_REFUSED,
    AuditRecord,
    Walk,
    ended,
    parse_link,
    sealed,
    step,
)
from fleetbus.schemas.errors import BusUnavailable, FleetbusError, NotFound, NotPermitted, SequenceConflict
from fleetbus.schemas.nkeys import public_key
from fleetbus.schemas.signing import signer, unverified
from fleetbus.schemas.streams import AUDIT, DOCUMENTS
from tests.bus_server import FleetServer
from tests.integration.controller.people import (
    CLOCK,
    FLEET,
    SIGNING_KEY,
    Operator,
    Speaker,
    controlling,
)
from tests.integration.controller.toy import bundle_document, cluster_document
from tests.waiting import wait_until

KEYS = {public_key(SIGNING_KEY)}
SECRET = "hunter2-hunter2-hunter2"


def walked(messages: list[Message], newest: str = "") -> Walk:
    walk = Walk()
    for message in messages:
        walk = step(walk, message.subject, message.data, KEYS, FLEET)
    return ended(walk, parse_link(newest) if newest else None)


async def copied(bus: NatsBus, count: int) -> list[Message]:
    """The records in the stream that keeps them, once there are so many."""

    async def there() -> bool:
        return len(await bus.get_many(AUDIT.name, subjects.ALL_AUDITS, limit=10_000)) >= count

    assert await wait_until(there, CLOCK, 10)
    return await bus.get_many(AUDIT.name, subjects.ALL_AUDITS, limit=10_000)


def read(messages: list[Message]) -> list[AuditRecord]:
    return [AuditRecord.from_bytes(unverified(message.data)) for message in messages]


async def pages(operator: Operator, **asked: object) -> list[AuditRecord]:
    found: list[AuditRecord] = []
    answer = api.AuditResult(more=True)
    while answer.more:
        answer = api.AuditResult.from_json(
            await operator.ask("audit", {"limit": 3, **asked, "position": answer.position})
        )
        found += [AuditRecord.from_bytes(unverified(row.envelope.encode())) for row in answer.rows]
    return found


async def test_two_that_write_at_once_make_one_chain(bus: NatsBus, fleet: FleetServer) -> None:
    async with fleet.bus("controller") as other:
        chains = [AuditChain(one, CLOCK, FLEET, SIGNING_KEY) for one in (bus, other)]

        async def write(which: int) -> None:
            for number in range(20):
                entry = Entry(Author(f"writer-{which}", "apply", key="U"), object=f"bundle/b{number}")
                put = Put(subjects.document("bundle", f"w{which}-{number}"), b"{}", expected=0)
                while True:
                    try:
                        await chains[which].write([put], [entry])
                        break
                    except SequenceConflict:
                        continue

        await asyncio.gather(write(0), write(1))
    records = await copied(bus, 40)
    walk = walked(records, str(await AuditChain(bus, CLOCK, FLEET, SIGNING_KEY).newest()))
    assert (walk.records, walk.findings) == (40, ())
    assert {record.actor for record in read(records)} == {"writer-0", "writer-1"}


async def test_a_change_without_its_record_is_not_written(bus: NatsBus) -> None:
    """Somebody took the number meanwhile; and a document that was written by somebody else leaves no record."""
    chain = AuditChain(bus, CLOCK, FLEET, SIGNING_KEY)
    entry = Entry(Author("ana", "apply"))
    document = subjects.document("bundle", "web")
    await chain.write([Put(document, b"1", expected=0)], [entry])
    with pytest.raises(SequenceConflict):
        await chain.write([Put(document, b"2", expected=0)], [entry])
    assert len(await bus.get_many(DOCUMENTS.name, subjects.ALL_AUDITS)) == 1

    record = AuditRecord(
        fleet=FLEET, number=2, previous="", at=CLOCK.now(), actor="b", action="apply", outcome="done"
    )
    subject, envelope, _ = sealed(record, signer(SIGNING_KEY))
    await bus.put(Put(subject, envelope, expected=0))
    stale = Put(subjects.document("bundle", "other"), b"1", expected=0)
    with pytest.raises(SequenceConflict):
        await bus.put_batch([stale, Put(subject, envelope, expected=0)])
    assert await bus.get_last(DOCUMENTS.name, stale.subject) is None
    with pytest.raises(FleetbusError):
        await bus.put_batch([stale, Put(subjects.status("bundle", "other"), b"1")])
    assert await bus.get_last(DOCUMENTS.name, stale.subject) is None, "no batch spans two streams"


async def test_no_record_is_overwritten_deleted_or_purged(bus: NatsBus) -> None:
    """Also not with the controller's own credential, in the stream that keeps them."""
    chain = AuditChain(bus, CLOCK, FLEET, SIGNING_KEY)
    for number in range(3):
        await chain.write((), [Entry(Author("ana", "apply"), object=f"bundle/b{number}")])
    before = await copied(bus, 3)

    for verb, body in (
        (f"STREAM.PURGE.{AUDIT.name}", {}),
        (f"STREAM.MSG.DELETE.{AUDIT.name}", {"seq": before[0].sequence}),
        (f"STREAM.MSG.DELETE.{DOCUMENTS.name}", {"seq": before[0].sequence}),
        (f"STREAM.UPDATE.{AUDIT.name}", AUDIT.configuration() | {"deny_purge": False}),
        (f"STREAM.UPDATE.{AUDIT.name}", AUDIT.configuration() | {"deny_delete": False}),
    ):
        answer = await bus.request(subjects.jetstream_api(verb), orjson.dumps(body))
        assert "error" in orjson.loads(answer.data), verb
    await bus.put(Put(subjects.audit(2), b"something else"))
    await bus.purge(DOCUMENTS.name, subjects.ALL_AUDITS)
    await bus.put(Put(subjects.audit(2), b"again"))

    after = await copied(bus, 5)
    assert [one.data for one in after[:3]] == [one.data for one in before]
    assert [finding.number for finding in walked(after).findings] == [2, 2, 2, 2], (
        "each is shown as what it is"
    )

    anew = AuditChain(bus, CLOCK, FLEET, SIGNING_KEY)
    await anew.write((), [Entry(Author("ana", "apply"), object="bundle/b3")])
    last = read([(await copied(bus, 6))[-1]])[0]
    assert (last.number, last.object) == (4, "bundle/b3"), "the chain goes on behind the purge"


async def test_a_controller_killed_while_it_writes_leaves_nothing_half_written(
    fleet: FleetServer, bus: NatsBus, operator: Operator, tmp_path: Path
) -> None:
    for round_ in range(4):
        async with controlling(
            fleet, tmp_path, f"h{round_}", gone=[f"h{one}" for one in range(round_)]
        ) as it:
            await operator.wait_answered()
            asked = [
                asyncio.create_task(
                    operator.ask(
                        "apply", {"documents": [bundle_document(f"b{round_}-{one}") for one in pair]}
                    )
                )
                for pair in ((0, 1), (2, 3), (4, 5))
            ]
            await CLOCK.sleep(0.001 * round_)
            await it.kill()
            for task in asked:
                task.cancel()
            await asyncio.wait(asked)
    # One look: what a killed controller had sent may still be on its way.
    everything = await bus.get_many(DOCUMENTS.name, ">", limit=10_000)
    stored = [message for message in everything if subjects.parse_audit(message.subject)]
    written = {(message.subject, 1) for message in everything if message not in stored}
    records = read(stored)
    assert walked(stored).findings == ()
    told = {
        (subjects.document(*record.object.split("/")), record.generation_after)
        for record in records
        if record.object
    }
    assert told == written


async def test_what_is_done_and_refused_is_read_through_the_api(
    fleet: FleetServer, bus: NatsBus, operator: Operator, tmp_path: Path
) -> None:
    async with controlling(fleet, tmp_path):
        await operator.wait_answered()
        await operator.apply(
            bundle_document("web"), cluster_document("c1", fleet.public_key("c1")), reason="INC-1"
        )
        await operator.apply(bundle_document("web", "b"))
        await operator.ask("sync", {"kind": "bundle", "name": "web", "reason": "look"})
        with pytest.raises(NotFound):
            await operator.ask("delete", {"kind": "bundle", "name": "nothing", "reason": "mistake"})
        with pytest.raises(FleetbusError):
            await operator.ask("revoke", {"name": "none"})
        with pytest.raises(NotFound):
            await operator.ask("describe", {"kind": "bundle", "name": "nothing"})
        wrong = bundle_document("bad")
        wrong["spec"]["password"] = SECRET
        with pytest.raises(FleetbusError):
            await operator.apply(wrong)
        with pytest.raises(FleetbusError):
            await operator.apply(wrong, dry_run=True)
        with pytest.raises(FleetbusError):
            await operator.ask("apply", {"documents": [], "reason": "x" * 5000})
        with pytest.raises(NotPermitted):
            await Operator(bus, operator.credential).ask("list", {"kind": "Bundle"})
        await operator.ask("delete", {"kind": "bundle", "name": "web", "policy": "Keep"})

        found = await pages(operator)
        assert [(one.action, one.object, one.outcome, one.code) for one in found] == [
            ("apply", "bundle/web", "done", ""),
            ("apply", "cluster/c1", "done", ""),
            ("apply", "bundle/web", "done", ""),
            ("sync", "bundle/web", "ordered", ""),
            ("delete", "bundle/nothing", "refused", "FB1002"),
            ("revoke", "secretbinding/none", "refused", "FB1002"),
            ("apply", "bundle/bad", "refused", "FB1001"),
            ("apply", "", "refused", "FB1001"),
            ("list", "bundle", "refused", "FB5001"),
            ("delete", "bundle/web", "done", ""),
        ]
        assert {one.key for one in found} == {fleet.public_key("operator"), ""}
        assert [one.reason for one in found[:5]] == ["INC-1", "INC-1", "", "look", "mistake"]
        (edit,) = found[2].edits
        assert (edit.path, edit.before, edit.after) == ("spec.path", '"a"', '"b"')
        assert (found[2].generation_before, found[2].generation_after) == (1, 2)
        assert found[2].before == found[0].after
        assert [one.path for one in found[-1].edits] == ["deleting.at", "deleting.by", "deleting.policy"]

        assert [one.object for one in await pages(operator, action="delete")] == [
            "bundle/nothing",
            "bundle/web",
        ]
        assert len(await pages(operator, object="bundle/web", actor="ana")) == 4
        assert [one.number for one in await pages(operator, after=7)] == [8, 9, 10]
        assert await pages(operator, since=CLOCK.now().isoformat()) == []
        overview = api.Overview.from_json(await operator.ask("overview", {}))
    stored = await copied(bus, 10)
    assert walked(stored, overview.audit_newest).findings == ()
    assert overview.audit_copied == 10
    assert not any(SECRET.encode() in message.data for message in stored)


async def test_no_value_that_should_not_be_seen_gets_into_a_record(
    fleet: FleetServer, bus: NatsBus, operator: Operator, c1: Speaker, tmp_path: Path
) -> None:
    """What is refused is never quoted with its values; of a command's environment only the names are told."""
    source = {"apiVersion": "fleetbus.dev/v1alpha1", "kind": "Source", "metadata": {"name": "s"}}
    refused: list[tuple[str, dict[str, Any]]] = [
        ("apply", {"documents": [{"apiVersion": "v1", "kind": "Secret", "data": {"password": SECRET}}]}),
        ("apply", {"documents": [source | {"spec": {"git": {"url": "https://x", "token": SECRET}}}]}),
        ("apply", {"documents": [source | {"spec": {"git": SECRET}}], "password": SECRET}),
        ("apply", {"documents": [source | {"spec": {"git": {"url": f"https://u:{SECRET}@example.com/x"}}}]}),
        ("release", {"kind": "bundle", "name": "x", "prune": SECRET}),
        ("command", {"action": "run", "order": {"cluster": "c1", "driver": "job", "arguments": SECRET}}),
    ]
    order = {"cluster": "c1", "driver": "job", "arguments": {"image": "i", "environment": {"TOKEN": SECRET}}}
    async with controlling(fleet, tmp_path):
        await operator.wait_answered()
        await operator.apply(cluster_document("c1", fleet.public_key("c1")))
        await c1.start()
        for verb, body in refused:
            with pytest.raises(FleetbusError):
                await operator.ask(verb, body)
        await CLOCK.sleep(0.2)
        await operator.ask("command", {"action": "run", "order": order})
        found = await pages(operator)
    assert [one.outcome for one in found].count("refused") == len(refused)
    (issued,) = [one for one in found if one.action == "command-run" and one.outcome == "ordered"]
    assert ("arguments.environment", '["TOKEN"]') in [(one.path, one.after) for one in issued.edits]
    told = [message.data for message in await copied(bus, len(found))]
    assert [data for data in told if SECRET.encode() in data] == []


async def test_the_client_reads_on_while_records_come(
    fleet: FleetServer, operator: Operator, tmp_path: Path
) -> None:
    client = Fleet(operator.bus, CLOCK, operator.credential)
    async with controlling(fleet, tmp_path):
        await operator.wait_answered()
        walk, documents = Walk(), [bundle_document(f"b{number}") for number in range(300)]
        await client.apply(documents)
        async with asyncio.timeout(30), aclosing(client.audit(follow=True)) as pages_:
            async for page in pages_:
                for row in page.rows:
                    walk = step(walk, row.subject, row.envelope.encode(), set(page.keys), FLEET)
                if walk.records == 300:
                    await client.apply([bundle_document("one-more")], reason="while somebody watches")
                if walk.records == 301:
                    break
    assert walk.findings == ()


async def test_a_flood_of_bad_requests_is_a_few_records(
    fleet: FleetServer, bus: NatsBus, operator: Operator, tmp_path: Path
) -> None:
    async with controlling(fleet, tmp_path):
        await operator.wait_answered()

        async def flood(which: int) -> None:
            for number in range(40):
                name = "same" if which % 2 else f"n{which}-{number}"
                with pytest.raises(NotFound):
                    await operator.ask("delete", {"kind": "bundle", "name": name})

        await asyncio.gather(*(flood(which) for which in range(6)))
        assert await operator.apply(bundle_document("web")) == ["created"]
        found = await pages(operator)
    refused = [one for one in found if one.outcome == OUTCOME_REFUSED]
    assert 0 < len(refused) <= MOST_KINDS + 1
    assert [one.object for one in refused].count("bundle/same") == 1


async def test_the_copy_is_made_good_when_its_stream_was_lost(bus: NatsBus) -> None:
    chain = AuditChain(bus, CLOCK, FLEET, SIGNING_KEY)
    await chain.write((), [Entry(Author("ana", "apply"))])
    await bus.request(subjects.jetstream_api(f"STREAM.DELETE.{AUDIT.name}"), b"")
    with pytest.raises(BusUnavailable):
        await bus.get_last(AUDIT.name, subjects.ALL_AUDITS)
    await ensure_streams(bus)
    await chain.write((), [Entry(Author("ana", "apply"))])
    assert walked(await copied(bus, 2), str(await chain.newest())).findings == ()


async def test_a_cut_end_shows_as_far_as_the_documentation_says(bus: NatsBus) -> None:
    """To everybody while the controller runs; after its restart only to who has kept a number and digest."""
    chain = AuditChain(bus, CLOCK, FLEET, SIGNING_KEY)
    for number in range(4):
        await chain.write((), [Entry(Author("ana", "apply"), object=f"bundle/b{number}")])
    seen = await chain.newest()
    await copied(bus, 4)
    stored = await bus.get_many(DOCUMENTS.name, subjects.ALL_AUDITS)
    await bus.request(subjects.jetstream_api(f"STREAM.DELETE.{AUDIT.name}"), b"")
    for cut in stored[2:]:
        await bus.purge(DOCUMENTS.name, cut.subject)
    await ensure_streams(bus)

    restarted = AuditChain(bus, CLOCK, FLEET, SIGNING_KEY)
    await restarted.write((), [Entry(Author("ana", "apply"), object="bundle/anew")])
    anew = await copied(bus, 3)
    assert walked(anew).findings == ()
    assert [one.number for one in walked(anew, str(seen)).findings] == [4]

    await chain.write((), [Entry(Author("ana", "apply"), object="bundle/on")])
    assert [one.number for one in walked(await copied(bus, 4)).findings] == [4]


@pytest.mark.parametrize("number", [2**53, 2**53 - 1, 900])
async def test_a_stolen_former_key_does_not_turn_the_chain(bus: NatsBus, number: int) -> None:
    """Also where nobody could go on: behind the last number of all."""
    former, stolen = public_key(SIGNING_KEY), signer(SIGNING_KEY)
    await AuditChain(bus, CLOCK, FLEET, SIGNING_KEY).write((), [Entry(Author("ana", "apply"))])
    forged = unverified((await bus.get_many(DOCUMENTS.name, subjects.ALL_AUDITS))[0].data)
    subject, envelope, _ = sealed(
        AuditRecord.from_bytes(forged).model_copy(update={"number": number}), stolen
    )
    key = SigningKey.generate()
    if number == 900:
        await AuditChain(bus, CLOCK, FLEET, key, [former]).write((), [Entry(Author("ana", "apply"))])
    await bus.put(Put(subject, envelope))
    anew = AuditChain(bus, CLOCK, FLEET, key, [former])
    before = (await anew.newest()).number
    assert before == (2 if number == 900 else 1)
    await anew.write((), [Entry(Author("ana", "apply"))])
    assert (await AuditChain(bus, CLOCK, FLEET, key, [former]).newest()).number == before + 1


async def test_a_record_that_somebody_else_signs_does_not_turn_the_chain(bus: NatsBus) -> None:
    chain = AuditChain(bus, CLOCK, FLEET, SIGNING_KEY)
    await chain.write((), [Entry(Author("ana", "apply"))])
    forged = AuditRecord(
        fleet=FLEET,
        number=900,
        previous=ORIGIN.digest,
        at=CLOCK.now(),
        actor="eve",
        action="apply",
        outcome="done",
    )
    subject, envelope, _ = sealed(forged, signer(SigningKey.generate()))
    await bus.put(Put(subject, envelope))
    anew = AuditChain(bus, CLOCK, FLEET, SIGNING_KEY)
    assert (await anew.newest()).number == 1
    await anew.write((), [replace(Entry(Author("ana", "apply")), object="bundle/web")])
    assert (await anew.newest()).number == 2
