"""Whoever holds the agent's token, with any request, stays within what the cluster's owner allows."""

from __future__ import annotations

import pytest

from fleetbus.local.admin import Admin
from fleetbus.local.kubernetes import ControlPlane
from fleetbus.schemas.errors import ApplyRefused
from fleetbus.schemas.guard import refusal_of_policy
from tests.approvers import protection
from tests.integration.guard.attempts import ATTEMPTS, PROTECTION, Attempt


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda one: one.name.replace(" ", "-"))
async def test_it_is_refused(agent: Admin, attempt: Attempt) -> None:
    headers = {"Impersonate-User": attempt.impersonate} if attempt.impersonate else {}
    with pytest.raises(ApplyRefused) as refused:
        await agent.request(
            attempt.method,
            attempt.path,
            attempt.body,
            content_type=attempt.content_type,
            query=attempt.query,
            headers=headers,
        )
    assert refused.value.status == 403
    assert attempt.by in refused.value.message
    assert attempt.says in refused.value.message
    if attempt.by == "fleetbus-guard":
        found = refusal_of_policy(refused.value.message)
        assert found is not None
        assert "resulted in error" not in found[1]
        assert len(found[1]) < 256


def test_there_are_many_and_no_two_have_one_name() -> None:
    assert len(ATTEMPTS) > 100
    assert len({one.name for one in ATTEMPTS}) == len(ATTEMPTS)


async def test_nothing_of_it_has_happened(agent: Admin, guarded: ControlPlane) -> None:
    """The owner's objects stand as they were, and nothing new is in the places that are closed."""
    admin = guarded.admin
    for namespace in ("kube-system", "other"):
        theirs = await admin.get(f"/api/v1/namespaces/{namespace}/configmaps/theirs")
        assert theirs["data"] == {"a": "b"}
        assert not await admin.exists(f"/api/v1/namespaces/{namespace}/configmaps/x")
    stands = await admin.get("/apis/apps/v1/namespaces/store/deployments/stands")
    assert stands["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.example.com/a:1"
    assert (await admin.get(PROTECTION))["spec"] == protection(2)["spec"]
    assert not await admin.exists("/apis/rbac.authorization.k8s.io/v1/clusterroles/x")
    assert not await admin.exists("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/x")


async def test_the_owner_is_not_held(guarded: ControlPlane) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owners"}}
    await guarded.admin.create("/api/v1/namespaces/kube-system/configmaps", body)
