"""What a controller without a name signs its memory with, where a test writes or reads that itself."""

from __future__ import annotations

from nacl.signing import SigningKey

from fleetbus.controller.seal import Seal
from fleetbus.runtime.ports import Message, Put
from fleetbus.schemas.documents import Status, Stored
from fleetbus.schemas.signing import unverified

SEAL = Seal.of(SigningKey(b"\x03" * 32))


def sealed(subject: str, value: Status | Stored) -> Put:
    return Put(subject, SEAL.sign(subject, value.to_bytes()))


def status_in(message: Message) -> Status:
    return Status.from_bytes(unverified(message.data))
