"""The users that the controller makes on the bus: a join token's, a member's, and the one that only renews.

It holds the keys of three roles for that. With them it can make such users and no others: their permissions stand in
the accounts, whose keys it does not have.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from fleetbus.controller.client_certificates import ClientCertificates
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.ports import Signer
from fleetbus.schemas.accounts import (
    AGENT,
    ENROL,
    RENEWER,
    TOKEN,
    Keys,
    agents_account,
    role_key_name,
    user_claims,
)
from fleetbus.schemas.errors import NotFound, NotPossible
from fleetbus.schemas.nats_jwt import signed, unsigned
from fleetbus.schemas.subjects import ClusterId

LIFETIME_S = 24 * 3600.0
_SPREAD = 0.05
"""Members' users live between 90 and 100 % of that, so that those made together do not end together."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """`accounts`: their public keys by name, read afresh each time. `find`: the key of a role by its name.

    Everything here raises NotPossible for a realm that has no account, and what `find` raises.
    """

    accounts: Callable[[], Mapping[str, str]]
    find: Callable[[str], Awaitable[Signer]]
    clock: Clock
    lifetime_s: float = LIFETIME_S
    certificates: ClientCertificates | None = None
    """Where servers want clients' certificates."""

    def knows(self, realm: str) -> bool:
        return agents_account(realm) in self.accounts()

    async def token(self, cluster: ClusterId, nkey: str, expires_at: datetime) -> str:
        """The user of a join token."""
        return await self._made(cluster, nkey, ENROL, TOKEN, int(expires_at.timestamp()))

    async def member(self, cluster: ClusterId, nkey: str) -> tuple[str, str]:
        """A member's user, which lives for a day or a little less, and the one that never ends and only renews."""
        lives_s = self.clock.jitter(self.lifetime_s * (1 - _SPREAD), _SPREAD)
        expires_at = max(1, round(self.clock.now().timestamp() + lives_s))
        user = await self._made(cluster, nkey, agents_account(cluster.realm), AGENT, expires_at)
        return user, await self._made(cluster, nkey, ENROL, RENEWER, 0)

    async def certificate(self, cluster: ClusterId, nkey: str, until: datetime | None = None) -> str:
        """For a join token, `until` it ends, or for a member; '' where servers want none. Raises NotPossible."""
        return await self.certificates.issue(cluster, nkey, until) if self.certificates else ""

    async def _made(self, cluster: ClusterId, nkey: str, account: str, role: str, expires_at: int) -> str:
        accounts = self.accounts()
        if account not in accounts:
            raise NotPossible(
                f"the bus has no account {account} that this controller knows",
                remedy="fleetbus init --out DIR --online makes it",
            )
        name = role_key_name(account, role)
        try:
            signer = await self.find(name)
        except NotFound as error:
            raise NotPossible(f"the controller does not have the key {name}", where=error.where) from error
        claims = user_claims(
            nkey,
            cluster.name,
            account,
            role,
            Keys(accounts, {name: signer.public_key}),
            int(self.clock.now().timestamp()),
            realm=cluster.realm if account == ENROL else "",
            expires_at=expires_at,
        )
        content = unsigned(claims)
        return signed(content, await signer.sign(content))
