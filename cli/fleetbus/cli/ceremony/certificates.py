"""The bus's certificates in a fleet's folder: its authority once, each server's again when its names change.

Servers that are several prove themselves to each other with certificates of an authority of their own: whatever the
bus's authority has signed, for clients one day too, can't pose as a server.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from fleetbus.cli.ceremony.files import write_whole
from fleetbus.cli.ceremony.folder import server_folder
from fleetbus.cli.ceremony.record import FleetRecord, Node
from fleetbus.runtime.certificates import Issued, issue_peer, issue_server, make_authority

Say = Callable[[str], None]


def write_certificates(
    folder: Path, record: FleetRecord, before: FleetRecord | None, now: datetime, say: Say
) -> None:
    """What `record` needs and is not there; `before` is what the certificates that are there were made for."""
    authority = _authority(folder, "ca", f"{record.fleet} bus", now, say)
    if not record.nodes:
        again = before is None or before.hosts != record.hosts
        _server(server_folder(folder), authority, record.hosts, now, say, again=again)
        return
    routes = _authority(folder, "routes-ca", f"{record.fleet} bus routes", now, say)
    known = {one.name: one for one in before.nodes} if before else {}
    for node in record.nodes:
        again = before is None or known.get(node.name) != node or before.hosts != record.hosts
        place = server_folder(folder, node)
        _server(place, authority, names(node, record.hosts), now, say, again=again)
        _peer(place, routes, node, now, again=again)


def names(node: Node, hosts: tuple[str, ...]) -> tuple[str, ...]:
    """By which clients may reach a node: its own host first, and those of them all."""
    return tuple(dict.fromkeys((node.host, *hosts)))


def _authority(folder: Path, name: str, common_name: str, now: datetime, say: Say) -> Issued:
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    if not (key.is_file() and certificate.is_file()):
        made = make_authority(common_name, now)
        write_whole(key, made.key, secret=True)
        write_whole(certificate, made.certificate)
        say(f"{name}.crt, {name}.key made")
    return Issued(certificate.read_bytes(), key.read_bytes())


def _server(
    place: Path, authority: Issued, hosts: tuple[str, ...], now: datetime, say: Say, *, again: bool
) -> None:
    write_whole(place / "ca.crt", authority.certificate)
    if _complete(place, "server") and not again:
        return
    _write(place, "server", issue_server(authority, hosts[0], hosts, now))
    say(f"{place.name}/server.crt made for {', '.join(hosts)}")


def _peer(place: Path, authority: Issued, node: Node, now: datetime, *, again: bool) -> None:
    write_whole(place / "routes-ca.crt", authority.certificate)
    if not _complete(place, "routes") or again:
        _write(place, "routes", issue_peer(authority, node.name, (node.host,), now))


def _complete(place: Path, name: str) -> bool:
    return (place / f"{name}.crt").is_file() and (place / f"{name}.key").is_file()


def _write(place: Path, name: str, issued: Issued) -> None:
    write_whole(place / f"{name}.key", issued.key, secret=True)
    write_whole(place / f"{name}.crt", issued.certificate)
