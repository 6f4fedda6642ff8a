"""Where things lie in a fleet's folder, and the parts of it that follow from the record.

DIR/fleet.json           public record: users, addresses, public keys
DIR/ca.crt, ca.key       authority of the bus
DIR/nats/                server.conf with server.crt, server.key, ca.crt: what nats-server is started with
DIR/keys/*.seed          system, controller, controller-signing, operator-NAME, subscriber-NAME
DIR/keys/vault.token     the controller's token in Vault
DIR/controller.json      what the controller is started with

Keys, seeds, tokens and server.key have mode 0600.
"""

from __future__ import annotations

from pathlib import Path

from nacl.signing import SigningKey

from fleetbus.cli.ceremony.files import read_text, write_whole
from fleetbus.cli.ceremony.record import FleetRecord
from fleetbus.schemas import streams
from fleetbus.schemas.errors import SettingsInvalid
from fleetbus.schemas.signing import key_of_seed, public_key, seed_of


def seed_file(folder: Path, name: str) -> Path:
    return folder / "keys" / f"{name}.seed"


def vault_token_file(folder: Path) -> Path:
    return folder / "keys" / "vault.token"


def authority_file(folder: Path) -> Path:
    return folder / "ca.crt"


def server_file(folder: Path) -> Path:
    return folder / "nats" / "server.conf"


def ensure_seed(folder: Path, name: str) -> str:
    """The public nkey of a seed that is made when it is not there."""
    file = seed_file(folder, name)
    if file.is_file():
        return public_key_of(file)
    key = SigningKey.generate()
    write_whole(file, seed_of(key) + "\n", secret=True)
    return public_key(key)


def read_seed(folder: Path, name: str) -> str:
    """Secret. Raises SettingsInvalid."""
    return read_text(seed_file(folder, name)).strip()


def public_key_of(file: Path) -> str:
    """Raises SettingsInvalid when the file holds no seed."""
    try:
        return public_key(key_of_seed(read_text(file)))
    except SettingsInvalid as error:
        raise SettingsInvalid(error.message, where=str(file)) from error


def server_pid_file(folder: Path) -> Path:
    """Written by the server that was started from this folder."""
    return folder / "nats" / "nats-server.pid"


def server_configuration(folder: Path, record: FleetRecord) -> str:
    """The configuration of nats-server. Paths are absolute: the server's own start where it was started.

    Raises SettingsInvalid for a folder whose name its configuration cannot say.
    """
    nats = server_file(folder).absolute().parent
    if not str(nats).isprintable() or set(str(nats)) & set('"\\'):
        raise SettingsInvalid("nats-server's configuration cannot name this folder", where=str(folder))
    transport = streams.Transport(
        str(nats / "server.crt"), str(nats / "server.key"), str(nats / "ca.crt"), str(nats / "jetstream")
    )
    whole = streams.server_configuration(record.users(), transport, listen=record.listen)
    return f'server_name: "{record.fleet}-1"\npid_file: "{server_pid_file(nats.parent)}"\n{whole}'


def write_server(folder: Path, record: FleetRecord) -> bool:
    """server.conf as the record has it; False when nothing changed."""
    return write_whole(server_file(folder), server_configuration(folder, record), secret=True)
