"""Adoption, fights, refusals, conditions and events: each a small table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fleetbus.agent.capabilities.bundles.contest import REST_S, WINDOW_S, drifted, put_back
from fleetbus.agent.capabilities.bundles.judge import Findings, bundle_state, within_bounds
from fleetbus.agent.capabilities.bundles.objects import PART_OF, ObjectKey
from fleetbus.agent.capabilities.bundles.plan import judge_existing
from fleetbus.agent.capabilities.bundles.refusals import object_state, refusal
from fleetbus.agent.capabilities.bundles.transitions import transitions
from fleetbus.schemas.capabilities import bundles as schema
from fleetbus.schemas.capabilities.bundles import Adopt, BundleEntry, BundlesState, BundleState, ObjectState
from fleetbus.schemas.conditions import MAX_MESSAGE_BYTES, find
from fleetbus.schemas.errors import ApplyRefused, FleetbusError, KubeConflict, KubeUnavailable, NotFound

NOW = datetime(2026, 5, 1, tzinfo=UTC)
KEY = ObjectKey("", "ConfigMap", "shop", "a")
HELM = {
    "labels": {"app.kubernetes.io/managed-by": "Helm"},
    "annotations": {"meta.helm.sh/release-name": "shop"},
}
FLUX = {"labels": {"kustomize.toolkit.fluxcd.io/name": "apps"}}
ARGO = {"annotations": {"argocd.argoproj.io/tracking-id": "app:v1/ConfigMap:shop/a"}}
OWNED = {"ownerReferences": [{"kind": "Widget", "name": "w", "controller": True}]}


def known(apply_set: str) -> str | None:
    return {"taken": "first", "free": ""}.get(apply_set)


@pytest.mark.parametrize(
    ("metadata", "adopt", "reason", "named"),
    [
        ({}, "Never", schema.REASON_EXISTS, "Never"),
        ({}, "IfUnowned", "", ""),
        ({}, "Always", "", ""),
        (HELM, "IfUnowned", schema.REASON_APPLY_CONFLICT, "Helm release shop"),
        (FLUX, "IfUnowned", schema.REASON_APPLY_CONFLICT, "Flux Kustomization apps"),
        (ARGO, "IfUnowned", schema.REASON_APPLY_CONFLICT, "Argo CD application app"),
        (OWNED, "IfUnowned", schema.REASON_APPLY_CONFLICT, "Widget w"),
        (HELM, "Always", "", ""),
        ({"labels": {PART_OF: "foreign"}}, "IfUnowned", schema.REASON_APPLY_CONFLICT, "apply set foreign"),
        ({"labels": {PART_OF: "foreign"}}, "Always", "", ""),
        ({"labels": {PART_OF: "taken"}}, "Always", schema.REASON_OWNED_BY_OTHER, "bundle first"),
        ({"labels": {PART_OF: "taken"}}, "Never", schema.REASON_OWNED_BY_OTHER, "bundle first"),
        ({"labels": {PART_OF: "free"}}, "Never", "", ""),
        ({"labels": {PART_OF: "mine"}}, "Never", "", ""),
    ],
)
def test_adoption(metadata: dict[str, Any], adopt: Adopt, reason: str, named: str) -> None:
    verdict = judge_existing(metadata, "mine", adopt, known)
    assert verdict.reason == reason
    assert named in verdict.message


def test_the_fourth_drift_by_one_manager_is_a_fight_and_rests() -> None:
    contest = None
    for n in range(3):
        assert drifted(contest, "d", "hpa", float(n)) is None
        contest = put_back(contest, "d", "hpa", float(n))
    fight = drifted(contest, "d", "hpa", 3.0)
    assert fight is not None
    assert "hpa" in fight.message()
    assert drifted(contest, "d", "somebody-else", 3.0) is None
    assert drifted(contest, "another digest", "hpa", 3.0) is None
    assert drifted(contest, "d", "hpa", WINDOW_S + 10) is None
    assert drifted(fight, "d", "hpa", 100.0) == fight
    assert drifted(fight, "d", "hpa", 3.0 + REST_S) is None
    assert put_back(fight, "d", "hpa", 3.0 + REST_S).rests_until_s == 0


FORBIDDEN = 'configmaps "a" is forbidden: User "x" cannot patch resource "widgets" in API group "example.com"'


@pytest.mark.parametrize(
    ("error", "reason", "says"),
    [
        (ApplyRefused("denied the request: no", status=403), schema.REASON_APPLY_REFUSED, "denied"),
        (ApplyRefused(FORBIDDEN, status=403), schema.REASON_APPLY_REFUSED, "widgets.example.com"),
        (
            ApplyRefused(
                "unable to create new content in namespace shop because it is being terminated", status=403
            ),
            schema.REASON_NAMESPACE_WAITING,
            "terminated",
        ),
        (
            ApplyRefused("user is attempting to grant RBAC permissions not currently held", status=403),
            schema.REASON_APPLY_REFUSED,
            "profile full",
        ),
        (NotFound('namespaces "shop" not found'), schema.REASON_APPLY_REFUSED, "create it"),
        (NotFound("the server could not find the requested resource"), schema.REASON_KIND_UNKNOWN, ""),
        (KubeConflict("other managers own .data.a (helm)"), schema.REASON_APPLY_CONFLICT, "helm"),
        (KubeUnavailable("no answer"), schema.REASON_CLUSTER_UNREACHABLE, "no answer"),
        (ApplyRefused("x" * 999, status=422), schema.REASON_APPLY_REFUSED, "…"),
    ],
)
def test_refusals_say_what_to_do(error: FleetbusError, reason: str, says: str) -> None:
    state = refusal(KEY, error)
    assert (state.object, state.reason) == ("ConfigMap shop/a", reason)
    assert says in state.message
    assert len(state.message.encode()) <= MAX_MESSAGE_BYTES


ENTRY = BundleEntry(id="i", name="shop", generation=3, revision="main@sha1:1", artifact="a1", objects=2)
REFUSED = (object_state(KEY, schema.REASON_APPLY_REFUSED, "no"),)
WAITING = (object_state(KEY, schema.REASON_CRD_WAITING, "soon"),)
ASKING = (object_state(KEY, schema.REASON_PROGRESSING, "asked"),)
CONTESTED = (object_state(KEY, schema.REASON_CONTESTED, "fight"),)


@pytest.mark.parametrize(
    ("findings", "applied", "healthy", "ready"),
    [
        (Findings(objects=2, ready=2), "Applied", "Healthy", "Ready"),
        (Findings(missing="gone"), "ArtifactMissing", "ArtifactMissing", "ArtifactMissing"),
        (Findings(objects=2, withheld=1), "Halted", "Healthy", "Halted"),
        (Findings(objects=2, unreachable="away"), "ApiserverUnreachable", "Healthy", "ApiserverUnreachable"),
        (Findings(objects=2, refused=REFUSED), "ApplyRefused", "Progressing", "ApplyRefused"),
        (Findings(objects=2, refused=WAITING), "CrdNotEstablished", "Progressing", "CrdNotEstablished"),
        (Findings(objects=2, refused=ASKING), "Progressing", "Progressing", "Progressing"),
        (Findings(objects=2, refused=CONTESTED), "Contested", "Healthy", "Contested"),
        (Findings(objects=2, refused=(*CONTESTED, *REFUSED)), "ApplyRefused", "Progressing", "ApplyRefused"),
        (Findings(objects=2, held=9), "PruneHeld", "Healthy", "PruneHeld"),
        (Findings(objects=2, unfinished=1), "Progressing", "Healthy", "Progressing"),
        (Findings(objects=2, failing=REFUSED), "Applied", "WorkloadFailing", "WorkloadFailing"),
        (Findings(objects=2, progressing=REFUSED), "Applied", "WorkloadProgressing", "WorkloadProgressing"),
        (Findings(objects=2, unseen="Job"), "Applied", "ApiserverUnreachable", "ApiserverUnreachable"),
    ],
)
def test_conditions(findings: Findings, applied: str, healthy: str, ready: str) -> None:
    state = bundle_state(ENTRY, findings, None, NOW)
    reasons = {one.type: one.reason for one in state.conditions}
    assert reasons == {"Applied": applied, "Healthy": healthy, "Ready": ready}
    assert all(one.observed_generation == 3 for one in state.conditions)
    assert (state.applied_artifact == "a1") == (applied == "Applied")


def test_a_transition_time_stays_while_the_status_does() -> None:
    before = bundle_state(ENTRY, Findings(objects=2, ready=2), None, NOW)
    after = bundle_state(ENTRY, Findings(objects=2, ready=2), before, NOW + timedelta(hours=1))
    worse = bundle_state(ENTRY, Findings(objects=2, refused=REFUSED), after, NOW + timedelta(hours=2))

    assert after.conditions == before.conditions
    applied = find(worse.conditions, schema.APPLIED)
    assert applied is not None
    assert applied.last_transition_at == NOW + timedelta(hours=2)
    assert worse.applied_artifact == "a1"


def test_an_aspect_with_many_failures_names_fewer_of_each() -> None:
    failing = tuple(ObjectState(object=f"o{n}", reason="R") for n in range(16))
    states = [BundleState(id=str(n), name=f"b{n}", failing=failing) for n in range(100)]
    bounded = within_bounds(states)

    assert len(bounded) == 100
    assert sum(len(one.failing) for one in bounded) <= 256


def told(old: BundleState | None, new: BundleState) -> list[str]:
    before = BundlesState(bundles=(old,)).as_json() if old else {}
    return [one.type for one in transitions("bundles-0", before, BundlesState(bundles=(new,)).as_json())]


def test_events_are_made_where_the_state_turns() -> None:
    good = bundle_state(ENTRY, Findings(objects=2, ready=2), None, NOW)
    away = bundle_state(ENTRY, Findings(objects=2, unreachable="x"), good, NOW)
    refused = bundle_state(ENTRY, Findings(objects=2, refused=REFUSED), good, NOW)
    held = bundle_state(ENTRY, Findings(objects=2, held=9), good, NOW)
    failing = bundle_state(ENTRY, Findings(objects=2, failing=REFUSED), good, NOW)
    changed = bundle_state(
        ENTRY.model_copy(update={"artifact": "a2"}), Findings(objects=2, ready=2), good, NOW
    )
    removed = BundleState(id="i", name="shop", removed=True, pruned=4)

    assert told(None, good) == [schema.EVENT_APPLIED, schema.EVENT_HEALTHY]
    assert told(good, good) == []
    assert told(good, away) == []
    assert told(away, good) == []
    assert told(good, refused) == [schema.EVENT_APPLY_FAILED]
    assert told(refused, refused) == []
    assert told(refused, good) == [schema.EVENT_HEALTHY]
    assert told(good, held) == [schema.EVENT_HELD]
    assert told(held, held) == []
    assert told(good, failing) == [schema.EVENT_FAILING]
    assert told(good, changed) == [schema.EVENT_APPLIED]
    assert told(good, removed) == [schema.EVENT_REMOVED]
    assert told(removed, removed) == []
    assert transitions("bundles-0", {"bundles": 5}, {}) == []
