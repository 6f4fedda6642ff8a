"""YAML is read as kubectl reads it: sigs.k8s.io/yaml's meaning, case by case."""

from __future__ import annotations

import time

import pytest

from fleetbus.controller.manifests_yaml import FILE, Limits, load_documents, load_marked
from fleetbus.schemas.errors import ObjectInvalid


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0644", 420),
        ("'0644'", "0644"),
        ("0o17", 15),
        ("0b11", 3),
        ("0x1F", 31),
        ("089", 89),
        ("1_000", 1000),
        ("+1", 1),
        ("-0", 0),
        ("18446744073709551615", 18446744073709551615),
        ("-9223372036854775808", -9223372036854775808),
        ("1e3", 1000),
        ("1.0", 1),
        (".5", 0.5),
        ("1.25", 1.25),
        ("1.2.3", "1.2.3"),
        ("y", True),
        ("Y", True),
        ("yes", True),
        ("on", True),
        ("true", True),
        ("TRUE", True),
        ("n", False),
        ("No", False),
        ("OFF", False),
        ("'on'", "on"),
        ("yep", "yep"),
        ("12:30:45", "12:30:45"),
        ("2026-11-24", "2026-11-24"),
        ("2026-11-24T09:00:00Z", "2026-11-24T09:00:00Z"),
        ("~", None),
        ("null", None),
        ("", None),
        ("''", ""),
        ("!!str 1", "1"),
        ("!!int 7", 7),
        ("! x", "x"),
        ("=", "="),
        ("[1, y, 'y']", [1, True, "y"]),
        ("{b: {c: d}}", {"b": {"c": "d"}}),
        ("|\n  x\n  y\n", "x\ny\n"),
    ],
)
def test_a_value_means_what_kubectl_takes_it_for(text: str, value: object) -> None:
    [document] = load_documents(f"a: {text}")
    assert document["a"] == value
    assert type(document["a"]) is type(value)


@pytest.mark.parametrize(
    ("text", "key"),
    [("1: x", "1"), ("on: x", "true"), ("1.5: x", "1.5"), ("~: x", "null"), ("'on': x", "on")],
)
def test_keys_are_text(text: str, key: str) -> None:
    assert load_documents(text) == [{key: "x"}]


def test_a_merge_key_gives_way_to_what_the_mapping_says_itself() -> None:
    text = "x: &x {b: 1, c: 1}\ny: &y {c: 2, d: 2}\nz:\n  <<: [*x, *y]\n  b: 3"
    assert load_documents(text)[0]["z"] == {"b": 3, "c": 1, "d": 2}


def test_empty_documents_are_left_out_and_lines_are_kept() -> None:
    found = load_marked("# nothing\n---\n---\na: 1\n---\n\nb: 2\n---\n", "f.yaml")
    assert [(one.value, one.where) for one in found] == [({"a": 1}, "f.yaml:4"), ({"b": 2}, "f.yaml:7")]


def test_json_is_yaml() -> None:
    assert load_documents('{"a": "\\u0007", "b": [1e3]}') == [{"a": "\x07", "b": [1000]}]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: 1\na: 2", "f.yaml:2:1: the key `a` is given twice"),
        ("a: !foo x", "f.yaml:1:4: the tag `!foo` is not allowed"),
        ("a: !!python/object:os.system x", "f.yaml:1:4: the tag"),
        ("a: .inf", "f.yaml:1:4: `.inf` is no value that JSON can say"),
        ("a: .NaN", "f.yaml:1:4: `.NaN` is no value"),
        ("a: 1e400", "f.yaml:1:4: `1e400` is too large"),
        ("a: 99999999999999999999", "f.yaml:1:4: `99999999999999999999` needs more than 64 bits"),
        ("- 1", "f.yaml:1:1: a mapping must stand here"),
        ("just text", "f.yaml:1:1: a mapping must stand here"),
        ("? [a]\n: b", "f.yaml:1:3: a key must be a plain word"),
        ("a: [1", "f.yaml:2:1: not YAML"),
        ("a: *x", "f.yaml:1:4: not YAML: found undefined alias"),
        ("a:\n\tb: 1", "f.yaml:2:1: not YAML"),
        ("x: 1\na: \x07", "f.yaml:2:4: not YAML: a character that YAML does not allow"),
        ("<<: 1", "f.yaml:1:5: `<<` takes mappings"),
        ("a: !!int x", "f.yaml:1:4: `x` is not a value of int"),
        ("a: &x\n  b: *x", "f.yaml:1:4: the aliases"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(text: str, sentence: str) -> None:
    with pytest.raises(ObjectInvalid) as raised:
        load_documents(text, "f.yaml")
    assert raised.value.sentence().startswith(sentence)


def test_an_alias_bomb_ends_at_once() -> None:
    lines = ["a: &a [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 10)}]" for i in range(9)]
    started = time.perf_counter()
    with pytest.raises(ObjectInvalid, match="too large"):
        load_documents("\n".join(lines))
    assert time.perf_counter() - started < 1


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(ObjectInvalid, match=r"nested|nesting"):
        load_documents("a: " + "[" * 100_000)
    with pytest.raises(ObjectInvalid, match="nested"):
        load_documents("a: " + "[" * 500 + "]" * 500)


SMALL = Limits(text=100_000, document_nodes=1000, nodes=4000)


@pytest.mark.parametrize(
    "text",
    [
        "a:\n" + "- a\n" * 1000,
        "a: [" + "!a ," * 4001 + "]",
        "---\na: [1,2,3,4,5,6,7]\n" * 401,
    ],
    ids=["plain", "tagged", "many documents"],
)
def test_too_many_values_end_while_they_are_composed(text: str) -> None:
    with pytest.raises(ObjectInvalid, match="too many values"):
        load_marked(text, "many.yaml", SMALL)


def test_a_stream_may_hold_more_than_one_document() -> None:
    text = "---\na: [" + "1," * 900 + "]\n"
    assert len(load_marked(text * 4, "built", SMALL)) == 4
    with pytest.raises(ObjectInvalid, match="too many values"):
        load_marked(text * 5, "built", SMALL)


def test_a_file_is_bounded() -> None:
    with pytest.raises(ObjectInvalid, match="larger than 4 MiB"):
        load_documents("#" * (FILE.text + 1))


@pytest.mark.parametrize(
    "number", ["9" * 5000, "-" + "9" * 5000, "0" + "9" * 5000, "0b" + "1" * 5000, "0" * 5000]
)
def test_an_endless_number_is_refused_like_any_that_is_too_large(number: str) -> None:
    with pytest.raises(ObjectInvalid, match="more than 64 bits"):
        load_documents(f"a: {number}")
    assert load_documents(f"a: '{number}'") == [{"a": number}]
