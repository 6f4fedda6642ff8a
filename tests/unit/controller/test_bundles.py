"""A bundle's life, step by step: what is rendered, placed, held, reported, retired."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleetbus.controller.capabilities.bundles.reconcile import capability
from fleetbus.controller.capabilities.bundles.render import EMPTY, Input, Rendered
from fleetbus.schemas.artifacts import artifact
from fleetbus.schemas.capabilities import bundles as words
from fleetbus.schemas.capabilities.bundles import BundleState
from fleetbus.schemas.conditions import READY
from fleetbus.schemas.documents import Status
from fleetbus.schemas.errors import DocumentInvalid, NotFound, ObjectInvalid, SourceUnreachable
from fleetbus.schemas.states import State
from tests.unit.controller.fleet import FACTS, NOW, Desk, cluster, condition, stored, types, with_bundle

KEY = ("Bundle", "web")
SOURCE = ("Source", "platform")
ID = "uid-bundle-web"


class Repository:
    """What each commit renders to: a number of objects, or an error."""

    def __init__(self) -> None:
        self.commits: dict[str, int | Exception] = {}
        self.rendered = 0

    async def render(self, wanted: Input, work_dir: Path) -> Rendered:
        self.rendered += 1
        made = self.commits[wanted.commit]
        if isinstance(made, Exception):
            raise made
        return rendered(made)


def rendered(count: int) -> Rendered:
    if count == 0:
        return EMPTY
    objects = [{"kind": "ConfigMap", "metadata": {"name": f"c{number}"}} for number in range(count)]
    return Rendered(artifact({"objects": objects}), count)


@pytest.fixture
def repository() -> Repository:
    return Repository()


@pytest.fixture
def desk(repository: Repository, tmp_path: Path) -> Desk:
    """Three clusters, a source at commit `a…` with 10 objects, a bundle on those labelled env=prod."""
    made = Desk(capability(repository.render), tmp_path)
    made.join(*(cluster(name, {"env": "prod"}) for name in ("c1", "c2", "c3")))
    made.put(stored("Source", "platform", {"git": {"url": "file:///srv/platform"}}))
    made.put(stored("Bundle", "web", spec()))
    fetch(made, repository, "a", 10)
    return made


def spec(**more: Any) -> dict[str, Any]:
    placement = {"selector": {"matchLabels": {"env": "prod"}}}
    return {"source": "platform", "path": "apps", "placement": placement, **more}


def fetch(desk: Desk, repository: Repository, letter: str, made: int | Exception) -> None:
    """The source is at this commit now."""
    commit = letter * 40
    repository.commits[commit] = made
    desk.statuses[SOURCE] = Status(
        kind="Source",
        name="platform",
        uid="uid-source-platform",
        observed_generation=1,
        conditions=(condition("Fetched", "True", "Fetched"),),
        details={"ref": "main", "commit": commit},
    )


def report(desk: Desk, *names: str, **more: Any) -> None:
    """These clusters have applied what they are told, and are healthy, but for what `more` says."""
    details = desk.statuses[KEY].details
    for name in names:
        state = {
            "id": ID,
            "name": "web",
            "generation": desk.documents[KEY].generation,
            "revision": details["artifactRevision"],
            "artifact": details["artifact"],
            "objects": details["objects"],
            "ready": details["objects"],
            "conditions": (condition("Applied"), condition("Healthy"), condition("Ready")),
            **more,
        }
        desk.clusters[name] = with_bundle(desk.clusters[name], BundleState.model_validate(state))


def told(desk: Desk, name: str) -> dict[str, Any] | None:
    """The bundle's entry in a cluster's section."""
    assert desk.capability.section is not None
    section = desk.capability.section(desk.clusters[name], desk.view(), NOW)
    assert section is not None
    return next((entry for entry in section.content["bundles"] if entry["name"] == "web"), None)


def retired(desk: Desk, name: str) -> list[tuple[str, int | None]]:
    assert desk.capability.retired is not None
    return [(one.policy, one.count) for one in desk.capability.retired(desk.clusters[name], desk.view(), NOW)]


def relabel(desk: Desk, env: str, *names: str) -> None:
    for name in names:
        before = desk.clusters[name]
        moved = cluster(name, {"env": env}, states=before.states)
        desk.join(moved)


async def settle(desk: Desk) -> None:
    await desk.reconcile(KEY)
    report(desk, *desk.statuses[KEY].details["placed"])
    await desk.reconcile(KEY)


def release(desk: Desk, count: int) -> None:
    assert desk.capability.release is not None
    desk.change(
        KEY, released_prune=dict(desk.capability.release(desk.documents[KEY], desk.statuses[KEY], count))
    )


async def test_a_bundle_is_rendered_placed_told_and_becomes_ready(desk: Desk, repository: Repository) -> None:
    outcome, happened = await desk.reconcile(KEY)
    assert [one.name for one in outcome.artifacts] == [rendered(10).artifact.name]
    assert types(happened) == ["bundle.rendered", "bundle.placed"]
    assert desk.verdict(KEY, READY) == ("Unknown", "Progressing")
    entry = told(desk, "c1")
    assert entry is not None
    assert (entry["id"], entry["artifact"], entry["objects"]) == (ID, rendered(10).artifact.name, 10)
    assert entry["revision"] == f"main@sha1:{'a' * 40}"

    report(desk, "c1", "c2")
    _, happened = await desk.reconcile(KEY)
    assert happened == []
    assert desk.condition(KEY, "Applied").message.startswith("2 of 3 clusters have applied main@sha1:aaa")
    report(desk, "c3")
    _, happened = await desk.reconcile(KEY)
    assert types(happened) == ["bundle.healthy"]
    assert desk.verdict(KEY, READY) == ("True", "Ready")
    details = desk.statuses[KEY].details
    assert (details["ready"], details["updated"], details["drifted"]) == (3, 3, 0)
    assert repository.rendered == 1


async def test_a_commit_that_changes_nothing_moves_the_revision_and_no_cluster(
    desk: Desk, repository: Repository
) -> None:
    await settle(desk)
    before = told(desk, "c1")
    fetch(desk, repository, "b", 10)
    _, happened = await desk.reconcile(KEY)
    assert happened == []
    assert desk.statuses[KEY].details["revision"] == f"main@sha1:{'b' * 40}"
    assert told(desk, "c1") == before
    assert desk.statuses[KEY].details["updated"] == 3
    assert desk.verdict(KEY, READY) == ("True", "Ready")


async def test_a_changed_spec_waits_until_the_clusters_speak_of_it(desk: Desk) -> None:
    await settle(desk)
    desk.change(KEY, spec=spec(adopt="Always"), generation=2)
    await desk.reconcile(KEY)
    assert desk.verdict(KEY, READY) == ("Unknown", "Progressing")
    report(desk, "c1", "c2", "c3")
    await desk.reconcile(KEY)
    assert desk.verdict(KEY, READY) == ("True", "Ready")


@pytest.mark.parametrize(
    ("more", "verdict", "message"),
    [
        (
            {"conditions": (condition("Applied", "False", "ApplyRefused", "Deployment web: denied"),)},
            ("False", "ApplyRefused"),
            "c2: Deployment web: denied",
        ),
        (
            {
                "conditions": (
                    condition("Applied"),
                    condition("Healthy", "False", "WorkloadFailing", "Deployment web 0/3"),
                )
            },
            ("False", "WorkloadFailing"),
            "c2: Deployment web 0/3",
        ),
        (
            {
                "conditions": (
                    condition("Applied"),
                    condition("Healthy", "Unknown", "X", "Deployment web 1/3"),
                )
            },
            ("Unknown", "WorkloadProgressing"),
            "c2: Deployment web 1/3",
        ),
        (
            {"held_prunes": 7, "conditions": (condition("Applied", "False", "PruneHeld"),)},
            ("False", "PruneHeld"),
            "c2: 7 objects have left the source and are kept; fleetbus release bundle/web --prune 7",
        ),
    ],
)
async def test_what_is_wrong_in_one_cluster_is_named(
    desk: Desk, more: dict[str, Any], verdict: tuple[str, str], message: str
) -> None:
    await settle(desk)
    report(desk, "c2", **more)
    await desk.reconcile(KEY)
    assert desk.verdict(KEY, READY) == verdict
    assert desk.condition(KEY, READY).message == message
    assert desk.statuses[KEY].details["clusters"][0]["cluster"] == "c2"
    assert desk.statuses[KEY].details["ready"] == 2


async def test_clusters_that_are_away_are_said_and_hide_nothing(desk: Desk, repository: Repository) -> None:
    await settle(desk)
    desk.clusters["c3"] = cluster("c3", {"env": "prod"}, connected=False, states=desk.clusters["c3"].states)
    await desk.reconcile(KEY)
    assert desk.verdict(KEY, READY) == ("True", "Ready"), "it has what is wanted, as it said last"
    fetch(desk, repository, "b", 11)
    await desk.reconcile(KEY)
    report(desk, "c1", "c2")
    await desk.reconcile(KEY)
    assert desk.verdict(KEY, READY) == ("Unknown", "ClustersAway")
    assert desk.condition(KEY, READY).message.endswith("away: c3")
    report(desk, "c1", conditions=(condition("Applied", "False", "ApplyRefused", "no"),))
    await desk.reconcile(KEY)
    assert desk.verdict(KEY, READY) == ("False", "ApplyRefused")
    report(desk, "c1")
    await desk.reconcile(KEY)
    report(desk, "c3")
    _, happened = await desk.reconcile(KEY)
    assert happened == [], "a cluster that comes back is no news of the bundle"


@pytest.mark.parametrize("emptied", [0, NotFound("there is no folder `apps`")])
async def test_an_emptied_source_is_held_until_the_count_is_typed(
    desk: Desk, repository: Repository, emptied: int | Exception
) -> None:
    await settle(desk)
    before = told(desk, "c1")
    fetch(desk, repository, "b", emptied)
    outcome, happened = await desk.reconcile(KEY)
    assert desk.verdict(KEY, "Rendered") == ("False", "PruneHeld")
    assert desk.condition(KEY, "Rendered").message.endswith("fleetbus release bundle/web --prune 10")
    assert types(happened) == ["bundle.held"]
    assert told(desk, "c1") == before
    assert outcome.artifacts == []
    assert (await desk.reconcile(KEY))[1] == []

    fetch(desk, repository, "c", emptied)
    assert (await desk.reconcile(KEY))[1] == [], "another commit asks no second time"
    with pytest.raises(DocumentInvalid, match="9 is not what is held") as raised:
        release(desk, 9)
    assert "10 objects" in raised.value.sentence()
    release(desk, 10)
    _, happened = await desk.reconcile(KEY)
    assert types(happened) == ["bundle.rendered", "bundle.released"]
    entry = told(desk, "c1")
    assert entry is not None
    assert (entry["objects"], entry["released"], entry["artifact"]) == (0, 10, EMPTY.artifact.name)

    fetch(desk, repository, "d", 10)
    await settle(desk)
    fetch(desk, repository, "e", 0)
    await desk.reconcile(KEY)
    assert desk.verdict(KEY, "Rendered") == ("False", "PruneHeld"), "what was typed once counts once"


async def test_objects_that_come_back_end_the_hold(desk: Desk, repository: Repository) -> None:
    await settle(desk)
    fetch(desk, repository, "b", 0)
    await desk.reconcile(KEY)
    fetch(desk, repository, "c", 10)
    _, happened = await desk.reconcile(KEY)
    assert desk.verdict(KEY, "Rendered") == ("True", "Rendered")
    assert happened == []
    assert "emptiedAt" not in desk.statuses[KEY].details


async def test_a_failing_render_keeps_the_last_good_and_says_why(desk: Desk, repository: Repository) -> None:
    await settle(desk)
    before = told(desk, "c1")
    fetch(desk, repository, "b", ObjectInvalid("no Kubernetes object", where="apps/a.yaml:3"))
    _, happened = await desk.reconcile(KEY)
    assert types(happened) == ["bundle.render-failed"]
    assert desk.verdict(KEY, READY) == ("False", "RenderFailed")
    message = desk.condition(KEY, READY).message
    assert message.startswith(f"bundle/web at main@sha1:{'b' * 40}: apps/a.yaml:3: no Kubernetes object")
    assert told(desk, "c1") == before
    assert desk.statuses[KEY].details["updated"] == 0
    assert desk.statuses[KEY].details["ready"] == 3
    runs = repository.rendered
    assert (await desk.reconcile(KEY))[1] == []
    assert repository.rendered == runs, "what failed is not rendered again and again"


async def test_a_path_that_never_was_is_no_hold(desk: Desk, repository: Repository) -> None:
    fetch(desk, repository, "b", NotFound("no"))
    _, happened = await desk.reconcile(KEY)
    assert desk.verdict(KEY, READY) == ("False", "PathMissing")
    assert types(happened) == ["bundle.placed", "bundle.render-failed"] or types(happened) == [
        "bundle.render-failed",
        "bundle.placed",
    ]
    assert told(desk, "c1") is None


async def test_a_source_that_is_missing_waiting_or_failing(desk: Desk, repository: Repository) -> None:
    source = desk.documents.pop(SOURCE)
    await desk.reconcile(KEY)
    assert desk.verdict(KEY, READY) == ("False", "SourceMissing")
    desk.put(source)
    fetched = desk.statuses.pop(SOURCE)
    await desk.reconcile(KEY)
    assert desk.verdict(KEY, "SourceReady") == ("Unknown", "SourceNotReady")
    desk.statuses[SOURCE] = fetched
    await settle(desk)
    assert desk.verdict(KEY, READY) == ("True", "Ready")
    for reason, status in [("RevisionNotFound", "False"), ("SourceUnreachable", "Unknown")]:
        failed = condition("Fetched", "False", reason, "told why")
        desk.statuses[SOURCE] = fetched.model_copy(update={"conditions": (failed,)})
        await desk.reconcile(KEY)
        assert desk.verdict(KEY, READY) == (status, "SourceNotReady")
        assert desk.condition(KEY, READY).message == "told why"
    del desk.documents[SOURCE]
    await desk.reconcile(KEY)
    assert told(desk, "c1") is not None, "the clusters keep what they have"


async def test_a_commit_that_is_not_in_the_cache_yet_is_waited_for(
    desk: Desk, repository: Repository
) -> None:
    fetch(desk, repository, "b", SourceUnreachable("not yet"))
    outcome, _ = await desk.reconcile(KEY)
    assert outcome.again_in_s == 0.5
    repository.commits["b" * 40] = 3
    await desk.reconcile(KEY)
    assert desk.statuses[KEY].details["objects"] == 3


async def test_asking_renders_again(desk: Desk, repository: Repository) -> None:
    await settle(desk)
    desk.asked.add(KEY)
    await desk.reconcile(KEY)
    assert repository.rendered == 2


async def test_one_lost_cluster_is_retired_until_its_receipt(desk: Desk) -> None:
    await settle(desk)
    relabel(desk, "lab", "c3")
    _, happened = await desk.reconcile(KEY)
    assert types(happened) == ["bundle.placed", "bundle.healthy"]
    assert desk.statuses[KEY].details["retiring"] == ["c3"]
    assert told(desk, "c3") is None
    assert retired(desk, "c3") == [("Remove", 10)]
    assert retired(desk, "c1") == []
    report(desk, "c3", removed=True)
    await desk.reconcile(KEY)
    assert retired(desk, "c3") == []


async def test_losing_many_clusters_is_held_until_the_count_is_typed(desk: Desk) -> None:
    await settle(desk)
    relabel(desk, "lab", "c2", "c3")
    _, happened = await desk.reconcile(KEY)
    assert types(happened) == ["bundle.held"]
    assert desk.verdict(KEY, READY) == ("False", "PlacementShrank")
    assert desk.condition(KEY, READY).message == (
        "its placement would lose 2 of 3 clusters; nothing was pruned, 20 objects stay; "
        "fleetbus release bundle/web --prune 20"
    )
    assert desk.statuses[KEY].details["heldClusters"] == ["c2", "c3"]
    assert told(desk, "c3") is not None
    assert retired(desk, "c3") == []
    assert (await desk.reconcile(KEY))[1] == []
    release(desk, 20)
    _, happened = await desk.reconcile(KEY)
    assert "bundle.released" in types(happened)
    assert told(desk, "c3") is None
    assert retired(desk, "c2") == retired(desk, "c3") == [("Remove", 10)]


async def test_losing_clusters_one_by_one_is_held_as_well(desk: Desk) -> None:
    await settle(desk)
    relabel(desk, "lab", "c3")
    await desk.reconcile(KEY)
    relabel(desk, "lab", "c2")
    await desk.reconcile(KEY)
    assert desk.verdict(KEY, "Placed") == ("False", "PlacementShrank")
    relabel(desk, "prod", "c2")
    await desk.reconcile(KEY)
    assert desk.verdict(KEY, "Placed") == ("True", "Placed")


async def test_what_is_kept_where_it_is_needs_no_brake(desk: Desk) -> None:
    desk.change(KEY, spec=spec(untarget="Keep"))
    await settle(desk)
    relabel(desk, "lab", "c1", "c2", "c3")
    await desk.reconcile(KEY)
    assert desk.verdict(KEY, READY) == ("Unknown", "NoClusterMatches")
    assert retired(desk, "c1") == [("Keep", 10)]


async def test_a_lost_status_prunes_nothing_unasked(desk: Desk) -> None:
    await settle(desk)
    relabel(desk, "lab", "c2", "c3")
    desk.statuses.pop(KEY)
    assert retired(desk, "c2") == []
    assert told(desk, "c1") is None
    await desk.reconcile(KEY)
    assert desk.verdict(KEY, "Placed") == ("False", "PlacementShrank")
    assert told(desk, "c2") is not None


async def test_a_lost_status_and_an_emptied_source_prune_nothing_unasked(
    desk: Desk, repository: Repository
) -> None:
    await settle(desk)
    desk.statuses.pop(KEY)
    fetch(desk, repository, "b", 0)
    await desk.reconcile(KEY)
    assert desk.verdict(KEY, "Rendered") == ("False", "PruneHeld")
    assert told(desk, "c1") is None, "what is left out is kept as it is"
    assert retired(desk, "c1") == []
    release(desk, 10)
    await desk.reconcile(KEY)
    entry = told(desk, "c1")
    assert entry is not None
    assert (entry["objects"], entry["released"]) == (0, 10)


async def test_a_cluster_that_left_the_fleet_is_no_loss(desk: Desk) -> None:
    await settle(desk)
    for name in ("c2", "c3"):
        desk.clusters.pop(name)
    await desk.reconcile(KEY)
    assert desk.verdict(KEY, READY) == ("True", "Ready")
    assert desk.statuses[KEY].details["retiring"] == []


async def test_a_fact_that_goes_missing_prunes_nothing_not_even_in_one_cluster(desk: Desk) -> None:
    facts = [{"fact": "nodes", "operator": "AtLeast", "values": ["3"]}]
    desk.change(KEY, spec=spec(placement={"facts": facts}), generation=2)
    await settle(desk)
    before = desk.clusters["c2"]
    desk.clusters["c2"] = replace(before, facts=FACTS.model_copy(update={"nodes": 0}))
    await desk.reconcile(KEY)
    assert told(desk, "c2")
    assert not retired(desk, "c2")
    message = desk.condition(KEY, "Placed").message
    assert message == "3 of 3 clusters; c2 stays where it is placed, as it has not reported nodes"
    assert desk.capability.explain is not None
    explained = desk.capability.explain(desk.documents[KEY], desk.view(), "c2")
    assert explained["isPlaced"]
    assert "it has not reported nodes" in explained["message"]

    desk.clusters["c2"] = replace(before, facts=FACTS.model_copy(update={"nodes": 2}))
    await desk.reconcile(KEY)
    assert retired(desk, "c2") == [("Remove", 10)], "what is known and does not match ends a placement"


@pytest.mark.parametrize("policy", ["Remove", "Keep"])
async def test_a_deleted_bundle_goes_when_every_receipt_is_in(desk: Desk, policy: str) -> None:
    await settle(desk)
    desk.delete(KEY, policy)
    assert told(desk, "c1") is None
    assert retired(desk, "c1") == [(policy, 10)], "told at once, before the next reconcile"
    outcome, happened = await desk.reconcile(KEY)
    assert not outcome.removable
    assert desk.verdict(KEY, READY) == ("Unknown", "Deleting")
    report(desk, "c1", "c2", removed=True, pruned=10)
    outcome, happened = await desk.reconcile(KEY)
    assert not outcome.removable
    assert retired(desk, "c1") == []
    assert retired(desk, "c3") == [(policy, 10)]
    desk.clusters["c1"] = cluster("c1", {"env": "prod"})
    outcome, _ = await desk.reconcile(KEY)
    assert desk.statuses[KEY].details["retiring"] == ["c3"], "a receipt counts for good"
    desk.clusters.pop("c3")
    outcome, happened = await desk.reconcile(KEY)
    assert outcome.removable
    assert types(happened) == ["bundle.deleted"]
    assert types((await desk.reconcile(KEY))[1]) == []


async def test_a_bundle_deleted_before_anything_was_told_goes_at_once(desk: Desk) -> None:
    desk.delete(KEY)
    outcome, _ = await desk.reconcile(KEY)
    assert outcome.removable


async def test_what_a_cluster_reports_in_a_broken_form_is_no_report(desk: Desk) -> None:
    await settle(desk)
    aspect = words.aspect_of(ID)
    for body in ({"bundles": "x"}, {"bundles": [7, {"id": ID, "objects": "many"}]}, {}):
        state = State(fleet="f", cluster="c1", uid="u", aspect=aspect, serial=9, at=NOW, body=body)
        desk.clusters["c1"] = cluster("c1", {"env": "prod"}, states={aspect: state})
        await desk.reconcile(KEY)
        assert desk.verdict(KEY, READY) == ("Unknown", "Progressing")


async def test_one_cluster_that_lies_disarms_no_brake(desk: Desk) -> None:
    await settle(desk)
    lie = {"bundles": [{"id": ID, "name": "web", "objects": -10}]}
    aspect = words.aspect_of(ID)
    state = State(fleet="f", cluster="c2", uid="u", aspect=aspect, serial=9, at=NOW, body=lie)
    desk.clusters["c2"] = cluster("c2", {"env": "prod"}, states={aspect: state})
    relabel(desk, "lab", "c2", "c3")
    await desk.reconcile(KEY)
    assert desk.verdict(KEY, "Placed") == ("False", "PlacementShrank")
    assert desk.statuses[KEY].details["heldClusters"] == ["c2", "c3"]


async def test_release_says_what_is_held(desk: Desk) -> None:
    await settle(desk)
    with pytest.raises(DocumentInvalid, match="nothing of it is held"):
        release(desk, 3)
    report(desk, "c1", held_prunes=7, conditions=(condition("Applied"), condition("Healthy")))
    await desk.reconcile(KEY)
    release(desk, 7)
    entry = told(desk, "c2")
    assert entry is not None
    assert entry["released"] == 7
