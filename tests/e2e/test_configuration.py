"""From a commit into the clusters, as an operator sees it through the command."""

from __future__ import annotations

import json

from fleetbus.local.demo.repository import Repository
from tests.e2e.operator_story import CLOCK, Operator, bundle, config_map, namespace, source, until

NOT_PROD = {"selector": {"matchExpressions": [{"key": "env", "operator": "NotIn", "values": ["prod"]}]}}
ALL: dict[str, object] = {"selector": {}}


async def test_clusters_report_what_they_are(operator: Operator) -> None:
    found = {
        one["metadata"]["name"]: one
        for one in (await operator.run("get", "clusters", "-o", "json")).json["items"]
    }

    details = {name: one["status"]["details"] for name, one in found.items()}
    assert set(found) == {"dev-eu", "staging-eu", "prod-us"}
    assert {name: one["region"] for name, one in details.items()} == {
        "dev-eu": "eu-west-1",
        "staging-eu": "eu-central-1",
        "prod-us": "us-east-1",
    }
    assert all(one["nodes"] == 3 and one["kubernetesVersion"].startswith("v1.") for one in details.values())
    for name in found:
        assert len(operator.events("cluster.registered", f"cluster/{name}")) == 1


async def test_a_bundle_follows_its_source_on_the_clusters_that_match(
    operator: Operator, repository: Repository
) -> None:
    name = "follows"
    repository.write("namespace.json", namespace(name))
    repository.write("one.json", config_map(name, "one", "first"))
    repository.write("two.json", config_map(name, "two", "first"))
    await repository.commit("first")

    await operator.apply(source(name, repository), bundle(name, NOT_PROD), wait=True)

    await operator.until_value({"dev-eu": "first", "staging-eu": "first", "prod-us": None}, name, "one")
    out = await operator.run("explain", f"bundle/{name}", "--cluster", "prod-us")
    assert "env" in out.out

    repository.write("one.json", config_map(name, "one", "second"))
    repository.remove("two.json")
    await repository.commit("second")
    await operator.run("sync", f"source/{name}", "--wait")

    assert await operator.value("dev-eu", name, "one") == "second"
    assert await operator.value("staging-eu", name, "one") == "second"
    await operator.until_value({"dev-eu": None, "staging-eu": None}, name, "two")
    await operator.until_event("bundle.pruned", f"bundle/{name}", "dev-eu")

    await operator.run("delete", f"bundle/{name}", "--yes", "--wait")
    await operator.until_value({"dev-eu": None, "staging-eu": None}, name, "one")
    await operator.until_event("bundle.deleted", f"bundle/{name}")
    assert (await operator.run("get", f"bundle/{name}", code=1)).err.startswith("error[FB1002]")


async def test_a_hand_edit_is_put_back(operator: Operator, repository: Repository) -> None:
    name = "edited"
    repository.write("namespace.json", namespace(name))
    repository.write("one.json", config_map(name, "one", "wanted"))
    await repository.commit("first")
    await operator.apply(source(name, repository), bundle(name, {"clusters": ["dev-eu"]}), wait=True)

    patch = json.dumps({"data": {"value": "edited"}})
    words = (
        "--context",
        "dev-eu",
        "--namespace",
        name,
        "patch",
        "configmap",
        "one",
        "--type",
        "merge",
        "-p",
        patch,
    )
    assert (await operator.ask("kubectl", *words)).code == 0

    await operator.until_value({"dev-eu": "wanted"}, name, "one", timeout_s=10)
    await operator.until_event("bundle.drift-corrected", f"bundle/{name}", "dev-eu")
    deleted = await operator.ask(
        "kubectl", "--context", "dev-eu", "--namespace", name, "delete", "configmap", "one"
    )
    assert deleted.code == 0
    await operator.until_value({"dev-eu": "wanted"}, name, "one", timeout_s=10)


async def test_an_emptied_source_is_held_until_its_count_is_typed(
    operator: Operator, repository: Repository
) -> None:
    name = "emptied"
    repository.write("app/namespace.json", namespace(name))
    for number in range(8):
        repository.write(f"app/{number}.json", config_map(name, f"c{number}", "here"))
    await repository.commit("nine objects")
    await operator.apply(source(name, repository), bundle(name, {"clusters": ["dev-eu"]}, "app"), wait=True)

    repository.remove("app")
    repository.write("README", "nothing")
    await repository.commit("nothing is left")
    await operator.run("sync", f"source/{name}", code=1)

    held = await operator.until_condition(f"bundle/{name}", "Ready", status="False")
    assert held["reason"] == "PruneHeld", held
    assert "9" in held["message"], held
    await operator.until_event("bundle.held", f"bundle/{name}")
    assert await operator.value("dev-eu", name, "c0") == "here"
    wrong = await operator.run("release", f"bundle/{name}", "--prune", "3", code=1)
    assert "9" in wrong.err
    await operator.run("release", f"bundle/{name}", "--prune", "9")

    await operator.until_value({"dev-eu": None}, name, "c0")
    await operator.until_event("bundle.released", f"bundle/{name}")


