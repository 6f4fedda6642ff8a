"""`fleetbus init`: a fleet's keys, certificates and configuration (offline); Vault's part; the streams (online).

Every part can be repeated: what is there stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetbus.cli.ceremony.files import read_text, write_whole
from fleetbus.cli.ceremony.folder import (
    authority_file,
    ensure_seed,
    read_seed,
    seed_file,
    server_file,
    vault_token_file,
    write_server,
)
from fleetbus.cli.ceremony.record import (
    FILE,
    FleetRecord,
    Person,
    VaultPlace,
    changing,
    read_record,
    write_record,
)
from fleetbus.runtime.certificates import Issued, issue_server, make_authority
from fleetbus.runtime.clock import Clock
from fleetbus.schemas import subjects, vault_policies
from fleetbus.schemas.errors import AlreadyExists, BusUnavailable, NotFound, SettingsInvalid

if TYPE_CHECKING:
    from fleetbus.runtime.vault_admin import VaultAdmin

CONTROLLER_TOKEN_PERIOD_S = 7 * 24 * 3600
"""The controller renews its token; unused for so long it ends."""
_CONNECT_TIMEOUT_S = 10.0

Say = Callable[[str], None]
"""Told one line about each thing that was made or changed."""


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """What a fleet is made of. `hosts`: names and addresses by which the bus is reached; `port` its port.

    What is not given stays as the fleet has it; a new one has port 4222 on every address, the operator `admin`
    and the subscriber `events`.
    """

    fleet: str
    hosts: tuple[str, ...] = ()
    port: int = 0
    listen_host: str = ""
    operators: tuple[str, ...] = ()
    subscribers: tuple[str, ...] = ()


def make_fleet(folder: Path, plan: FleetPlan, now: datetime, say: Say = lambda line: None) -> FleetRecord:
    """The offline half. Raises AlreadyExists when another fleet's folder is named, DocumentInvalid, SettingsInvalid."""
    subjects.cluster_name(plan.fleet)
    for name in (*plan.operators, *plan.subscribers):
        subjects.cluster_name(name)
    if not plan.hosts and not (folder / FILE).is_file():
        raise SettingsInvalid("no host of the bus is named", remedy="give --host, such as bus.example.com")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with changing(folder):
        known = read_record(folder) if (folder / FILE).is_file() else None
        if known and known.fleet != plan.fleet:
            raise AlreadyExists(
                f"the folder holds the fleet `{known.fleet}`", where=str(folder), remedy="take another folder"
            )
        plan = _completed(plan, known)
        record = _record(folder, plan, known)
        _certificates(folder, plan, known, now, say)
        # Before the record, with which it is compared: whoever is interrupted here goes on where it was.
        if write_controller(folder, record, known):
            say("controller.json written")
        if write_record(folder, record):
            say(f"{folder / FILE} written")
        if write_server(folder, record):
            say("nats/server.conf written")
    return record


def _completed(plan: FleetPlan, known: FleetRecord | None) -> FleetPlan:
    """With what is not given as the fleet has it, or as a new one has it."""
    if known is None:
        return replace(
            plan,
            port=plan.port or 4222,
            listen_host=plan.listen_host or "0.0.0.0",
            operators=plan.operators or ("admin",),
            subscribers=plan.subscribers or ("events",),
        )
    host, _, port = known.listen.rpartition(":")
    return replace(
        plan,
        hosts=plan.hosts or known.hosts,
        port=plan.port or int(port),
        listen_host=plan.listen_host or host.strip("[]"),
    )


def _record(folder: Path, plan: FleetPlan, known: FleetRecord | None) -> FleetRecord:
    """The keys that are missing are made first, so that a record never names one that is nowhere."""
    people = {(one.role, one.name): one for one in (known.people if known else ())}
    for name in plan.operators:
        people["operator", name] = Person(name=name, nkey=ensure_seed(folder, f"operator-{name}"))
    for name in plan.subscribers:
        nkey = ensure_seed(folder, f"subscriber-{name}")
        people["subscriber", name] = Person(name=name, nkey=nkey, role="subscriber")
    return FleetRecord(
        fleet=plan.fleet,
        epoch=known.epoch if known else 1,
        bus_servers=tuple(f"tls://{_address(host)}:{plan.port}" for host in plan.hosts),
        hosts=plan.hosts,
        listen=f"{_address(plan.listen_host)}:{plan.port}",
        system=ensure_seed(folder, "system"),
        controller=ensure_seed(folder, "controller"),
        signing_keys=(ensure_seed(folder, "controller-signing"),),
        people=tuple(people[key] for key in sorted(people)),
        clusters=known.clusters if known else (),
        vault=known.vault if known else None,
    )


