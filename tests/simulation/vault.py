"""The port `Vault` on a simulated server: versions by path, who may read what, and being sealed."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

from fleetbus.runtime.clock import Clock
from fleetbus.runtime.ports import VaultSecret
from fleetbus.runtime.vault import text_of
from fleetbus.schemas.errors import NotFound, VaultForbidden, VaultUnavailable


class SimulatedVaultServer:
    """Paths with their versions, and for each identity the paths (or, ending in `/`, prefixes) it may read."""

    def __init__(self) -> None:
        self.sealed = False
        self.disabled: set[str] = set()
        self._allowed: dict[str, set[str]] = {}
        self._versions: dict[str, list[Mapping[str, Any] | None]] = {}

    def allow(self, identity: str, path: str) -> None:
        self._allowed.setdefault(identity, set()).add(path)

    def forbid(self, identity: str, path: str) -> None:
        self._allowed.get(identity, set()).discard(path)

    def put(self, path: str, values: Mapping[str, Any]) -> int:
        """A new version; its number."""
        versions = self._versions.setdefault(path, [])
        versions.append(dict(values))
        return len(versions)

    def delete(self, path: str) -> None:
        """Delete the newest version."""
        self._versions[path][-1] = None

    def newest(self, identity: str, path: str) -> tuple[int, Mapping[str, Any] | None]:
        """Number and values of the newest version, as this identity may see it."""
        if self.sealed:
            raise VaultUnavailable("Vault does not serve: Vault is sealed", where=path)
        allowed = self._allowed.get(identity, set())
        if identity in self.disabled or not any(
            path == entry or (entry.endswith("/") and path.startswith(entry)) for entry in allowed
        ):
            raise VaultForbidden("Vault does not allow it: permission denied", where=path)
        if path not in self._versions:
            raise NotFound("Vault has nothing there", where=path)
        return len(self._versions[path]), self._versions[path][-1]


class SimulatedVault:
    """One identity's view. `unavailable` is the share of reads that fail with VaultUnavailable."""

    def __init__(
        self,
        server: SimulatedVaultServer,
        identity: str,
        clock: Clock,
        *,
        unavailable: float = 0.0,
        latency_s: float = 0.005,
        seed: int = 0,
    ) -> None:
        self.unavailable = unavailable
        self._server = server
        self._identity = identity
        self._clock = clock
        self._latency_s = latency_s
        self._chance = Random(seed)

    async def read(self, path: str) -> VaultSecret:
        number, values = await self._newest(path)
        if values is None:
            raise NotFound("the newest version is deleted", where=path)
        return VaultSecret(number, {name: text_of(value) for name, value in values.items()})

    async def version(self, path: str) -> int:
        number, values = await self._newest(path)
        return number if values is not None else 0

    async def _newest(self, path: str) -> tuple[int, Mapping[str, Any] | None]:
        await self._clock.sleep(self._clock.jitter(self._latency_s))
        if self._chance.random() < self.unavailable:
            raise VaultUnavailable("Vault cannot be reached", where=path)
        if any(part in ("", ".", "..") for part in path.split("/")):
            raise NotFound("not a path in Vault", where=path)
        return self._server.newest(self._identity, path)
