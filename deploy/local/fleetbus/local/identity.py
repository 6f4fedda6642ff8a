"""What an agent's pod would find, in a folder: the cluster's CA, a token for its apiserver, one for Vault."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from fleetbus.local.files import write_whole
from fleetbus.local.kubernetes import ControlPlane
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.agent_pod import AGENT_NAME, AGENT_NAMESPACE
from fleetbus.schemas.errors import FleetbusError, Terminal, Transient

VAULT_AUDIENCE = "vault"
# The kubelet renews a projected token at this share of its life.
_RENEW_AT = 0.8


class AgentFolder:
    """The folder of one agent for the length of a context; its tokens are renewed before they expire.

    Files: `ca.crt`, `token` (for the apiserver), `vault-token` (audience `vault`), `namespace`, `server`
    (the apiserver's address); tokens have mode 0600 and are replaced in one step. The ServiceAccount must
    exist: NotFound says so. A cluster that is away is asked again until it is back.
    """

    def __init__(
        self,
        cluster: ControlPlane,
        dir: Path,
        *,
        namespace: str = AGENT_NAMESPACE,
        account: str = AGENT_NAME,
        valid_s: int = 3600,
    ) -> None:
        self.dir = dir
        self._cluster = cluster
        self._namespace = namespace
        self._account = account
        self._valid_s = valid_s
        self._renewing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(self.dir / "ca.crt", self._cluster.ca_file.read_bytes())
        write_whole(self.dir / "namespace", self._namespace)
        write_whole(self.dir / "server", self._cluster.server)
        expires_at = await self.renew()
        self._renewing = asyncio.create_task(self._keep(expires_at), name=f"tokens of {self._cluster.name}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
            with suppress(asyncio.CancelledError, FleetbusError):
                await self._renewing

    async def renew(self) -> datetime:
        """Replace both tokens now; when the first of them expires."""
        token, token_until = await self._request(())
        vault_token, vault_until = await self._request((VAULT_AUDIENCE,))
        write_whole(self.dir / "token", token, secret=True)
        write_whole(self.dir / "vault-token", vault_token, secret=True)
        return min(token_until, vault_until)

    async def _request(self, audiences: tuple[str, ...]) -> tuple[str, datetime]:
        account = f"/api/v1/namespaces/{self._namespace}/serviceaccounts/{self._account}"
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": list(audiences), "expirationSeconds": self._valid_s},
        }
        status = (await self._cluster.admin.create(f"{account}/token", body))["status"]
        return status["token"], datetime.fromisoformat(status["expirationTimestamp"])

    async def _keep(self, expires_at: datetime) -> None:
        clock = SystemClock()
        while True:
            left_s = (expires_at - clock.now()).total_seconds()
            await clock.sleep(max(1.0, clock.jitter(left_s * _RENEW_AT, 0.05)))
            try:
                expires_at = await self.renew()
            except (Transient, Terminal):
                # An apiserver that is away or a deleted account may both come back; the tokens still count.
                await clock.sleep(clock.jitter(5.0))
