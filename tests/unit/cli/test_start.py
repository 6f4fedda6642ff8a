"""What starting costs: `--help` and completion import neither the bus nor the models."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fleetbus.cli.program import COMMANDS, Commands, root
from fleetbus.cli.words import _BELOW, _COMMANDS, candidates, complete, remember

HEAVY = ("pydantic", "nats", "yaml", "rich", "aiohttp", "hvac", "kubernetes", "structlog", "asyncio")
NAMES = [name for _, commands in COMMANDS for name, _ in commands]


def _imported(code: str) -> set[str]:
    whole = f"import sys\n{code}\nprint(); print(' '.join(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_help_imports_neither_the_bus_nor_the_models() -> None:
    code = "from fleetbus.cli.program import main\nassert main(['--help']) == 0"
    assert _imported(code) & set(HEAVY) == set()


def test_speaking_to_the_bus_imports_no_other_client() -> None:
    found = _imported("import fleetbus.cli.get, fleetbus.client")
    assert "nats" in found
    assert found & {"aiohttp", "hvac", "kubernetes", "cryptography", "requests"} == set()


def test_completion_imports_not_even_click() -> None:
    code = (
        "sys.argv = ['fleetbus', '__complete', 'get', 'cl']\n"
        "from fleetbus.cli.main import run\n"
        "try:\n    run()\nexcept SystemExit as end:\n    assert not end.code"
    )
    assert _imported(code) & {*HEAVY, "click"} == set()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "local"])
def test_every_command_has_help_that_starts_with_examples(name: str) -> None:
    assert isinstance(root, Commands)
    import click

    with root.make_context("fleetbus", [], resilient_parsing=True) as parent:
        command = root.get_command(parent, name)
        assert command is not None
        told = command.get_help(click.Context(command, info_name=name, parent=parent))
    lines = told.splitlines()
    examples = [line for line in lines[1:5] if line.strip().startswith(("fleetbus", "source <(", "cd "))]
    assert len(examples) >= 2, told


def test_completion_knows_the_same_commands() -> None:
    assert sorted(_COMMANDS) == sorted(NAMES)
    import click

    with root.make_context("fleetbus", [], resilient_parsing=True) as parent:
        for name in ("audit", "command", "secret", "cluster", "operator", "subscriber", "context"):
            assert isinstance(root, Commands)
            group = root.get_command(parent, name)
            assert isinstance(group, click.Group)
            assert sorted(_BELOW[name]) == sorted(group.list_commands(parent))


@pytest.fixture
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    remember("Bundle", ["ingress", "quota"])
    remember("Cluster", ["dev-eu"])
    remember("contexts", ["prod"])


@pytest.mark.usefixtures("_cache")
@pytest.mark.parametrize(
    ("before", "last", "expected"),
    [
        ([], "de", {"describe", "delete"}),
        (["get"], "cl", {"clusters", "cluster/"}),
        (["describe"], "bundle/", {"bundle/ingress", "bundle/quota"}),
        (["describe", "bundle"], "", {"ingress", "quota"}),
        (["get", "clusters", "-o"], "j", {"json"}),
        (["cluster", "revoke"], "", {"dev-eu"}),
        (["cluster", "retire"], "", {"dev-eu"}),
        (["command", "run", "--cluster"], "", {"dev-eu"}),
        (["--context"], "", {"prod"}),
        (["--context", "prod", "secret"], "re", {"revoke"}),
        (["apply", "-f"], "x", set()),
    ],
)
def test_words(before: list[str], last: str, expected: set[str]) -> None:
    assert {word for word in candidates(before, last) if word.startswith(last)} == expected


def test_a_broken_cache_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "fleetbus").mkdir()
    (tmp_path / "fleetbus" / "names.json").write_text("{")
    assert complete(["get", "bundle", ""]) == 0
    remember("Bundle", ["x"])
    assert json.loads((tmp_path / "fleetbus" / "names.json").read_text()) == {"Bundle": ["x"]}
