"""How a cluster becomes a member and stays one: the join token, what is asked and answered, and what is kept of it.

The token is made for one name and is good once. Its seed signs the first request, together with the key that the
agent has made, which from then on is the cluster's: it signs what the cluster reports and asks for new credentials.
Answers are signed by the controller, whose keys the token pins, and repeat the request's nonce.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Literal, Self

from pydantic import Field, field_validator

from fleetbus.schemas.bus_address import parse_addresses
from fleetbus.schemas.errors import DocumentInvalid, MessageMalformed, SettingsInvalid
from fleetbus.schemas.models import Moment, Received
from fleetbus.schemas.nkeys import key_of_seed, public_key, verify_key
from fleetbus.schemas.signing import Sign, unverified, verify
from fleetbus.schemas.subjects import ClusterId, cluster_name

TOKEN_VERSION = 1
MAX_TOKEN_TTL_S = 7 * 24 * 3600
DEFAULT_TOKEN_TTL_S = 3600
LATE_S = 24 * 3600
"""For so long a token that has expired still reaches the controller, which refuses it and tells of it."""

MOST_LIFETIME_S = 30 * 24 * 3600
"""No member's user on the bus lives longer, whatever a controller's settings say."""
USERS_GONE_S = MOST_LIFETIME_S + 2 * 24 * 3600
"""So long after a key was revoked no user of it lives, also by clocks that differ by a day or two."""

MAX_TOKENS = 8
"""Tokens that may be open for one name at a time."""
MAX_FORMER = 16
"""Keys that a member had before, and that are remembered. Older ones still have a renewer on the bus, which gets
nothing by it: a name's renewals are for its member's key."""
MAX_CLAIMS = 8
"""Others that claim a name and are remembered; further ones are refused all the same."""

_MAX_TOKEN_CHARACTERS = 64 * 1024
_MAX_KEYS = 16

Outcome = Literal["admitted", "waiting", "refused", "quarantined"]


class VaultPlace(Received):
    """Where Vault is; `ca` is PEM, empty for the machine's authorities."""

    address: str
    ca: str = ""


class JoinToken(Received):
    """What an agent needs to ask for its place in the fleet. Secret: who has it first may take that place.

    `root` and `controller_keys` are pinned by it; `jwt` is the user of `seed` on the bus, and expires.
    """

    version: int = TOKEN_VERSION
    id: str
    fleet: str
    realm: str
    cluster: str
    uid: str = ""
    bus_servers: tuple[str, ...]
    bus_ca: str = Field(default="", repr=False)
    insecure_dev: bool = False
    """The fleet was made with --insecure-dev: its bus is plaintext, on one machine."""
    controller_keys: tuple[str, ...]
    epoch: int = Field(default=1, ge=0)
    root: str = ""
    vault: VaultPlace | None = None
    seed: str = Field(repr=False)
    jwt: str = Field(repr=False)
    certificate: str = Field(default="", repr=False)
    """PEM, for the seed's key, where servers want one of their clients; ends with `jwt`."""
    expires_at: Moment

    @property
    def cluster_id(self) -> ClusterId:
        return ClusterId(self.realm, self.cluster)

    def text(self) -> str:
        """As it is handed over. Secret."""
        return base64.urlsafe_b64encode(self.to_bytes()).rstrip(b"=").decode()

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Inverse of `text`. SettingsInvalid for anything else, never quoting it."""
        stripped = text.strip()
        if len(stripped) > _MAX_TOKEN_CHARACTERS:
            raise SettingsInvalid("not a join token: too long")
        try:
            content = base64.b64decode(stripped + "=" * (-len(stripped) % 4), altchars=b"-_", validate=True)
            token = cls.from_bytes(content)
            for name in (token.fleet, token.realm, token.cluster):
                cluster_name(name)
            for key in token.controller_keys:
                verify_key(key)
            key_of_seed(token.seed)
        except (binascii.Error, ValueError) as error:
            raise SettingsInvalid("not a join token") from error
        except (MessageMalformed, DocumentInvalid, SettingsInvalid) as error:
            raise SettingsInvalid("not a join token of this version") from error
        if token.version != TOKEN_VERSION or not token.controller_keys:
            raise SettingsInvalid("not a join token of this version")
        parse_addresses(token.bus_servers, insecure=token.insecure_dev)
        return token


class CredentialRequest(Received):
    """First request of a token, and every renewal: what the cluster is, signed by its own key.

    `nonce` is repeated in the answer. `service_account_keys` are JWKs, with `issuer` what Vault will know it by.
    """

    fleet: str
    nkey: str
    uid: str = Field(pattern=r"^[0-9a-zA-Z-]{1,64}$")
    nonce: str = Field(min_length=8, max_length=64)
    issuer: str = Field(default="", max_length=512)
    service_account_keys: tuple[dict[str, Any], ...] = Field(default=(), max_length=_MAX_KEYS)
    agent_version: str = Field(default="", max_length=64)
    former: str = ""
    """The key that the cluster had so far, which signs as well: so a new token gives a member a new key."""

    @field_validator("nkey")
    @classmethod
    def _is_a_key(cls, nkey: str) -> str:
        try:
            verify_key(nkey)
        except SettingsInvalid as error:
            raise ValueError(error.message) from error
        return nkey


class CredentialAnswer(Received):
    """Signed by the controller. With `admitted` the two users' tokens: `user` for what an agent does, `renewer`
    which never expires and can only ask for another. `again_in_s`: when asking again may help."""

    nonce: str
    outcome: Outcome
    reason: str = ""
    message: str = ""
    user: str = Field(default="", repr=False)
    renewer: str = Field(default="", repr=False)
    certificate: str = Field(default="", repr=False)
    """PEM, for the cluster's key, where servers want one of their clients."""
    epoch: int = 0
    controller_keys: tuple[str, ...] = ()
    again_in_s: float = Field(default=0.0, ge=0, le=3600)


