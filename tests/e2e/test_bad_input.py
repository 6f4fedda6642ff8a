"""What bad input gets: one sentence that names the document, the object and what to do; and nothing else stops."""

from __future__ import annotations

import json
from typing import Any

from fleetbus.local.demo.repository import Repository
from tests.e2e.operator_story import Operator, binding, bundle, config_map, namespace, source

DEV = {"clusters": ["dev-eu"]}


async def test_a_malformed_document_names_file_line_and_column(operator: Operator) -> None:
    file = operator.folder / "bad.yaml"
    file.write_text("apiVersion: fleetbus.dev/v1alpha1\nkind: Source\nmetadata:\n  name: [unclosed\n")

    said = await operator.run("apply", "-f", "bad.yaml", code=1)

    assert "bad.yaml:" in said.err
    assert said.out == ""


async def test_an_unknown_field_gets_a_suggestion(operator: Operator) -> None:
    file = operator.folder / "typo.yaml"
    document = "apiVersion: fleetbus.dev/v1alpha1\nkind: Bundle\nmetadata:\n  name: typo\nspec:\n"
    file.write_text(document + "  source: typo\n  placment: {}\n")

    said = await operator.run("apply", "-f", "typo.yaml", code=1)

    assert "typo.yaml:7:3" in said.err
    assert "placement" in said.err
    # What was not valid was not written.
    await operator.run("get", "bundle/typo", code=1)


async def test_wrong_usage_is_64(operator: Operator) -> None:
    assert "Did you mean" in (await operator.run("aply", code=64)).err
    await operator.run("get", "clusters", "--nope", code=64)
    await operator.run("get", "nothings", code=64)
    assert "Did you mean" in (await operator.run("local", "stats", code=64)).err


async def test_an_unreachable_bus_is_69(operator: Operator) -> None:
    config = operator.folder / "away.yaml"
    seed = operator.fleet.shell_variables()["FLEETBUS_CONFIG"]
    text = (await operator.ask("cat", seed)).out
    config.write_text(text.replace(operator.fleet.nats.url.rpartition(":")[2], "1"))

    said = await operator.ask("fleetbus", "get", "clusters", environment={"FLEETBUS_CONFIG": str(config)})

    assert said.code == 69
    assert "127.0.0.1" in said.err


async def test_an_unknown_ref_is_said_and_mended(operator: Operator, repository: Repository) -> None:
    repository.write("one.json", config_map("default", "unknown-ref", "here"))
    await repository.commit("first")
    await operator.apply(source("unknown-ref", repository, tag="v9"))

    found = await operator.until_condition("source/unknown-ref", "Ready", status="False")

    assert found["reason"] == "RevisionNotFound"
    assert "v9" in found["message"]
    await operator.until_event("source.failed", "source/unknown-ref")
    said = await operator.run("wait", "source/unknown-ref", code=1)
    assert "v9" in said.out
    await operator.apply(source("unknown-ref", repository), wait=True)


async def test_a_file_that_is_no_object_keeps_the_last_good_state(
    operator: Operator, repository: Repository
) -> None:
    name = "no-object"
    repository.write("namespace.json", namespace(name))
    repository.write("one.json", config_map(name, "one", "good"))
    await repository.commit("first")
    await operator.apply(source(name, repository), bundle(name, DEV), wait=True)
    repository.write("bad.yaml", "just: a map\n")
    repository.write("one.json", config_map(name, "one", "never"))
    await repository.commit("bad")

    said = await operator.run("sync", f"source/{name}", code=1)

    assert "bad.yaml" in said.out

    found = await operator.until_condition(f"bundle/{name}", "Ready", status="False")
    assert found["reason"] == "RenderFailed"
    assert "bad.yaml" in found["message"]
    assert await operator.value("dev-eu", name, "one") == "good"
    await operator.until_event("bundle.render-failed", f"bundle/{name}")
    await operator.run("delete", f"bundle/{name}", "--yes", "--wait")


async def test_the_second_bundle_of_an_object_is_refused(operator: Operator, repository: Repository) -> None:
    name = "owned"
    repository.write("a/namespace.json", namespace(name))
    repository.write("a/one.json", config_map(name, "one", "first"))
    repository.write("b/one.json", config_map(name, "one", "second"))
    repository.write("b/two.json", config_map(name, "two", "second"))
    await repository.commit("two that want one")
    second: dict[str, Any] = bundle(name, DEV, "b") | {"metadata": {"name": "owned-second"}}
    await operator.apply(source(name, repository), bundle(name, DEV, "a"), wait=True)

    await operator.apply(second)

    found = await operator.until_condition("bundle/owned-second", "Ready", status="False")
    assert found["reason"] == "OwnedByOtherBundle"
    assert "owned" in found["message"]
    assert await operator.value("dev-eu", name, "one") == "first"
    # The rest of the refused bundle is there.
    await operator.until_value({"dev-eu": "second"}, name, "two")
    await operator.until_event("bundle.apply-failed", "bundle/owned-second", "dev-eu")
    await operator.run("delete", "bundle/owned-second", "--yes", "--wait")
    assert await operator.value("dev-eu", name, "one") == "first"


