"""The charter: what the fleet's root says of the controller, and the only word that may change whose word counts.

The root's key is kept apart and signs one small document: the epoch, the keys whose signatures clusters obey, and the
authorities of the bus. Whoever pins the root (an agent by its join token, an operator by the context) needs no other
key to follow every change of them, however long it was away. Newer means a greater (epoch, version).
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field, field_validator

from fleetbus.schemas import subjects
from fleetbus.schemas.desired import CONTRACT
from fleetbus.schemas.errors import MessageTooNew, SettingsInvalid, SignatureRefused, Stale, WrongAddressee
from fleetbus.schemas.models import Count, Moment, Received
from fleetbus.schemas.nkeys import Kind, verify_key
from fleetbus.schemas.signing import verify

NUDGED = "charter"
"""The last token of a nudge that says that there is another one."""

_MOST_KEYS = 8
MOST_FORMER = 64
"""Keys that once signed and are still named, the newest ones."""
_MOST_PEM = 64 * 1024


class Charter(Received):
    """Signed by the root, public, the same for every cluster.

    `publish`: public nkeys of which any one signs what clusters obey. `former`: those that once did; what was signed
    with them is still read in the audit chain, and nowhere else. `authorities`: PEM, by which the bus's certificates
    are checked; none where the bus is plaintext, on a developer's machine.
    """

    contract: int = CONTRACT
    fleet: str
    epoch: Count
    version: Count
    issued_at: Moment
    publish: tuple[str, ...] = Field(min_length=1, max_length=_MOST_KEYS)
    former: tuple[str, ...] = Field(default=(), max_length=MOST_FORMER)
    authorities: str = Field(default="", max_length=_MOST_PEM)

    @field_validator("publish", "former")
    @classmethod
    def _are_keys(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        for key in keys:
            try:
                verify_key(key)
            except SettingsInvalid as error:
                raise ValueError(error.message) from error
        return keys

    @field_validator("authorities")
    @classmethod
    def _is_pem(cls, text: str) -> str:
        if (text and "-----BEGIN CERTIFICATE-----" not in text) or "PRIVATE KEY" in text:
            raise ValueError("not PEM certificates")
        return text

    @property
    def order(self) -> tuple[int, int]:
        return (self.epoch, self.version)

    def __str__(self) -> str:
        return written(self.order)

    def expect_epoch(self, epoch: int, what: str) -> None:
        """Raises Stale or SignatureRefused: the root alone says which epoch it is."""
        if epoch < self.epoch:
            raise Stale(f"{what} of epoch {epoch}; the root has named epoch {self.epoch} since")
        if epoch > self.epoch:
            raise SignatureRefused(f"{what} of epoch {epoch}, which the root has not named")


@dataclass(frozen=True, slots=True)
class Sealed:
    """A charter that was verified, and the bytes that prove it to others."""

    charter: Charter
    envelope: bytes


def opened(envelope: bytes, root: str, fleet: str) -> Sealed:
    """The charter in an envelope, if this root has signed it for this fleet.

    Raises MessageMalformed, MessageTooNew, SignatureRefused, WrongAddressee.
    """
    charter = Charter.from_bytes(verify(subjects.CHARTER, envelope, {root}, kind=Kind.OPERATOR))
    if charter.contract > CONTRACT:
        raise MessageTooNew(f"a charter of contract {charter.contract}, this program reads {CONTRACT}")
    if charter.fleet != fleet:
        raise WrongAddressee("the charter of another fleet", where=subjects.CHARTER)
    return Sealed(charter, envelope)


def newest(*found: Sealed | None) -> Sealed | None:
    """The one that counts; None for none."""
    return max((one for one in found if one), key=lambda one: one.charter.order, default=None)


def written(order: tuple[int, int]) -> str:
    """(epoch, version) as people read it, such as `2.5`."""
    return f"{order[0]}.{order[1]}"
