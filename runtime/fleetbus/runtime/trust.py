"""Which authorities a client of the bus believes: asked anew for each connection, so that no restart is needed.

What is replaced, in a file or by `replace`, counts from the next connection on; the one that stands goes on.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

import structlog

from fleetbus.schemas.errors import SettingsInvalid

log = structlog.get_logger("bus")


class Trust:
    """Authorities as a file that is read again, or as PEM that may be replaced; without either the machine's."""

    def __init__(self, *, ca_file: Path | None = None, ca_pem: str = "") -> None:
        self._ca_file = ca_file
        self._ca_pem = ca_pem
        self._made_of: str | None = None
        self._context: ssl.SSLContext | None = None
        self._problem = ""
        self._making = Lock()

    def replace(self, ca_pem: str) -> None:
        """Believe these authorities instead, from the next connection on. Raises SettingsInvalid; then nothing
        has changed."""
        if not ca_pem.strip():
            raise SettingsInvalid("no authority of the bus is given")
        context = _context(ca_pem, "")
        with self._making:
            self._ca_file, self._ca_pem = None, ca_pem
            self._made_of, self._context = ca_pem, context

    def context(self) -> ssl.SSLContext:
        """For one more connection. Reads files. Raises SettingsInvalid when nothing that works was ever there:
        a file that is only just being written must not end a fleet's connections."""
        with self._making:
            try:
                return self._current()
            except SettingsInvalid as error:
                if self._context is None:
                    raise
                if self._problem != error.sentence():
                    self._problem = error.sentence()
                    log.warning("the former authority of the bus is kept", reason=self._problem)
                return self._context

    def authorities_end_at(self) -> datetime | None:
        """When the first of the authorities ends; None for the machine's own. Reads files. Raises SettingsInvalid."""
        if not self._ca_file and not self._ca_pem:
            return None
        ends = [str(one["notAfter"]) for one in self.context().get_ca_certs() if "notAfter" in one]
        return min((moment(one) for one in ends), default=None)

    def _current(self) -> ssl.SSLContext:
        where = str(self._ca_file or "")
        try:
            pem = self._ca_file.read_text(encoding="ascii") if self._ca_file else self._ca_pem
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsInvalid("the bus's authority cannot be read", where=where) from error
        if self._ca_file and not pem.strip():
            # As no authority at all, which would be the machine's.
            raise SettingsInvalid("the file of the bus's authority is empty", where=where)
        if self._context is None or pem != self._made_of:
            self._context, self._made_of = _context(pem, where), pem
        self._problem = ""
        return self._context


def moment(text: str) -> datetime:
    """A time as the standard library's ssl writes it, aware, UTC."""
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC)


def _context(pem: str, where: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=pem or None)
    except (ssl.SSLError, ValueError) as error:
        raise SettingsInvalid("the bus's authority is no readable PEM", where=where) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
