"""A cluster's conditions: seen, in step, its bundles ready; and the events that these tell."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fleetbus.controller.capabilities.clusters import CAPABILITY
from fleetbus.controller.catalogue import CAPABILITIES
from fleetbus.controller.ports import Presence
from fleetbus.schemas.capabilities.bundles import BundleState
from fleetbus.schemas.capabilities.secrets import SecretState
from fleetbus.schemas.conditions import READY
from fleetbus.schemas.documents import Status
from tests.unit.controller.fleet import (
    AWAY,
    FACTS,
    HERE,
    Desk,
    cluster,
    condition,
    reporting,
    stored,
    types,
    with_bundle,
)

KEY = ("Cluster", "c1")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = Desk(CAPABILITY, tmp_path, catalogue=CAPABILITIES)
    made.join(cluster("c1", facts=None, connected=False, published=(0, 0)))
    return made


def bundle(desk: Desk, **report: Any) -> None:
    """A bundle placed on c1, and what c1 says of it."""
    desk.put(stored("Bundle", "web", {}))
    details = {"placed": ["c1"], "artifact": "a"}
    desk.statuses[("Bundle", "web")] = Status(
        kind="Bundle", name="web", uid="uid-bundle-web", details=details
    )
    if report:
        state = {"id": "uid-bundle-web", "name": "web", "artifact": "a", **report}
        desk.clusters["c1"] = with_bundle(desk.clusters["c1"], BundleState.model_validate(state))


async def test_a_cluster_registers_goes_and_comes_back(desk: Desk) -> None:
    _, happened = await desk.reconcile(KEY)
    assert desk.verdict(KEY, READY)[0] == "Unknown"
    assert desk.verdict(KEY, "Connected") == ("Unknown", "NeverSeen")
    assert happened == []
    desk.join(cluster("c1"))
    _, happened = await desk.reconcile(KEY)
    assert types(happened) == ["cluster.registered"]
    assert happened[0].message == "Kubernetes v1.36.3, 3 nodes, agent 0.1.0"
    assert desk.verdict(KEY, READY) == ("True", "Ready")
    assert desk.statuses[KEY].details["kubernetesVersion"] == "v1.36.3"
    desk.clusters["c1"] = replace(desk.clusters["c1"], presence=AWAY)
    _, happened = await desk.reconcile(KEY)
    assert types(happened) == ["cluster.disconnected"]
    assert desk.verdict(KEY, READY) == ("Unknown", "Disconnected")
    assert (await desk.reconcile(KEY))[1] == []
    desk.clusters["c1"] = replace(desk.clusters["c1"], presence=HERE)
    _, happened = await desk.reconcile(KEY)
    assert types(happened) == ["cluster.connected"]


FLAPPING, STUCK = Presence("flapping", responsive=True), Presence("connected", responsive=False)
CROWDED = replace(HERE, crowded=True)
FLOODING = replace(HERE, flooding=True)


@pytest.mark.parametrize(
    ("presence", "condition_", "told", "ready"),
    [
        (AWAY, ("Connected", "Unknown", "Disconnected"), ["cluster.disconnected"], "Unknown"),
        (FLAPPING, ("Connected", "Unknown", "Flapping"), ["cluster.flapping"], "Unknown"),
        (STUCK, ("Responsive", "False", "HeartbeatMissed"), ["cluster.unresponsive"], "False"),
        (FLOODING, ("Responsive", "False", "Flooding"), ["cluster.flooding"], "False"),
        (Presence("connected"), ("Responsive", "Unknown", "HeartbeatAwaited"), [], "Unknown"),
        (CROWDED, ("NameUnique", "False", "TooManyConnections"), ["cluster.too-many-connections"], "False"),
        (Presence("unobserved", True), ("Connected", "Unknown", "NotObserved"), [], "Unknown"),
    ],
)
async def test_each_turn_of_presence_is_one_condition_and_at_most_one_event(
    desk: Desk, presence: Presence, condition_: tuple[str, str, str], told: list[str], ready: str
) -> None:
    desk.join(cluster("c1"))
    await desk.reconcile(KEY)
    desk.clusters["c1"] = replace(desk.clusters["c1"], presence=presence)
    _, happened = await desk.reconcile(KEY)
    assert types(happened) == told
    assert desk.verdict(KEY, condition_[0]) == condition_[1:]
    assert desk.verdict(KEY, READY)[0] == ready
    assert (await desk.reconcile(KEY))[1] == []


@pytest.mark.parametrize(
    ("presence", "told"),
    [(AWAY, "connected"), (FLAPPING, "connected"), (STUCK, "responsive"), (FLOODING, "responsive")],
)
async def test_what_is_over_is_told(desk: Desk, presence: Presence, told: str) -> None:
    desk.join(cluster("c1"))
    await desk.reconcile(KEY)
    for seen in (presence, HERE):
        desk.clusters["c1"] = replace(desk.clusters["c1"], presence=seen)
        _, happened = await desk.reconcile(KEY)
    assert types(happened) == [f"cluster.{told}"]
    assert desk.verdict(KEY, READY) == ("True", "Ready")


async def test_why_a_connection_ended_is_said_also_by_the_next_controller(desk: Desk) -> None:
    desk.join(cluster("c1", presence=replace(AWAY, left="Stale Connection")))
    await desk.reconcile(KEY)
    assert "Stale Connection" in desk.condition(KEY, "Connected").message
    assert desk.statuses[KEY].details["left"] == "Stale Connection"


async def test_a_new_agent_is_told_once(desk: Desk) -> None:
    desk.join(cluster("c1"))
    await desk.reconcile(KEY)
    session = desk.clusters["c1"].session
    assert session is not None
    later = session.model_copy(update={"started_at": session.started_at + timedelta(minutes=1)})
    desk.clusters["c1"] = replace(desk.clusters["c1"], session=later)
    assert types((await desk.reconcile(KEY))[1]) == ["cluster.agent-started"]
    assert (await desk.reconcile(KEY))[1] == []


@pytest.mark.parametrize(
    ("published", "accepted", "refused", "verdict"),
    [
        ((1, 10), (1, 10), "", ("True", "UpToDate")),
        ((1, 11), (1, 10), "", ("Unknown", "Behind")),
        ((2, 5), (1, 10), "", ("Unknown", "Behind")),
        ((1, 11), (1, 10), "the signature is not the fleet's", ("False", "DesiredRefused")),
    ],
)
async def test_synced_compares_what_was_told_and_accepted(
    desk: Desk, published: tuple[int, int], accepted: tuple[int, int], refused: str, verdict: tuple[str, str]
) -> None:
    facts = FACTS.model_copy(update={"accepted": accepted, "refused": refused, "accepted_set": "x"})
    desk.join(cluster("c1", facts=facts, published=published, published_set="y"))
    _, happened = await desk.reconcile(KEY)
    assert desk.verdict(KEY, "Synced") == verdict
    assert ("cluster.message-refused" in types(happened)) is bool(refused)


async def test_an_agent_of_another_contract_is_said(desk: Desk) -> None:
    joined = cluster("c1")
    assert joined.session is not None
    desk.join(replace(joined, session=joined.session.model_copy(update={"contracts": (2, 3)})))
    await desk.reconcile(KEY)
    assert desk.verdict(KEY, READY) == ("False", "NoCommonContract")


async def test_a_refused_report_is_said_and_told_once(desk: Desk) -> None:
    desk.join(cluster("c1", refused="facts are not signed by this cluster's key"))
    _, happened = await desk.reconcile(KEY)
    assert desk.verdict(KEY, READY) == ("False", "StateRefused")
    assert "cluster.message-refused" in types(happened)
    assert (await desk.reconcile(KEY))[1] == []


@pytest.mark.parametrize(
    ("report", "ready", "verdict"),
    [
        ({}, 0, ("Unknown", "BundlesProgressing")),
        ({"artifact": "old", "conditions": (condition("Ready"),)}, 0, ("Unknown", "BundlesProgressing")),
        ({"conditions": (condition("Ready"),)}, 1, ("True", "BundlesReady")),
        (
            {"conditions": (condition("Ready", "False", "ApplyRefused", "denied"),)},
            0,
            ("False", "BundleNotReady"),
        ),
    ],
)
async def test_bundles_are_counted(
    desk: Desk, report: dict[str, Any], ready: int, verdict: tuple[str, str]
) -> None:
    desk.join(cluster("c1"))
    bundle(desk, **report)
    await desk.reconcile(KEY)
    assert desk.verdict(KEY, "BundlesReady") == verdict
    assert desk.statuses[KEY].details["contents"]["bundles"] == {"placed": 1, "ready": ready}
    if verdict[0] == "False":
        assert desk.condition(KEY, READY).message == "bundle/web: ApplyRefused: denied"


async def test_secrets_are_counted(desk: Desk) -> None:
    desk.join(cluster("c1"))
    desk.put(stored("SecretBinding", "db", {}))
    key = ("SecretBinding", "db")
    desk.statuses[key] = Status(
        kind=key[0], name="db", uid="uid-secretbinding-db", details={"placed": ["c1"]}
    )
    await desk.reconcile(KEY)
    assert desk.statuses[KEY].details["contents"]["secrets"] == {"placed": 1, "ready": 0}
    entry = SecretState(id="uid-secretbinding-db", name="db", condition=condition("Synced"))
    desk.clusters["c1"] = reporting(desk.clusters["c1"], "secrets", {"secrets": [entry.as_json(), 7]})
    await desk.reconcile(KEY)
    assert desk.statuses[KEY].details["contents"]["secrets"] == {"placed": 1, "ready": 1}


async def test_what_is_known_of_an_away_cluster_stays(desk: Desk) -> None:
    desk.join(cluster("c1"))
    bundle(desk, conditions=(condition("Ready", "False", "ApplyRefused", "denied"),))
    await desk.reconcile(KEY)
    desk.clusters["c1"] = replace(desk.clusters["c1"], presence=AWAY)
    await desk.reconcile(KEY)
    assert desk.verdict(KEY, READY) == ("Unknown", "Disconnected")
    assert desk.statuses[KEY].details["nodes"] == 3


async def test_a_cluster_that_is_removed_waits_for_nothing(desk: Desk) -> None:
    desk.delete(KEY, "Keep")
    outcome, _ = await desk.reconcile(KEY)
    assert outcome.removable


async def test_serials_are_kept_with_the_next_write_or_when_they_are_late(desk: Desk) -> None:
    async def kept(serial: int, **update: Any) -> int:
        facts = FACTS.model_copy(update=update)
        view = reporting(replace(desk.clusters["c1"], facts=facts), "facts", {})
        states = {"facts": view.states["facts"].model_copy(update={"serial": serial})}
        desk.clusters["c1"] = replace(view, states=states)
        await desk.reconcile(KEY)
        found: int = desk.statuses[KEY].details["serials"]["facts"]
        return found

    desk.join(cluster("c1"))
    start = 1_800_000_000_000
    assert await kept(start) == start
    assert await kept(start + 1000) == start
    assert await kept(start + 2000, nodes=4) == start + 2000
    late = start + 2000 + 11 * 60 * 1000
    assert await kept(late, nodes=4) == late
