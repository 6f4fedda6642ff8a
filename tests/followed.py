"""What a follower of presence makes of one cluster on a real bus, without the rest of a controller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fleetbus.controller.ports import ClusterView
from fleetbus.controller.presence import PresenceFollower
from fleetbus.controller.views import Known
from fleetbus.runtime.bus import NatsBus
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.documents import Stored
from tests.waiting import wait_until

CLOCK = SystemClock()


class Followed:
    """The cluster c1. `links`: every word that was shown of its connection."""

    def __init__(self, key: str) -> None:
        now = CLOCK.now()
        self.known = Known("test")
        self.links: list[str] = []
        self.known.put_document(
            Stored(
                kind="Cluster",
                name="c1",
                uid="u",
                generation=1,
                created_at=now,
                updated_at=now,
                spec={"key": key},
            )
        )
        self.known.listeners.append(lambda change: self.links.append(self.view.presence.link))

    @property
    def view(self) -> ClusterView:
        found = self.known.cluster("c1")
        assert found is not None
        return found

    async def until(self, link: str, connections: int, timeout_s: float = 20.0) -> None:
        async def is_so() -> bool:
            return (self.view.presence.link, self.view.connections) == (link, connections)

        assert await wait_until(is_so, CLOCK, timeout_s), self.view


@asynccontextmanager
async def followed(bus: NatsBus, key: str) -> AsyncIterator[Followed]:
    """With the public key of c1's agent."""
    found = Followed(key)
    follower = PresenceFollower(bus, CLOCK, found.known)
    follower.restore()
    task = asyncio.create_task(follower.run())
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.wait([task])