def _address(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _certificates(folder: Path, plan: FleetPlan, known: FleetRecord | None, now: datetime, say: Say) -> None:
    """The authority once; the server's certificate again when it shall be valid for other hosts."""
    key_file = folder / "ca.key"
    if not (key_file.is_file() and authority_file(folder).is_file()):
        made = make_authority(f"{plan.fleet} bus", now)
        write_whole(key_file, made.key, secret=True)
        write_whole(authority_file(folder), made.certificate)
        say("ca.crt, ca.key made")
    authority = Issued(authority_file(folder).read_bytes(), key_file.read_bytes())
    nats = folder / "nats"
    write_whole(nats / "ca.crt", authority.certificate)
    complete = (nats / "server.crt").is_file() and (nats / "server.key").is_file()
    if complete and known and known.hosts == plan.hosts:
        return
    issued = issue_server(authority, plan.hosts[0], plan.hosts, now)
    write_whole(nats / "server.key", issued.key, secret=True)
    write_whole(nats / "server.crt", issued.certificate)
    say(f"nats/server.crt made for {', '.join(plan.hosts)}")


def write_controller(folder: Path, record: FleetRecord, before: FleetRecord | None = None) -> bool:
    """controller.json; False when nothing changed. What somebody has written into it since `before` stays."""
    file = folder / "controller.json"
    if not file.is_file():
        return write_whole(file, json.dumps(_controller(record), indent=2) + "\n")
    try:
        there = json.loads(read_text(file))
        if not isinstance(there, dict):
            raise ValueError("no map")
    except ValueError as error:
        raise SettingsInvalid("it is not a map in JSON", where=str(file)) from error
    last, wanted = _controller(before) if before else {}, _controller(record)
    merged = {key: value for key, value in there.items() if key in wanted or last.get(key) != value}
    for key, value in wanted.items():
        if merged.get(key, last.get(key)) == last.get(key):
            merged[key] = value
    operators = there.get("operators")
    merged["operators"] = {**(operators if isinstance(operators, dict) else {}), **wanted["operators"]}
    return merged != there and write_whole(file, json.dumps(merged, indent=2) + "\n")


def _controller(record: FleetRecord) -> dict[str, Any]:
    """Paths are relative to the fleet's folder."""
    settings: dict[str, Any] = {
        "fleet": record.fleet,
        "epoch": record.epoch,
        "busServers": list(record.bus_servers),
        "busCaFile": "ca.crt",
        "busSeedFile": "keys/controller.seed",
        "signingSeedFile": "keys/controller-signing.seed",
        "operators": {one.nkey: one.name for one in record.people if one.role == "operator"},
        "workDir": "work",
    }
    if record.vault:
        settings |= {"vaultAddress": record.vault.address, "vaultTokenFile": "keys/vault.token"}
        if record.vault.ca:
            settings["vaultCaFile"] = "vault-ca.crt"
    return settings


async def make_vault(
    admin: VaultAdmin, place: VaultPlace, folder: Path, say: Say = lambda line: None
) -> FleetRecord:
    """Vault's part with its owner's token: the KV mount, the two policies, the controller's token.

    Raises VaultUnavailable, VaultForbidden, SettingsInvalid (the owner's token belongs to a person).
    """
    await admin.ensure_kv()
    await admin.write_policy(vault_policies.CLUSTER_POLICY, vault_policies.cluster_policy())
    await admin.write_policy(vault_policies.CONTROLLER_POLICY, vault_policies.controller_policy())
    say(f"Vault has the policies {vault_policies.CLUSTER_POLICY} and {vault_policies.CONTROLLER_POLICY}")
    token_file = vault_token_file(folder)
    if not (token_file.is_file() and await admin.is_alive(read_text(token_file).strip())):
        token = await admin.create_token(
            [vault_policies.CONTROLLER_POLICY], period_s=CONTROLLER_TOKEN_PERIOD_S
        )
        write_whole(token_file, token + "\n", secret=True)
        say("keys/vault.token made: the controller's, which reads no value")
    if place.ca:
        write_whole(folder / "vault-ca.crt", place.ca)
    with changing(folder):
        known = read_record(folder)
        changed = known.model_copy(update={"vault": place})
        write_controller(folder, changed, known)
        write_record(folder, changed)
    return changed


async def make_streams(folder: Path, record: FleetRecord, clock: Clock, *, replicas: int = 1) -> None:
    """The online half, with the controller's credential. Raises BusUnavailable, NotPermitted."""
    import asyncio

    from fleetbus.cli.ceremony.servers import quiet_log
    from fleetbus.runtime.bus import BusSettings, NatsBus
    from fleetbus.runtime.nats_streams import ensure_streams

    settings = BusSettings(
        servers=record.bus_servers,
        nkey_seed=read_seed(folder, "controller"),
        inbox_prefix=subjects.CONTROLLER_INBOX,
        name="fleetbus-init",
        ca_file=str(authority_file(folder)),
    )
    async with NatsBus(settings, clock, quiet_log()) as bus:
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await bus.wait_connected()
        except TimeoutError as error:
            raise BusUnavailable(
                f"no connection within {_CONNECT_TIMEOUT_S:.0f} s",
                where=", ".join(record.bus_servers),
                remedy=f"start it: nats-server -c {server_file(folder)}",
            ) from error
        await ensure_streams(bus, replicas=replicas)


def person_seed_file(folder: Path, record: FleetRecord, name: str) -> Path:
    """Where an operator's or a subscriber's seed lies. Raises NotFound."""
    for one in record.people:
        if one.name == name:
            return seed_file(folder, f"{one.role}-{name}").absolute()
    raise NotFound(f"the fleet has nobody named `{name}`", where=str(folder / FILE))
