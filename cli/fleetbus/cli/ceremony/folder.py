"""Where things lie in a fleet's folder, and the servers' configuration that follows from them.

DIR/fleet.json           public record: users, addresses, public keys
DIR/ca.crt, ca.key       authority of the bus, in ca.crt perhaps with one that comes or goes; ca-cross.crt see there;
                         routes-ca.* that of the servers among themselves, if several
DIR/clients-ca.*         with --mtls: authority of clients; keys/*.crt, *.key are of those that have a credential
DIR/nats/                server.conf, server.crt, server.key, ca.crt: what nats-server is started with;
                         with several servers a folder NAME each, to be copied to its machine
DIR/tokens/*.jwt         the operator's and the accounts' tokens
DIR/charter              what the root says of epoch, the controller's keys and the bus's authorities
DIR/keys/root.seed       signs the operator's token and the charter; may be kept elsewhere
DIR/keys/*.seed          accounts (signs accounts' tokens), ACCOUNT.role (sign users'), controller-signing
DIR/keys/*.creds         system, controller, operator-NAME, subscriber-NAME
DIR/keys/vault.token     the controller's token in Vault
DIR/controller.json      what the controller is started with

Seeds, credentials, tokens of Vault and private keys have mode 0600.
"""

from __future__ import annotations

from pathlib import Path

from fleetbus.cli.ceremony.files import read_text, write_whole
from fleetbus.cli.ceremony.record import FleetRecord, Node
from fleetbus.schemas.accounts import SYS
from fleetbus.schemas.bus_address import bracketed
from fleetbus.schemas.errors import SettingsInvalid
from fleetbus.schemas.server_configuration import Places, Routes, Trust, server_configuration

OPERATOR_TOKEN = "operator"


def seed_file(folder: Path, name: str) -> Path:
    return folder / "keys" / f"{name}.seed"


def root_file(folder: Path) -> Path:
    return seed_file(folder, "root")


def charter_file(folder: Path) -> Path:
    return folder / "charter"


def credential_file(folder: Path, name: str) -> Path:
    return folder / "keys" / f"{name}.creds"


def token_file(folder: Path, name: str) -> Path:
    """Of `OPERATOR_TOKEN`, or of an account by name."""
    return folder / "tokens" / f"{name}.jwt"


def vault_token_file(folder: Path) -> Path:
    return folder / "keys" / "vault.token"


def certificate_file(folder: Path, name: str) -> Path:
    """Of the key of the credential of this name."""
    return folder / "keys" / f"{name}.crt"


def forget_credential(folder: Path, name: str) -> None:
    """With its certificate; nothing when it is not there."""
    certificate = certificate_file(folder, name)
    for file in (credential_file(folder, name), certificate, certificate.with_suffix(".key")):
        file.unlink(missing_ok=True)


def authority_file(folder: Path) -> Path:
    return folder / "ca.crt"


def cross_file(folder: Path) -> Path:
    """The authority as the one before it vouches for it; there is none before the first change."""
    return folder / "ca-cross.crt"


def server_folder(folder: Path, node: Node | None = None) -> Path:
    """What one nats-server is started with: of the only one, or of a node."""
    return folder / "nats" / node.name if node else folder / "nats"


def server_name(record: FleetRecord, node: Node | None = None) -> str:
    """What the only server calls itself, or a node."""
    return f"{record.fleet}-{node.name if node else 1}"


def server_names(record: FleetRecord) -> frozenset[str]:
    """Of all servers of the bus."""
    return frozenset(server_name(record, node) for node in record.nodes or (None,))


def read_token(folder: Path, name: str) -> str:
    """'' when there is none yet."""
    file = token_file(folder, name)
    return read_text(file).strip() if file.is_file() else ""


def configuration(folder: Path, record: FleetRecord, node: Node | None = None) -> str:
    """Of the only server, or of a node.

    The only server's own paths are absolute, as it starts where it was made; a node's start where it is started, in
    its folder. Raises SettingsInvalid for a folder whose name the configuration cannot say.
    """
    base = "" if node else f"{server_folder(folder).absolute()}/"
    if not base.isprintable() or set(base) & set('"\\'):
        raise SettingsInvalid("nats-server's configuration cannot name this folder", where=str(folder))
    host = record.listen.rpartition(":")[0]
    places = Places(
        f"{base}server.crt",
        f"{base}server.key",
        f"{base}ca.crt",
        f"{base}jetstream",
        f"{base}accounts",
        f"{base}clients-ca.crt" if record.mtls == "required" else "",
        f"{host}:{record.websocket_port}" if record.websocket_port else "",
        record.insecure_dev,
    )
    trust = Trust(
        read_token(folder, OPERATOR_TOKEN),
        record.accounts[SYS],
        {key: read_token(folder, name) for name, key in record.accounts.items()},
    )
    if node is None:
        return server_configuration(server_name(record), record.listen, trust, places)
    routes = Routes(
        record.fleet,
        f"{host}:{node.routes_port}",
        [f"{bracketed(one.host)}:{one.routes_port}" for one in record.nodes if one != node],
        "routes.crt",
        "routes.key",
        "routes-ca.crt",
    )
    return server_configuration(server_name(record, node), f"{host}:{node.port}", trust, places, routes)


def write_servers(folder: Path, record: FleetRecord) -> bool:
    """Every server.conf as record and tokens have it; False when nothing changed."""
    changed = False
    for node in record.nodes or (None,):
        file = server_folder(folder, node) / "server.conf"
        changed |= write_whole(file, configuration(folder, record, node))
    return changed