async def test_a_bundle_s_objects_come_in_their_order(operator: Operator, repository: Repository) -> None:
    """A CRD, its object and a namespace in one commit, named so that the order of files is the wrong one."""
    name = "ordered"
    group = "ordered.example.com"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"things.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": "Thing", "plural": "things"},
            "versions": [
                {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
            ],
        },
    }
    thing = {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": "a", "namespace": name}}
    rule = {"apiGroups": [group], "resources": ["things"], "verbs": ["*"]}
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "things", "labels": {"fleetbus.dev/aggregate-to-agent": "true"}},
        "rules": [rule],
    }
    repository.write("a.json", json.dumps(thing))
    repository.write("b.json", json.dumps(crd))
    repository.write("c.json", namespace(name))
    await repository.commit("everything at once")
    for plane in operator.fleet.clusters.values():
        await plane.admin.create("/apis/rbac.authorization.k8s.io/v1/clusterroles", role)

    await operator.apply(source(name, repository), bundle(name, ALL), wait=True)

    for cluster in operator.fleet.clusters:
        assert await operator.read(cluster, f"/apis/{group}/v1/namespaces/{name}/things/a") is not None


async def test_a_subscriber_resumes_without_a_gap(operator: Operator) -> None:
    """`events -o json` from a sequence on: exactly what comes after it."""
    await operator.settled()
    everything = [json.loads(line) for line in (await _events(operator, "0")).splitlines()]
    middle = everything[len(everything) // 2]["sequence"]

    rest = [json.loads(line) for line in (await _events(operator, str(middle))).splitlines()]

    assert [one["sequence"] for one in everything] == sorted(one["sequence"] for one in everything)
    assert len({one["id"] for one in everything}) == len(everything)
    wanted = [one["id"] for one in everything if one["sequence"] > middle]
    assert [one["id"] for one in rest][: len(wanted)] == wanted


async def _events(operator: Operator, since: str) -> str:
    return (await operator.run("events", "--since", since, "-o", "json")).out


async def test_the_look_around_commands_answer(operator: Operator) -> None:
    status = await operator.run("status")
    assert status.out.startswith("Fleet")
    # Documents of other tests may be in error, which is a finding; what the doctor reaches is not.
    doctor = await operator.ask("fleetbus", "doctor")
    assert doctor.code in (0, 1)
    assert "3 clusters connected" in doctor.out
    assert "controller" in (await operator.run("version")).out.lower()
    described = await operator.run("describe", "cluster/prod-us")
    assert "us-east-1" in described.out
    assert "\x1b" not in status.out + described.out


async def test_watching_shows_a_change(operator: Operator) -> None:
    """`get -w` in a pipe: a line a change."""
    name = "watched"
    watching = CLOCK.monotonic_s()
    async with operator.fleet.connect() as fleet:
        seen: list[str] = []
        async for result in fleet.watch("SecretBinding", names=(name,)):
            seen.append("there" if result.rows else "not there")
            if not result.rows and len(seen) > 1:
                break
            if not result.rows:
                document = {
                    "vault": {"path": "x"},
                    "placement": {},
                    "target": {"namespace": "a", "name": "b"},
                }
                await operator.apply(
                    {
                        "apiVersion": "fleetbus.dev/v1alpha1",
                        "kind": "SecretBinding",
                        "metadata": {"name": name},
                        "spec": document,
                    }
                )
            elif seen[-2:] == ["not there", "there"]:
                await operator.run("delete", f"secretbinding/{name}", "--yes")
            assert CLOCK.monotonic_s() - watching < 60
    assert seen[0] == "not there"
    assert "there" in seen


async def test_the_prod_overlay_is_rendered_by_kustomize(operator: Operator, repository: Repository) -> None:
    name = "overlaid"
    repository.write("base/namespace.json", namespace(name))
    repository.write("base/one.json", config_map(name, "one", "base"))
    repository.write("base/kustomization.yaml", "resources: [namespace.json, one.json]\n")
    repository.write("prod/patch.json", config_map(name, "one", "prod"))
    repository.write("prod/kustomization.yaml", "resources: [../base]\npatches: [{path: patch.json}]\n")
    await repository.commit("first")
    prod = bundle(name, {"clusters": ["prod-us"]}, "prod")
    base = bundle(name, {"clusters": ["dev-eu"]}, "base")
    base["metadata"] = {"name": f"{name}-base"}

    await operator.apply(source(name, repository), prod, base, wait=True)

    await operator.until_value({"dev-eu": "base", "prod-us": "prod", "staging-eu": None}, name, "one")
    await until(lambda: _both_healthy(operator, name), lambda: "bundle.healthy is missing", 30)


async def _both_healthy(operator: Operator, name: str) -> bool:
    return all(operator.events("bundle.healthy", f"bundle/{one}") for one in (name, f"{name}-base"))
