"""A secret binding's life: Vault first, then the clusters, then their receipts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from fleetbus.controller.capabilities.secrets import CAPABILITY
from fleetbus.controller.capabilities.secrets.placing import release
from fleetbus.controller.capabilities.secrets.reconcile import explain
from fleetbus.schemas.capabilities import secrets as words
from fleetbus.schemas.capabilities.secrets import SecretState
from fleetbus.schemas.conditions import READY
from fleetbus.schemas.documents import Revocation
from fleetbus.schemas.errors import DocumentInvalid, FleetbusError, NotFound, VaultForbidden, VaultUnavailable
from tests.unit.controller.fleet import FACTS, NOW, Desk, cluster, condition, reporting, stored, types

KEY = ("SecretBinding", "payments")
OTHER = ("SecretBinding", "reports")
REVOKED = Revocation(at=NOW, by="ana", reason="leaked")


class Groups:
    """Vault's groups as far as the controller sees them."""

    def __init__(self) -> None:
        self.members: dict[str, frozenset[str]] = {"fleetbus-db": frozenset()}
        self.failing: FleetbusError | None = None
        self.calls = 0

    async def group_members(self, group: str) -> frozenset[str]:
        self.calls += 1
        if self.failing:
            raise self.failing
        if group not in self.members:
            raise NotFound("there is no such group", where=group)
        return self.members[group]

    async def set_group_members(self, group: str, entities: Iterable[str]) -> None:
        self.members[group] = frozenset(entities)


@pytest.fixture
def groups() -> Groups:
    return Groups()


@pytest.fixture
def desk(groups: Groups, tmp_path: Path) -> Desk:
    made = Desk(CAPABILITY, tmp_path, groups)
    made.join(cluster("c1", {"env": "prod"}), cluster("c2", {"env": "prod"}), cluster("c3", {"env": "dev"}))
    made.put(stored("SecretBinding", "payments", spec()))
    return made


def spec(env: str = "prod", **more: Any) -> dict[str, Any]:
    return {
        "vault": {"shared": "db"},
        "placement": {"selector": {"matchLabels": {"env": env}}},
        "target": {"namespace": "payments", "name": "db"},
        "refresh": "1m30s",
        **more,
    }


def report(desk: Desk, *names: str, key: tuple[str, str] = KEY, **more: Any) -> None:
    document = desk.documents[key]
    for name in names:
        state = {
            "id": document.uid,
            "name": document.name,
            "generation": document.generation,
            "version": 3,
            "condition": condition("Synced", "True", "SecretSynced"),
            **more,
        }
        body = {"secrets": [SecretState.model_validate(state).as_json()]}
        desk.clusters[name] = reporting(desk.clusters[name], words.ASPECT, body)


def told(desk: Desk, name: str) -> dict[str, Any] | None:
    assert desk.capability.section is not None
    section = desk.capability.section(desk.clusters[name], desk.view(), NOW)
    assert section is not None
    entries: list[dict[str, Any]] = list(section.content["secrets"])
    return entries[0] if entries else None


def retired(desk: Desk, name: str) -> list[str]:
    assert desk.capability.retired is not None
    return [one.policy for one in desk.capability.retired(desk.clusters[name], desk.view(), NOW)]


def relabel(desk: Desk, name: str, env: str) -> None:
    desk.join(cluster(name, {"env": env}, states=desk.clusters[name].states))


async def settle(desk: Desk) -> None:
    await desk.reconcile(KEY)
    report(desk, "c1", "c2")
    await desk.reconcile(KEY)


async def test_a_shared_secret_is_granted_told_and_synced(desk: Desk, groups: Groups) -> None:
    _, happened = await desk.reconcile(KEY)
    assert groups.members["fleetbus-db"] == {"entity-c1", "entity-c2"}
    assert types(happened) == ["secret.bound"]
    assert desk.verdict(KEY, READY) == ("Unknown", "SecretPending")
    entry = told(desk, "c1")
    assert entry is not None
    assert (entry["path"], entry["namespace"], entry["secret"], entry["refreshS"], entry["revoked"]) == (
        "shared/db",
        "payments",
        "db",
        90.0,
        False,
    )
    assert told(desk, "c3") is None
    report(desk, "c1", "c2")
    _, happened = await desk.reconcile(KEY)
    assert types(happened) == ["secret.synced"]
    assert desk.verdict(KEY, READY) == ("True", "Ready")
    assert (desk.statuses[KEY].details["synced"], desk.statuses[KEY].details["version"]) == (2, 3)
    calls = groups.calls
    await desk.reconcile(KEY)
    assert groups.calls == calls, "Vault is not asked at every report"


