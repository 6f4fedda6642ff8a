"""The envelope of everything that is signed: `fleetbus1 <key>.<signature>[,…]`, a newline, canonical JSON.

The Ed25519 signature (RFC 8032) covers the version, the subject and the bytes, so that a message that is
moved to another subject is refused. Keys are NATS nkeys: the key id is the whole public key.
Bytes are verified before they are parsed.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Collection, Mapping

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey

from fleetbus.schemas.errors import MessageMalformed, MessageTooNew, SignatureRefused
from fleetbus.schemas.nkeys import Kind, public_key, verify_key

VERSION = b"fleetbus1"
_MAX_LINE_BYTES = 2048
_MARK = re.compile(rb"([A-Z2-7]{56})\.([A-Za-z0-9_-]{86})")
"""A public nkey, and 64 bytes in base64."""

Sign = Callable[[str, bytes], bytes]
"""(subject, canonical bytes) → envelope."""


def is_envelope(data: bytes) -> bool:
    """Whether it begins as one of this version does."""
    return data.startswith(VERSION + b" ")


def covered(subject: str, content: bytes) -> bytes:
    """What a signature is made over."""
    return VERSION + b"\n" + subject.encode() + b"\n" + content


def signer(*keys: SigningKey) -> Sign:
    """The function that wraps canonical bytes for a subject in an envelope signed by all `keys`."""
    named = [(public_key(key), key) for key in keys]

    def sign(subject: str, content: bytes) -> bytes:
        bytes_ = covered(subject, content)
        return wrapped(content, {name: key.sign(bytes_).signature for name, key in named})

    return sign


def wrapped(content: bytes, signatures: Mapping[str, bytes]) -> bytes:
    """The envelope, from the signature of each key over `covered`: for keys that are not in this process."""
    marks = ",".join(
        f"{name}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
        for name, signature in signatures.items()
    )
    return VERSION + b" " + marks.encode() + b"\n" + content


def _split(envelope: bytes) -> tuple[list[tuple[str, bytes]], bytes]:
    line, newline, content = envelope.partition(b"\n")
    if not newline or len(line) > _MAX_LINE_BYTES:
        raise MessageMalformed("no envelope: the first line is not `fleetbus1 <key>.<signature>`")
    version, blank, marks = line.partition(b" ")
    if version != VERSION:
        if version.startswith(b"fleetbus"):
            raise MessageTooNew(f"envelope version {version[:32].decode('ascii', 'backslashreplace')}")
        raise MessageMalformed("no envelope: the first line is not `fleetbus1 <key>.<signature>`")
    pairs: list[tuple[str, bytes]] = []
    for mark in marks.split(b",") if blank else []:
        found = _MARK.fullmatch(mark)
        if found is None:
            raise MessageMalformed("an envelope with something else than a key and its signature")
        name, text = found.groups()
        pairs.append((name.decode("ascii"), base64.urlsafe_b64decode(text + b"==")))
    return pairs, content


def verify(
    subject: str, envelope: bytes, keys: Collection[str], *, threshold: int = 1, kind: Kind = Kind.USER
) -> bytes:
    """The signed bytes, if at least `threshold` different keys of `keys` signed them for this subject.

    `kind`: whose keys they are; the root's is an operator's.

    Raises MessageMalformed, MessageTooNew, SignatureRefused.
    """
    pairs, content = _split(envelope)
    bytes_ = covered(subject, content)
    good: set[str] = set()
    for name, signature in pairs:
        if name in keys and name not in good:
            try:
                verify_key(name, kind).verify(bytes_, signature)
            except (BadSignatureError, ValueError, TypeError) as error:
                raise SignatureRefused("the signature does not fit the bytes", where=subject) from error
            good.add(name)
    if len(good) < threshold:
        raise SignatureRefused(
            f"signed by {len(good)} of {threshold} keys that may sign it" if pairs else "it is not signed",
            where=subject,
        )
    return content


def signed_by(envelope: bytes) -> tuple[str, ...]:
    """The keys that an envelope says it is signed by; whether it is, `verify` says. Raises MessageMalformed."""
    return tuple(name for name, _ in _split(envelope)[0])


def unverified(envelope: bytes) -> bytes:
    """The bytes of an envelope whose signature was checked before, such as our own stored ones."""
    return _split(envelope)[1]
