"""Whether this agent may write at all: asked of the apiserver, since RBAC decides it and no setting does."""

from __future__ import annotations

import structlog

from fleetbus.agent.settings import NAMESPACE
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.loop import repeat
from fleetbus.runtime.ports import Kube, Resource
from fleetbus.schemas.errors import ApplyRefused, NotFound

REVIEW = Resource("authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", False)
LOOK_EVERY_S = 60.0

log = structlog.get_logger("rights")


class Rights:
    """Without the right to record what it applies an agent applies nothing: it only observes."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self.observes = False

    async def look(self) -> None:
        """Ask now. Raises KubeUnavailable; an apiserver that does not answer such questions changes nothing."""
        wanted = {"namespace": NAMESPACE, "verb": "create", "resource": "configmaps"}
        body = {
            "apiVersion": REVIEW.api_version,
            "kind": REVIEW.kind,
            "spec": {"resourceAttributes": wanted},
        }
        try:
            found = await self._kube.create(REVIEW, "", body)
        except (ApplyRefused, NotFound):
            return
        observes = not (found.get("status") or {}).get("allowed", False)
        if observes != self.observes:
            log.info("only observing" if observes else "may write")
        self.observes = observes

    async def follow(self, clock: Clock) -> None:
        """Ask now and then: an owner may give or take rights at any time."""

        async def step() -> float:
            await self.look()
            return clock.jitter(LOOK_EVERY_S)

        await repeat("rights", step, clock)
