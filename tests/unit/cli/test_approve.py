"""What `fleetbus approve` signs is what it has shown, of what has the digest; the key decides who signs."""

from __future__ import annotations

from pathlib import Path

import pytest
from nacl.signing import SigningKey

from fleetbus.cli.approvals import grouped, open_in
from fleetbus.schemas.approvals import Approval, read_approval
from fleetbus.schemas.nkeys import public_key, seed_of
from tests.approvers import ANA, BEN, EVE
from tests.unit.cli.fleet_of_three import Answers, Ran, run
from tests.unit.cli.protected_fleet import COMMAND, Told, protected, row, waiting


def key_file(folder: Path, key: SigningKey) -> str:
    file = folder / "key.seed"
    file.write_text(seed_of(key))
    file.chmod(0o600)
    return str(file)


@pytest.fixture
def key(tmp_path: Path) -> str:
    return key_file(tmp_path, BEN)


def approved(answers: Answers) -> list[Approval]:
    """What was handed in, signed by Ben."""
    (_, (envelopes, _)) = next(one for one in answers.asked if one[0] == "approval")
    found = [read_approval(one, public_key(BEN)) for one in envelopes]
    return [one for one in found if one is not None]


def approve(answers: Answers, key: str, *words: str) -> Ran:
    return run(answers, "approve", *(words or ("cluster/dev-eu",)), "--key", key, "--yes")


def test_one_change_in_two_clusters_is_one_approval_with_what_may_go(key: str) -> None:
    answers = protected()
    ran = approve(answers, key, "cluster/dev-eu", "cluster/prod-us")
    assert ran.code == 0, ran.err
    by_kind = {one.kind: one for one in approved(answers)}
    of_set = by_kind["set"]
    assert [one.cluster for one in of_set.clusters] == ["main/dev-eu", "main/prod-us"]
    assert {one.uid for one in of_set.clusters} == {"kube-dev-eu", "kube-prod-us"}
    assert all(one.prunes == {"id-shop": 1, "id-gone": 3} for one in of_set.clusters)
    before = answers.approvals.rows[0].protection.set
    assert all((one.turn, one.before) == (7, before) for one in of_set.clusters)
    assert by_kind["prune"].clusters[0].prunes == {"id-shop": 2}
    assert by_kind["command"].command == COMMAND.id
    assert "approved by ben: 2 of 2" in ran.out


def test_nothing_is_signed_for_a_cluster_that_was_not_named(key: str) -> None:
    answers = protected()
    other = answers.approvals.rows[1].model_copy(update={"cluster": "evil\x1b[2J"})
    answers.unasked = (other,)
    assert "evil" not in approve(answers, key).out
    assert [one.cluster for a in approved(answers) for one in a.clusters] == ["main/dev-eu"]


def test_a_set_that_is_not_to_be_had_is_not_signed(key: str) -> None:
    answers = protected()
    del answers.artifacts[answers.approvals.rows[0].protection.waiting[0].digest]
    assert approve(answers, key).code == 1
    assert answers.asked == []


def test_another_command_than_the_one_that_waits_is_not_signed(key: str) -> None:
    answers = protected()
    evil = COMMAND.model_copy(update={"arguments": {"image": "evil.io/x:1"}})
    rows = tuple(one.model_copy(update={"commands": (evil,)}) for one in answers.approvals.rows)
    answers.approvals = answers.approvals.model_copy(update={"rows": rows})
    ran = approve(answers, key, "cluster/prod-us", "--only", COMMAND.id)
    assert ran.code == 1
    assert "does not show the command" in ran.err
    assert answers.asked == []


def test_what_this_version_cannot_show_is_said() -> None:
    told = Told()
    before = told.set()
    bundles = told.put({"bundles": [], "mode": "new"})
    after = told.put({"retired": [], "sections": {"bundles": {"digest": bundles.name, "version": 1}}})
    answers = protected()
    answers.artifacts = told.contents
    rows = (row("dev-eu", before, waiting("set", after.name)),)
    answers.approvals = answers.approvals.model_copy(update={"rows": rows})
    assert "says more than this version" in run(answers, "approve", "cluster/dev-eu").out


def test_of_a_set_that_is_gone_it_says_so_and_agrees_to_no_removal_that_it_cannot_show(key: str) -> None:
    answers = protected()
    del answers.artifacts[answers.approvals.rows[0].protection.set]
    ran = approve(answers, key)
    assert "everything is shown as new" in ran.out
    # A retirement says itself how many it takes.
    assert approved(answers)[0].clusters[0].prunes == {"id-gone": 3}


def test_a_key_that_others_may_read_is_refused(key: str) -> None:
    Path(key).chmod(0o640)
    ran = approve(protected(), key)
    assert ran.code == 1
    assert "others may read this key" in ran.err


def test_a_stranger_is_told_so_before_anything_is_handed_in(tmp_path: Path) -> None:
    answers = protected()
    ran = approve(answers, key_file(tmp_path, EVE))
    assert ran.code == 77
    assert "does not know the key" in ran.err
    assert answers.asked == []


def test_who_has_approved_already_signs_nothing(tmp_path: Path) -> None:
    answers = protected()
    assert "has your approval already" in approve(answers, key_file(tmp_path, ANA)).out
    assert answers.asked == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--key", "x"), "Say for which"),
        (("bundle/shop",), "Name clusters"),
        (("cluster/dev-eu", "--valid", "200h"), "at most 7 days"),
    ],
)
def test_wrong_usage_is_said(words: tuple[str, ...], said: str) -> None:
    ran = run(protected(), "approve", *words)
    assert ran.code == 64
    assert said in ran.err


def test_an_unconfirmed_approval_is_not_given(key: str) -> None:
    answers = protected()
    assert run(answers, "approve", "cluster/dev-eu", "--key", key).code == 64
    assert answers.asked == []


def test_groups_are_of_one_change_and_not_too_large() -> None:
    rows = tuple(row(f"c{number}", "0" * 64, waiting("set", "1" * 64)) for number in range(20))
    found = open_in(protected().approvals.model_copy(update={"rows": rows}))
    assert [len(group) for group in grouped(found)] == [16, 4]


def test_a_key_is_made_once_and_printed_as_the_owner_writes_it(tmp_path: Path) -> None:
    file = tmp_path / "new.seed"
    first = run(None, "approver", "create", "ana", "--key", str(file))
    assert first.code == 0
    assert first.out.startswith("- {name: ana, key: U")
    assert file.stat().st_mode & 0o777 == 0o600
    assert run(None, "approver", "create", "ana", "--key", str(file)).out == first.out


def test_an_agent_or_a_vault_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSH_AUTH_SOCK", "VAULT_ADDR", "VAULT_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    assert "SSH_AUTH_SOCK is not set" in run(None, "approver", "create", "a", "--key", "agent:").err
    assert "set VAULT_ADDR" in run(None, "approver", "create", "a", "--key", "vault-transit:transit/a").err
    assert "names no key" in run(None, "approver", "create", "a", "--key", "vault-transit:a").err
    monkeypatch.setenv("SSH_AUTH_SOCK", "/nowhere")
    assert "no SSH agent answers" in run(None, "approver", "create", "a", "--key", "agent:").err
