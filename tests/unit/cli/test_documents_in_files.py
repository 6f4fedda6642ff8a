"""Documents out of files: read as kubectl reads them, every error with its place, nothing sent before all are valid."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fleetbus.cli.yaml_nodes import Parsed, Spot, Trouble, parse
from fleetbus.cli.yaml_source import Checked, check, check_text
from fleetbus.schemas.errors import SettingsInvalid
from tests.unit.cli.fleet_of_three import Answers, run

SOURCE = """apiVersion: fleetbus.dev/v1alpha1
kind: Source
metadata: {name: platform}
spec: {git: {url: "https://git.example.com/p.git"}}
"""


def _value(text: str) -> object:
    found = next(parse(text))
    assert isinstance(found, Parsed)
    return found.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("off", False),
        ("y", True),
        ("0644", 420),
        ("'0644'", "0644"),
        ("12:30:45", "12:30:45"),
        ("2026-11-24", "2026-11-24"),
        ("0x1f", 31),
        ("1_000", 1000),
        ("1.5", 1.5),
        ("~", None),
        ("'~'", "~"),
        ("-3", -3),
        ("1.2.3", "1.2.3"),
    ],
)
def test_scalars_are_those_of_kubectl(text: str, value: object) -> None:
    assert _value(f"a: {text}") == {"a": value}


def test_anchors_and_merge_keys() -> None:
    text = "a: &x {p: 1, q: 2}\nb:\n  <<: *x\n  q: 3\nc: *x\n"
    assert _value(text) == {"a": {"p": 1, "q": 2}, "b": {"p": 1, "q": 3}, "c": {"p": 1, "q": 2}}


def test_positions_count_from_one() -> None:
    found = next(parse("a:\n  - b: 1\n    cc: word\n"))
    assert isinstance(found, Parsed)
    assert found.spot(("a", 0, "cc"), key=True) == Spot(3, 5, 2)
    assert found.spot(("a", 0, "cc")) == Spot(3, 9, 4)
    assert found.spot(("a", 0, "missing", 3)) == Spot(2, 5, 1)


@pytest.mark.parametrize(
    ("text", "code", "said", "spot"),
    [
        ("a: 1\nb: 2\na: 3\n", "FB1006", "`a` stands twice, first in line 1", Spot(3, 1, 1)),
        ("a: b: c\n", "FB1008", "not YAML", Spot(1, 5, 1)),
        ("a: !!python/object:os.system x\n", "FB1008", "tag", Spot(1, 4, 27)),
        ("? [a, b]\n: c\n", "FB1008", "a key that is no text", Spot(1, 3, 6)),
    ],
)
def test_what_yaml_must_not_say(text: str, code: str, said: str, spot: Spot) -> None:
    found = next(parse(text))
    assert isinstance(found, Trouble)
    assert (found.code, found.spot) == (code, spot)
    assert said in found.message


def test_an_alias_bomb_ends_early() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    found = next(parse("\n".join(lines)))
    assert isinstance(found, Trouble)
    assert "more than" in found.message


def test_one_broken_document_does_not_hide_the_others() -> None:
    checked = Checked()
    check_text(f"{SOURCE}---\nkind: Bundle\nkind: Bundle\n---\n- 1\n---\nkind: Nope\n", "f.yaml", checked)
    assert [one.name for one in checked.documents] == ["platform"]
    assert [one.code for one in checked.diagnostics] == ["FB1006", "FB1009", "FB1007"]


def _codes(spec: str) -> list[tuple[str, int, str]]:
    checked = Checked()
    head = "apiVersion: fleetbus.dev/v1alpha1\nkind: Bundle\nmetadata: {name: ingress}\n"
    check_text(head + spec, "f.yaml", checked)
    return [(one.code, one.line, one.help) for one in checked.diagnostics]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("spec: {source: s, plcement: {}}\n", ("FB1001", 4, "did you mean `placement`?")),
        (
            "spec: {source: s, placement: {}, adopt: never}\n",
            ("FB1003", 4, "one of `Never`, `IfUnowned`, `Always`"),
        ),
        (
            "spec:\n  source: s\n",
            (
                "FB1004",
                4,
                "add `placement: …` (Which clusters: all that the selector and the facts match, or that are named; "
                "never the excluded ones)",
            ),
        ),
        ("spec: {source: s, placement: {clusters: dev}}\n", ("FB1003", 4, "it must be a list")),
        (
            "spec: {source: s, placement: {selector: {matchLabels: {a: 1}}}}\n",
            ("FB1003", 4, 'it must be text: write "1" in quotes'),
        ),
        (
            "spec: {source: s, path: /abs, placement: {}}\n",
            ("FB1003", 4, "it must lie below: no leading `/` and no `..`"),
        ),
        ("spec: 3\n", ("FB1003", 4, "it must be a map of fields")),
    ],
)
def test_findings(spec: str, expected: tuple[str, int, str]) -> None:
    assert _codes(spec) == [expected]


def test_a_document_stands_once_in_all_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SOURCE)
    (tmp_path / "b.yml").write_text(SOURCE)
    (tmp_path / "ignored.txt").write_text("x")
    checked = check([str(tmp_path)])
    assert [one.code for one in checked.diagnostics] == ["FB1006"]
    assert f"{tmp_path}/a.yaml:2" in checked.diagnostics[0].message


def test_folders_are_read_deep_only_when_asked(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.yaml").write_text(SOURCE)
    with pytest.raises(SettingsInvalid, match=r"no \.yaml"):
        check([str(tmp_path)])
    assert len(check([str(tmp_path)], recursive=True).documents) == 1


def test_nothing_is_sent_when_one_document_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SOURCE)
    (tmp_path / "b.yaml").write_text("kind: Bundle\nmetadata: {name: x}\nspec: {}\n")
    answers = Answers()
    ran = run(answers, "apply", "-f", str(tmp_path))
    assert ran.code == 1
    assert answers.asked == []
    assert "Nothing was applied (1 other document is valid)." in ran.err


def test_apply_says_what_became_of_each(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(SOURCE)
    answers = Answers()
    assert run(answers, "apply", "-f", str(file)).out == "source/platform created\n"
    assert [name for name, _ in answers.asked] == ["apply"]
    dry = run(Answers(), "apply", "-f", str(file), "--dry-run=client")
    assert dry.out == "source/platform valid (client dry run)\n"
    assert run(Answers(), "apply", "-f", str(file), "--dry-run=server").out == (
        "source/platform created (server dry run)\n"
    )
    assert run(Answers(), "apply").code == 64


def test_validate_speaks_to_ci(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(SOURCE.replace("url:", "ulr:"))
    ran = run(None, "validate", str(file), "-o", "github")
    assert ran.code == 1
    assert ran.out.startswith(f"::error file={file},line=4,col=14,title=FB1001::unknown field `ulr`")
    found = json.loads(run(None, "validate", str(file), "-o", "json").out)
    assert (found[0]["code"], found[0]["line"], found[0]["column"]) == ("FB1001", 4, 14)
    file.write_text(SOURCE)
    assert run(None, "validate", str(file)).out == "1 document in 1 file valid\n"
    assert json.loads(run(None, "validate", str(file), "-o", "json").out) == []
