"""Where an approver's key is: a file, an SSH agent, Vault's transit engine. Only the first shows it to this process."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from nacl.signing import SigningKey

from fleetbus.cli.ceremony.files import read_text, write_whole
from fleetbus.runtime.ports import Signer
from fleetbus.runtime.signers import SeedSigner, TransitKeys
from fleetbus.runtime.ssh_agent import find_key
from fleetbus.schemas.errors import NotFound, SettingsInvalid
from fleetbus.schemas.nkeys import Kind, key_of_seed, seed_of

AGENT = "agent:"
TRANSIT = "vault-transit:"
KEY_HELP = (
    "The approver's key: a file (mode 0600), `agent:COMMENT` or `agent:SHA256:…` of an SSH agent, or"
    " `vault-transit:MOUNT/NAME`."
)


@asynccontextmanager
async def approver_key(given: str, token_file: Path | None, *, make: bool = False) -> AsyncIterator[Signer]:
    """The key that is meant; with `make` one that is not there is made, but in an SSH agent.

    Raises NotFound, SettingsInvalid, VaultUnavailable, VaultForbidden.
    """
    if given.startswith(AGENT):
        yield await find_key(_agent_socket(), given.removeprefix(AGENT))
    elif given.startswith(TRANSIT):
        async with _transit(given.removeprefix(TRANSIT), token_file) as (keys, name):
            yield await (keys.ensure if make else keys.find)(name, Kind.USER)
    else:
        yield SeedSigner(key_of_seed(_seed(Path(given), make)), Kind.USER)


def _agent_socket() -> str:
    socket = os.environ.get("SSH_AUTH_SOCK", "")
    if not socket:
        raise SettingsInvalid("there is no SSH agent: SSH_AUTH_SOCK is not set", remedy="eval $(ssh-agent)")
    return socket


@asynccontextmanager
async def _transit(place: str, token_file: Path | None) -> AsyncIterator[tuple[TransitKeys, str]]:
    mount, slash, name = place.rpartition("/")
    address = os.environ.get("VAULT_ADDR", "")
    token = read_text(token_file).strip() if token_file else os.environ.get("VAULT_TOKEN", "")
    if not (mount and slash and name):
        raise SettingsInvalid(f"`{TRANSIT}{place}` names no key", remedy=f"write {TRANSIT}MOUNT/NAME")
    if not address or not token:
        raise SettingsInvalid(
            "Vault is not known here", remedy="set VAULT_ADDR, and VAULT_TOKEN or --vault-token-file"
        )
    authority = os.environ.get("VAULT_CACERT", "")
    ca_file = Path(authority) if authority else None
    async with TransitKeys(address, token, ca_file, prefix="", mount=mount) as keys:
        yield keys, name


def _seed(file: Path, make: bool) -> str:
    where = str(file)
    if make and not file.exists():
        write_whole(file, seed_of(SigningKey.generate()) + "\n", secret=True)
    if not file.is_file():
        raise NotFound(
            "there is no such key", where=where, remedy=f"fleetbus approver create NAME --key {where}"
        )
    if stat.S_IMODE(file.stat().st_mode) & 0o077:
        raise SettingsInvalid("others may read this key", where=where, remedy=f"chmod 600 {where}")
    return read_text(file)
