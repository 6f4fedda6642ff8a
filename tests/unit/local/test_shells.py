"""What is told to be typed works where it is read: the command by its path until a PATH leads to it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fleetbus.local.shells import command_to_type


def test_the_command_is_named_by_its_path_until_path_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "a venv" / "bin"
    programs.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr(sys, "executable", str(programs / "python"))
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.chdir(tmp_path)
    assert command_to_type() == "fleetbus"
    (programs / "fleetbus").touch(mode=0o755)
    assert command_to_type() == "'a venv/bin/fleetbus'"
    monkeypatch.chdir(programs.parent.parent / "elsewhere")
    assert command_to_type() == f"'{programs / 'fleetbus'}'"
    monkeypatch.setenv("PATH", str(programs))
    assert command_to_type() == "fleetbus"
