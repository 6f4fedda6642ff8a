"""An operator and a subscriber are removed on three real servers: closed, refused, told, forgotten by the folder."""

from __future__ import annotations

import asyncio
import json

import pytest

from fleetbus.cli import exit_codes
from fleetbus.cli.ceremony.folder import credential_file
from fleetbus.cli.ceremony.keys import read_credential
from fleetbus.cli.ceremony.record import read_record
from fleetbus.runtime.bus import BusSettings, NatsBus
from fleetbus.runtime.trust import Trust
from fleetbus.schemas import subjects
from fleetbus.schemas.credentials import Credential
from fleetbus.schemas.people import REMOVED, PersonKind
from tests.bus_server import CLOCK
from tests.integration.controller.people import events
from tests.integration.parting.conftest import Stand, audited
from tests.waiting import wait_until


def connection(stand: Stand, server: int, credential: Credential) -> NatsBus:
    inbox, trust = subjects.personal_inbox(credential.nkey), Trust(ca_pem=stand.fleet.ca_pem)
    url = stand.servers[server].url
    return NatsBus(BusSettings((url,), credential, inbox, "person", trust=trust), CLOCK)


@pytest.mark.parametrize(
    ("kind", "options"), [("operator", ("--role", "approver")), ("subscriber", ("--types", "bundle.*"))]
)
async def test_who_is_removed_is_shut_out_at_once_and_for_ever(
    stand: Stand, kind: PersonKind, options: tuple[str, ...]
) -> None:
    assert (await stand.run(kind, "create", "bea", *options)).code == 0
    credential = await asyncio.to_thread(read_credential, stand.folder, f"{kind}-bea")
    arguments = (kind, "remove", "bea", "--yes", "--reason", "left")
    async with connection(stand, 1, credential) as bus, connection(stand, 2, credential) as another:
        for one in (bus, another):
            await one.wait_connected()
        process = await stand.started(*arguments)
        assert process.stdout is not None
        assert b"revoked in OPERATORS" in await process.stdout.readline()
        process.kill()
        await process.communicate()

        ran = await stand.run(*arguments)

        assert (ran.code, ran.err) == (0, ""), ran
        assert [line.split()[:2] for line in ran.out.splitlines()[:-1]] == [
            [side, "ok"] for side in ("Bus", "Bus", "Fleet", "Folder")
        ]
        assert [bus.connected, another.connected] == [False, False]
    async with connection(stand, 0, credential) as bus:

        async def denied() -> bool:
            return bus.denied

        assert await wait_until(denied, CLOCK, 10)
    record = read_record(stand.folder)
    assert (kind, "bea") not in {(one.kind, one.name) for one in record.people}
    assert not credential_file(stand.folder, f"{kind}-bea").exists()
    settings = json.loads((stand.folder / "controller.json").read_text())
    assert credential.nkey not in settings["operators"]
    await _is_told_once(stand, kind, credential)
    # Somebody of this name may come again, by another key.
    assert (await stand.run(kind, "create", "bea", *options)).code == 0
    again = await asyncio.to_thread(read_credential, stand.folder, f"{kind}-bea")
    assert again.nkey != credential.nkey
    async with connection(stand, 0, again) as bus:
        await bus.wait_connected()


async def _is_told_once(stand: Stand, kind: PersonKind, credential: Credential) -> None:
    async with stand.fleet.bus("controller") as bus:

        async def told() -> bool:
            return bool([one for one in await events(bus) if one.short_type == REMOVED[kind][0]])

        assert await wait_until(told, CLOCK, 10)
        found = [one for one in await events(bus) if one.short_type == REMOVED[kind][0]]
    assert [(one.subject, credential.nkey in one.data["message"]) for one in found] == [(f"{kind}/bea", True)]
    records = await audited(stand, f"{kind}/bea")
    assert [(one["action"], one["reason"]) for one in records] == [("expel", "left")]


async def test_nobody_removes_oneself(stand: Stand) -> None:
    ran = await stand.run("operator", "remove", "operator", "--yes")
    assert (ran.code, "another admin" in ran.err) == (exit_codes.FAILED, True), ran
