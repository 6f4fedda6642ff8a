"""The control planes are real: version, Jobs, tokens, keys, and an apiserver that goes and comes back."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from fleetbus.local.admin import Admin
from fleetbus.local.build import kubernetes_version
from fleetbus.local.factories import ControlPlaneFactory
from fleetbus.local.identity import AgentFolder
from fleetbus.local.kubernetes import ISSUER, ControlPlane
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.errors import ApplyRefused, NotFound
from tests.waiting import wait_until


async def test_the_apiserver_has_the_version_that_was_built(control_plane: ControlPlane) -> None:
    version = await control_plane.admin.get("/version")

    assert version["gitVersion"] == kubernetes_version() == "v1.36.3"


async def test_nodes_tell_region_and_provider(control_plane: ControlPlane) -> None:
    nodes = await control_plane.admin.get("/api/v1/nodes")

    assert len(nodes["items"]) == 3
    for node in nodes["items"]:
        assert node["metadata"]["labels"]["topology.kubernetes.io/region"] == "eu-west-1"
        assert node["spec"]["providerID"].startswith("kwok://")


async def test_a_job_completes(control_plane: ControlPlane, namespace: str) -> None:
    status = await _run_job(control_plane, namespace, {})

    assert status["succeeded"] == 1


async def test_a_job_labelled_to_fail_fails(control_plane: ControlPlane, namespace: str) -> None:
    status = await _run_job(control_plane, namespace, {"stage.fleetbus.dev/outcome": "fail"})

    assert status["failed"] == 1
    assert any(one["type"] == "Failed" and one["status"] == "True" for one in status["conditions"])


async def test_a_namespace_goes_with_all_that_is_in_it(control_plane: ControlPlane, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}"
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "finalizers": []}}
    await control_plane.admin.create(f"{path}/configmaps", body)

    await control_plane.admin.delete(path)

    async def is_gone() -> bool:
        return not await control_plane.admin.exists(path)

    assert await wait_until(is_gone, SystemClock(), timeout_s=30)


async def test_an_agents_token_works_and_is_bound_by_rbac(
    control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    folder = AgentFolder(control_plane, tmp_path / "agent", namespace=namespace, account="default")
    async with folder:
        token = (folder.dir / "token").read_text()
        vault_token = (folder.dir / "vault-token").read_text()
        server = (folder.dir / "server").read_text()

        async with Admin(server, control_plane.pki, token=token) as agent:
            assert (await agent.get("/version"))["major"] == "1"
            review = await agent.create(
                "/apis/authentication.k8s.io/v1/selfsubjectreviews",
                {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"},
            )
            assert review["status"]["userInfo"]["username"] == f"system:serviceaccount:{namespace}:default"
            with pytest.raises(ApplyRefused) as refused:
                await agent.get(f"/api/v1/namespaces/{namespace}/secrets")
            assert refused.value.status == 403

        assert _claims(token)["aud"] == [ISSUER]
        assert _claims(vault_token)["aud"] == ["vault"]
        assert _claims(vault_token)["sub"] == f"system:serviceaccount:{namespace}:default"
        assert (folder.dir / "token").stat().st_mode & 0o777 == 0o600


async def test_a_token_for_vault_is_none_for_the_apiserver(
    control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    folder = AgentFolder(control_plane, tmp_path / "agent", namespace=namespace, account="default")
    async with folder:
        vault_token = (folder.dir / "vault-token").read_text()
        async with Admin(control_plane.server, control_plane.pki, token=vault_token) as agent:
            with pytest.raises(ApplyRefused) as refused:
                await agent.get("/version")
    assert refused.value.status == 401


async def test_renewing_replaces_both_tokens(
    control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    folder = AgentFolder(control_plane, tmp_path / "agent", namespace=namespace, account="default")
    async with folder:
        before = [(folder.dir / name).read_text() for name in ("token", "vault-token")]

        await folder.renew()

        after = [(folder.dir / name).read_text() for name in ("token", "vault-token")]
    assert [_claims(one)["jti"] for one in before] != [_claims(one)["jti"] for one in after]


async def test_tokens_are_renewed_without_being_asked(
    control_plane: ControlPlane, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleetbus.local.identity._RENEW_AT", 0.0)
    folder = AgentFolder(control_plane, tmp_path / "agent", namespace=namespace, account="default")
    async with folder:
        first = _claims((folder.dir / "token").read_text())["jti"]

        async def is_renewed() -> bool:
            return bool(_claims((folder.dir / "token").read_text())["jti"] != first)

        assert await wait_until(is_renewed, SystemClock(), timeout_s=20)


async def test_an_agent_without_its_account_is_told_so(
    control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    with pytest.raises(NotFound, match="nobody"):
        await AgentFolder(control_plane, tmp_path, namespace=namespace, account="nobody").__aenter__()


async def test_an_apiserver_killed_and_started_keeps_its_objects(
    new_control_plane: ControlPlaneFactory,
) -> None:
    cluster = await new_control_plane()
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}}
    await cluster.admin.create("/api/v1/namespaces/default/configmaps", body)

    await cluster.kill_apiserver()
    assert not await cluster.admin.ready()
    await cluster.start_apiserver()

    assert await cluster.admin.exists("/api/v1/namespaces/default/configmaps/kept")


async def test_clusters_sign_tokens_with_keys_of_their_own(control_planes: dict[str, ControlPlane]) -> None:
    key_sets = [await cluster.admin.get("/openid/v1/jwks") for cluster in control_planes.values()]
    ids = {key["kid"] for key_set in key_sets for key in key_set["keys"]}

    assert len(key_sets) == 3
    assert len(ids) == 3


async def _run_job(cluster: ControlPlane, namespace: str, labels: dict[str, str]) -> dict[str, Any]:
    """Make a Job that tries once; its status when it has ended."""
    jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    container = {"name": "work", "image": "registry.invalid/work:1"}
    template = {
        "metadata": {"labels": labels},
        "spec": {"restartPolicy": "Never", "containers": [container]},
    }
    body = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "work"},
        "spec": {"backoffLimit": 0, "template": template},
    }
    await cluster.admin.create(jobs, body)
    status: dict[str, Any] = {}

    async def has_ended() -> bool:
        status.update((await cluster.admin.get(f"{jobs}/work"))["status"])
        conditions = {one["type"] for one in status.get("conditions", []) if one["status"] == "True"}
        return bool({"Complete", "Failed"} & conditions)

    assert await wait_until(has_ended, SystemClock(), timeout_s=60)
    return status


def _claims(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims
