"""The controller's own memory on the bus: what it writes there it signs, and nothing else is believed.

The bus is the only store, and its owner may write to it what he likes. A document is what operators want, and a
status names the artifact that clusters are told: unsigned, either would be a way to have the controller sign anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nacl.signing import SigningKey

from fleetbus.schemas.errors import SignatureRefused
from fleetbus.schemas.nkeys import public_key
from fleetbus.schemas.signing import Sign, signer, verify


@dataclass(frozen=True, slots=True)
class Seal:
    """`keys`: those whose word still counts, the present one, `own`, among them."""

    sign: Sign
    keys: frozenset[str]
    own: str

    @classmethod
    def of(cls, key: SigningKey, former: Iterable[str] = ()) -> Seal:
        own = public_key(key)
        return cls(signer(key), frozenset({own, *former}), own)

    def is_own(self, subject: str, envelope: bytes) -> bool:
        """Whether the present key has signed it; else a former one may have."""
        try:
            verify(subject, envelope, {self.own})
        except SignatureRefused:
            return False
        return True

    def opened(self, subject: str, envelope: bytes) -> bytes:
        """The bytes that the controller wrote there. Raises MessageMalformed, MessageTooNew, SignatureRefused."""
        return verify(subject, envelope, self.keys)
