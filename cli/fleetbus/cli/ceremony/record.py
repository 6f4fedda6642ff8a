"""A fleet's public record, `fleet.json` in its folder: who its users are. Everything on the bus follows from it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from fleetbus.cli.ceremony.files import read_text, write_whole
from fleetbus.schemas.accounts import SUBSCRIBER, Account, Keys, accounts, agents_account
from fleetbus.schemas.enrolment import VaultPlace
from fleetbus.schemas.errors import MessageMalformed, NotFound, SettingsInvalid
from fleetbus.schemas.models import Received
from fleetbus.schemas.roles import SUBSCRIBER_OF_TYPES, OperatorRole
from fleetbus.schemas.subjects import MAIN

FILE = "fleet.json"
FOR_EVER = 253_402_300_799
"""The last second of the year 9999: as the moment of a revocation it covers tokens that anybody makes later, or makes
now by a clock that is ahead."""
ROUTES_ABOVE = 2000
"""The servers of a bus of several meet at a port so far above that of their clients: 6222 with 4222."""


class Person(Received):
    """An operator of some role, or a subscriber who only reads events: all, or those of `types`."""

    name: str
    nkey: str
    role: OperatorRole | Literal["subscriber", "subscriber-of-types"]
    types: tuple[str, ...] = ()

    @property
    def kind(self) -> Literal["operator", "subscriber"]:
        """A name is one operator's and one subscriber's at most."""
        return "subscriber" if self.role in (SUBSCRIBER, SUBSCRIBER_OF_TYPES) else "operator"

    @property
    def file(self) -> str:
        """The credential's, in the fleet's folder."""
        return f"{self.kind}-{self.name}"


class Node(Received):
    """One of several servers of the bus: `host` is how clients and the other servers reach it."""

    name: str
    host: str
    port: int

    @property
    def routes_port(self) -> int:
        """Where the other servers connect."""
        return self.port + ROUTES_ABOVE


class Revoked(Received):
    """A key whose tokens of this moment (in seconds since 1970) or before count no more.

    `since`: when that was said last, in seconds since 1970; 0 where nobody wrote it down.
    """

    account: str
    nkey: str
    at: int
    since: int = 0


Signing = Literal["files", "vault-transit"]
"""Where the keys live that sign tokens."""


Mtls = Literal["off", "offered", "required"]
"""Certificates of clients: none are made; they are made, and nobody asks for them; servers want one."""


class FleetRecord(Received):
    """Public keys and addresses only: it can be kept in Git.

    `operator` is the root, `accounts_signing` what signs accounts' tokens, `accounts` and `roles` the keys of
    accounts and of what signs users' tokens, by name.
    """

    fleet: str
    epoch: int = 1
    bus_servers: tuple[str, ...]
    insecure_dev: bool = False
    """Made with --insecure-dev: no TLS, on this machine's loopback."""
    mtls: Mtls = "off"
    websocket_port: int = 0
    """Where WebSockets are taken besides; 0 for nowhere."""
    hosts: tuple[str, ...]
    listen: str
    nodes: tuple[Node, ...] = ()
    signing: Signing = "files"
    operator: str
    accounts_signing: str
    accounts: dict[str, str]
    roles: dict[str, str]
    system: str
    controller: str
    signing_keys: tuple[str, ...]
    """The controller's: those that clusters obey. Two while one takes the other's place."""
    former_keys: tuple[str, ...] = ()
    """Those that once were: the audit chain has records of them."""
    resealing: tuple[str, ...] = ()
    """Former ones by which the controller's own memory may still be signed."""
    unheard: bool = False
    """The key that signs is the only one that is named, but the bus may not have the charter that says so."""
    people: tuple[Person, ...] = ()
    capacity: int = 1000
    """For how many clusters each realm's account has room."""
    revoked: tuple[Revoked, ...] = ()
    vault: VaultPlace | None = None

    @property
    def keys(self) -> Keys:
        return Keys(self.accounts, self.roles)

    def contract_accounts(self) -> tuple[Account, ...]:
        """The accounts as the contract has them, with room for who is there."""
        realms = dict.fromkeys([MAIN, *self.realms()], self.capacity)
        return accounts(realms, len(self.people))

    def realms(self) -> list[str]:
        """Those that have an account."""
        prefix = agents_account(MAIN).removesuffix(MAIN)
        return [name.removeprefix(prefix) for name in self.accounts if name.startswith(prefix)]

    def naming(self, keys: Iterable[str]) -> FleetRecord:
        """This record with these signing keys; those that it named before become former ones."""
        named = tuple(dict.fromkeys(keys))
        former = dict.fromkeys((*self.former_keys, *self.signing_keys))
        kept = tuple(key for key in former if key not in named)
        return self.model_copy(update={"signing_keys": named, "former_keys": kept})

    def with_revoked(self, account: str, nkeys: Iterable[str], at: int, since: int = 0) -> FleetRecord:
        """Tokens of these keys count no more when they were issued `at` this second or before."""
        revoked = {(one.account, one.nkey): one for one in self.revoked}
        for nkey in nkeys:
            until = max(at, self.revoked_at(account, nkey))
            revoked[account, nkey] = Revoked(account=account, nkey=nkey, at=until, since=since)
        return self.model_copy(update={"revoked": tuple(revoked[key] for key in sorted(revoked))})

    def revoked_at(self, account: str, nkey: str) -> int:
        """A token must be younger than this; 0 when the key was never revoked."""
        return next((one.at for one in self.revoked if (one.account, one.nkey) == (account, nkey)), 0)


def read_record(folder: Path) -> FleetRecord:
    """Raises NotFound when no fleet was made there, SettingsInvalid when the file is damaged."""
    file = folder / FILE
    if not file.is_file():
        raise _no_fleet(folder)
    try:
        return FleetRecord.from_bytes(read_text(file).encode())
    except MessageMalformed as error:
        raise SettingsInvalid(f"damaged: {error.message}", where=str(file)) from error


def write_record(folder: Path, record: FleetRecord) -> bool:
    """False when the file said the same already."""
    return write_whole(folder / FILE, record.model_dump_json(indent=2, by_alias=True) + "\n")


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Alone in the folder, against other processes too, from reading the record to the last file that follows.

    Nothing may be awaited inside: who waits here waits only for somebody's writing. Raises NotFound.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise _no_fleet(folder) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _no_fleet(folder: Path) -> NotFound:
    return NotFound(
        "no fleet was made in this folder",
        where=str(folder),
        remedy="make one with `fleetbus init --out DIR`",
    )