async def test_a_clusters_own_path_lies_below_its_realm_and_name(desk: Desk) -> None:
    desk.change(KEY, spec=spec(vault={"path": "team/db"}))
    await desk.reconcile(KEY)
    entry = told(desk, "c2")
    assert entry is not None
    assert entry["path"] == "main/c2/team/db"
    assert desk.verdict(KEY, "Bound") == ("True", "Bound")


@pytest.mark.parametrize(
    ("error", "verdict", "words_"),
    [
        (NotFound("no"), ("False", "SharedSecretUnknown"), "fleetbus secret share db"),
        (VaultUnavailable("sealed"), ("Unknown", "VaultUnavailable"), "sealed"),
        (VaultForbidden("403"), ("False", "VaultForbidden"), "fleetbus-db"),
    ],
)
async def test_what_vault_refuses_is_said(
    desk: Desk, groups: Groups, error: FleetbusError, verdict: tuple[str, str], words_: str
) -> None:
    groups.failing = error
    outcome, happened = await desk.reconcile(KEY)
    assert desk.verdict(KEY, "Bound") == verdict
    assert words_ in desk.condition(KEY, "Bound").message
    assert outcome.again_in_s is not None
    assert outcome.again_in_s < 10
    assert types(happened) == (["secret.failed"] if verdict[0] == "False" else [])
    groups.failing = None
    await desk.reconcile(KEY)
    assert desk.verdict(KEY, "Bound") == ("True", "Bound")


async def test_a_cluster_without_an_entity_is_named(desk: Desk, groups: Groups) -> None:
    desk.join(cluster("c2", {"env": "prod"}, entity=""))
    await desk.reconcile(KEY)
    assert desk.verdict(KEY, "Bound") == ("False", "VaultEntityMissing")
    assert "c2" in desk.condition(KEY, "Bound").message
    assert groups.members["fleetbus-db"] == {"entity-c1"}


async def test_what_fails_in_a_cluster_is_named(desk: Desk) -> None:
    await settle(desk)
    report(desk, "c2", condition=condition("Synced", "False", "SecretNotFound", "nothing at shared/db"))
    await desk.reconcile(KEY)
    assert desk.verdict(KEY, READY) == ("False", "SecretNotFound")
    assert desk.condition(KEY, READY).message == "c2: nothing at shared/db"


async def test_a_revocation_goes_to_vault_then_to_the_clusters_then_counts_receipts(
    desk: Desk, groups: Groups
) -> None:
    await settle(desk)
    desk.change(KEY, revoked=REVOKED, generation=2)
    entry = told(desk, "c1")
    assert entry is not None
    assert entry["revoked"] is False, "Vault has not been told yet"
    _, happened = await desk.reconcile(KEY)
    assert groups.members["fleetbus-db"] == frozenset()
    assert types(happened) == ["secret.revoked"]
    assert desk.statuses[KEY].details["withdrawnAt"]
    entry = told(desk, "c1")
    assert entry is not None
    assert entry["revoked"] is True
    report(desk, "c1", removed=True, removed_at=NOW, confirmed_at=NOW)
    await desk.reconcile(KEY)
    assert desk.verdict(KEY, "Synced") == ("Unknown", "SecretPending")
    report(desk, "c2", removed=True, removed_at=NOW, confirmed_at=NOW)
    _, happened = await desk.reconcile(KEY)
    assert types(happened) == ["secret.removed"]
    assert desk.condition(KEY, "Synced").message == "removed from 2 of 2 clusters, each with a receipt"
    assert desk.verdict(KEY, READY) == ("False", "SecretRevoked")
    assert [one["removed"] for one in desk.statuses[KEY].details["clusters"]] == [True, True]


async def test_a_revocation_does_not_wait_for_a_vault_that_is_away(desk: Desk, groups: Groups) -> None:
    await settle(desk)
    desk.change(KEY, revoked=REVOKED, generation=2)
    groups.failing = VaultUnavailable("sealed")
    await desk.reconcile(KEY)
    entry = told(desk, "c1")
    assert entry is not None
    assert entry["revoked"] is True
    assert "withdrawnAt" not in desk.statuses[KEY].details
    assert "has not withdrawn it yet" in desk.condition(KEY, "Bound").message
    groups.failing = None
    await desk.reconcile(KEY)
    assert desk.statuses[KEY].details["withdrawnAt"]


