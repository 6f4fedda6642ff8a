"""What a reviewer would say about every file, said by a test."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MEMBERS = ("schemas", "runtime", "agent", "controller", "cli", "deploy/local")
SOURCES = sorted(path for member in MEMBERS for path in (ROOT / member).rglob("*.py"))
TREES = {path: ast.parse(path.read_text()) for path in SOURCES}
FORBIDDEN_WORDS = {
    "manager",
    "handler",
    "helper",
    "helpers",
    "util",
    "utils",
    "common",
    "misc",
    "base",
    "processor",
}


def _place(path: Path, line: int = 0) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def test_there_are_sources() -> None:
    assert len(SOURCES) > 50


def test_every_module_says_what_it_is() -> None:
    assert [_place(path) for path, tree in TREES.items() if not ast.get_docstring(tree)] == []


def test_no_module_is_longer_than_400_lines() -> None:
    assert [_place(path) for path in SOURCES if len(path.read_text().splitlines()) > 400] == []


def test_functions_fit_a_screen() -> None:
    long = [
        _place(path, node.lineno)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno > 60
    ]
    assert long == []


def test_modules_have_names_of_things() -> None:
    assert [_place(path) for path in SOURCES if FORBIDDEN_WORDS & set(path.stem.split("_"))] == []


def _lines(pattern: str, but: tuple[str, ...]) -> list[str]:
    found = []
    for path in SOURCES:
        if not str(path.relative_to(ROOT)).endswith(but):
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if re.search(pattern, line):
                    found.append(_place(path, number))
    return found


@pytest.mark.parametrize(
    ("pattern", "but"),
    [
        (
            r"\b(time\.time|time\.monotonic|datetime\.now|datetime\.utcnow|random\.\w+\(|uuid4)\b",
            ("clock.py",),
        ),
        (r"fleet\.v1\.(?!api\.<)|\$JS\.(API|ACK)", ("subjects.py", "streams.py")),
        (r"\b(TODO|FIXME|XXX|NotImplementedError)\b", ()),
    ],
    ids=["time-and-chance", "subjects", "unfinished"],
)
def test_what_has_one_place_stands_nowhere_else(pattern: str, but: tuple[str, ...]) -> None:
    docstrings = {
        _place(path, number)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for number in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    assert [place for place in _lines(pattern, but) if place not in docstrings] == []


def test_who_catches_everything_raises_it_again() -> None:
    swallowed = [
        _place(path, node.lineno)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id == "BaseException"))
        and not any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
    ]
    assert swallowed == []
