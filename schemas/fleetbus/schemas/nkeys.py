"""NATS nkeys: Ed25519 keys as text, whose first letter says whose they are (github.com/nats-io/nkeys).

A public key is its kind's prefix byte, 32 bytes and a CRC-16, in base32; a seed has two prefix bytes. Whoever
holds only the 32 bytes, as of a key that lives in Vault, makes the text with `nkey_of`.
"""

from __future__ import annotations

import base64
import binascii
from enum import Enum

from nacl.signing import SigningKey, VerifyKey

from fleetbus.schemas.errors import SettingsInvalid

_PREFIX_SEED = 18 << 3


class Kind(Enum):
    """Whose key it is; the value is its prefix byte."""

    OPERATOR = 14 << 3
    ACCOUNT = 0
    USER = 20 << 3

    @property
    def letter(self) -> str:
        """The first letter of such a public key."""
        return {Kind.OPERATOR: "O", Kind.ACCOUNT: "A", Kind.USER: "U"}[self]


def seed_of(signing_key: SigningKey, kind: Kind = Kind.USER) -> str:
    """The nkey seed, `SU…` of a user's key. Secret."""
    prefix = kind.value
    return _encode(bytes([_PREFIX_SEED | prefix >> 5, (prefix & 31) << 3]) + bytes(signing_key))


def key_of_seed(seed: str, kind: Kind = Kind.USER) -> SigningKey:
    """The key in a seed of this kind; SettingsInvalid for anything else, never quoting it."""
    raw = _decode(seed.strip())
    if len(raw) != 34 or raw[0] & 248 != _PREFIX_SEED:
        raise SettingsInvalid("not an nkey seed")
    if (raw[0] & 7) << 5 | raw[1] >> 3 != kind.value:
        raise SettingsInvalid(f"not the seed of a key `{kind.letter}…`")
    return SigningKey(raw[2:])


def public_key(signing_key: SigningKey, kind: Kind = Kind.USER) -> str:
    """The public nkey, `U…` of a user's: a user on the bus and a key id in an envelope."""
    return nkey_of(bytes(signing_key.verify_key), kind)


def nkey_of(raw: bytes, kind: Kind) -> str:
    """The public nkey of an Ed25519 key's 32 bytes; SettingsInvalid for others."""
    if len(raw) != 32:
        raise SettingsInvalid("not the 32 bytes of an Ed25519 key")
    return _encode(bytes([kind.value]) + raw)


def verify_key(nkey: str, kind: Kind = Kind.USER) -> VerifyKey:
    """The key of a public nkey of this kind; SettingsInvalid for anything else."""
    raw = _decode(nkey)
    if len(raw) != 33 or raw[0] != kind.value:
        raise SettingsInvalid(f"not a public nkey `{kind.letter}…`")
    return VerifyKey(raw[1:])


def _crc16(content: bytes) -> int:
    """CRC-16/XMODEM, as nkeys use it."""
    return binascii.crc_hqx(content, 0)


def _encode(raw: bytes) -> str:
    full = raw + _crc16(raw).to_bytes(2, "little")
    return base64.b32encode(full).decode().rstrip("=")


def _decode(text: str) -> bytes:
    try:
        full = base64.b32decode(text + "=" * (-len(text) % 8))
    except (binascii.Error, ValueError) as error:
        raise SettingsInvalid("not an nkey: wrong characters") from error
    if len(full) < 4 or _crc16(full[:-2]) != int.from_bytes(full[-2:], "little"):
        raise SettingsInvalid("not an nkey: wrong length or checksum")
    return full[:-2]
