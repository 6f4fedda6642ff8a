"""What a test asks for when it needs a server of its own, to break it: the types of the fixtures' factories."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fleetbus.local.kubernetes import ControlPlane
from fleetbus.local.nats import NatsServer
from fleetbus.local.vault import OpenBao

NatsFactory = Callable[[str], Awaitable[NatsServer]]
BaoFactory = Callable[[], Awaitable[OpenBao]]
ControlPlaneFactory = Callable[[], Awaitable[ControlPlane]]
