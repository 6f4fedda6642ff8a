"""No test of the command reads or writes what its user keeps."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path_factory.mktemp("home")
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(home / name))
    for name in (
        "FLEETBUS_CONTEXT",
        "FLEETBUS_CONFIG",
        "FLEETBUS_FORCE_TTY",
        "NO_COLOR",
        "KUBECONFIG",
        "VAULT_TOKEN",
    ):
        monkeypatch.delenv(name, raising=False)
    return home
