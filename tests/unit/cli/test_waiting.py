"""`wait`, `secret revoke` and `command run --wait`: they end as soon as it is decided, and say what is missing."""

from __future__ import annotations

import json

import pytest

from fleetbus.cli.receipts import Outcome, receipts
from fleetbus.cli.wait import parse_goal
from fleetbus.cli.waiting import Goal, Standing, judge
from fleetbus.schemas import api
from fleetbus.schemas.capabilities.commands import CommandRow
from fleetbus.schemas.catalogue import condition_types
from tests.unit.cli.fleet_of_three import (
    Answers,
    Json,
    ago,
    binding,
    bundle,
    condition,
    rows,
    run,
    three_clusters,
)


@pytest.mark.parametrize(
    ("document", "goal", "standing"),
    [
        (bundle("a", "True", "Ready"), Goal(), Standing.MET),
        (bundle("a", "Unknown", "Progressing"), Goal(), Standing.GOING),
        (bundle("a", "False", "WorkloadFailing"), Goal(), Standing.FAILED),
        (bundle("a", "False", "SourceUnreachable"), Goal(), Standing.GOING),
        (bundle("a", "False", "WorkloadFailing"), Goal(generation=8), Standing.GOING),
        (bundle("a", "False", "WorkloadFailing"), Goal(status="False"), Standing.MET),
        (bundle("a", "True", "Ready"), Goal("Healthy"), Standing.GOING),
        (bundle("a", "True", "Ready"), Goal(""), Standing.GOING),
        (None, Goal(""), Standing.MET),
        (None, Goal(), Standing.FAILED),
    ],
)
def test_judge(document: Json | None, goal: Goal, standing: Standing) -> None:
    verdict = judge(document, goal)
    assert verdict.standing is standing
    assert bool(verdict.missing) == (standing is not Standing.MET)


def test_goals() -> None:
    assert parse_goal("condition=Connected") == Goal("Connected", "True")
    assert parse_goal("condition=Ready=False") == Goal("Ready", "False")
    assert parse_goal("delete").deletion


def test_a_condition_that_a_kind_never_has_is_no_goal() -> None:
    ran = run(_bundle("True", "Ready"), "wait", "bundle/ingress", "--for", "condition=Readyy")
    assert (ran.code, "Did you mean Ready?" in ran.err) == (64, True)
    ran = run(Answers(), "wait", "secretbinding/db", "--for", "condition=Connected")
    assert "It has Ready, Bound, Placed, Synced." in ran.err
    assert {"Connected", "Synced", "BundlesReady"} < set(condition_types("Cluster"))


def _bundle(status: str, reason: str) -> Answers:
    return Answers(rows={"Bundle": rows(bundle("ingress", status, reason, "wave 2"))})


def test_wait_ends_when_it_is_met() -> None:
    ran = run(_bundle("True", "Ready"), "wait", "bundle/ingress")
    assert (ran.code, ran.out) == (0, "bundle/ingress condition Ready is True\n")


def test_wait_ends_at_once_when_it_cannot_come() -> None:
    ran = run(_bundle("False", "RenderFailed"), "wait", "bundle/ingress", "--timeout", "1h")
    assert ran.code == 1
    assert ran.out == "bundle/ingress failed: Ready is False, RenderFailed: wave 2 (prod-us)\n"


def test_wait_says_what_is_missing_when_time_is_up() -> None:
    ran = run(_bundle("Unknown", "Progressing"), "wait", "bundle/ingress", "--timeout", "50ms")
    assert ran.code == 124
    assert ran.out == "bundle/ingress timed out: Ready is Unknown, Progressing: wave 2 (prod-us)\n"


def test_wait_follows_changes_and_sees_a_deletion() -> None:
    answers = _bundle("Unknown", "Progressing")
    answers.later = [api.ListResult(rows=tuple(rows(bundle("ingress", "True", "Ready"))))]
    assert run(answers, "wait", "bundle/ingress").code == 0
    answers = _bundle("True", "Ready")
    answers.later = [api.ListResult()]
    ran = run(answers, "wait", "bundle/ingress", "--for", "delete")
    assert (ran.code, ran.out) == (0, "bundle/ingress deleted\n")


def _removed(cluster: str) -> Json:
    return {"cluster": cluster, "removed": True, "removedAt": ago(seconds=2), "confirmedAt": ago(seconds=1)}


PRESENT = {"cluster": "prod-us", "synced": "True", "reason": "SecretSynced"}


def test_a_receipt_needs_the_read_that_proves_it() -> None:
    document = binding("db", [{**_removed("dev-eu"), "confirmedAt": None}, _removed("prod-us")])
    found = receipts(document, ["dev-eu", "prod-us", "edge-31"], {"edge-31": True})
    assert [(one.cluster, one.outcome) for one in found] == [
        ("dev-eu", Outcome.PENDING),
        ("edge-31", Outcome.PENDING),
        ("prod-us", Outcome.PROVED),
    ]
    assert found[1].reason == "Disconnected"
    assert found[2].confirmed_after_ms in range(990, 1010)


def test_a_long_list_is_cut_behind_those_that_are_not_done() -> None:
    before = ["a", "b", "c"]
    found = receipts(binding("db", [_removed("a")], placed=before), before, {}, most=1)
    assert [one.outcome for one in found] == [Outcome.PROVED] * 3
    found = receipts(binding("db", [{**PRESENT, "cluster": "a"}], placed=before), before, {}, most=1)
    assert [one.outcome for one in found] == [Outcome.PENDING] * 3


