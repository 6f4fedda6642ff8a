"""A cluster is revoked on three real servers and a real Vault: refused everywhere, for ever, and seen to be so."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from fleetbus.runtime.bus import NatsBus
from fleetbus.runtime.ports import Put
from fleetbus.schemas import subjects
from fleetbus.schemas.capabilities import clusters as words
from fleetbus.schemas.errors import VaultForbidden
from tests.bus_server import CLOCK
from tests.integration.controller.people import events
from tests.integration.parting.conftest import Member, Stand, audited
from tests.waiting import wait_until


async def refused(bus: NatsBus) -> bool:
    """It is not let in by any server any more."""
    async with bus:

        async def denied() -> bool:
            return bus.denied

        return await wait_until(denied, CLOCK, 10)


async def test_a_revoked_cluster_is_refused_by_bus_vault_and_controller_for_ever(stand: Stand) -> None:
    member, neighbour = await stand.join("lost"), await stand.join("neighbour")
    own = subjects.state(neighbour.cluster, "facts")
    async with AsyncExitStack() as stack:
        agents = [await stack.enter_async_context(stand.agent(one, member)) for one in range(3)]
        beside = await stack.enter_async_context(stand.agent(1, neighbour))
        vault = await stack.enter_async_context(stand.vault_client(member))
        for bus in (*agents, beside):
            await bus.wait_connected()
        await agents[0].put(Put(subjects.state(member.cluster, "facts"), b"last words"))
        async with stand.vault() as admin:
            await admin.put("main/lost/own", {"word": "mine"})
        assert dict((await vault.read("main/lost/own")).values) == {"word": "mine"}
        left_over = await stand.token("lost")

        ran = await stand.run("cluster", "revoke", "lost", "--reason", "INC-1", "--yes")

        assert (ran.code, ran.err) == (0, ""), ran
        sides = [line.split()[:2] for line in ran.out.splitlines()[:-1]]
        assert sides == [[one, "ok"] for one in ("Vault", "Bus", "Bus", "Vault", "Vault", "Fleet")], ran.out
        assert "all 3 servers have no connection" in ran.out
        assert "1 open token withdrawn" in ran.out
        assert ran.out.splitlines()[-1].startswith("cluster/lost revoked")
        # What the command has said is so: nothing is waited for any more.
        assert [bus.connected for bus in agents] == [False] * 3
        with pytest.raises(VaultForbidden):
            await vault.read("main/lost/own")
        await beside.put(Put(own, b"still here"))
        assert beside.connection == 1
    for server in range(3):
        assert await refused(stand.agent(server, member))
    async with stand.vault_client(member) as fresh:
        with pytest.raises(VaultForbidden):
            await fresh.read("main/lost/own")
    await _nothing_brings_the_key_back(stand, member)
    answer = await member.candidate.enrol(left_over)
    assert answer.reason == words.REASON_KEY_REVOKED


async def _nothing_brings_the_key_back(stand: Stand, member: Member) -> None:
    """Neither a new token, nor under another name, nor as the key that the cluster had before."""
    asked = member.candidate
    for name in ("lost", "another"):
        answer = await asked.enrol(await stand.token(name))
        assert (answer.outcome, answer.reason, answer.user) == ("refused", words.REASON_KEY_REVOKED, "")


async def test_it_is_told_once_kept_and_can_join_again_by_another_key(stand: Stand) -> None:
    member = await stand.join("again")
    async with stand.agent(0, member) as bus:
        await bus.wait_connected()
        await bus.put(Put(subjects.state(member.cluster, "facts"), b"kept"))
    for _ in range(2):
        ran = await stand.run("cluster", "revoke", "again", "--reason", "INC-2", "--yes")
        assert ran.code == 0, ran
    async with stand.fleet.bus("controller") as bus:
        assert await bus.get_last("STATE", subjects.state(member.cluster, "facts")) is not None

        async def told() -> bool:
            return "cluster.revoked" in [one.short_type for one in await events(bus) if _is_of(one, "again")]

        assert await wait_until(told, CLOCK, 10)
        types = [one.short_type for one in await events(bus) if _is_of(one, "again")]
        assert types.count("cluster.revoked") == 1
        assert "cluster.removed" not in types
    row = (await stand.operator.ask("list", {"kind": "Cluster", "names": ["again"]}))["rows"][0]
    conditions = {one["type"]: one for one in row["document"]["status"]["conditions"]}
    assert (conditions["Ready"]["status"], conditions["Ready"]["reason"]) == ("False", words.REASON_REVOKED)
    assert "INC-2" in conditions["Leaving"]["message"]
    actions = [one["action"] for one in await audited(stand, "cluster/again")]
    assert actions.count("revoke") == 1
    back = await stand.join("again")
    assert back.candidate.nkey != member.candidate.nkey
    async with stand.agent(2, back) as bus:
        await bus.wait_connected()
    row = (await stand.operator.ask("list", {"kind": "Cluster", "names": ["again"]}))["rows"][0]
    assert row["document"]["spec"]["key"] == back.candidate.nkey
    assert "deleting" not in row["live"]
    async with stand.vault_client(back) as vault, stand.vault() as admin:
        await admin.put("main/again/own", {"word": "new"})
        assert dict((await vault.read("main/again/own")).values) == {"word": "new"}
    assert await refused(stand.agent(1, member))


def _is_of(event: object, name: str) -> bool:
    return getattr(event, "subject", "") == f"cluster/{name}"