async def test_what_another_binding_shares_stays_granted(desk: Desk, groups: Groups) -> None:
    desk.put(stored("SecretBinding", "reports", spec("dev")))
    await settle(desk)
    await desk.reconcile(OTHER)
    assert groups.members["fleetbus-db"] == {"entity-c1", "entity-c2", "entity-c3"}
    desk.change(OTHER, spec=spec("prod"))
    desk.change(KEY, revoked=REVOKED, generation=2)
    await desk.reconcile(KEY)
    assert groups.members["fleetbus-db"] == {"entity-c1", "entity-c2"}
    assert "withdrawnAt" not in desk.statuses[KEY].details
    assert "another binding" in desk.condition(KEY, "Bound").message


async def test_a_cluster_that_is_no_longer_placed_loses_the_right_and_the_secret(
    desk: Desk, groups: Groups
) -> None:
    await settle(desk)
    relabel(desk, "c2", "dev")
    await desk.reconcile(KEY)
    assert groups.members["fleetbus-db"] == {"entity-c1"}
    assert told(desk, "c2") is None
    assert retired(desk, "c2") == ["Remove"]
    report(desk, "c2", removed=True)
    await desk.reconcile(KEY)
    assert retired(desk, "c2") == []


async def test_a_loss_of_many_clusters_is_held_until_its_count_is_typed(desk: Desk, groups: Groups) -> None:
    names = [f"p{number}" for number in range(4)]
    desk.join(*(cluster(name, {"env": "prod"}) for name in names))
    await settle(desk)
    report(desk, *names)
    relabel(desk, "p0", "dev")
    await desk.reconcile(KEY)
    assert retired(desk, "p0") == ["Remove"]
    report(desk, "p0", removed=True)
    await desk.reconcile(KEY)

    for name in names[1:]:
        relabel(desk, name, "dev")
    _, happened = await desk.reconcile(KEY)
    assert types(happened) == ["secret.held"]
    assert desk.verdict(KEY, READY) == ("False", "SecretPlacementShrank")
    assert "fleetbus release secretbinding/payments --prune 3" in desk.condition(KEY, READY).message
    assert all(told(desk, name) and not retired(desk, name) for name in names[1:])
    assert groups.members["fleetbus-db"] >= {"entity-p1", "entity-p2", "entity-p3"}
    explained = explain(desk.documents[KEY], desk.view(), "p1")
    assert explained["isPlaced"]

    with pytest.raises(DocumentInvalid, match="2 is not what is held: 3 Secrets"):
        release(desk.documents[KEY], desk.statuses[KEY], 2)
    desk.change(KEY, released_prune=dict(release(desk.documents[KEY], desk.statuses[KEY], 3)))
    _, happened = await desk.reconcile(KEY)
    assert types(happened)[0] == "secret.loss-released"
    assert [retired(desk, name) for name in names[1:]] == [["Remove"]] * 3
    assert groups.members["fleetbus-db"] == {"entity-c1", "entity-c2"}
    with pytest.raises(DocumentInvalid, match="nothing of it is held"):
        release(desk.documents[KEY], desk.statuses[KEY], 3)


async def test_a_fact_that_goes_missing_takes_no_secret_and_no_right_away(desk: Desk, groups: Groups) -> None:
    facts = [{"fact": "region", "operator": "In", "values": ["eu"]}]
    desk.change(KEY, spec=spec(placement={"facts": facts}), generation=2)
    here = FACTS.model_copy(update={"region": "eu"})
    desk.join(*(cluster(name, facts=here) for name in ("c1", "c2")), cluster("c3", facts=None))
    await settle(desk)
    desk.join(cluster("c1", facts=here.model_copy(update={"region": ""})), cluster("c2", facts=None))
    report(desk, "c1", "c2")
    await desk.reconcile(KEY)
    assert desk.statuses[KEY].details["placed"] == ["c1", "c2"]
    assert groups.members["fleetbus-db"] == {"entity-c1", "entity-c2"}
    assert "c1 stays where it is placed, as it has not reported region (and 1 more)" in (
        desk.condition(KEY, "Placed").message
    )
    desk.join(cluster("c1", facts=here.model_copy(update={"region": "us"})))
    await desk.reconcile(KEY)
    assert desk.statuses[KEY].details["placed"] == ["c2"], "a fact that is known and another ends it"