def test_a_refusal_that_the_next_attempt_mends_is_no_failure() -> None:
    answers = _bundle("False", "ApplyRefused")
    answers.later = [api.ListResult(rows=tuple(rows(bundle("ingress", "True", "Ready"))))]
    assert run(answers, "wait", "bundle/ingress").code == 0


def test_a_refusal_that_stays_is_a_failure() -> None:
    ran = run(_bundle("False", "ApplyRefused"), "wait", "bundle/ingress", "--timeout", "50ms")
    assert (ran.code, "failed: Ready is False, ApplyRefused" in ran.out) == (1, True)


def _revocation(*later: Json) -> Answers:
    first = binding("payments-db", [{**PRESENT, "cluster": "dev-eu"}, PRESENT])
    return Answers(
        rows={"SecretBinding": rows(first), "Cluster": three_clusters()},
        later=[api.ListResult(rows=tuple(rows(one))) for one in later],
    )


def test_revoke_waits_for_all_receipts() -> None:
    half = binding("payments-db", [_removed("dev-eu"), PRESENT], withdrawnAt=ago(seconds=2))
    whole = binding("payments-db", [_removed("dev-eu"), _removed("prod-us")], withdrawnAt=ago(seconds=2))
    answers = _revocation(half, whole)
    ran = run(answers, "secret", "revoke", "payments-db", "--yes", "--reason", "INC-4711")
    assert ran.code == 0
    assert answers.asked == [("revoke", ("payments-db", "INC-4711"))]
    vault, *clusters = ran.out.splitlines()
    assert vault.startswith("vault   ok   withdrawn=")
    assert [line.split()[:3] for line in clusters] == [
        ["dev-eu", "ok", "Removed"],
        ["prod-us", "ok", "Removed"],
    ]
    assert "confirmed=+" in clusters[0]


def test_revoke_tells_what_is_pending_and_what_failed() -> None:
    half = binding("payments-db", [_removed("dev-eu"), PRESENT], withdrawnAt=ago(seconds=2))
    ran = run(
        _revocation(half), "secret", "revoke", "payments-db", "--yes", "--timeout", "50ms", "-o", "json"
    )
    assert ran.code == 124
    assert [one["outcome"] for one in json.loads(ran.out)["clusters"]] == ["Proved", "Pending"]
    refused = {**PRESENT, "synced": "False", "reason": "SecretRefused", "message": "finalizer vendor.io/hold"}
    failed = binding("payments-db", [_removed("dev-eu"), refused], withdrawnAt=ago(seconds=2))
    ran = run(
        _revocation(failed), "secret", "revoke", "payments-db", "--yes", "--timeout", "50ms", terminal=True
    )
    assert ran.code == 1
    assert "✗ prod-us  SecretRefused: finalizer vendor.io/hold" in ran.out
    assert ran.out.endswith("Revoked in Vault. Clusters: 1 proved, 0 pending, 1 failed.\n")


def test_a_shared_secret_is_withdrawn_in_vault_first() -> None:
    def shared(*clusters: Json, **details: object) -> Json:
        found = binding("payments-db", list(clusters), **details)
        found["spec"]["vault"] = {"shared": "db"}
        found["status"]["conditions"].insert(
            0, condition("Bound", "False", "SecretRevoked", "revoked; not yet")
        )
        return found

    gone = (_removed("dev-eu"), _removed("prod-us"))
    answers = _revocation(shared(*gone))
    answers.rows["SecretBinding"] = rows(shared(PRESENT))
    ran = run(answers, "secret", "revoke", "payments-db", "--yes", "--timeout", "50ms")
    assert ran.code == 124
    assert ran.out.splitlines()[0] == "vault   warn withdrawn=no not yet"
    answers = _revocation(shared(*gone), shared(*gone, withdrawnAt=ago(seconds=1)))
    answers.rows["SecretBinding"] = rows(shared(PRESENT))
    assert run(answers, "secret", "revoke", "payments-db", "--yes").code == 0


def test_revoke_needs_yes_without_a_terminal() -> None:
    answers = _revocation()
    ran = run(answers, "secret", "revoke", "payments-db")
    assert (ran.code, answers.asked) == (64, [])
    assert "It can't be undone." in ran.err


def _row(phase: str, percent: int = 0, message: str = "") -> tuple[CommandRow, ...]:
    return (
        CommandRow(
            id="01kb5xq7t2m4a9zc",
            cluster="dev-eu",
            driver="job",
            phase=phase,
            progress_percent=percent,
            message=message,
        ),
    )


@pytest.mark.parametrize(
    ("phase", "code"), [("Succeeded", 0), ("Failed", 1), ("Expired", 1), ("Cancelled", 1)]
)
def test_a_command_is_followed_to_its_end(phase: str, code: int) -> None:
    answers = Answers(commands=[_row("Running", 40, "pulling"), _row(phase, 100, "the end")])
    ran = run(
        answers, "command", "run", "--cluster", "dev-eu", "--arg", "image=x", "--arg", "args=[a, 5]", "--wait"
    )
    assert ran.code == code
    assert ran.out == f"command/01kb5xq7t2m4a9zc {phase} on dev-eu: the end\n"
    assert "Running 40% pulling" in ran.err
    order = dict(answers.asked)["run"]
    assert order.arguments == {"image": "x", "args": ["a", 5]}
