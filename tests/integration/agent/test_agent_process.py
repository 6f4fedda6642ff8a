"""The agent as a process on real servers: registers, applies, refuses what it must, survives being killed."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from nacl.signing import SigningKey

from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.capabilities.bundles import REASON_HALTED, BundleEntry, BundlesState, aspect_of
from fleetbus.schemas.desired import Head, Retired, SectionRef
from fleetbus.schemas.states import Facts, State
from tests.bundles_stand import config_map
from tests.integration.agent.conftest import Joined
from tests.waiting import wait_until

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


@asynccontextmanager
async def agent(joined: Joined, log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """The agent's process; ended cleanly unless the test has ended it."""
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "fleetbus.agent", "--folder", str(joined.folder), stderr=output
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(15):
            await process.wait()


async def eventually(condition: Callable[[], Awaitable[bool]], timeout_s: float = 40.0) -> None:
    assert await wait_until(condition, SystemClock(), timeout_s, 0.05)


async def until_state(joined: Joined, aspect: str, holds: Callable[[State], bool]) -> State:
    found: list[State] = []

    async def is_so() -> bool:
        state = await joined.teller.state(aspect)
        found[:] = [state] if state is not None else []
        return state is not None and holds(state)

    await eventually(is_so)
    return found[0]


async def until_data(joined: Joined, name: str, data: dict[str, str]) -> None:
    async def is_so() -> bool:
        path = f"{CONFIG_MAPS}/{name}"
        if not await joined.cluster.admin.exists(path):
            return False
        return bool((await joined.cluster.admin.get(path)).get("data", {}) == data)

    await eventually(is_so)


def is_ready(entry: BundleEntry) -> Callable[[State], bool]:
    def holds(state: State) -> bool:
        bundles = BundlesState.from_json(state.body).bundles
        return any(
            one.artifact == entry.artifact and one.conditions[-1].status == "True"
            for one in bundles
            if one.id == entry.id
        )

    return holds


def is_halted(entry: BundleEntry) -> Callable[[State], bool]:
    def holds(state: State) -> bool:
        return any(
            condition.reason == REASON_HALTED
            for one in BundlesState.from_json(state.body).bundles
            for condition in one.conditions
            if one.id == entry.id
        )

    return holds


async def test_it_registers_applies_and_stops_cleanly(joined: Joined, tmp_path: Path) -> None:
    teller = joined.teller
    entry = await teller.entry("app", [config_map("a", "default", color="red")])
    await teller.tell([entry], others={"future": SectionRef(version=1, digest="0" * 64)})
    async with agent(joined, tmp_path / "agent.log") as process:
        await until_data(joined, "a", {"color": "red"})
        await until_state(joined, aspect_of(entry.id), is_ready(entry))
        state = await until_state(joined, "facts", lambda one: one.body["acceptedSet"] != "")
        facts = Facts.from_json(state.body)
        assert facts.kubernetes_version.startswith("v1.")
        assert facts.issuer
        assert facts.service_account_keys
        assert "apps" in facts.api_groups
        assert facts.not_understood == ("future",)
        assert facts.failures == {}
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    lease = await joined.cluster.admin.get(
        "/apis/coordination.k8s.io/v1/namespaces/fleetbus-system/leases/fleetbus-agent"
    )
    assert lease["spec"]["holderIdentity"] == ""
    assert teller.settings().credential.seed not in (tmp_path / "agent.log").read_text()


async def test_a_signed_halt_keeps_changes_back_and_a_later_head_lifts_it(
    joined: Joined, tmp_path: Path
) -> None:
    teller = joined.teller
    await teller.tell([await teller.entry("app", [config_map("a", "default", color="red")])])
    async with agent(joined, tmp_path / "agent.log"):
        await until_data(joined, "a", {"color": "red"})
        changed = await teller.entry("app", [config_map("a", "default", color="blue")])
        await teller.tell([changed], halts=("*",))
        await until_state(joined, aspect_of(changed.id), is_halted(changed))
        await until_data(joined, "a", {"color": "red"})
        await teller.tell([changed])
        await until_data(joined, "a", {"color": "blue"})


async def test_what_it_must_not_believe_changes_nothing_and_is_told(joined: Joined, tmp_path: Path) -> None:
    teller = joined.teller
    entry = await teller.entry("app", [config_map("a", "default", color="red")])
    await teller.tell([entry])
    bad = await teller.entry("app", [config_map("a", "default", color="evil")])
    async with agent(joined, tmp_path / "agent.log"):
        await until_data(joined, "a", {"color": "red"})
        good = await until_state(joined, "facts", lambda one: one.body["accepted"] == [1, 1])
        named = await teller.put_artifact({"sections": {}, "retired": []})
        now = teller.clock.now()
        head = Head(
            fleet="test",
            cluster=teller.identity.uid,
            epoch=1,
            serial=50,
            issued_at=now,
            not_after=now + timedelta(hours=1),
            set=named.name,
        )
        await teller.put_head(head, SigningKey.generate())
        await until_state(joined, "facts", lambda one: "signed by 0" in one.body["refused"])
        await teller.put_head(head.model_copy(update={"cluster": "another"}))
        await until_state(joined, "facts", lambda one: "another cluster" in one.body["refused"])
        await teller.put_head(head.model_copy(update={"not_after": now - timedelta(hours=1)}))
        await until_state(joined, "facts", lambda one: "valid until" in one.body["refused"])
        await teller.tell([bad], serial=1, issued_at=now)
        state = await until_state(joined, "facts", lambda one: "not newer" in one.body["refused"])
        assert state.body["accepted"] == good.body["accepted"]
        await until_data(joined, "a", {"color": "red"})
        teller.serial = 60
        last = await teller.entry("app", [config_map("a", "default", color="blue")])
        await teller.tell([last])
        await until_data(joined, "a", {"color": "blue"})
        await until_state(joined, "facts", lambda one: one.body["refused"] == "")


async def test_killed_while_it_applies_it_goes_on_and_prunes_only_its_own(
    joined: Joined, tmp_path: Path
) -> None:
    teller = joined.teller
    await joined.cluster.admin.create(CONFIG_MAPS, config_map("foreign", "default", a="theirs"))
    many = await teller.entry("app", [config_map(f"c{n}", "default", n=str(n)) for n in range(300)])
    await teller.tell([many])
    async with agent(joined, tmp_path / "agent.log") as process:

        async def has_begun() -> bool:
            found = await joined.cluster.admin.get(CONFIG_MAPS, limit="100")
            return len(found["items"]) > 20

        await eventually(has_begun)
        process.kill()
        await process.wait()
    retired = Retired(capability="bundles", id=many.id, name="app", policy="Remove", count=300)
    await teller.tell([], retired=[retired])
    async with agent(joined, tmp_path / "agent.log"):
        state = await until_state(
            joined,
            aspect_of(many.id),
            lambda one: any(bundle["removed"] for bundle in one.body.get("bundles", ())),
        )
        assert state.session > 0
    found = await joined.cluster.admin.get(CONFIG_MAPS)
    assert {one["metadata"]["name"] for one in found["items"]} == {"foreign", "kube-root-ca.crt"}