async def test_an_object_that_admission_refuses_stops_no_other(
    operator: Operator, repository: Repository
) -> None:
    name = "refused"
    container = {"name": "a", "image": "registry.example.com/a:1", "securityContext": {"privileged": True}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "privileged", "namespace": name},
        "spec": {"containers": [container]},
    }
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    repository.write("namespace.json", namespace(name, **labels))
    repository.write("pod.json", json.dumps(pod))
    repository.write("one.json", config_map(name, "one", "here"))
    await repository.commit("first")

    await operator.apply(source(name, repository), bundle(name, DEV))

    found = await operator.until_condition(f"bundle/{name}", "Ready", status="False")
    assert found["reason"] == "ApplyRefused"
    assert "privileged" in found["message"]
    await operator.until_value({"dev-eu": "here"}, name, "one")
    described = (await operator.run("describe", f"bundle/{name}")).out
    assert "Pod" in described
    assert (await operator.condition("cluster/dev-eu"))["reason"] == "BundleNotReady"
    await operator.run("delete", f"bundle/{name}", "--yes", "--wait")
    await operator.until_condition("cluster/dev-eu", "Ready", status="True")


async def test_a_path_that_vault_forbids(operator: Operator, repository: Repository) -> None:
    """The owner takes the policy of a shared secret away."""
    name = "forbidden"
    repository.write("namespace.json", namespace(name))
    await repository.commit("first")
    await operator.apply(source(name, repository), bundle(name, DEV), wait=True)
    await operator.put_secret(f"shared/{name}", value="x")
    await operator.run("secret", "share", name, "--fleet-dir", operator.fleet.folder)
    policy = operator.folder / "none.hcl"
    policy.write_text('path "secret/data/shared/nothing" { capabilities = ["deny"] }\n')
    said = await operator.ask("bao", "policy", "write", f"fleetbus-shared-{name}", policy)
    assert said.code == 0, said

    await operator.apply(binding(name, ["dev-eu"], {"shared": name}, name))

    found = await operator.until_condition(f"secretbinding/{name}", "Ready", status="False")
    assert found["reason"] == "VaultForbidden"
    assert f"shared/{name}" in found["message"]
    await operator.until_event("secret.failed", f"secretbinding/{name}", "dev-eu")
    await operator.run("secret", "share", name, "--fleet-dir", operator.fleet.folder)
    await operator.until_condition(f"secretbinding/{name}", "Ready", status="True")


async def test_a_secret_that_nobody_shared(operator: Operator) -> None:
    await operator.apply(binding("unshared", ["dev-eu"], {"shared": "unshared"}, "default"))

    found = await operator.until_condition("secretbinding/unshared", "Ready", status="False")

    assert found["reason"] == "SharedSecretUnknown"
    assert "fleetbus secret share unshared" in found["message"]
    await operator.run("delete", "secretbinding/unshared", "--yes", "--wait")


async def test_a_secret_that_somebody_else_owns_is_left_alone(operator: Operator) -> None:
    name = "not-ours"
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": "default"},
        "stringData": {"value": "theirs"},
    }
    await operator.fleet.clusters["dev-eu"].admin.create("/api/v1/namespaces/default/secrets", body)
    await operator.put_secret(f"main/dev-eu/{name}", value="ours")

    await operator.apply(binding(name, ["dev-eu"], {"path": name}, "default"))

    found = await operator.until_condition(f"secretbinding/{name}", "Ready", status="False")
    assert found["reason"] == "SecretNotOurs"
    assert await operator.secret("dev-eu", "default", name) == "theirs"
    await operator.run("delete", f"secretbinding/{name}", "--yes", "--wait")
    assert await operator.secret("dev-eu", "default", name) == "theirs"


async def test_an_unknown_cluster_and_an_unknown_driver(operator: Operator) -> None:
    unknown = await operator.run("command", "run", "--cluster", "nowhere", "--arg", "image=x", code=1)
    assert "nowhere" in unknown.err
    said = await operator.run(
        "command", "run", "--cluster", "dev-eu", "--driver", "magic", "--wait", "--deadline", "20s", code=1
    )
    assert "magic" in said.out + said.err


async def test_what_is_not_there_is_said(operator: Operator) -> None:
    for words in (
        ("describe", "bundle/nothing"),
        ("delete", "bundle/nothing", "--yes"),
        ("sync", "source/nothing"),
        ("release", "bundle/nothing", "--prune", "1"),
        ("secret", "revoke", "nothing", "--yes"),
        ("command", "cancel", "nothing"),
    ):
        said = await operator.run(*words, code=1)
        assert "nothing" in said.err, said
        assert "help" in said.err or "explain" in said.err, said
