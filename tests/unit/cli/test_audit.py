"""`fleetbus audit`: what it asks for, what it verifies, and an export that goes on and proves itself."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from fleetbus.cli import exit_codes
from fleetbus.client import Context, save_context
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.nkeys import public_key
from tests.unit.cli.fleet_of_three import AUDIT_KEY, Answers, audit_chain, run

KEY = public_key(AUDIT_KEY)
TOLD = tuple({"object": f"bundle/b{number}", "reason": f"why \u2028{number}"} for number in range(1, 6))
CHAIN = audit_chain(*TOLD)


@pytest.fixture(autouse=True)
def _no_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETBUS_CONFIG", str(tmp_path / "none.yaml"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_it_asks_for_what_is_wanted() -> None:
    answers = Answers(records=CHAIN)
    ran = run(answers, "audit", "--since", "2h", "--actor", "ana", "--object", "bu/web", "--action", "apply")
    assert ran.code == exit_codes.DONE
    ((_, asked),) = answers.asked
    assert asked.pop("since") - (SystemClock().now() - timedelta(hours=2)) < timedelta(seconds=5)
    assert asked == {"after": 0, "actor": "ana", "object": "bundle/web", "action": "apply"}
    assert run(answers, "audit", "-o", "name").out.split() == [f"audit/{number}" for number in range(1, 6)]
    assert run(Answers(), "audit", "-o", "json").out == '{\n  "kind": "List",\n  "items": []\n}\n'


@pytest.mark.parametrize(
    "wrong", [("--object", "web"), ("--object", "thing/web"), ("--since", "12"), ("-o", "csv"), ("verfy",)]
)
def test_wrong_usage(wrong: tuple[str, ...]) -> None:
    assert run(Answers(), "audit", *wrong).code == exit_codes.USAGE


def test_a_record_that_cannot_be_read_is_shown_as_such() -> None:
    hostile = [("fleet.v1.audit.1", b"fleetbus1 x\n{\x1b[2J", CHAIN[0][2])]
    ran = run(Answers(records=hostile), "audit")
    assert "<unreadable>" in ran.out
    assert "\x1b" not in ran.out + run(Answers(records=hostile), "audit", "-o", "json").out


def test_an_untouched_chain_is_verified_and_a_touched_one_is_not() -> None:
    assert run(Answers(records=CHAIN), "audit", "verify").code == exit_codes.DONE
    for records in (CHAIN[1:], [*CHAIN[:2], *CHAIN[3:]], CHAIN[:-1], [CHAIN[1], CHAIN[0], *CHAIN[2:]]):
        answers = Answers(records=records, newest=str(CHAIN[-1][2]))
        ran = run(answers, "audit", "verify", "-o", "json")
        assert ran.code == exit_codes.FAILED
        assert json.loads(ran.out)["wrong"] == len(json.loads(ran.out)["findings"]) > 0


def test_the_keys_that_one_knows_count_before_those_that_are_told(tmp_path: Path) -> None:
    """A controller that signs with a key of its own and names it is found out."""
    own = public_key(SigningKey.generate())
    ran = run(Answers(records=CHAIN), "audit", "verify", "--key", own)
    assert (ran.code, "signed by 0 of 1 keys" in ran.out) == (exit_codes.FAILED, True)
    assert "controller names" not in ran.err
    context = Context("demo", ("tls://127.0.0.1:1",), tmp_path / "a.seed", "ana", signing_keys=(own,))
    save_context(context)
    assert run(Answers(records=CHAIN), "audit", "verify").code == exit_codes.FAILED


def test_who_has_seen_a_later_or_another_end_finds_that_it_was_cut_off() -> None:
    seen = str(CHAIN[-1][2])
    assert run(Answers(records=CHAIN), "audit", "verify", "--anchor", seen).code == exit_codes.DONE
    assert run(Answers(records=CHAIN[:3]), "audit", "verify").code == exit_codes.DONE
    assert run(Answers(records=CHAIN[:3]), "audit", "verify", "--anchor", seen).code == exit_codes.FAILED
    anew = audit_chain(*TOLD[:3], *({"object": "bundle/other"},) * 4)
    assert run(Answers(records=anew), "audit", "verify").code == exit_codes.DONE
    assert run(Answers(records=anew), "audit", "verify", "--anchor", seen).code == exit_codes.FAILED
    assert run(Answers(records=CHAIN), "audit", "verify", "--anchor", "5").code == exit_codes.FAILED


def test_an_export_goes_on_where_it_ended_and_is_verified_offline(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    assert run(Answers(records=CHAIN[:3]), "audit", "export", "--to", str(file)).code == exit_codes.DONE
    assert run(Answers(records=CHAIN), "audit", "export", "--to", str(file)).code == exit_codes.DONE
    assert run(Answers(records=CHAIN), "audit", "export", "--to", str(file)).code == exit_codes.DONE
    lines = file.read_text().splitlines()
    assert [json.loads(line)["record"]["number"] for line in lines] == [1, 2, 3, 4, 5]
    assert json.loads(lines[0])["newest"] == str(CHAIN[2][2])
    assert file.stat().st_mode & 0o077 == 0

    def verified(content: list[str], *more: str) -> int:
        file.write_text("\n".join(content) + "\n")
        return run(None, "audit", "verify", "--file", str(file), *more).code

    assert run(Answers(records=CHAIN), "audit", "export").out.splitlines()[4] == lines[4]
    assert verified(lines, "--key", KEY) == exit_codes.DONE
    assert verified([lines[3]], "--key", KEY) == exit_codes.FAILED, "its own newest is missing"
    assert verified([lines[4]], "--key", KEY) == exit_codes.DONE
    assert verified(lines) == exit_codes.FAILED, "no key is known"
    assert verified(lines, "--key", public_key(SigningKey.generate())) == exit_codes.FAILED
    assert verified(lines[:2] + lines[3:], "--key", KEY) == exit_codes.FAILED
    assert verified([lines[1], lines[0], *lines[2:]], "--key", KEY) == exit_codes.FAILED
    assert (
        verified([lines[0].replace("bundle/b1", "bundle/b9"), *lines[1:]], "--key", KEY) == exit_codes.FAILED
    )
    assert verified([*lines, "{"], "--key", KEY) == exit_codes.FAILED
    assert verified([""], "--key", KEY) == exit_codes.DONE
    assert verified([""], "--key", KEY, "--anchor", str(CHAIN[4][2])) == exit_codes.FAILED


def test_a_chain_that_does_not_continue_the_file_is_not_added_to_it(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    run(Answers(records=CHAIN[:3]), "audit", "export", "--to", str(file))
    before = file.read_text()
    anew = audit_chain(*TOLD[:2], *({"object": "bundle/other"},) * 4)
    for records in (anew, CHAIN[:2], anew[:3]):
        ran = run(Answers(records=records), "audit", "export", "--to", str(file))
        assert (ran.code, file.read_text()) == (exit_codes.FAILED, before), ran.err
    assert run(Answers(), "audit", "export", "--to", str(file), "--after", "3").code == exit_codes.USAGE
    assert run(Answers(records=CHAIN), "audit", "export", "--after", "3").out.count("\n") == 2
