"""What somebody connects to the bus with: a user's token and the seed of its key, and the file that holds both.

The file is the one that the `nats` command and every NATS client read (`.creds`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from fleetbus.schemas.errors import MessageMalformed, SettingsInvalid
from fleetbus.schemas.nats_jwt import Claims, read
from fleetbus.schemas.nkeys import key_of_seed, public_key

_BLOCKS = re.compile(
    r"-{3,}BEGIN NATS USER JWT-{3,}\s+(\S+)\s.*?-{3,}BEGIN USER NKEY SEED-{3,}\s+(\S+)\s", re.S
)


@dataclass(frozen=True, slots=True)
class Credential:
    """Raises SettingsInvalid, never quoting, when the token is none of a user's or the seed is another key's."""

    token: str
    seed: str = field(repr=False)

    def __post_init__(self) -> None:
        try:
            claims = self.claims
        except MessageMalformed as error:
            raise SettingsInvalid(f"not a user's token: {error.message}") from error
        if claims.kind != "user":
            raise SettingsInvalid("not a user's token")
        if public_key(key_of_seed(self.seed)) != claims.subject:
            raise SettingsInvalid("the seed is not that of the token's user")

    @property
    def claims(self) -> Claims:
        return read(self.token)

    @property
    def nkey(self) -> str:
        """The user's public key."""
        return self.claims.subject


def credential_text(credential: Credential) -> str:
    """The content of a `.creds` file. Secret."""
    return (
        f"-----BEGIN NATS USER JWT-----\n{credential.token}\n------END NATS USER JWT------\n\n"
        "************************* IMPORTANT *************************\n"
        "NKEY Seed printed below can be used to sign and prove identity.\n"
        "NKEYs are sensitive and should be treated as secrets.\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{credential.seed}\n------END USER NKEY SEED------\n\n"
        "*************************************************************\n"
    )


def parse_credential(text: str) -> Credential:
    """Inverse of `credential_text`; SettingsInvalid for anything else."""
    found = _BLOCKS.search(text)
    if found is None:
        raise SettingsInvalid("not a file with a user's token and its seed")
    return Credential(found[1], found[2])
