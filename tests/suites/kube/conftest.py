"""Each suite runs twice: on the simulated server and on the real one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import cast

import pytest

from fleetbus.local.kubernetes import ControlPlane
from fleetbus.runtime.kube import KubeClient
from fleetbus.runtime.kube_access import KubeAccess
from fleetbus.runtime.ports import Kube
from tests.simulation.kube import SimulatedKube
from tests.simulation.kube_cluster import SimulatedCluster
from tests.suites.kube.world import CLOCK, World


@pytest.fixture(params=["simulated", "real"])
def kube_world(request: pytest.FixtureRequest) -> World:
    if request.param == "simulated":
        return World("default", None)
    control_plane = cast("ControlPlane", request.getfixturevalue("control_plane"))
    namespace = cast("str", request.getfixturevalue("namespace"))
    return World(namespace, KubeAccess.from_kubeconfig(control_plane.kubeconfig))


@pytest.fixture
async def kube(kube_world: World) -> AsyncIterator[Kube]:
    if kube_world.access is None:
        yield SimulatedKube(SimulatedCluster(CLOCK))
        return
    async with KubeClient(kube_world.access, CLOCK) as client:
        yield client
