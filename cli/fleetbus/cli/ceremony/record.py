"""A fleet's public record, `fleet.json` in its folder: who its users are. Everything on the bus follows from it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import model_validator

from fleetbus.cli.ceremony.files import read_text, write_whole
from fleetbus.schemas import streams, subjects
from fleetbus.schemas.errors import DocumentInvalid, MessageMalformed, NotFound, SettingsInvalid
from fleetbus.schemas.models import Received
from fleetbus.schemas.subjects import ClusterId

FILE = "fleet.json"


class Person(Received):
    """An operator, or a subscriber who only reads events."""

    name: str
    nkey: str
    role: Literal["operator", "subscriber"] = "operator"


class Member(Received):
    """A cluster's user on the bus. `uid`: of its kube-system, empty when it joined before that was kept."""

    realm: str
    name: str
    nkey: str
    uid: str = ""

    @model_validator(mode="after")
    def _is_a_cluster(self) -> Member:
        try:
            ClusterId(self.realm, self.name)
        except DocumentInvalid as error:
            raise ValueError(error.message) from error
        return self

    @property
    def id(self) -> ClusterId:
        return ClusterId(self.realm, self.name)


class VaultPlace(Received):
    """Where Vault is; `ca` is PEM, empty for the machine's authorities."""

    address: str
    ca: str = ""


class FleetRecord(Received):
    """Public keys and addresses only: it can be kept in Git."""

    fleet: str
    epoch: int = 1
    bus_servers: tuple[str, ...]
    hosts: tuple[str, ...]
    listen: str
    system: str
    controller: str
    signing_keys: tuple[str, ...]
    people: tuple[Person, ...] = ()
    clusters: tuple[Member, ...] = ()
    vault: VaultPlace | None = None

    def with_member(self, member: Member) -> FleetRecord:
        """This record with a cluster's user, instead of one that the cluster had before."""
        others = [one for one in self.clusters if one.id != member.id]
        ordered = sorted([*others, member], key=lambda one: (one.realm, one.name))
        return self.model_copy(update={"clusters": tuple(ordered)})

    def without_member(self, cluster: ClusterId) -> FleetRecord:
        return self.model_copy(update={"clusters": tuple(one for one in self.clusters if one.id != cluster)})

    def users(self) -> streams.Users:
        """Everybody the bus knows, with permissions."""
        realms: dict[str, tuple[streams.User, ...]] = {subjects.MAIN: ()}
        for one in self.clusters:
            user = streams.User(one.nkey, streams.agent_permissions(one.id), one.name)
            realms[one.realm] = (*realms.get(one.realm, ()), user)
        people = tuple(
            streams.User(
                one.nkey,
                streams.operator_permissions(one.nkey)
                if one.role == "operator"
                else streams.subscriber_permissions(one.nkey),
                one.name,
            )
            for one in self.people
        )
        return streams.Users(
            system=self.system, controllers=(self.controller,), operators=people, agents=realms
        )


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