async def test_a_deleted_binding_goes_when_vault_and_every_cluster_have_answered(
    desk: Desk, groups: Groups
) -> None:
    await settle(desk)
    desk.delete(KEY)
    assert retired(desk, "c1") == ["Remove"]
    groups.failing = VaultUnavailable("sealed")
    report(desk, "c1", removed=True)
    outcome, _ = await desk.reconcile(KEY)
    assert not outcome.removable
    report(desk, "c2", removed=True)
    outcome, _ = await desk.reconcile(KEY)
    assert not outcome.removable, "nobody would withdraw it later"
    assert "waits for Vault" in desk.condition(KEY, READY).message
    groups.failing = None
    outcome, happened = await desk.reconcile(KEY)
    assert outcome.removable
    assert groups.members["fleetbus-db"] == frozenset()
    assert types(happened) == ["secret.deleted"]


async def test_clusters_that_are_away_are_said(desk: Desk) -> None:
    await desk.reconcile(KEY)
    report(desk, "c1")
    desk.clusters["c2"] = cluster("c2", {"env": "prod"}, connected=False)
    await desk.reconcile(KEY)
    assert desk.verdict(KEY, READY) == ("Unknown", "SecretClustersAway")


async def test_explain_says_why_a_cluster_is_out(desk: Desk) -> None:
    assert desk.capability.explain is not None
    explained = desk.capability.explain(desk.documents[KEY], desk.view(), "c3")
    assert explained["checks"] == [
        {"clause": "selector", "rule": "env=prod", "holds": False, "message": "has env=dev"}
    ]


async def test_another_shared_secret_leaves_the_groups_of_the_former(desk: Desk, groups: Groups) -> None:
    groups.members["fleetbus-cache"] = frozenset()
    desk.put(stored("SecretBinding", "reports", spec(placement={"clusters": ["c2"]})))
    await settle(desk)
    desk.change(KEY, spec=spec(vault={"shared": "cache"}), generation=2)
    groups.failing = VaultUnavailable("sealed")
    outcome, _ = await desk.reconcile(KEY)
    assert desk.verdict(KEY, "Bound") == ("Unknown", "VaultUnavailable")
    assert "may still read `db`" in desk.condition(KEY, "Bound").message
    assert outcome.again_in_s is not None
    groups.failing = None
    await desk.reconcile(KEY)
    assert groups.members == {
        "fleetbus-db": {"entity-c2"},
        "fleetbus-cache": {"entity-c1", "entity-c2"},
    }
    assert desk.verdict(KEY, "Bound") == ("True", "Bound")
    calls = groups.calls
    await desk.reconcile(KEY)
    assert groups.calls == calls, "what is right is not asked for again at once"


@pytest.mark.parametrize("deleted", [False, True])
async def test_a_binding_that_is_shared_no_more_leaves_its_group(
    desk: Desk, groups: Groups, deleted: bool
) -> None:
    await settle(desk)
    desk.change(KEY, spec=spec(vault={"path": "db"}), generation=2)
    groups.failing = VaultForbidden("denied")
    await desk.reconcile(KEY)
    assert desk.verdict(KEY, "Bound")[0] == "False"
    if deleted:
        desk.delete(KEY)
        report(desk, "c1", "c2", removed=True)
        assert not (await desk.reconcile(KEY))[0].removable
    groups.failing = None
    outcome, _ = await desk.reconcile(KEY)
    assert groups.members["fleetbus-db"] == frozenset()
    assert outcome.removable is deleted


async def test_a_receipt_of_an_earlier_removal_is_none_of_a_revocation(desk: Desk) -> None:
    await settle(desk)
    report(desk, "c1", "c2", removed=True)
    desk.change(KEY, revoked=REVOKED.model_copy(update={"generation": 2}), generation=2)
    await desk.reconcile(KEY)
    assert desk.verdict(KEY, "Synced")[0] == "Unknown"
    assert desk.statuses[KEY].details["synced"] == 0
    report(desk, "c1", "c2", removed=True)
    desk.change(KEY, spec=spec(refresh="5m"), generation=3)
    await desk.reconcile(KEY)
    assert desk.verdict(KEY, "Synced")[0] == "True"
