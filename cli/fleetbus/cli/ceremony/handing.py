"""A context for one of a fleet's people, from the fleet's folder."""

from __future__ import annotations

from pathlib import Path

from fleetbus.cli.ceremony.charter import read_charter
from fleetbus.cli.ceremony.folder import authority_file, certificate_file
from fleetbus.cli.ceremony.record import FleetRecord
from fleetbus.client.context import Context


def context(folder: Path, record: FleetRecord, name: str, user: str, creds_file: Path) -> Context:
    """How `user` reaches the fleet with this credential."""
    sealed = read_charter(folder, record)
    certificate = certificate_file(folder, creds_file.stem).absolute()
    return Context(
        name,
        record.bus_servers,
        creds_file.absolute(),
        user,
        None if record.insecure_dev else authority_file(folder).absolute(),
        record.fleet,
        record.signing_keys,
        record.insecure_dev,
        root=record.operator,
        former_keys=record.former_keys,
        charter=sealed.charter.order if sealed else (0, 0),
        certificate_file=None if record.mtls == "off" else certificate,
    )
