"""As many revoked keys as an account names: a real server takes its token and refuses the last, the owner is warned."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fleetbus.cli.ceremony.closing import revoke_keys
from fleetbus.cli.ceremony.folder import read_token
from fleetbus.cli.ceremony.online import push_accounts, running_accounts
from fleetbus.cli.ceremony.record import FOR_EVER, Revoked, read_record, write_record
from fleetbus.cli.ceremony.revocations import MOST_REVOKED
from fleetbus.cli.permission_checks import permission_checks
from fleetbus.local.processes import Processes
from fleetbus.schemas.accounts import ENROL, FLEET
from fleetbus.schemas.errors import NotPossible
from fleetbus.schemas.nats_jwt import read
from fleetbus.schemas.nkeys import Kind, nkey_of
from tests.bus_server import CLOCK, fleet_server
from tests.waiting import wait_until

ACCOUNTS = ("AGENTS_main", ENROL)


async def test_the_bus_takes_as_many_as_an_account_names_and_shuts_out_the_last(
    processes: Processes, tmp_path: Path
) -> None:
    async with fleet_server(processes, tmp_path, f"many-{tmp_path.name}") as fleet:
        folder, now_s = fleet.folder, int(CLOCK.now().timestamp())
        many = tuple(
            Revoked(account=account, nkey=nkey_of(number.to_bytes(32), Kind.USER), at=FOR_EVER, since=now_s)
            for account in ACCOUNTS
            for number in range(MOST_REVOKED - 1)
        )
        write_record(folder, read_record(folder).model_copy(update={"revoked": many}))
        last = fleet.public_key("c1")
        async with fleet.bus("c1") as bus, fleet.bus("c2") as neighbour:
            await revoke_keys(folder, ACCOUNTS, (last,), fleet.keys, CLOCK)
            await push_accounts(folder, ACCOUNTS, CLOCK)

            async def closed() -> bool:
                return bus.denied

            assert await wait_until(closed, CLOCK, 10)
            assert neighbour.connection == 1
        running = await running_accounts(folder, CLOCK)
        for account in ACCOUNTS:
            token = await asyncio.to_thread(read_token, folder, account)
            assert running[account] == token
            assert len(read(token).body["revocations"]) == MOST_REVOKED
        assert FLEET in running
        told = {(one.state, one.code): one.text for one in await permission_checks(folder)}
        assert told.keys() == {("good", "FB3006"), ("warn", "FB3015")}
        assert f"AGENTS_main names {MOST_REVOKED} revoked keys" in told["warn", "FB3015"]
        with pytest.raises(NotPossible, match="has room for"):
            await revoke_keys(folder, ACCOUNTS, (fleet.public_key("c2"),), fleet.keys, CLOCK)