class AdmittedToken(Received):
    """What the controller knows of a token: its public key, never its seed."""

    id: str
    key: str
    by: str
    made_at: Moment
    expires_at: Moment
    uid: str = ""
    """The only kube-system UID that it is for; empty for whichever comes first."""
    approve: bool = False
    replace: bool = False
    """It may take the name from whoever has it."""
    labels: dict[str, str] = Field(default_factory=dict)
    owner: str = ""
    used_at: Moment | None = None
    used_by: str = ""
    used_uid: str = ""


class Claim(Received):
    """Somebody who asks for a name: by which key, from which cluster, with which token (empty: a renewal)."""

    nkey: str
    uid: str
    token: str = ""
    at: Moment
    agent_version: str = ""
    approved_by: str = ""


class Member(Received):
    """Who has the name."""

    nkey: str
    uid: str
    joined_at: Moment
    issuer: str = ""
    service_account_keys: tuple[dict[str, Any], ...] = ()
    agent_version: str = ""


Left = Literal["revoked", "retired"]
"""How a cluster left the fleet."""


class RevokedKey(Received):
    """A key that was a member's once and counts no more, for ever, under no name."""

    nkey: str
    uid: str
    at: Moment
    by: str = ""
    left: Left = "revoked"


class Enrolment(Received):
    """Everything that is kept of one name. Key and UID of its member stand in the Cluster document.

    What is `revoked` outlives the cluster: it is all that is kept of a name that was purged. `former`: public keys that
    the member had before it was given another.
    """

    realm: str
    name: str
    tokens: tuple[AdmittedToken, ...] = ()
    member: Member | None = None
    waiting: Claim | None = None
    quarantined: tuple[Claim, ...] = ()
    former: tuple[str, ...] = ()
    revoked: tuple[RevokedKey, ...] = ()

    @property
    def id(self) -> ClusterId:
        return ClusterId(self.realm, self.name)

    def token_of(self, key: str) -> AdmittedToken | None:
        return next((one for one in self.tokens if one.key == key), None)


def signed_request(subject: str, request: CredentialRequest, sign: Sign) -> bytes:
    """`sign` with the agent's key, and for a first request the token's as well."""
    return sign(subject, request.to_bytes())


def verified_request(subject: str, envelope: bytes, token: str = "") -> CredentialRequest:
    """What is asked, if the keys that it names signed it, and with `token` that public key as well.

    Raises MessageMalformed, MessageTooNew, SignatureRefused.
    """
    # Who must have signed stands in what was signed: parsed once to learn the key, trusted only after the check.
    request = CredentialRequest.from_bytes(unverified(envelope))
    keys = {one for one in (request.nkey, token, request.former) if one}
    if token and token in (request.nkey, request.former):
        raise MessageMalformed("the token's key cannot be the cluster's", where=subject)
    verify(subject, envelope, keys, threshold=len(keys))
    return request


def key_of_token(token: JoinToken) -> str:
    """The public key by which the controller knows the token."""
    return public_key(key_of_seed(token.seed))
