"""A file of exported audit records: a line each, read back, and gone on with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fleetbus.cli.text import escape_json
from fleetbus.schemas.audit import Link, imported
from fleetbus.schemas.canonical import digest, parse_json
from fleetbus.schemas.errors import MessageMalformed, SettingsInvalid
from fleetbus.schemas.subjects import parse_audit


def read_lines(file: Path) -> Iterator[tuple[str, bytes, Link]]:
    """Subject, envelope and newest place of each line. Raises MessageMalformed, which names the line."""
    try:
        with file.open("rb") as opened:
            for number, line in enumerate(opened, 1):
                if line.strip():
                    yield _parsed(line, f"{file}:{number}")
    except OSError as error:
        raise SettingsInvalid("it cannot be read", where=str(file)) from error


def _parsed(line: bytes, where: str) -> tuple[str, bytes, Link]:
    try:
        found = parse_json(line)
        if not isinstance(found, dict):
            raise MessageMalformed("not a line of an export")
        return imported(found)
    except MessageMalformed as error:
        raise MessageMalformed(error.message, where=where) from error


def end_of(file: Path) -> Link | None:
    """The place of the last record in the file; None when there is none yet. Raises as `read_lines`."""
    if not file.exists():
        return None
    last: Link | None = None
    for subject, envelope, _ in read_lines(file):
        last = Link(parse_audit(subject) or 0, digest(envelope.partition(b"\n")[2]))
    return last


class Appended:
    """A file that lines are added to, mode 0600 when it is made; what was added is on the disk at the end."""

    def __init__(self, file: Path) -> None:
        try:
            handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError as error:
            raise SettingsInvalid("it cannot be written", where=str(file)) from error
        self._where = str(file)
        self._opened = os.fdopen(handle, "ab")

    def add(self, line: Any) -> None:
        import json

        text = escape_json(json.dumps(line, ensure_ascii=False, separators=(",", ":")))
        self._opened.write(text.encode("utf-8", "backslashreplace") + b"\n")

    def close(self) -> None:
        """Raises SettingsInvalid when the disk did not take it all."""
        try:
            self._opened.flush()
            os.fsync(self._opened.fileno())
            self._opened.close()
        except OSError as error:
            raise SettingsInvalid("not everything could be written", where=self._where) from error
