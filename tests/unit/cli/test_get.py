"""`fleetbus get`: which documents, in which form, and what it ends with."""

from __future__ import annotations

import json

import pytest

from fleetbus.schemas import api
from tests.unit.cli.fleet_of_three import Answers, bundle, cluster, rows, run, source, three_clusters


def _answers() -> Answers:
    found = [bundle("ingress", "False", "WorkloadFailing"), bundle("quota", "True", "Ready")]
    return Answers(
        rows={"Cluster": three_clusters(), "Bundle": rows(*found), "Source": rows(source("platform"))}
    )


@pytest.mark.parametrize("word", ["clusters", "cluster", "cl", "Cluster"])
def test_a_type_has_many_words(word: str) -> None:
    assert run(_answers(), "get", word).out.splitlines()[1].startswith("dev-eu ")


def test_one_named_document_is_written_alone_and_several_as_a_list() -> None:
    one = json.loads(run(_answers(), "get", "bundle/ingress", "-o", "json").out)
    assert (one["kind"], one["metadata"]["name"]) == ("Bundle", "ingress")
    several = json.loads(run(_answers(), "get", "bundles", "-o", "json").out)
    assert several["kind"] == "List"
    assert [item["metadata"]["name"] for item in several["items"]] == ["ingress", "quota"]


def test_names_and_types_can_be_combined() -> None:
    assert run(_answers(), "get", "bundle", "ingress", "-o", "name").out == "bundle/ingress\n"
    assert run(_answers(), "get", "bundle/quota", "source/platform", "-o", "name").out == (
        "bundle/quota\nsource/platform\n"
    )
    assert (
        run(_answers(), "get", "bu,src", "-o", "name").out
        == "bundle/ingress\nbundle/quota\nsource/platform\n"
    )


def test_what_is_missing_is_named_and_the_rest_shown() -> None:
    ran = run(_answers(), "get", "bundle/ingress", "bundle/nope")
    assert ran.code == 1
    assert "ingress" in ran.out
    assert "error[FB1002]: there is no Bundle `nope`" in ran.err


def test_no_headers() -> None:
    assert run(_answers(), "get", "bundles", "--no-headers").out.startswith("ingress  False")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("get",), "Say which"),
        (("get", "bundels"), "Did you mean `bundles`?"),
        (("get", "bundle/a/b"), "must be TYPE/NAME"),
        (("get", "bundles,clusters", "a"), "one type only"),
        (("get", "bundles", "--bundle", "x"), "goes with clusters"),
        (("get", "bundles", "-o", "xml"), "xml"),
    ],
)
def test_wrong_usage_ends_with_64(arguments: tuple[str, ...], said: str) -> None:
    ran = run(_answers(), *arguments)
    assert ran.code == 64
    assert said in ran.err


def test_cells_never_hold_blanks() -> None:
    found = cluster("dev-eu", "True", "Ready", provider="a cloud")
    ran = run(Answers(rows={"Cluster": rows(found)}), "get", "clusters", "-o", "wide")
    assert "a-cloud" in ran.out


def _watched() -> Answers:
    """First one cluster; then it changes and a second comes; then the first goes."""
    before, after = cluster("dev-eu", "Unknown", "Progressing"), cluster("dev-eu", "True", "Ready")
    second = cluster("prod-us", "True", "Ready")
    later = [
        api.ListResult(rows=tuple(rows(before))),
        api.ListResult(rows=tuple(rows(after, second))),
        api.ListResult(rows=tuple(rows(second))),
    ]
    return Answers(rows={"Cluster": rows(before)}, later=later, fails=KeyboardInterrupt())  # type: ignore[arg-type]


def test_watching_writes_a_line_a_change() -> None:
    ran = run(_watched(), "get", "clusters", "-w")
    first = [line.split()[:3] for line in ran.out.splitlines()]
    assert first == [
        ["EVENT", "NAME", "READY"],
        ["ADDED", "dev-eu", "Unknown"],
        ["MODIFIED", "dev-eu", "True"],
        ["ADDED", "prod-us", "True"],
        ["DELETED", "dev-eu"],
    ]
    assert ran.code == 130


def test_watching_on_a_terminal_has_no_event_column() -> None:
    lines = run(_watched(), "get", "clusters", "-w", terminal=True).out.splitlines()
    assert [line.split()[0] for line in lines] == ["NAME", "dev-eu", "dev-eu", "prod-us", "dev-eu"]
    assert lines[-1].split() == ["dev-eu", "deleted"]


def test_watching_in_json_writes_json_lines() -> None:
    lines = [
        json.loads(line) for line in run(_watched(), "get", "clusters", "-w", "-o", "json").out.splitlines()
    ]
    assert [(line["type"], line["object"]["metadata"]["name"]) for line in lines] == [
        ("ADDED", "dev-eu"),
        ("MODIFIED", "dev-eu"),
        ("ADDED", "prod-us"),
        ("DELETED", "dev-eu"),
    ]
