"""`fleetbus init`: a fleet's keys, certificates, tokens and configuration (offline); Vault's part.

Every part can be repeated: what is there stays as it is. `online.py` is the second half.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nacl.signing import SigningKey

from fleetbus.cli.ceremony.certificates import write_certificates, write_client_certificates
from fleetbus.cli.ceremony.charter import ensure_charter
from fleetbus.cli.ceremony.files import is_private, read_text, write_whole
from fleetbus.cli.ceremony.folder import seed_file, vault_token_file
from fleetbus.cli.ceremony.issue import Say, UserPlace, ensure_credential, issue
from fleetbus.cli.ceremony.keys import ACCOUNTS, SigningKeys, ensure_key, ensure_root
from fleetbus.cli.ceremony.people import wanted_people, without_other_roles
from fleetbus.cli.ceremony.record import (
    FILE,
    FleetRecord,
    Mtls,
    Node,
    Signing,
    changing,
    read_record,
    write_record,
)
from fleetbus.runtime.ports import Signer
from fleetbus.schemas import subjects, vault_policies
from fleetbus.schemas.accounts import (
    CONTROLLER,
    ENROL,
    FLEET,
    OPERATORS,
    SYS,
    SYSTEM,
    Keys,
    accounts,
    is_agents,
    issuing_keys,
    role_key_name,
)
from fleetbus.schemas.bus_address import BusAddress, Scheme, bracketed, is_loopback
from fleetbus.schemas.enrolment import VaultPlace
from fleetbus.schemas.errors import AlreadyExists, NotPossible, SettingsInvalid
from fleetbus.schemas.nkeys import Kind, nkey_of, public_key
from fleetbus.schemas.roles import MOST_TYPES, ROLES, SUBSCRIBER_OF_TYPES, OperatorRole

if TYPE_CHECKING:
    from fleetbus.runtime.vault_admin import VaultAdmin

CONTROLLER_TOKEN_PERIOD_S = 7 * 24 * 3600
"""The controller renews its token; unused for so long it ends."""
CLUSTERS = 1000
_CLUSTER_SIZES = (3, 5)


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """What a fleet is made of. `hosts`: names and addresses by which the bus is reached; `port` its port.

    `nodes`: the servers of a bus of several, each with its own host; `hosts` are then further names of them all.
    `roles` of operators and `types` of subscribers (patterns such as `bundle.*`) by name: who is not there keeps what
    he has; who is new is an admin, or reads every event. What is not given stays as the fleet has it; a new one has
    port 4222 on every address, the operator `admin` and the subscriber `events`, keeps its keys in files, and has
    room for a thousand clusters a realm. `insecure_dev`: no TLS, for loopback alone; only a new fleet can be so.
    `mtls`: whether servers want clients' certificates.
    `websocket_port`: where each server takes WebSockets besides; its addresses are told after the others.
    """

    fleet: str
    hosts: tuple[str, ...] = ()
    port: int = 0
    listen_host: str = ""
    operators: tuple[str, ...] = ()
    roles: Mapping[str, OperatorRole] = field(default_factory=dict)
    subscribers: tuple[str, ...] = ()
    types: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    nodes: tuple[Node, ...] = ()
    signing: Signing | None = None
    clusters: int = 0
    insecure_dev: bool = False
    websocket_port: int = 0
    mtls: Mtls | None = None


async def make_fleet(
    folder: Path,
    plan: FleetPlan,
    keys: SigningKeys,
    now: datetime,
    say: Say = lambda line: None,
    *,
    root_key: Path | None = None,
    renew_certificates: bool = False,
) -> FleetRecord:
    """The offline half. `root_key`: the file of the root's seed, which then is nowhere in the folder.
    `renew_certificates`: those of the servers are made again, also when they do not end soon.

    Raises AlreadyExists when another fleet's folder is named, DocumentInvalid, SettingsInvalid, NotFound.
    """
    _check(folder, plan)
    while True:
        known = _known(folder)
        whole = _completed(plan, known, folder)
        if whole.insecure_dev:
            _check_on_loopback(whole)
        record = await _record(folder, whole, known, keys, now, say, root_key)
        with changing(folder):
            if _known(folder) != known:
                continue
            if not record.insecure_dev:
                write_certificates(folder, record, known, now, say, renew=renew_certificates)
            if record.mtls != "off":
                write_client_certificates(folder, record, now, say, renew=renew_certificates)
            # Before the record, with which it is compared: whoever is interrupted here goes on where it was.
            if write_controller(folder, record, known):
                say("controller.json written")
            if write_record(folder, record):
                say(f"{folder / FILE} written")
        await issue(folder, keys, now, say, root_key=root_key)
        await ensure_charter(folder, now, say, root_key=root_key)
        return record


def _known(folder: Path) -> FleetRecord | None:
    return read_record(folder) if (folder / FILE).is_file() else None


def _check(folder: Path, plan: FleetPlan) -> None:
    """What is wrong is said before anything is made."""
    subjects.cluster_name(plan.fleet)
    for name in (*plan.operators, *plan.subscribers, *(one.name for one in plan.nodes)):
        subjects.cluster_name(name)
    if not plan.hosts and not plan.nodes and not (folder / FILE).is_file():
        raise SettingsInvalid("no host of the bus is named", remedy="give --host, such as bus.example.com")
    for types in plan.types.values():
        for pattern in types:
            subjects.types_below(pattern)
        if len(types) > MOST_TYPES:
            raise SettingsInvalid(f"a subscriber has at most {MOST_TYPES} patterns of types")
    if plan.nodes and len({one.name for one in plan.nodes}) not in _CLUSTER_SIZES:
        raise SettingsInvalid(
            "a bus of several servers has three or five, of different names", remedy="give --node three times"
        )
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def _check_on_loopback(plan: FleetPlan) -> None:
    """Plaintext leaves this machine nowhere. Raises SettingsInvalid."""
    outside = [host for host in (*plan.hosts, plan.listen_host) if not is_loopback(host)]
    if plan.nodes or plan.websocket_port or plan.mtls not in (None, "off") or outside:
        raise SettingsInvalid(
            "--insecure-dev is one server on this machine's loopback, nowhere else, without WebSockets or --mtls",
            where=", ".join(outside),
            remedy="give --host 127.0.0.1; or leave --insecure-dev out, in a folder of its own",
        )


def _completed(plan: FleetPlan, known: FleetRecord | None, folder: Path) -> FleetPlan:
    """With what is not given as the fleet has it, or as a new one has it."""
    if known is None:
        return replace(
            plan,
            port=plan.port or 4222,
            listen_host=plan.listen_host or ("127.0.0.1" if plan.insecure_dev else "0.0.0.0"),
            operators=plan.operators or ("admin",),
            subscribers=plan.subscribers or ("events",),
            signing=plan.signing or "files",
            clusters=plan.clusters or CLUSTERS,
        )
    if known.fleet != plan.fleet:
        raise AlreadyExists(
            f"the folder holds the fleet `{known.fleet}`", where=str(folder), remedy="take another folder"
        )
    if plan.insecure_dev and not known.insecure_dev:
        raise AlreadyExists(
            "the folder holds a fleet with TLS",
            where=str(folder),
            remedy="take another folder for --insecure-dev",
        )
    if plan.mtls == "required" and known.mtls == "off":
        raise NotPossible(
            "its clusters have no certificates yet, and would not get in any more",
            where=str(folder / FILE),
            remedy="`--mtls offered` first, and the controller started again; each cluster has one within a day",
        )
    if plan.nodes and {one.name for one in plan.nodes} != {one.name for one in known.nodes}:
        raise AlreadyExists("the fleet's bus has other servers", where=str(folder / FILE))
    if plan.signing and plan.signing != known.signing:
        raise AlreadyExists(
            f"the fleet's signing keys live elsewhere: {known.signing}", where=str(folder / FILE)
        )
    host, _, port = known.listen.rpartition(":")
    return replace(
        plan,
        hosts=plan.hosts or known.hosts,
        port=plan.port or int(port),
        listen_host=plan.listen_host or host.strip("[]"),
        nodes=plan.nodes or known.nodes,
        signing=known.signing,
        clusters=plan.clusters or known.capacity,
        insecure_dev=known.insecure_dev,
        websocket_port=plan.websocket_port or known.websocket_port,
        mtls=plan.mtls or known.mtls,
    )


async def _record(
    folder: Path,
    plan: FleetPlan,
    known: FleetRecord | None,
    keys: SigningKeys,
    now: datetime,
    say: Say,
    root_key: Path | None,
) -> FleetRecord:
    """The keys that are missing are made first, so that a record never names one that is nowhere."""
    public = await _keys(known, keys)
    users = [
        UserPlace("system", "system", SYS, SYSTEM),
        UserPlace("controller", "controller", FLEET, CONTROLLER),
    ]
    people = wanted_people(plan, known)
    known = without_other_roles(folder, people, known, now) if known else None
    users += [UserPlace(one.file, one.name, OPERATORS, one.role, one.types) for one in people]
    nkeys = {one: await ensure_credential(folder, one, public, keys, now, say) for one in users}
    system, controller, *others = users
    accounts_signing = known.accounts_signing if known else (await _signer(keys, ACCOUNTS)).public_key
    with changing(folder):
        root = ensure_root(folder, root_key, known.operator if known else "")
        signing_keys = known.signing_keys if known else ()
        if not signing_keys:
            signing_keys = (public_key(ensure_key(seed_file(folder, "controller-signing"))),)
    return FleetRecord(
        fleet=plan.fleet,
        epoch=known.epoch if known else 1,
        bus_servers=_addresses(plan),
        websocket_port=plan.websocket_port,
        mtls=plan.mtls or "off",
        insecure_dev=bool(plan.insecure_dev),
        hosts=plan.hosts,
        listen=f"{bracketed(plan.listen_host)}:{plan.port}",
        nodes=plan.nodes,
        signing=plan.signing or "files",
        operator=root,
        accounts_signing=accounts_signing,
        accounts=dict(public.accounts),
        roles=dict(public.roles),
        system=nkeys[system],
        controller=nkeys[controller],
        signing_keys=signing_keys,
        former_keys=known.former_keys if known else (),
        resealing=known.resealing if known else (),
        capacity=plan.clusters,
        people=tuple(
            one.model_copy(update={"nkey": nkeys[place]}) for one, place in zip(people, others, strict=True)
        ),
        revoked=known.revoked if known else (),
        vault=known.vault if known else None,
    )


def _addresses(plan: FleetPlan) -> tuple[str, ...]:
    """Those that a WebSocket takes come last: who has to take them finds them, the others never come so far."""
    servers = [(node.host, node.port) for node in plan.nodes] or [(host, plan.port) for host in plan.hosts]
    scheme: Scheme = "nats" if plan.insecure_dev else "tls"
    found = [BusAddress(scheme, host, port) for host, port in servers]
    if plan.websocket_port:
        found += [BusAddress("wss", host, plan.websocket_port) for host, _ in servers]
    return tuple(str(one) for one in found)


async def _signer(keys: SigningKeys, name: str) -> Signer:
    return await keys.ensure(name, Kind.OPERATOR)


async def _keys(known: FleetRecord | None, keys: SigningKeys) -> Keys:
    """Those that the fleet has, and new ones for what the contract has besides."""
    contract = known.contract_accounts() if known else accounts({subjects.MAIN: 0}, 0)
    found = {one.name: known.accounts.get(one.name, "") if known else "" for one in contract}
    roles = dict(known.roles) if known else {}
    for account in contract:
        for role in account.roles:
            name = role_key_name(account.name, role.name)
            if name not in roles:
                roles[name] = (await keys.ensure(name, Kind.ACCOUNT)).public_key
    return Keys({name: key or account_key() for name, key in found.items()}, roles)


def account_key() -> str:
    """A new account's public key. Nobody keeps the other half: a strict operator's accounts never sign."""
    return nkey_of(bytes(SigningKey.generate().verify_key), Kind.ACCOUNT)


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
    gone = last.get("operators", {}).keys() - wanted["operators"].keys()
    kept = operators.items() if isinstance(operators, dict) else ()
    merged["operators"] = {key: name for key, name in kept if key not in gone} | wanted["operators"]
    # Who has put a login of a proxy into it has made it private, which it stays.
    return merged != there and write_whole(file, json.dumps(merged, indent=2) + "\n", secret=is_private(file))


def _controller(record: FleetRecord) -> dict[str, Any]:
    """Paths are relative to the fleet's folder."""
    settings: dict[str, Any] = {
        "fleet": record.fleet,
        "epoch": record.epoch,
        "busServers": list(record.bus_servers),
        **({"busInsecureDev": True} if record.insecure_dev else {"busCaFile": "ca.crt"}),
        "busCredentialFile": "keys/controller.creds",
        "signingSeedFile": "keys/controller-signing.seed",
        "charterFile": "charter",
        "operators": {one.nkey: one.name for one in record.people if one.kind == "operator"},
        "roleKeys": {
            record.roles[name]: role
            for role in (*ROLES, SUBSCRIBER_OF_TYPES)
            if (name := role_key_name(OPERATORS, role)) in record.roles
        },
        "root": record.operator,
        "accounts": {name: key for name, key in record.accounts.items() if name == ENROL or is_agents(name)},
        "workDir": "work",
    }
    if record.resealing:
        settings["formerSigningKeys"] = list(record.resealing)
    if record.signing == "files":
        settings["issuingKeysDir"] = "keys"
    if record.mtls != "off":
        settings |= {
            "busCertificateFile": "keys/controller.crt",
            "clientAuthorityFile": "clients-ca.crt",
            "clientAuthorityKeyFile": "clients-ca.key",
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
    record = read_record(folder)
    prefix = vault_policies.transit_prefix(record.fleet)
    signing = (
        [prefix + name for name in issuing_keys(tuple(record.roles))] if record.signing != "files" else []
    )
    await admin.write_policy(vault_policies.CONTROLLER_POLICY, vault_policies.controller_policy(signing))
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
