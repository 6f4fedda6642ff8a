"""The cluster's Lease: two agents of one cluster never act at once.

A Lease counts as lapsed when it has not changed for its duration by the own monotonic clock, so that no
two machines' clocks are compared. The holder gives up well before that, likewise by its own clock.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import structlog

from fleetbus.agent.ports import Rule
from fleetbus.agent.settings import NAME, NAMESPACE
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.failures import described
from fleetbus.runtime.ports import Kube, Resource
from fleetbus.schemas.errors import AlreadyExists, FleetbusError, KubeConflict, NotFound

LEASE = Resource("coordination.k8s.io", "v1", "leases", "Lease", True)
NEEDS = (Rule((LEASE.group,), (LEASE.plural,), ("create", "get", "update"), names=(NAME,), home=True),)
DURATION_S = 15.0
RENEW_EVERY_S = 5.0
GIVE_UP_AFTER_S = 10.0
"""After so long without a renewal the holder stops, a third of the duration before anybody may follow."""

_LOOK_EVERY_S = 1.0
_TRY_AGAIN_S = 0.5

log = structlog.get_logger("lease")


@dataclass(frozen=True, slots=True)
class _Seen:
    """A Lease as it was when it last changed: what it said and when that was, by the own clock."""

    version: str
    duration_s: float
    at_s: float


class Lease:
    """The Lease for one holder. `acquire`, then `keep` beside the work, then `release`."""

    def __init__(self, kube: Kube, clock: Clock, holder: str) -> None:
        self.holder = holder
        self._kube = kube
        self._clock = clock
        self._seen: _Seen | None = None
        self._held: dict[str, Any] | None = None
        self._renewed_at_s = float("-inf")
        self._renewing = asyncio.Lock()

    @property
    def held(self) -> bool:
        """Whether this process may act now, by its own clock."""
        age_s = self._clock.monotonic_s() - self._renewed_at_s
        return self._held is not None and age_s < GIVE_UP_AFTER_S

    async def acquire(self) -> None:
        """Wait until the Lease is ours. An apiserver that is away is asked until it is back."""
        waiting = troubled = ""
        while True:
            try:
                holder = await self._try()
                if not holder:
                    log.info("lease acquired", holder=self.holder)
                    return
                troubled = ""
                if holder != waiting:
                    log.info("waiting for the lease", held_by=holder)
                    waiting = holder
            except FleetbusError as error:
                if described(error) != troubled:
                    log.warning("lease not readable", message=error)
                    troubled = described(error)
            await self._clock.sleep(self._clock.jitter(_LOOK_EVERY_S))

    async def keep(self) -> None:
        """Renew for as long as it goes; returns once the Lease is lost, and then nothing may act."""
        while self.held:
            await self._clock.sleep(self._clock.jitter(RENEW_EVERY_S, 0.1))
            while self.held and not await self.confirm():
                if self.held:
                    await self._clock.sleep(self._clock.jitter(_TRY_AGAIN_S))
        self._held = None
        log.warning("lease lost", holder=self.holder)

    async def confirm(self) -> bool:
        """Renew now; whether that worked. A Lease that names another holder is lost at once."""
        async with self._renewing:
            return await self._renew()

    async def _renew(self) -> bool:
        if self._held is None:
            return False
        began_s = self._clock.monotonic_s()
        left_s = self._renewed_at_s + GIVE_UP_AFTER_S - began_s
        try:
            async with asyncio.timeout(max(0.0, left_s)):
                self._held = await self._write(self._held)
        except KubeConflict:
            # Our own write whose answer got lost, or another agent's: what stands there decides.
            return await self._read_again()
        except (FleetbusError, TimeoutError):
            return False
        self._renewed_at_s = began_s
        return True

    async def release(self) -> None:
        """Let the next one have it at once; only what is still ours."""
        if not self.held or self._held is None:
            return
        held, self._held = self._held, None
        try:
            async with asyncio.timeout(_LOOK_EVERY_S * 2):
                await self._write(held, holder="")
            log.info("lease released", holder=self.holder)
        except (FleetbusError, TimeoutError):
            log.info("lease not released: it lapses", holder=self.holder)

    async def _try(self) -> str:
        """Take it if it is free or lapsed; the name of the holder to wait for, empty when it is ours."""
        began_s = self._clock.monotonic_s()
        try:
            found = await self._kube.get(LEASE, NAMESPACE, NAME)
        except NotFound:
            try:
                self._held = await self._kube.create(LEASE, NAMESPACE, self._body({}, self.holder))
            except (AlreadyExists, KubeConflict):
                return "another agent"
            self._renewed_at_s = began_s
            return ""
        spec = found.get("spec") or {}
        holder = str(spec.get("holderIdentity") or "")
        if holder and holder != self.holder and not self._lapsed(found, spec):
            return holder
        try:
            self._held = await self._write(found)
        except KubeConflict:
            return holder or "another agent"
        self._renewed_at_s = began_s
        return ""

    def _lapsed(self, found: dict[str, Any], spec: dict[str, Any]) -> bool:
        version = str((found.get("metadata") or {}).get("resourceVersion") or "")
        now_s = self._clock.monotonic_s()
        if self._seen is None or self._seen.version != version:
            duration_s = float(spec.get("leaseDurationSeconds") or DURATION_S)
            self._seen = _Seen(version, duration_s, now_s)
        return now_s - self._seen.at_s >= self._seen.duration_s

    async def _read_again(self) -> bool:
        try:
            found = await self._kube.get(LEASE, NAMESPACE, NAME)
        except FleetbusError:
            return False
        if (found.get("spec") or {}).get("holderIdentity") != self.holder:
            self._held = None
            return False
        self._held = found
        return False

    async def _write(self, found: dict[str, Any], *, holder: str | None = None) -> dict[str, Any]:
        return await self._kube.replace(
            LEASE, NAMESPACE, NAME, self._body(found, self.holder if holder is None else holder)
        )

    def _body(self, found: dict[str, Any], holder: str) -> dict[str, Any]:
        now = self._clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = dict(found.get("spec") or {})
        if spec.get("holderIdentity") != holder:
            spec["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + 1
            spec["acquireTime"] = now
        spec |= {"holderIdentity": holder, "renewTime": now, "leaseDurationSeconds": int(DURATION_S)}
        metadata = {"name": NAME, "namespace": NAMESPACE}
        if version := (found.get("metadata") or {}).get("resourceVersion"):
            metadata["resourceVersion"] = version
        return {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": metadata,
            "spec": spec,
        }
