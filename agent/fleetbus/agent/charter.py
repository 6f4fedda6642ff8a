"""Whose word this agent obeys: what the root has said last, kept in the Secret before it counts, and never unsaid.

Until it has read a charter the keys count that its join token has pinned. A charter is believed by the root's
signature alone, so an agent that was away while every key was changed reads it first and goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from fleetbus.agent.secret import change_secret
from fleetbus.agent.settings import CHARTER, AgentSettings
from fleetbus.runtime.charter import read_charter
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.failures import described
from fleetbus.runtime.loop import repeat
from fleetbus.runtime.ports import Bus, Kube
from fleetbus.runtime.trust import Trust
from fleetbus.schemas import subjects
from fleetbus.schemas.charter import NUDGED, Charter, Sealed, newest, opened
from fleetbus.schemas.errors import FleetbusError, Refused
from fleetbus.schemas.subjects import ClusterId

LOOK_EVERY_S = 60.0

log = structlog.get_logger("charter")


class Trusted:
    """The charter that counts for this agent, and what follows from it.

    Without a root in its Secret (a membership from before there were charters) the pinned keys stay.
    """

    def __init__(self, settings: AgentSettings, kube: Kube, trust: Trust | None = None) -> None:
        """`trust`: what the bus's certificates are checked by, which follows the charter too."""
        self._settings = settings
        self._trust = trust
        self._kube = kube
        self._sealed = settings.charter
        self._due = asyncio.Event()
        self._changed = asyncio.Event()
        self._taking = asyncio.Lock()

    @property
    def charter(self) -> Charter | None:
        return self._sealed.charter if self._sealed else None

    @property
    def keys(self) -> frozenset[str]:
        """Public keys of which any one may sign what this cluster is told."""
        return frozenset(self.charter.publish) if self.charter else self._settings.controller_keys

    @property
    def epoch(self) -> int:
        """What is of an older one is refused."""
        return self.charter.epoch if self.charter else self._settings.epoch

    @property
    def order(self) -> tuple[int, int]:
        return self.charter.order if self.charter else (0, 0)

    def expect_epoch(self, epoch: int, what: str) -> None:
        """Raises Stale, SignatureRefused."""
        if self.charter is not None:
            self.charter.expect_epoch(epoch, what)

    def doubt(self) -> None:
        """Something was refused that a newer charter may allow."""
        self._due.set()

    async def wait_newer(self, seen: tuple[int, int]) -> tuple[int, int]:
        """Until another charter counts than the one that was `seen`; its order."""
        while self.order == seen:
            await self._changed.wait()
        return self.order

    async def look(self, bus: Bus) -> None:
        """Take over what the root has said last, if that is newer than what is known.

        Raises BusUnavailable, NotPermitted (a bus from before there were charters), Refused (not the root's word),
        KubeUnavailable, KubeConflict, SettingsInvalid (its authorities cannot be read).
        """
        root, fleet = self._settings.root, self._settings.identity.fleet
        if not root:
            return
        async with self._taking:
            found = await read_charter(bus, root, fleet)
            if found is None or found.charter.order <= self.order:
                return
            if self._trust is not None and found.charter.authorities:
                # First of all: authorities that cannot be read make the whole charter one that is not taken.
                self._trust.replace(found.charter.authorities)
            kept = await change_secret(self._kube, lambda text: with_charter(text, found, root, fleet))
            self._sealed = newest(found, known_charter(kept, root, fleet))
            self._changed.set()
            self._changed = asyncio.Event()
        log.info("charter taken", charter=str(found.charter), keys=found.charter.publish)

    async def look_first(self, bus: Bus) -> None:
        """`look` before something that may need it; when that fails, what is known counts."""
        try:
            await self.look(bus)
        except FleetbusError as error:
            log.debug("charter not read", reason=described(error))

    async def follow(self, bus: Bus, clock: Clock) -> None:
        """For ever: look at start, on every connection and nudge, in doubt, and now and then: nudges get lost."""

        said = ""

        async def step() -> float:
            nonlocal said
            self._due.clear()
            if bus.connected:
                before, said = said, await self._refusal(bus)
                if said and said != before:
                    log.warning("charter refused", reason=said)
            return clock.jitter(LOOK_EVERY_S)

        async def wake() -> None:
            await self._due.wait()

        async with asyncio.TaskGroup() as group:
            listen, connections = self._listen, self._follow_connections
            group.create_task(repeat("charter-nudges", lambda: listen(bus), clock))
            group.create_task(repeat("charter-connections", lambda: connections(bus), clock))
            group.create_task(repeat("charter", step, clock, wake=wake))

    async def _refusal(self, bus: Bus) -> str:
        """`look`, and why what stands there is refused; empty when it is not."""
        try:
            await self.look(bus)
        except Refused as error:
            return described(error)
        return ""

    async def _listen(self, bus: Bus) -> None:
        async with bus.subscribe(nudge_of(self._settings.identity.cluster), capacity=4) as nudges:
            self._due.set()
            async for _ in nudges:
                self._due.set()

    async def _follow_connections(self, bus: Bus) -> None:
        seen = bus.connection
        while True:
            seen = await bus.connection_changed(seen)
            self._due.set()


def nudge_of(cluster: ClusterId) -> str:
    """Where it is said that there is another charter."""
    return subjects.nudge(cluster, NUDGED)


def known_charter(text: Mapping[str, str], root: str, fleet: str) -> Sealed | None:
    """The one that a Secret's values hold; None for none of this root's."""
    try:
        return opened(text.get(CHARTER, "").encode(), root, fleet)
    except Refused:
        return None


def with_charter(text: Mapping[str, str], found: Sealed, root: str, fleet: str) -> Mapping[str, str]:
    """A Secret's values with this charter, unless there is a newer one, or they are of another root by now. Pure."""
    known = known_charter(text, root, fleet)
    if text.get("root", "") != root or (known and known.charter.order >= found.charter.order):
        return text
    return {**text, CHARTER: found.envelope.decode()}
