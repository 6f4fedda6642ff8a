"""Values from OpenBao into the clusters that are bound, and nowhere else: not into others, not into any file."""

from __future__ import annotations

import asyncio
import base64
import secrets
from pathlib import Path

from fleetbus.local.demo.repository import Repository
from tests.e2e.operator_story import CLOCK, Operator, binding, bundle, namespace, source, until

BOUND = ["staging-eu", "prod-us"]


async def _namespace(operator: Operator, repository: Repository, name: str) -> None:
    repository.write("namespace.json", namespace(name))
    await repository.commit("first")
    await operator.apply(source(name, repository), bundle(name, {"selector": {}}), wait=True)


async def _until_secret(operator: Operator, name: str, wanted: dict[str, str | None]) -> None:
    async def so() -> bool:
        return {cluster: await operator.secret(cluster, name, name) for cluster in wanted} == wanted

    await until(so, lambda: f"the Secret {name} is not as it must be", 60)


async def test_a_shared_secret_goes_to_the_bound_clusters_and_comes_back(
    operator: Operator, repository: Repository
) -> None:
    name = "shared-one"
    first, second = secrets.token_hex(12), secrets.token_hex(12)
    await _namespace(operator, repository, name)
    await operator.put_secret(f"shared/{name}", value=first)
    await operator.run("secret", "share", name, "--fleet-dir", operator.fleet.folder)

    await operator.apply(binding(name, BOUND, {"shared": name}, name), wait=True)
    await _until_secret(operator, name, {"dev-eu": None, "staging-eu": first, "prod-us": first})

    await operator.put_secret(f"shared/{name}", value=second)
    await _until_secret(operator, name, {"dev-eu": None, "staging-eu": second, "prod-us": second})
    for cluster in BOUND:
        await operator.until_event("secret.rotated", f"secretbinding/{name}", cluster)

    # What somebody else changes in the Secret is put back.
    path = f"/api/v1/namespaces/{name}/secrets/{name}"
    await operator.fleet.clusters["prod-us"].admin.delete(path)
    await _until_secret(operator, name, {"prod-us": second})

    revoked = await operator.run("secret", "revoke", name, "--yes", "--reason", "test")
    await _until_secret(operator, name, {"dev-eu": None, "staging-eu": None, "prod-us": None})
    for cluster in BOUND:
        assert cluster in revoked.out + revoked.err
    # The agents' credentials no longer reach it.
    assert len(operator.events("secret.synced", f"secretbinding/{name}", "dev-eu")) == 0


async def test_a_secret_of_one_cluster_is_that_cluster_s(operator: Operator, repository: Repository) -> None:
    name = "own-one"
    await _namespace(operator, repository, name)
    values = {cluster: secrets.token_hex(12) for cluster in BOUND}
    for cluster, value in values.items():
        await operator.put_secret(f"main/{cluster}/{name}", value=value)

    await operator.apply(binding(name, BOUND, {"path": name}, name), wait=True)

    await _until_secret(operator, name, {"dev-eu": None, **values})


async def test_no_file_of_the_fleet_holds_a_secret_s_value(
    operator: Operator, repository: Repository
) -> None:
    """The canary: the bound cluster's etcd and OpenBao's storage are the only places allowed."""
    name = "canary"
    canary = f"canary{secrets.token_hex(16)}"
    await _namespace(operator, repository, name)
    await operator.put_secret(f"shared/{name}", value=canary)
    await operator.run("secret", "share", name, "--fleet-dir", operator.fleet.folder)
    await operator.apply(binding(name, ["prod-us"], {"shared": name}, name), wait=True)
    await _until_secret(operator, name, {"prod-us": canary, "dev-eu": None})
    # Refused while it is away, revoked afterwards: messages of failures must not hold it either.
    await operator.fleet.vault.seal()
    await operator.until_condition(f"secretbinding/{name}", "Synced", reason="VaultSealed", timeout_s=60)
    await operator.fleet.vault.unseal()
    await operator.until_condition(f"secretbinding/{name}", "Ready", status="True", timeout_s=60)
    for words in (
        ("describe", f"secretbinding/{name}"),
        ("events", "-o", "json"),
        ("get", "sb", "-o", "yaml"),
    ):
        assert canary not in (await operator.run(*words)).out

    allowed = (operator.fleet.clusters["prod-us"].etcd_dir, operator.fleet.vault.storage)
    forms = [canary.encode(), base64.b64encode(canary.encode()).rstrip(b"=")[:-2]]
    found = await asyncio.to_thread(_grep, operator.fleet.dir, forms, allowed)
    assert found == []
    # The search finds what is there: in OpenBao it is sealed, in etcd it lies open.
    assert await asyncio.to_thread(_grep, allowed[0], forms, ()) != []


def _grep(folder: Path, forms: list[bytes], allowed: tuple[Path, ...]) -> list[str]:
    found = []
    for file in folder.rglob("*"):
        if not file.is_file() or any(file.is_relative_to(place) for place in allowed):
            continue
        try:
            content = file.read_bytes()
        except OSError:
            continue
        if any(form in content for form in forms):
            found.append(str(file))
    return found


async def test_revoking_takes_less_than_a_moment(operator: Operator, repository: Repository) -> None:
    """The receipts are in when the command returns."""
    name = "receipts"
    await _namespace(operator, repository, name)
    await operator.put_secret(f"shared/{name}", value="soon gone")
    await operator.run("secret", "share", name, "--fleet-dir", operator.fleet.folder)
    await operator.apply(binding(name, BOUND, {"shared": name}, name), wait=True)
    began = CLOCK.monotonic_s()

    await operator.run("secret", "revoke", name, "--yes", "--reason", "test")

    for cluster in BOUND:
        assert await operator.secret(cluster, name, name) is None
    print(f"revoked with receipts in {CLOCK.monotonic_s() - began:.1f} s")
