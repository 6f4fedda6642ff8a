"""The program `fleetbus-controller`: settings, real ports, signals; and the wiring that the simulation starts too."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import structlog
from nacl.signing import SigningKey

from fleetbus.controller.catalogue import CAPABILITIES, rendering_without_isolation
from fleetbus.controller.client_certificates import ClientCertificates
from fleetbus.controller.doors import api, directory, enrolment
from fleetbus.controller.holder import is_gone, this_holder
from fleetbus.controller.issuing import Issuer
from fleetbus.controller.leader import Leader, Term
from fleetbus.controller.mandate import Mandate, read_mandate, until_changed
from fleetbus.controller.ports import Capability, Ports
from fleetbus.controller.programs import without_network_possible
from fleetbus.controller.settings import (
    Current,
    Settings,
    load_settings,
    read_credential,
    read_secret,
    vault_place,
)
from fleetbus.controller.term_work import Door, Fleet, work
from fleetbus.controller.vault_groups import VaultGroups
from fleetbus.controller.vault_token import kept_alive
from fleetbus.runtime.bus import BusSettings, NatsBus
from fleetbus.runtime.clock import Clock, SystemClock
from fleetbus.runtime.failures import described, leaves
from fleetbus.runtime.logs import configure
from fleetbus.runtime.loop import first
from fleetbus.runtime.ports import Bus, Signer
from fleetbus.runtime.signers import SeedSigner, TransitKeys
from fleetbus.runtime.trust import Trust
from fleetbus.runtime.vault_admin import VaultAdmin
from fleetbus.schemas import subjects, vault_policies
from fleetbus.schemas.charter import Sealed
from fleetbus.schemas.errors import BusUnavailable, FleetbusError, NotFound
from fleetbus.schemas.nkeys import Kind, key_of_seed

_log = structlog.get_logger("controller")


async def run_controller(
    settings: Settings,
    bus: Bus,
    ports: Ports,
    clock: Clock,
    *,
    signing_key: SigningKey,
    holder: str,
    gone: Callable[[str], bool] | None = None,
    operators: Callable[[], Mapping[str, str]] | None = None,
    roles: Callable[[], Mapping[str, str]] | None = None,
    settings_problem: Callable[[], str] = lambda: "",
    capabilities: Sequence[Capability] = CAPABILITIES,
    issuer: Issuer | None = None,
    charter: Sealed | None = None,
) -> None:
    """Lead whenever it can, and do the controller's work under each term, until cancelled.

    No sockets and no signals in here. `holder` tells this process from every other; `gone(holder)` whether
    another is surely no more, so that nobody need wait for its lease to run out.
    """
    fleet = Fleet(
        name=settings.fleet,
        bus=bus,
        clock=clock,
        ports=ports,
        signing_key=signing_key,
        capabilities=capabilities,
        operators=operators or (lambda: settings.operators),
        roles=roles or (lambda: settings.role_keys),
        version=_version(),
        issuer=issuer,
        root=settings.root,
        vault=vault_place(settings),
        settings_problem=settings_problem,
        former_keys=settings.former_signing_keys,
        charter=charter,
    )
    doors: list[Door] = [api.serve, enrolment.serve]
    if settings.documents_dir is not None:
        doors.append(partial(directory.watch, folder=settings.documents_dir))
    epoch = charter.charter.epoch if charter else settings.epoch
    leader = Leader(bus, clock, holder=holder, epoch=epoch, named=charter is not None, gone=gone)

    async def under(term: Term) -> None:
        await work(fleet, term, leader.holds, doors)

    await leader.lead(under)


def run(arguments: Sequence[str] | None = None) -> None:
    """The script: exits 0 after SIGTERM or SIGINT, 1 with one sentence when it cannot run."""
    parser = argparse.ArgumentParser(prog="fleetbus-controller", description="Fleetbus's controller.")
    parser.add_argument(
        "--config", "--settings", type=Path, required=True, help="settings file, JSON or YAML"
    )
    given = parser.parse_args(arguments)
    try:
        settings = load_settings(given.config)
        configure(SystemClock(), level=settings.log_level, program="controller", fleet=settings.fleet)
        asyncio.run(_serve(settings, given.config))
    except* FleetbusError as errors:
        for error in leaves(errors):
            print(f"fleetbus-controller: {described(error, 2048)}", file=sys.stderr)
        sys.exit(1)


async def _serve(settings: Settings, path: Path) -> None:
    clock = SystemClock()
    current = Current(path, settings)
    mandate = read_mandate(settings)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    loop.add_signal_handler(signal.SIGHUP, current.read_again)
    settings.work_dir.mkdir(parents=True, exist_ok=True)
    capabilities = await asyncio.to_thread(_capabilities, settings)
    async with AsyncExitStack() as stack:
        groups = None
        if settings.vault_address:
            admin = await stack.enter_async_context(_vault(settings))
            groups = VaultGroups(admin)
            if settings.vault_token_file:
                await stack.enter_async_context(kept_alive(admin, settings.vault_token_file, clock))
        bus = await stack.enter_async_context(NatsBus(_bus_settings(settings), clock))
        ports = Ports(clock, groups, settings.work_dir, settings.credentials_dir, settings.local_sources)
        run = partial(
            run_controller,
            ports=ports,
            clock=clock,
            gone=is_gone,
            operators=current.operators,
            roles=current.roles,
            capabilities=capabilities,
            settings_problem=current.problem,
            issuer=await _issuer(stack, settings, current, clock),
        )
        controller = asyncio.create_task(_under_mandates(current, mandate, clock, bus, run))
        stopping = asyncio.create_task(stopped.wait())
        await asyncio.wait((controller, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not controller.done():
            _log.info("stopping")
            controller.cancel()
            await asyncio.wait((controller,))
        if not controller.cancelled():
            controller.result()


async def _under_mandates(
    current: Current, mandate: Mandate, clock: Clock, bus: NatsBus, run: Callable[..., Awaitable[None]]
) -> None:
    """For ever: another key or charter is another life as leader, on the same connection."""
    found = mandate

    async def changed() -> None:
        nonlocal found
        found = await until_changed(current, mandate, clock)

    while True:
        settings = await asyncio.to_thread(current.settings)
        settings = settings.model_copy(update={"former_signing_keys": mandate.former})
        acting = run(settings, bus, signing_key=mandate.key, charter=mandate.charter, holder=this_holder())
        await first(acting, changed())
        before, mandate = mandate, found
        if mandate.credential != before.credential:
            try:
                await bus.change_credential(mandate.credential)
            except BusUnavailable as error:
                _log.warning("the new credential is used for the next connection", reason=error.sentence())


def _capabilities(settings: Settings) -> Sequence[Capability]:
    """As the settings let kustomize run; what follows for the fleet is said once, here."""
    if settings.render_without_isolation:
        _log.warning("kustomize is not kept from the network", setting="renderWithoutIsolation")
        return rendering_without_isolation()
    if not without_network_possible():
        _log.warning("kustomizations are refused: kustomize cannot be kept from the network here")
    return CAPABILITIES


def _bus_settings(settings: Settings) -> BusSettings:
    return BusSettings(
        servers=settings.bus_servers,
        credential=read_credential(settings.bus_credential_file),
        inbox_prefix=subjects.CONTROLLER_INBOX,
        name="fleetbus-controller",
        trust=Trust(ca_file=settings.bus_ca_file, certificate_file=settings.bus_certificate_file),
        insecure=settings.bus_insecure_dev,
        proxy=settings.bus_proxy,
    )


async def _issuer(stack: AsyncExitStack, settings: Settings, current: Current, clock: Clock) -> Issuer | None:
    """With the seeds in a folder, or the keys in Vault's transit engine; None where the settings name neither."""
    folder, certificates = settings.issuing_keys_dir, _certificates(settings, clock)

    async def in_folder(name: str) -> Signer:
        assert folder is not None
        file = folder / f"{name}.seed"
        if not await asyncio.to_thread(file.is_file):
            raise NotFound("the key is not there", where=str(file))
        seed = await asyncio.to_thread(read_secret, file)
        return SeedSigner(key_of_seed(seed, Kind.ACCOUNT), Kind.ACCOUNT)

    if folder is not None:
        return Issuer(current.accounts, in_folder, clock, settings.credential_lifetime_s, certificates)
    if not settings.accounts or not settings.vault_token_file:
        return None
    keys = await stack.enter_async_context(
        TransitKeys(
            settings.vault_address,
            read_secret(settings.vault_token_file),
            settings.vault_ca_file,
            prefix=vault_policies.transit_prefix(settings.fleet),
        )
    )
    find = partial(keys.find, kind=Kind.ACCOUNT)
    return Issuer(current.accounts, find, clock, settings.credential_lifetime_s, certificates)


def _certificates(settings: Settings, clock: Clock) -> ClientCertificates | None:
    file, key_file = settings.client_authority_file, settings.client_authority_key_file
    return ClientCertificates(file, key_file, clock) if file and key_file else None


def _vault(settings: Settings) -> VaultAdmin:
    token = read_secret(settings.vault_token_file) if settings.vault_token_file else ""
    return VaultAdmin(settings.vault_address, token, settings.vault_ca_file)


def _version() -> str:
    try:
        return version("fleetbus-controller")
    except PackageNotFoundError:
        return "0.0.0"
