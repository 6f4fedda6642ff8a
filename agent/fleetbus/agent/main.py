"""The agent's wiring: settings, clients, the Lease, and under it everything in order. Nothing else."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import structlog

from fleetbus.agent.artifacts import BusArtifacts
from fleetbus.agent.catalogue import CAPABILITIES
from fleetbus.agent.charter import Trusted
from fleetbus.agent.desired import Reader, Sections, accepted_head, follow_mailboxes
from fleetbus.agent.enrol import Connect, enrolled
from fleetbus.agent.facts import FACTS, agent_version, no_transitions, wait_verified
from fleetbus.agent.instructions import Instructions
from fleetbus.agent.keep import KubeKeep
from fleetbus.agent.lease import Lease
from fleetbus.agent.ports import Capability, Ports
from fleetbus.agent.presence import beat, report_facts
from fleetbus.agent.protection import Protection
from fleetbus.agent.renew import Keeping, keep_credential, tell_of_copy
from fleetbus.agent.report import SESSION, Reporter
from fleetbus.agent.rights import Rights
from fleetbus.agent.settings import AgentSettings, VaultSettings, vault_token_file
from fleetbus.agent.standing import Standing
from fleetbus.agent.work import Desk, run_capability
from fleetbus.runtime.bus import BusSettings, NatsBus
from fleetbus.runtime.clock import Clock, SystemClock
from fleetbus.runtime.kube import KubeClient
from fleetbus.runtime.kube_access import POD_FOLDER, KubeAccess
from fleetbus.runtime.logs import LEVELS, configure
from fleetbus.runtime.loop import first, until_done
from fleetbus.runtime.ports import Bus, Kube, Vault
from fleetbus.runtime.trust import Trust
from fleetbus.runtime.vault import VaultAccess, VaultClient
from fleetbus.schemas import subjects
from fleetbus.schemas.errors import FleetbusError, SettingsInvalid
from fleetbus.schemas.nkeys import key_of_seed
from fleetbus.schemas.signing import signer
from fleetbus.schemas.states import Session

log = structlog.get_logger("agent")


async def run_agent(
    settings: AgentSettings,
    bus: Bus,
    kube: Kube,
    vault: Vault | None,
    clock: Clock,
    holder: str,
    *,
    catalogue: Sequence[Capability] = CAPABILITIES,
    trusted: Trusted | None = None,
) -> None:
    """Be the agent until cancelled: wait for the Lease, work under it, and wait again when it is lost.

    `trusted`: whose word counts, as somebody else keeps it up to date; else what the settings say.

    Raises SettingsInvalid when the cluster is not the one that the settings name.
    """
    await wait_verified(kube, settings.identity.uid, clock, log)
    lease, trusted = Lease(kube, clock, holder), trusted or Trusted(settings, kube)
    while True:
        await lease.acquire()
        try:
            await first(lease.keep(), _work(settings, trusted, bus, kube, vault, clock, lease, catalogue))
        finally:
            await lease.release()


async def _work(
    settings: AgentSettings,
    trusted: Trusted,
    bus: Bus,
    kube: Kube,
    vault: Vault | None,
    clock: Clock,
    lease: Lease,
    catalogue: Sequence[Capability],
) -> None:
    """One life under the Lease. It begins with what was kept: nothing may act before that is known."""
    keep = KubeKeep(kube, lease.holder)
    await until_done("keep", keep.load, clock)
    rights = Rights(kube)
    await until_done("rights", rights.look, clock)
    standing = Standing()
    protection = Protection(kube, keep, clock, settings.identity, standing, partial(accepted_head, keep))
    await until_done("protection", protection.look, clock)
    instructions = Instructions([capability.name for capability in catalogue])
    instructions.may_prune, protection.prunes_changed = protection.may_prune, instructions.stir
    artifacts = BusArtifacts(bus)
    reporter = _reporter(settings, bus, keep, clock, lease, catalogue)
    session = Session(
        holder=lease.holder,
        agent_version=agent_version(),
        started_at=clock.now(),
        sections={capability.name: capability.section_version for capability in catalogue},
    )
    reporter.take(SESSION, session.as_json())
    ports = Ports(
        settings.identity,
        kube,
        vault,
        clock,
        keep,
        artifacts,
        reporter.reported,
        lambda: rights.observes,
    )
    desk = Desk(instructions, reporter, standing, clock)
    sections = Sections(
        session.sections,
        {capability.name: capability.names for capability in catalogue},
        {capability.name: capability.withdraws for capability in catalogue},
    )
    mailboxes = follow_mailboxes(
        Reader(settings, trusted, bus, keep, artifacts, clock, instructions, standing, sections, protection)
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(reporter.run())
        group.create_task(beat(settings.identity, bus, clock, reporter))
        group.create_task(report_facts(kube, clock, standing, reporter))
        group.create_task(rights.follow(clock))
        group.create_task(protection.follow())
        for capability in catalogue:
            group.create_task(run_capability(capability, ports, desk))
        group.create_task(mailboxes)


def _reporter(
    settings: AgentSettings,
    bus: Bus,
    keep: KubeKeep,
    clock: Clock,
    lease: Lease,
    catalogue: Sequence[Capability],
) -> Reporter:
    transitions = {SESSION: no_transitions, FACTS: no_transitions}
    by_aspect = {aspect: one.transitions for one in catalogue for aspect in one.aspects}
    sign = signer(key_of_seed(settings.credential.seed))
    return Reporter(settings.identity, bus, keep, clock, sign, {**transitions, **by_aspect}, lease.confirm)


async def _serve(folder: Path, clock: Clock) -> None:
    """The agent with real clients, from a folder as a pod has it."""
    async with AsyncExitStack() as stack:
        kube = await stack.enter_async_context(KubeClient(KubeAccess.from_folder(folder), clock))

        def connect(to: BusSettings) -> NatsBus:
            return NatsBus(to, clock)

        while True:
            settings = await enrolled(kube, clock, connect)
            structlog.contextvars.bind_contextvars(cluster=settings.identity.cluster.name)
            await _serve_as_member(settings, kube, connect, folder, clock)


async def _serve_as_member(
    settings: AgentSettings, kube: Kube, connect: Connect, folder: Path, clock: Clock
) -> None:
    """Until a new join token is found."""
    async with AsyncExitStack() as stack:
        trust = Trust(ca_pem=settings.authorities, certificate=settings.certificate)
        bus = await stack.enter_async_context(connect(_bus_settings(settings, trust)))
        vault = await _vault(stack, settings.vault, folder, clock)
        trusted = Trusted(settings, kube, trust)
        keeping = Keeping(settings, bus, kube, clock, connect, trust, trusted)
        try:
            await first(
                run_agent(settings, bus, kube, vault, clock, clock.identifier(), trusted=trusted),
                keep_credential(keeping),
                trusted.follow(bus, clock),
            )
        except SettingsInvalid:
            await tell_of_copy(keeping)
            raise


def _bus_settings(settings: AgentSettings, trust: Trust) -> BusSettings:
    cluster = settings.identity.cluster
    return BusSettings(
        servers=settings.bus_servers,
        credential=settings.credential,
        inbox_prefix=subjects.inbox(cluster.realm, cluster.name),
        name=f"agent {cluster}",
        trust=trust,
        insecure=settings.insecure,
        proxy=settings.proxy,
    )


async def _vault(
    stack: AsyncExitStack, settings: VaultSettings | None, folder: Path, clock: Clock
) -> Vault | None:
    if settings is None:
        return None
    authority: Path | None = None
    if settings.ca:
        place = stack.enter_context(tempfile.TemporaryDirectory(prefix="fleetbus-agent-"))
        authority = Path(place) / "vault-ca.crt"
        authority.write_text(settings.ca)
    access = VaultAccess(settings.address, settings.mount, settings.role, vault_token_file(folder), authority)
    return await stack.enter_async_context(VaultClient(access, clock))


async def _main(folder: Path, level: str) -> int:
    clock = SystemClock()
    configure(clock, level=level, program="fleetbus-agent")
    serving = asyncio.create_task(_serve(folder, clock), name="agent")
    loop = asyncio.get_running_loop()
    for one in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(one, serving.cancel)
    try:
        await serving
    except asyncio.CancelledError:
        log.info("agent stopped")
        return 0
    except FleetbusError as error:
        log.error("agent cannot run", error=type(error).__name__, message=error)
        return 1
    return 1


def run(argv: Sequence[str] | None = None) -> int:
    """The script `fleetbus-agent`: 0 after SIGTERM or SIGINT, 1 when it cannot run."""
    parser = argparse.ArgumentParser(prog="fleetbus-agent", description="The agent of one cluster.")
    parser.add_argument(
        "--folder", type=Path, default=POD_FOLDER, help="a pod's ServiceAccount folder (default: %(default)s)"
    )
    parser.add_argument("--log-level", choices=sorted(LEVELS), default="info")
    arguments = parser.parse_args(argv)
    return asyncio.run(_main(arguments.folder, arguments.log_level))


if __name__ == "__main__":
    sys.exit(run())
