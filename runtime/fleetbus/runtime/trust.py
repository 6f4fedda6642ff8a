"""What a client of the bus believes and shows: asked anew for each connection, so that no restart is needed.

What is replaced, in a file or by a call, counts from the next connection on; the one that stands goes on.
"""

from __future__ import annotations

import base64
import ssl
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

import structlog

from fleetbus.schemas.errors import SettingsInvalid
from fleetbus.schemas.nkeys import key_of_seed

log = structlog.get_logger("bus")

_PKCS8_ED25519 = bytes.fromhex("302e020100300506032b657004220420")
"""What stands before an Ed25519 key's 32 bytes in PKCS#8 (RFC 8410)."""


@dataclass(frozen=True, slots=True)
class _Material:
    """PEM of what a context is made of. Without authorities the machine's count."""

    authorities: str
    certificate: str
    seed: str = field(repr=False)


class Trust:
    """Authorities, and a certificate to show if servers ask for one: each a file that is read again, or PEM that may be
    replaced. The certificate is for the key of the credential that connects, so there is no second key."""

    def __init__(
        self,
        *,
        ca_file: Path | None = None,
        ca_pem: str = "",
        certificate_file: Path | None = None,
        certificate: str = "",
    ) -> None:
        self._ca_file = ca_file
        self._ca_pem = ca_pem
        self._certificate_file = certificate_file
        self._certificate = certificate
        self._made_of: _Material | None = None
        self._context: ssl.SSLContext | None = None
        self._problem = ""
        self._making = Lock()

    def replace(self, ca_pem: str) -> None:
        """Believe these authorities instead, from the next connection on. Raises SettingsInvalid; then nothing
        has changed."""
        if not ca_pem.strip():
            raise SettingsInvalid("no authority of the bus is given")
        _context(_Material(ca_pem, "", ""), "")
        # Without the lock, which a thread may hold for as long as it reads files.
        self._ca_pem, self._ca_file = ca_pem, None

    def show(self, certificate: str, seed: str) -> None:
        """Show this certificate instead, from the next connection on. Raises SettingsInvalid, also when it is not for
        the key of this seed; then nothing has changed."""
        with self._making:
            _context(_Material(self._ca_pem, certificate, seed), "")
            self._certificate_file, self._certificate = None, certificate

    def context(self, seed: str = "") -> ssl.SSLContext:
        """For one more connection, with the certificate if the `seed` of its key is given. Reads files.

        Raises SettingsInvalid when nothing that works was ever there: a file that is only just being written must not
        end a fleet's connections.
        """
        with self._making:
            try:
                return self._current(seed)
            except SettingsInvalid as error:
                if self._context is None:
                    raise
                if self._problem != error.sentence():
                    self._problem = error.sentence()
                    log.warning("what was there before is used for the bus", reason=self._problem)
                return self._context

    def authorities_end_at(self) -> datetime | None:
        """When the first of the authorities ends; None for the machine's own. Reads files. Raises SettingsInvalid."""
        if not self._ca_file and not self._ca_pem:
            return None
        ends = [str(one["notAfter"]) for one in self.context().get_ca_certs() if "notAfter" in one]
        return min((moment(one) for one in ends), default=None)

    def _current(self, seed: str) -> ssl.SSLContext:
        authorities = _text(self._ca_file, self._ca_pem, "authority")
        certificate = _text(self._certificate_file, self._certificate, "client certificate") if seed else ""
        material = _Material(authorities, certificate, seed if certificate else "")
        if self._context is None or material != self._made_of:
            where = ", ".join(str(one) for one in (self._ca_file, self._certificate_file) if one)
            self._context, self._made_of = _context(material, where), material
        self._problem = ""
        return self._context


def moment(text: str) -> datetime:
    """A time as the standard library's ssl writes it, aware, UTC."""
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC)


def private_pem(seed: str) -> str:
    """The private key of an nkey's seed, as TLS libraries read it: PKCS#8. Secret. Raises SettingsInvalid."""
    key = base64.b64encode(_PKCS8_ED25519 + bytes(key_of_seed(seed))).decode()
    return f"-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\n"


def _text(file: Path | None, otherwise: str, what: str) -> str:
    if file is None:
        return otherwise
    try:
        pem = file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsInvalid(f"the bus's {what} cannot be read", where=str(file)) from error
    if not pem.strip():
        # As no authority at all, which would be the machine's.
        raise SettingsInvalid(f"the file of the bus's {what} is empty", where=str(file))
    return pem


def _context(material: _Material, where: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=material.authorities or None)
    except (ssl.SSLError, ValueError) as error:
        raise SettingsInvalid("the bus's authority is no readable PEM", where=where) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if material.certificate:
        _load(context, material, where)
    return context


def _load(context: ssl.SSLContext, material: _Material, where: str) -> None:
    # The library takes a file only: one of mode 0600, for as long as it is read.
    with tempfile.NamedTemporaryFile("w", prefix="fleetbus-", suffix=".pem") as file:
        file.write(material.certificate + "\n" + private_pem(material.seed))
        file.flush()
        try:
            context.load_cert_chain(file.name)
        except (ssl.SSLError, ValueError) as error:
            raise SettingsInvalid(
                "the client certificate is no readable PEM, or not for the key of this credential",
                where=where,
                remedy="take both again: certificate and credential belong together",
            ) from error
