"""A protected cluster, from its owner's object to the last approval: keys in a file, in an SSH agent, in Vault."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fleetbus.local.demo.repository import Repository
from tests.approvers import PATH
from tests.e2e.operator_story import Operator, binding, bundle, config_map, namespace, source, until
from tests.ssh_agent import SshAgent, ssh_agent

CLUSTER = "staging-eu"
NAME = "guarded"


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[SshAgent]:
    async with ssh_agent(tmp_path) as running:
        await running.add("ben@laptop")
        yield running


@pytest.fixture
async def keys(operator: Operator, agent: SshAgent) -> AsyncIterator[dict[str, str]]:
    """Approver → `--key`. The cluster asks for two of them, and for nobody any more afterwards."""
    found = {"ana": "ana.seed", "ben": "agent:ben@laptop", "cyd": "vault-transit:transit-approvers/cyd"}
    approvers = []
    for name, key in found.items():
        said = await operator.ask(
            "fleetbus", "approver", "create", name, "--key", key, environment=agent.environment
        )
        assert said.code == 0, said
        again = await operator.ask(
            "fleetbus", "approver", "create", name, "--key", key, environment=agent.environment
        )
        assert again.out == said.out
        public = said.out.removeprefix(f"- {{name: {name}, key: ").rstrip("}\n")
        approvers.append({"name": name, "key": public})
    admin = operator.fleet.clusters[CLUSTER].admin
    spec = {"required": 2, "approvers": approvers}
    metadata = {"name": "fleetbus", "namespace": "fleetbus-system"}
    await admin.create(
        PATH,
        {
            "apiVersion": "agent.fleetbus.dev/v1alpha1",
            "kind": "Protection",
            "metadata": metadata,
            "spec": spec,
        },
    )
    await operator.until_condition(f"cluster/{CLUSTER}", "Approved", status="True", reason="Approved")
    yield found
    await admin.merge(f"{PATH}/fleetbus", {"spec": {"required": 0}})
    await operator.until_condition(f"cluster/{CLUSTER}", "Approved", reason="NotProtected")
    await admin.delete(f"{PATH}/fleetbus")


async def approve(operator: Operator, agent: SshAgent, key: str, *words: str, code: int = 0) -> str:
    said = await operator.ask(
        *("fleetbus", "approve", f"cluster/{CLUSTER}", "--key", key, "--yes", *words),
        environment=agent.environment,
    )
    assert said.code == code, said
    return said.out + said.err


async def test_two_approvers_let_a_change_a_removal_and_a_command_through(
    operator: Operator, agent: SshAgent, keys: dict[str, str], repository: Repository
) -> None:
    on = {"clusters": [CLUSTER, "dev-eu"]}
    repository.write("namespace.json", namespace(NAME))
    repository.write("one.json", config_map(NAME, "one", "first"))
    repository.write("two.json", config_map(NAME, "two", "first"))
    await repository.commit("first")
    await operator.apply(source(NAME, repository), bundle(NAME, on))
    await operator.until_value({"dev-eu": "first"}, NAME, "one")

    condition = await operator.until_condition(f"bundle/{NAME}", "Applied", reason="ChangeNotApproved")
    assert condition["status"] == "Unknown"
    assert f"{CLUSTER}: waits for approvals" in condition["message"]
    await operator.until_condition(f"cluster/{CLUSTER}", "Approved", reason="ApprovalMissing")
    listed = (await operator.run("approve")).out
    assert listed.split()[6:8] == [CLUSTER, "set"]
    assert "0/2" in listed
    shown = (await operator.run("approve", f"cluster/{CLUSTER}")).out
    assert f"bundle {NAME}" in shown
    assert f"+ ConfigMap {NAME}/one" in shown
    assert "removes nothing" in shown
    described = (await operator.run("describe", f"cluster/{CLUSTER}")).out
    assert "2 of 3 must approve (ana, ben, cyd); 1 change waiting" in described

    (operator.folder / "eve.seed").write_text("SUAFH3JQCZ3OIEXAMPLE")
    refused = await approve(operator, agent, "eve.seed", code=1)
    assert "others may read this key" in refused
    await operator.run("approver", "create", "eve", "--key", "real-eve.seed")
    assert "does not know the key" in await approve(operator, agent, "real-eve.seed", code=77)

    assert "approved by ana: 1 of 2" in await approve(operator, agent, keys["ana"], "--reason", "CHG-311")
    await operator.until_event("cluster.approval-given", f"cluster/{CLUSTER}")
    assert await operator.value(CLUSTER, NAME, "one") is None
    assert "has your approval already" in await approve(operator, agent, keys["ana"])
    assert "approved by ben: 2 of 2" in await approve(operator, agent, keys["ben"])
    await operator.until_value({CLUSTER: "first"}, NAME, "one")
    await operator.until_condition(f"bundle/{NAME}", "Ready", status="True")
    for type_ in ("cluster.protected", "cluster.approval-needed", "cluster.approved"):
        await operator.until_event(type_, f"cluster/{CLUSTER}")

    repository.remove("two.json")
    await repository.commit("second")
    await operator.run("sync", f"source/{NAME}")
    await operator.until_condition(f"cluster/{CLUSTER}", "Approved", reason="ApprovalMissing")
    said = await approve(operator, agent, keys["cyd"])
    assert f"- ConfigMap {NAME}/two" in said
    assert "removes at most 1 object" in said
    await until_given(operator, 1)
    await approve(operator, agent, keys["ana"])
    await operator.until_value({CLUSTER: None}, NAME, "two")

    identifier = await operator.command(CLUSTER, "--driver", "rehearsal", "--arg", "steps=1")
    await until_given(operator, 0)
    assert "driver rehearsal" in await approve(operator, agent, keys["ana"], "--only", identifier)
    await until_given(operator, 1)
    await approve(operator, agent, keys["ben"])
    await operator.until_phase(identifier, "Succeeded")

    audited = (await operator.run("audit", "--action", "approval", "-o", "json")).out
    assert "signed by ana" in audited
    assert "CHG-311" in audited


async def test_a_revoked_secret_goes_without_approvals(
    operator: Operator, agent: SshAgent, keys: dict[str, str]
) -> None:
    """What only takes access away does not wait."""
    await operator.put_secret(f"main/{CLUSTER}/{NAME}", value="first")
    await operator.apply(binding(NAME, [CLUSTER], {"path": NAME}, "default"))
    await until_given(operator, 0)
    assert f"secret {NAME} new" in await approve(operator, agent, keys["ana"])
    await until_given(operator, 1)
    await approve(operator, agent, keys["ben"])
    await operator.run("wait", f"secretbinding/{NAME}")
    assert await operator.secret(CLUSTER, "default", NAME) == "first"

    said = await operator.run("secret", "revoke", NAME, "--yes", "--reason", "INC-4711")

    assert f"{CLUSTER} ok" in said.out
    assert await operator.read(CLUSTER, f"/api/v1/namespaces/default/secrets/{NAME}") is None
    await operator.until_condition(f"cluster/{CLUSTER}", "Approved", reason="Approved")


async def until_given(operator: Operator, count: int) -> None:
    """Until the cluster itself waits with so many approvals."""
    seen: list[list[str]] = []

    async def so() -> bool:
        rows = (await operator.client.approvals(CLUSTER)).rows
        seen[:] = [list(one.approved_by) for row in rows for one in row.protection.waiting]
        return [len(one) for one in seen] == [count]

    await until(so, lambda: json.dumps(seen), 60)
