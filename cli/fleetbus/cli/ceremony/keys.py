"""A fleet's secret keys: the root, those that sign tokens, and the credentials of who connects.

The root signs one token, that of the key which signs the accounts' tokens in its place, and is needed no more: its
file may be taken away.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nacl.signing import SigningKey

from fleetbus.cli.ceremony.files import read_text, write_whole
from fleetbus.cli.ceremony.folder import credential_file, root_file, seed_file
from fleetbus.cli.ceremony.record import FleetRecord, changing
from fleetbus.runtime.ports import Signer
from fleetbus.runtime.signers import SeedSigner
from fleetbus.schemas.credentials import Credential, credential_text, parse_credential
from fleetbus.schemas.errors import NotFound, SettingsInvalid
from fleetbus.schemas.nkeys import Kind, key_of_seed, public_key, seed_of


class SigningKeys(Protocol):
    """Where the keys that sign tokens live: `ACCOUNTS`, and one a role, named `ACCOUNT.role`."""

    async def find(self, name: str, kind: Kind) -> Signer:
        """Raises NotFound."""

    async def ensure(self, name: str, kind: Kind) -> Signer:
        """The key of this name, made when there is none."""


ACCOUNTS = "accounts"
"""The name of the operator's key that signs the accounts' tokens."""


@dataclass(frozen=True, slots=True)
class FolderKeys:
    """Seeds in the fleet's folder, mode 0600."""

    folder: Path

    async def find(self, name: str, kind: Kind) -> Signer:
        return SeedSigner(read_key(seed_file(self.folder, name), kind), kind)

    async def ensure(self, name: str, kind: Kind) -> Signer:
        with changing(self.folder):
            return SeedSigner(ensure_key(seed_file(self.folder, name), kind), kind)


def read_key(file: Path, kind: Kind = Kind.USER) -> SigningKey:
    """Raises NotFound without the file, SettingsInvalid when it holds no such seed."""
    if not file.is_file():
        raise NotFound("the key is not there", where=str(file))
    try:
        return key_of_seed(read_text(file), kind)
    except SettingsInvalid as error:
        raise SettingsInvalid(error.message, where=str(file)) from error


def ensure_key(file: Path, kind: Kind = Kind.USER) -> SigningKey:
    """The key in a seed file, made when there is none."""
    if file.is_file():
        return read_key(file, kind)
    key = SigningKey.generate()
    write_whole(file, seed_of(key, kind) + "\n", secret=True)
    return key


def ensure_root(folder: Path, elsewhere: Path | None, known: str) -> str:
    """The root's public key. With `elsewhere` its seed is in that file, and in the folder no more.

    Raises NotFound, SettingsInvalid (`elsewhere` is another fleet's root).
    """
    inside = root_file(folder)
    if elsewhere is None or elsewhere.resolve() == inside.resolve():
        return known or public_key(ensure_key(inside, Kind.OPERATOR), Kind.OPERATOR)
    if not elsewhere.is_file():
        if inside.is_file():
            write_whole(
                elsewhere, seed_of(read_key(inside, Kind.OPERATOR), Kind.OPERATOR) + "\n", secret=True
            )
        elif known:
            raise NotFound("the root's key is not there", where=str(elsewhere))
    public = public_key(ensure_key(elsewhere, Kind.OPERATOR), Kind.OPERATOR)
    if known and public != known:
        raise SettingsInvalid("not this fleet's root key", where=str(elsewhere))
    inside.unlink(missing_ok=True)
    return public


def root_signer(folder: Path, elsewhere: Path | None) -> Signer:
    """Raises NotFound."""
    try:
        return SeedSigner(read_key(elsewhere or root_file(folder), Kind.OPERATOR), Kind.OPERATOR)
    except NotFound as error:
        raise NotFound(
            "this needs the root's key", where=error.where, remedy="give --root-key FILE"
        ) from error


def read_credential(folder: Path, name: str) -> Credential:
    """Raises SettingsInvalid."""
    file = credential_file(folder, name)
    try:
        return parse_credential(read_text(file))
    except SettingsInvalid as error:
        raise SettingsInvalid(error.message, where=str(file)) from error


def person_file(folder: Path, record: FleetRecord, name: str) -> Path:
    """Where an operator's or a subscriber's credential lies. Raises NotFound."""
    for one in record.people:
        if one.name == name:
            return credential_file(folder, one.file).absolute()
    raise NotFound(f"the fleet has nobody named `{name}`", where=str(folder))


def write_credential(folder: Path, name: str, credential: Credential) -> bool:
    """False when it was there like this."""
    return write_whole(credential_file(folder, name), credential_text(credential), secret=True)
