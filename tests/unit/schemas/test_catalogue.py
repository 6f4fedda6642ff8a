"""Which events a cluster may tell in which aspect."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fleetbus.agent import capabilities as agent_capabilities
from fleetbus.schemas.capabilities import bundles, commands, secrets
from fleetbus.schemas.catalogue import CAPABILITIES, events_told_in

AGENT = Path(agent_capabilities.__path__[0])


@pytest.mark.parametrize("capability", CAPABILITIES, ids=lambda one: one.CAPABILITY)
def test_a_cluster_may_tell_whatever_its_agent_tells(capability: object) -> None:
    word = str(getattr(capability, "CAPABILITY", ""))
    used = {
        str(getattr(capability, name))
        for path in (AGENT / word).rglob("*.py")
        for name in re.findall(r"\bEVENT_[A-Z_]+\b", path.read_text())
    }
    assert used == set(getattr(capability, "CLUSTER_EVENTS", ()))


def test_an_aspect_tells_only_what_its_capability_tells_from_clusters() -> None:
    assert events_told_in("facts") == {"events.lost"}
    assert bundles.EVENT_APPLIED in events_told_in("bundles-3")
    assert bundles.EVENT_DELETED not in events_told_in("bundles-3")
    assert secrets.EVENT_ROTATED not in events_told_in("bundles-3")
    assert commands.EVENT_STARTED in events_told_in("result")
    assert commands.EVENT_ISSUED not in events_told_in("result")
    assert events_told_in("unheard-of") == {"events.lost"}
