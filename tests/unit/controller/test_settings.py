"""What the settings file says of how kustomize may run decides which renderer the bundles have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fleetbus.cli.ceremony.init import FleetPlan
from fleetbus.controller import main, programs
from fleetbus.controller.catalogue import CAPABILITIES, rendering_without_isolation
from fleetbus.controller.settings import load_settings
from tests.founding import founded


@pytest.mark.parametrize("allowed", [False, True])
def test_without_isolation_only_when_the_owner_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, allowed: bool
) -> None:
    founded(tmp_path, FleetPlan("demo", ("127.0.0.1",)))
    file = tmp_path / "controller.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"renderWithoutIsolation": allowed}))
    monkeypatch.setattr(programs, "_unshare", lambda: None)
    chosen = main._capabilities(load_settings(file))
    assert (chosen is CAPABILITIES) is not allowed
    said = "not kept from the network" if allowed else "kustomizations are refused"
    assert said in "".join(capsys.readouterr())


def test_only_the_bundles_differ() -> None:
    pairs = list(zip(CAPABILITIES, rendering_without_isolation(), strict=True))
    assert [one.name for one, other in pairs if one is not other] == ["bundles"]
    assert [one.name for one, _ in pairs] == [other.name for _, other in pairs]
