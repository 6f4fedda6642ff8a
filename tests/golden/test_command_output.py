"""What the command prints, whole, as files: on a terminal and in a pipe. `FLEETBUS_WRITE_GOLDEN=1` writes them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from fleetbus.schemas import api
from fleetbus.schemas.audit import Edit
from fleetbus.schemas.capabilities.bundles import Exclusion
from fleetbus.schemas.capabilities.commands import CommandRow
from fleetbus.schemas.enrolment_api import EnrolmentRow, EnrolmentsResult
from fleetbus.schemas.nkeys import public_key
from fleetbus.schemas.roles import refusal
from tests.unit.cli.fleet_of_three import (
    AUDIT_KEY,
    Answers,
    ago,
    audit_chain,
    binding,
    bundle,
    event,
    rows,
    run,
    source,
    three_clusters,
)
from tests.unit.cli.protected_fleet import protected

GOLDEN = Path(__file__).parent / "cli"
INVALID = """apiVersion: fleetbus.dev/v1alpha1
kind: Bundle
metadata:
  name: ingress
spec:
  source: platform
  adopt: Allways
  placement:
    selector:
      matchExpressions:
      - key: env
        operator: In
        valuse: [prod]
---
kind: Bundel
---
apiVersion: fleetbus.dev/v1alpha1
kind: Source
metadata: {name: platform}
spec: {git: {url: /srv/platform.git}}
"""


AUDITED = audit_chain(
    {
        "object": "bundle/ingress",
        "reason": "INC-4711: roll back",
        "key": public_key(AUDIT_KEY),
        "generation_before": 6,
        "generation_after": 7,
        "edits": (Edit(path="spec.path", before='"a"', after='"b"'),),
    },
    {"action": "command-run", "outcome": "ordered", "object": "command/01kb5xq7t2m4a9zc"},
    {
        "actor": "ben",
        "action": "delete",
        "object": "source/platform",
        "outcome": "refused",
        "code": "FB1010",
        "message": "Source platform: 1 bundle uses it: ingress\x1b[2J; delete it first",
        "count": 12,
    },
)


def _answers() -> Answers:
    wrong = bundle("ingress", "False", "WorkloadFailing", "1 of 2 clusters failed: prod-us", heldPrunes=38)
    synced = [
        {"cluster": name, "synced": "True", "reason": "SecretSynced", "version": 12}
        for name in ("dev-eu", "prod-us")
    ]
    failing = api.Problem(
        object="bundle/ingress", reason="WorkloadFailing", message="1 of 2 clusters failed: prod-us"
    )
    held = api.Problem(object="bundle/quota", reason="PruneHeld", message="38 of 38 objects would go")
    waiting = protected()
    return Answers(
        approvals=waiting.approvals,
        artifacts=waiting.artifacts,
        rows={
            "Cluster": three_clusters(),
            "Bundle": rows(wrong, bundle("metrics-server", "True", "Ready", drifted=1, ready=2)),
            "Source": rows(source("platform")),
            "SecretBinding": rows(binding("payments-db", synced)),
        },
        overview=api.Overview(
            fleet="demo",
            controller="0.1.0",
            epoch=1,
            term=4,
            tallies=(
                api.Tally(kind="Cluster", count=3, ready=1),
                api.Tally(kind="Bundle", count=2, ready=1),
                api.Tally(kind="SecretBinding", count=1, ready=1),
            ),
            away=("edge-31",),
            problems=(failing,),
            held=(held,),
            commands_open=1,
            streams={"DESIRED": 12, "EVENTS": 512},
            audit_newest=str(AUDITED[-1][2]),
            audit_copied=len(AUDITED),
            oldest_event_at=ago(days=3),
        ),
        explained=api.Explained(
            name="ingress",
            generation=7,
            total=3,
            placed=("dev-eu", "prod-us"),
            steps=(
                api.ExplainStep(
                    clause="selector",
                    rule="env in (dev, prod)",
                    count=1,
                    clusters=("staging-eu",),
                    message="1 has env=staging",
                ),
                api.ExplainStep(clause="exclude", rule="name in edge-*", count=0),
            ),
            excluded=(
                Exclusion(
                    cluster="staging-eu", clause="selector env in (dev, prod)", message="has env=staging"
                ),
            ),
            checks=(
                api.ExplainCheck(
                    clause="selector", rule="env in (dev, prod)", holds=False, message="has env=staging"
                ),
                api.ExplainCheck(clause="exclude", rule="name in edge-*", holds=True),
            ),
            remedy="give cluster/staging-eu labels for which `env in (dev, prod)` holds",
        ),
        events=[
            event(
                1,
                "bundle.failing",
                "WorkloadFailing",
                "prod-us",
                "bundle/ingress",
                "Deployment ingress/controller: 0/3 ready\x1b[2J, ImagePullBackOff",
                "Warning",
            ),
            event(
                2,
                "bundle.drift-corrected",
                "DriftCorrected",
                "dev-eu",
                "bundle/ingress",
                "Service x",
                "Normal",
            ),
            event(
                3,
                "bundle.drift-corrected",
                "DriftCorrected",
                "prod-us",
                "bundle/ingress",
                "Service x",
                "Normal",
            ),
            event(4, "source.fetched", "Fetched", "", "source/platform", "v4.13.0", "Normal"),
        ],
        enrolments=EnrolmentsResult(
            rows=(
                EnrolmentRow(name="edge-1", realm="main", outcome="token", message="made by ana"),
                EnrolmentRow(
                    name="edge-2",
                    realm="main",
                    outcome="waiting",
                    uid="4c1e",
                    nkey="UDQ5BZ",
                    message="WaitingForApproval",
                ),
                EnrolmentRow(
                    name="prod-us",
                    realm="main",
                    outcome="quarantined",
                    uid="9b07",
                    nkey="UAB2",
                    member_uid="5d3f",
                    message="NameClaimed",
                ),
            )
        ),
        records=AUDITED,
        commands=[
            (
                CommandRow(
                    id="01kb5xq7t2m4a9zc",
                    cluster="dev-eu",
                    driver="job",
                    phase="Succeeded",
                    progress_percent=100,
                    issued_at=ago(minutes=14),
                    issued_by="admin",
                ),
            )
        ],
    )


CASES = {
    "get-clusters": ("get", "clusters"),
    "get-clusters-wide": ("get", "clusters", "-o", "wide"),
    "get-bundles": ("get", "bundles"),
    "get-all": ("get", "sources,secretbindings"),
    "get-missing": ("get", "bundle/ingres"),
    "describe-bundle": ("describe", "bundle/ingress"),
    "describe-cluster": ("describe", "cluster/prod-us"),
    "describe-source": ("describe", "source/platform"),
    "describe-secretbinding": ("describe", "sb/payments-db"),
    "explain-placement": ("explain", "bundle", "ingress"),
    "explain-cluster": ("explain", "bundle", "ingress", "--cluster", "staging-eu"),
    "explain-field": ("explain", "bundle.spec.placement"),
    "explain-code": ("explain", "FB1001"),
    "events": ("events",),
    "status": ("status",),
    "doctor": ("doctor",),
    "command-list": ("command", "list"),
    "audit": ("audit",),
    "audit-wide": ("audit", "--actor", "ana", "-o", "wide"),
    "audit-json": ("audit", "-o", "json"),
    "audit-verify": ("audit", "verify"),
    "audit-verify-anchor": ("audit", "verify", "--anchor", f"9:{'ab' * 32}"),
    "audit-help": ("audit", "--help"),
    "cluster-help": ("cluster", "--help"),
    "cluster-join-help": ("cluster", "join", "--help"),
    "cluster-revoke-help": ("cluster", "revoke", "--help"),
    "cluster-retire-help": ("cluster", "retire", "--help"),
    "operator-remove-help": ("operator", "remove", "--help"),
    "subscriber-remove-help": ("subscriber", "remove", "--help"),
    "cluster-pending": ("cluster", "pending"),
    "cluster-approve": ("cluster", "approve", "edge-2", "--key", "UDQ5BZ"),
    "cluster-dismiss": ("cluster", "dismiss", "prod-us"),
    "approve": ("approve",),
    "approve-help": ("approve", "--help"),
    "approve-shown": ("approve", "cluster/prod-us"),
    "approve-nothing": ("approve", "cluster/edge-31"),
    "approver-help": ("approver", "create", "--help"),
    "wait-failed": ("wait", "bundle/ingress"),
    "sync": ("sync", "source/platform"),
    "apply-invalid": ("apply", "-f", "documents.yaml"),
    "unknown-command": ("gte", "clusters"),
    "delete-unconfirmed": ("delete", "bundle/ingress"),
    "operator-roles": ("operator", "roles"),
    "not-permitted": ("release", "bundle/ingress", "--prune", "38"),
    "help": ("--help",),
    "help-exit-codes": ("help", "exit-codes"),
}

FAILS = {"not-permitted": refusal("`release`", "approver", "ben", "operator")}


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_command_prints_what_it_printed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "documents.yaml").write_text(INVALID)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLEETBUS_CONFIG", str(tmp_path / "none.yaml"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    text = ""
    for form, terminal in (("terminal", True), ("pipe", False)):
        answers = _answers()
        answers.fails = FAILS.get(name)
        ran = run(answers, *CASES[name], terminal=terminal)
        text += f"$ fleetbus {' '.join(CASES[name])}   # {form}, exit code {ran.code}\n"
        text += ran.out + capsys.readouterr().out
        text += "".join(f"2> {line}\n" for line in ran.err.splitlines())
    text = _steady(text)
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("FLEETBUS_WRITE_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text()


def _steady(text: str) -> str:
    """Without what moves with the clock of who runs the test."""
    text = re.sub(r"\d+ ms", "N ms", text)
    text = re.sub(r"(events|records) since .*$", r"\1 since WHEN", text, flags=re.MULTILINE)
    return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ|\b\d\d:33:07\b", "TIME", text)
