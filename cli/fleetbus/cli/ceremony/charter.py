"""The charter in a fleet's folder: what the record says of keys and epoch, signed by the root, later than the last."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from fleetbus.cli.ceremony.files import read_text, write_whole
from fleetbus.cli.ceremony.folder import authority_file, charter_file
from fleetbus.cli.ceremony.issue import Say
from fleetbus.cli.ceremony.keys import root_signer
from fleetbus.cli.ceremony.record import FleetRecord, changing, read_record
from fleetbus.runtime.certificates import split
from fleetbus.schemas import subjects
from fleetbus.schemas.charter import MOST_FORMER, Charter, Sealed, opened
from fleetbus.schemas.errors import MessageMalformed, Refused, SettingsInvalid
from fleetbus.schemas.signing import covered, wrapped


def read_charter(folder: Path, record: FleetRecord) -> Sealed | None:
    """None when there is none yet. Raises SettingsInvalid for what the root has not signed."""
    file = charter_file(folder)
    if not file.is_file():
        return None
    try:
        return opened(read_text(file).strip().encode(), record.operator, record.fleet)
    except Refused as error:
        raise SettingsInvalid(f"not the root's charter: {error.message}", where=str(file)) from error


async def ensure_charter(
    folder: Path, now: datetime, say: Say = lambda line: None, *, root_key: Path | None = None
) -> Charter:
    """The charter that says what the record says; made anew only when the one that is there does not.

    Raises NotFound when it has to be signed and the root's key is not there.
    """
    while True:
        record = read_record(folder)
        there = read_charter(folder, record)
        wanted = _wanted(folder, record, there.charter if there else None, now)
        if there is not None and _says_the_same(wanted, there.charter):
            return there.charter
        root, content = root_signer(folder, root_key), wanted.to_bytes()
        if root.public_key != record.operator:
            raise SettingsInvalid("not this fleet's root key", where=str(root_key or folder))
        signature = await root.sign(covered(subjects.CHARTER, content))
        with changing(folder):
            # Nothing is locked while somebody signs.
            if read_record(folder) != record:
                continue
            write_whole(charter_file(folder), wrapped(content, {root.public_key: signature}) + b"\n")
        say(f"charter {wanted} signed by the root")
        if unnamed := len(record.former_keys) - len(wanted.former):
            say(
                f"not named any more: the {unnamed} oldest of the former keys; `audit verify --key` takes them"
            )
        return wanted


def _wanted(folder: Path, record: FleetRecord, there: Charter | None, now: datetime) -> Charter:
    """Later than any that was made before, also when the folder comes from a backup: versions are seconds or more."""
    last = there.version if there and there.epoch == record.epoch else 0
    try:
        return Charter.from_json(
            {
                "fleet": record.fleet,
                "epoch": record.epoch,
                "version": max(last + 1, int(now.timestamp())),
                "issuedAt": now.isoformat(),
                "publish": list(record.signing_keys),
                "former": list(record.former_keys[-MOST_FORMER:]),
                "authorities": "" if record.insecure_dev else _authorities(folder),
            }
        )
    except MessageMalformed as error:
        raise SettingsInvalid(f"no charter can say this: {error.message}", where=str(folder)) from error


def _authorities(folder: Path) -> str:
    """In an order of its own: which of them issues is no matter of who believes them."""
    return b"".join(sorted(split(read_text(authority_file(folder)).encode()))).decode()


def _says_the_same(one: Charter, other: Charter) -> bool:
    unsaid = {"version", "issued_at"}
    return one.model_dump(exclude=unsaid) == other.model_dump(exclude=unsaid)
