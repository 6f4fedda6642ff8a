"""`fleetbus doctor --fleet-dir` on a real server whose accounts say something else than the contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from fleetbus.cli.ceremony.folder import read_token, token_file
from fleetbus.cli.ceremony.issue import issue, sign
from fleetbus.cli.ceremony.keys import ACCOUNTS
from fleetbus.cli.ceremony.online import push_accounts
from fleetbus.cli.permission_checks import permission_checks
from fleetbus.local.processes import Processes
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.accounts import OPERATORS
from fleetbus.schemas.nats_jwt import read
from fleetbus.schemas.nkeys import Kind
from tests.bus_server import FleetServer, fleet_server

CLOCK = SystemClock()


@pytest.fixture
async def fleet(processes: Processes, tmp_path: Path) -> AsyncIterator[FleetServer]:
    async with fleet_server(processes, tmp_path, f"doctor-{tmp_path.name}") as server:
        yield server


async def test_each_difference_is_named_with_what_mends_it(fleet: FleetServer) -> None:
    folder = fleet.folder
    assert [(one.state, one.code) for one in await permission_checks(folder)] == [("good", "FB3006")]
    right = await asyncio.to_thread(read_token, folder, OPERATORS)
    claims = read(right)
    body: dict[str, Any] = orjson.loads(orjson.dumps(dict(claims.body)))
    viewer = next(one for one in body["signing_keys"] if one["role"] == "viewer")["template"]
    viewer["pub"]["allow"].append("fleet.v1.api.retire")
    viewer["sub"]["allow"].remove("fleet.v1.event.>")
    body["limits"]["conn"] = 7
    wider = replace(claims, body=body, issued_at=claims.issued_at + 1)
    token = await sign(wider, await fleet.keys.find(ACCOUNTS, Kind.OPERATOR))
    token_file(folder, OPERATORS).write_text(token + "\n")
    await push_accounts(folder, (OPERATORS,), CLOCK)
    found = await permission_checks(folder)
    assert [one.text for one in found][:2] == [
        "OPERATORS: viewer may publish to fleet.v1.api.retire",
        "OPERATORS: viewer may not subscribe to fleet.v1.event.>",
    ]
    assert found[2].text.startswith("OPERATORS: limits: conn is 7 instead of ")
    assert {(one.state, one.fix) for one in found} == {
        ("bad", f"fleetbus init --out {folder} && fleetbus init --out {folder} --online")
    }
    assert await issue(folder, fleet.keys, CLOCK.now()) == (OPERATORS,)
    assert {one.fix for one in await permission_checks(folder)} == {f"fleetbus init --out {folder} --online"}
    await push_accounts(folder, (OPERATORS,), CLOCK)
    assert [one.state for one in await permission_checks(folder)] == ["good"]


async def test_without_folder_or_bus_it_is_skipped_and_says_why(fleet: FleetServer, tmp_path: Path) -> None:
    (without,) = await permission_checks(None)
    assert (without.state, "--fleet-dir" in without.text) == ("skip", True)
    (empty,) = await permission_checks(tmp_path / "nothing")
    assert (empty.state, "no fleet was made" in empty.text) == ("skip", True)
