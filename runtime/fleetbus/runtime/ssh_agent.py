"""Ed25519 keys that an SSH agent holds, over its socket (draft-ietf-sshm-ssh-agent, RFC 8709).

An agent signs whatever bytes it is given. Its Ed25519 keys are the same as NATS's: only the text is another.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from fleetbus.runtime.foreign_text import cleaned
from fleetbus.schemas.errors import NotFound, SettingsInvalid
from fleetbus.schemas.nkeys import Kind, nkey_of

LIST_TIMEOUT_S = 10.0
SIGN_TIMEOUT_S = 120.0
"""An agent may ask its user first."""

_TYPE = b"ssh-ed25519"
_REQUEST_IDENTITIES, _IDENTITIES_ANSWER = 11, 12
_SIGN_REQUEST, _SIGN_RESPONSE = 13, 14
_MAX_BYTES = 256 * 1024
_HINT = "see `ssh-add -l`"


@dataclass(frozen=True, slots=True)
class AgentKey:
    """One of an agent's keys. `fingerprint` as `ssh-add -l` prints it."""

    raw: bytes
    comment: str

    @property
    def blob(self) -> bytes:
        return _string(_TYPE) + _string(self.raw)

    @property
    def fingerprint(self) -> str:
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    @property
    def public_key(self) -> str:
        return nkey_of(self.raw, Kind.USER)

    def is_meant(self, wanted: str) -> bool:
        return wanted in (self.fingerprint, self.comment, self.public_key)


@dataclass(frozen=True, slots=True)
class AgentSigner:
    """A Signer whose key never leaves the agent."""

    socket: str
    key: AgentKey

    @property
    def public_key(self) -> str:
        return self.key.public_key

    async def sign(self, content: bytes) -> bytes:
        """Raises SettingsInvalid when the agent refuses, or nobody confirms it in time."""
        body = _string(self.key.blob) + _string(content) + struct.pack(">I", 0)
        answer = await _ask(self.socket, _SIGN_REQUEST, body, SIGN_TIMEOUT_S)
        reading = _Reading(answer)
        if reading.byte() != _SIGN_RESPONSE:
            raise SettingsInvalid(
                "the SSH agent does not sign with this key", where=self.socket, remedy=_HINT
            )
        signature = _Reading(reading.string())
        if signature.string() != _TYPE or len(raw := signature.string()) != 64:
            raise SettingsInvalid("the SSH agent gave no Ed25519 signature", where=self.socket)
        return raw


async def find_key(socket: str, wanted: str) -> AgentSigner:
    """The key with this fingerprint, comment or nkey; without one the only Ed25519 key.

    Raises NotFound, and SettingsInvalid when no agent answers, or several keys are meant.
    """
    keys = await _keys(socket)
    found = [key for key in keys if not wanted or key.is_meant(wanted)]
    if len(found) > 1:
        named = ", ".join(f"{one.fingerprint} {one.comment}" for one in found[:5])
        raise SettingsInvalid(
            f"{len(found)} keys of the SSH agent are meant: {named}", remedy="give one by its fingerprint"
        )
    if not found:
        missing = f"no Ed25519 key `{cleaned(wanted, 80)}`" if wanted else "no Ed25519 key"
        raise NotFound(f"the SSH agent has {missing}", where=socket, remedy=_HINT)
    return AgentSigner(socket, found[0])


async def _keys(socket: str) -> list[AgentKey]:
    reading = _Reading(await _ask(socket, _REQUEST_IDENTITIES, b"", LIST_TIMEOUT_S))
    if reading.byte() != _IDENTITIES_ANSWER:
        raise SettingsInvalid("the SSH agent lists no keys", where=socket, remedy=_HINT)
    return list(_parsed(reading))


def _parsed(reading: _Reading) -> Iterator[AgentKey]:
    for _ in range(reading.number()):
        blob, comment = _Reading(reading.string()), reading.string()
        if blob.string() == _TYPE and len(raw := blob.string()) == 32:
            yield AgentKey(raw, cleaned(comment.decode(errors="replace"), 200))


async def _ask(socket: str, kind: int, body: bytes, timeout_s: float) -> bytes:
    message = bytes([kind]) + body
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_unix_connection(socket)
            try:
                writer.write(struct.pack(">I", len(message)) + message)
                await writer.drain()
                (length,) = struct.unpack(">I", await reader.readexactly(4))
                if not 0 < length <= _MAX_BYTES:
                    raise SettingsInvalid("the SSH agent answers something else", where=socket)
                return await reader.readexactly(length)
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError as error:
        raise SettingsInvalid("the SSH agent does not answer", where=socket) from error
    except (OSError, asyncio.IncompleteReadError) as error:
        raise SettingsInvalid(
            "no SSH agent answers there", where=socket, remedy="start one, and set SSH_AUTH_SOCK"
        ) from error


def _string(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


class _Reading:
    """What is left of an answer. Raises SettingsInvalid where it ends too early."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def byte(self) -> int:
        return self._take(1)[0]

    def number(self) -> int:
        (number,) = struct.unpack(">I", self._take(4))
        return int(number)

    def string(self) -> bytes:
        return self._take(self.number())

    def _take(self, count: int) -> bytes:
        taken = self._content[self._at : self._at + count]
        if len(taken) < count:
            raise SettingsInvalid("the SSH agent's answer is cut off")
        self._at += count
        return taken
