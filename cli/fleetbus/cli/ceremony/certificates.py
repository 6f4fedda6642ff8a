"""The bus's certificates in a fleet's folder: its authority once, each server's again when its names change or it
ends soon.

Servers that are several prove themselves to each other with certificates of an authority of their own: whatever the
bus's authority has signed, for clients one day too, can't pose as a server.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from fleetbus.cli.ceremony.files import write_whole
from fleetbus.cli.ceremony.folder import certificate_file, cross_file, server_folder
from fleetbus.cli.ceremony.keys import read_credential
from fleetbus.cli.ceremony.record import FleetRecord, Node
from fleetbus.runtime.certificates import (
    Issued,
    expires_at,
    fits,
    is_for_key,
    is_issued_by,
    issue_for_key,
    issue_peer,
    issue_server,
    make_authority,
)
from fleetbus.runtime.trust import private_pem
from fleetbus.schemas.nkeys import verify_key

RENEWED_BEFORE = timedelta(days=60)
"""A certificate that ends within this time is made again by the next `fleetbus init`."""

CLIENT_LIFETIME = timedelta(days=365)

Say = Callable[[str], None]


def write_certificates(
    folder: Path,
    record: FleetRecord,
    before: FleetRecord | None,
    now: datetime,
    say: Say,
    *,
    renew: bool = False,
) -> None:
    """What `record` needs and is not there, or with `renew` is; `before` is what those were made for."""
    # One that the next authority takes the place of vouches for it.
    authority = _authority(folder, "ca", f"{record.fleet} bus", now, say, path_length=1)
    cross = cross_file(folder).read_bytes() if cross_file(folder).is_file() else b""
    if not record.nodes:
        again = renew or before is None or before.hosts != record.hosts
        _server(server_folder(folder), authority, cross, record.hosts, now, say, again=again)
        return
    routes = _authority(folder, "routes-ca", f"{record.fleet} bus routes", now, say)
    known = {one.name: one for one in before.nodes} if before else {}
    for node in record.nodes:
        again = renew or before is None or known.get(node.name) != node or before.hosts != record.hosts
        place = server_folder(folder, node)
        _server(place, authority, cross, names(node, record.hosts), now, say, again=again)
        _peer(place, routes, node, now, again=again)


def write_client_certificates(
    folder: Path, record: FleetRecord, now: datetime, say: Say, *, renew: bool = False
) -> None:
    """The authority of clients, for the servers too, and a certificate beside each credential of the folder.

    An authority of its own: who may certify clients, as the controller does, cannot make a server.
    """
    authority = _authority(folder, "clients-ca", f"{record.fleet} clients", now, say)
    for node in record.nodes or (None,):
        write_whole(server_folder(folder, node) / "clients-ca.crt", authority.certificate)
    holders = {"system": record.system, "controller": record.controller}
    for name, nkey in {**holders, **{one.file: one.nkey for one in record.people}}.items():
        _client(folder, authority, name, nkey, now, say, again=renew)


def _client(
    folder: Path, authority: Issued, name: str, nkey: str, now: datetime, say: Say, *, again: bool
) -> None:
    key, file = bytes(verify_key(nkey)), certificate_file(folder, name)
    # For programs that are not ours; ours have the key from the credential.
    private = private_pem(read_credential(folder, name).seed)
    write_whole(file.with_suffix(".key"), private, secret=True)
    if not again and _lasts(file.parent, name, now):
        there = file.read_bytes()
        if is_for_key(there, key) and is_issued_by(there, authority.certificate):
            return
    write_whole(file, issue_for_key(authority, name, key, now, valid_for=CLIENT_LIFETIME))
    say(f"keys/{file.name} made")


def names(node: Node, hosts: tuple[str, ...]) -> tuple[str, ...]:
    """By which clients may reach a node: its own host first, and those of them all."""
    return tuple(dict.fromkeys((node.host, *hosts)))


def _authority(
    folder: Path, name: str, common_name: str, now: datetime, say: Say, *, path_length: int = 0
) -> Issued:
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    if not (key.is_file() and certificate.is_file()):
        made = make_authority(common_name, now, path_length=path_length)
        write_whole(key, made.key, secret=True)
        write_whole(certificate, made.certificate)
        say(f"{name}.crt, {name}.key made")
    return Issued(certificate.read_bytes(), key.read_bytes())


def _server(
    place: Path,
    authority: Issued,
    cross: bytes,
    hosts: tuple[str, ...],
    now: datetime,
    say: Say,
    *,
    again: bool,
) -> None:
    write_whole(place / "ca.crt", authority.certificate)
    if _lasts(place, "server", now) and not again:
        return
    issued = issue_server(authority, hosts[0], hosts, now)
    _write(place, "server", Issued(issued.certificate + cross, issued.key))
    say(f"{place.name}/server.crt made for {', '.join(hosts)}")


def _peer(place: Path, authority: Issued, node: Node, now: datetime, *, again: bool) -> None:
    write_whole(place / "routes-ca.crt", authority.certificate)
    if not _lasts(place, "routes", now) or again:
        _write(place, "routes", issue_peer(authority, node.name, (node.host,), now))


def _lasts(place: Path, name: str, now: datetime) -> bool:
    """Whether it is there, of the key that is there, and does not end soon."""
    certificate, key = place / f"{name}.crt", place / f"{name}.key"
    if not certificate.is_file() or not key.is_file():
        return False
    there = Issued(certificate.read_bytes(), key.read_bytes())
    return fits(there) and expires_at(there.certificate) - now > RENEWED_BEFORE


def _write(place: Path, name: str, issued: Issued) -> None:
    write_whole(place / f"{name}.key", issued.key, secret=True)
    write_whole(place / f"{name}.crt", issued.certificate)
