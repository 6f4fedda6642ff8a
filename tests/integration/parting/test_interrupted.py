"""The command killed after any of its steps, or with one side away: run again it does the rest."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from fleetbus.cli import exit_codes
from fleetbus.runtime.bus import NatsBus
from fleetbus.schemas.capabilities.clusters import REASON_KEY_REVOKED
from fleetbus.schemas.errors import NotFound, VaultForbidden
from tests.bus_server import CLOCK
from tests.integration.parting.conftest import Member, Stand, without
from tests.waiting import wait_until

STEPS = (0, 1, 2, 5)
"""Before the first is done, with Vault's entity disabled, with the key revoked, and with all but the fleet's."""


async def closed(bus: NatsBus) -> bool:
    async def is_closed() -> bool:
        return bus.denied

    return await wait_until(is_closed, CLOCK, 10)


async def killed_after(stand: Stand, steps: int, *arguments: str) -> None:
    """kill -9 as soon as so many steps are told; with none of them while the first is taken."""
    process = await stand.started(*arguments)
    assert process.stdout is not None
    for _ in range(steps):
        assert await process.stdout.readline()
    process.kill()
    await process.communicate()
    assert process.returncode == -signal.SIGKILL


async def shut_out(stand: Stand, member: Member, bus: NatsBus) -> None:
    assert await closed(bus)
    async with stand.vault_client(member) as vault:
        with pytest.raises(VaultForbidden):
            await vault.read("main/any/own")
    row = (await stand.operator.ask("enrolments", {"name": member.cluster.name}))["rows"][0]
    assert (row["outcome"], row["formerKeys"]) == ("revoked", [member.candidate.nkey])


async def test_killed_after_one_step_and_another_it_is_completed_by_running_it_again(
    stand: Stand,
) -> None:
    member = await stand.join("killed")
    arguments = ("cluster", "revoke", "killed", "--purge", "--yes")
    async with stand.agent(0, member) as bus:
        await bus.wait_connected()
        for steps in STEPS:
            await killed_after(stand, steps, *arguments)
        ran = await stand.run(*arguments)
        assert (ran.code, ran.err) == (0, ""), ran
        await shut_out(stand, member, bus)


async def test_with_vault_away_the_rest_is_done_and_the_exit_code_tells(stand: Stand) -> None:
    member = await stand.join("sealed")
    async with stand.agent(0, member) as bus:
        await bus.wait_connected()
        ran = await without(stand, "VAULT_TOKEN").run("cluster", "revoke", "sealed", "--yes")
        assert (ran.code, "not all of it is done" in ran.err.lower()) == (exit_codes.FAILED, True), ran
        assert "VAULT_TOKEN" in ran.out
        assert await closed(bus)
        ran = await stand.run("cluster", "revoke", "sealed", "--yes")
        assert (ran.code, ran.err) == (0, ""), ran
        await shut_out(stand, member, bus)
    assert (await stand.run("cluster", "retire", "sealed", "--purge", "--yes")).code == 0
    with pytest.raises(NotFound):
        await stand.operator.ask("list", {"kind": "Cluster", "names": ["sealed"]})
    assert await refused_again(stand, member)


async def refused_again(stand: Stand, member: Member) -> bool:
    """By the controller, which remembers the key of a name that is gone."""
    answer = await member.candidate.enrol(await stand.token(member.cluster.name))
    return answer.reason == REASON_KEY_REVOKED


async def test_without_a_controller_who_is_connected_is_shut_out_all_the_same(
    stand: Stand, tmp_path: Path
) -> None:
    """By the name in its verified token, also when nobody says which key that name has."""
    member = await stand.join("alone")
    config = tmp_path / "config.yaml"
    known = await asyncio.to_thread(Path(stand.environment["FLEETBUS_CONFIG"]).read_text)
    credential = str(stand.folder / "keys" / "operator-operator.creds")
    config.write_text(known.replace(credential, str(tmp_path / "none.creds")))
    lost = replace(stand, environment={**stand.environment, "FLEETBUS_CONFIG": str(config)})
    async with stand.agent(2, member) as bus:
        await bus.wait_connected()
        ran = await lost.run("cluster", "revoke", "alone", "--yes")
        assert ran.code != 0
        assert "1 key revoked" in ran.out
        assert await closed(bus)
        ran = await stand.run("cluster", "revoke", "alone", "--yes")
        assert (ran.code, ran.err) == (0, ""), ran
        await shut_out(stand, member, bus)


async def test_a_server_that_is_away_is_named_and_knows_of_it_when_it_is_back(stand: Stand) -> None:
    member = await stand.join("split")
    async with stand.agent(1, member) as bus:
        await bus.wait_connected()
        await stand.servers[2].kill()
        ran = await stand.run("cluster", "revoke", "split", "--yes")
        await stand.servers[2].start()
        assert ran.code == exit_codes.UNAVAILABLE, ran
        assert "no answer from test-c" in ran.out
        assert await closed(bus)
    async with stand.agent(2, member) as bus:
        assert await closed(bus)
    ran = await stand.run("cluster", "revoke", "split", "--yes")
    assert (ran.code, ran.err) == (0, ""), ran


async def test_two_who_revoke_at_once_do_it_once(stand: Stand) -> None:
    member = await stand.join("twice")
    async with stand.agent(0, member) as bus:
        await bus.wait_connected()
        arguments = ("cluster", "revoke", "twice", "--yes")
        async with asyncio.TaskGroup() as tasks:
            ran = [tasks.create_task(stand.run(*arguments)) for _ in range(2)]
        assert [one.result().code for one in ran] == [0, 0], [one.result() for one in ran]
        await shut_out(stand, member, bus)
