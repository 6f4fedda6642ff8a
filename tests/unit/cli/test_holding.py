"""A change of keys waits for every cluster that is there in any sense, and for none that is away."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from fleetbus.cli.holding import Holding, holding
from fleetbus.schemas.api import Row
from tests.unit.cli.fleet_of_three import Answers, FleetOfThree, cluster, condition

NEWEST = (2, 7)


def held(status: str, charter: str, live: Mapping[str, bool], reason: str = "Any") -> Holding:
    document = cluster("c1", "True", "Ready", charter=charter)
    document["status"]["conditions"].append(condition("Connected", status, reason))
    fleet: Any = FleetOfThree(Answers(rows={"Cluster": [Row(document=document, live=dict(live))]}))
    return asyncio.run(holding(fleet, NEWEST))


@pytest.mark.parametrize(
    ("status", "live"),
    [
        ("True", {"connected": False}),
        ("Unknown", {"connected": True}),
        ("Unknown", {"connected": False, "responsive": True}),
    ],
    ids=["by the last that was known", "by the servers", "by its heartbeats"],
)
def test_who_is_there_without_it_is_behind(status: str, live: dict[str, bool]) -> None:
    assert held(status, "2.6", live) == Holding((), ("c1",), ())


@pytest.mark.parametrize("charter", ["", "nonsense", "2.6", "1.9"])
def test_who_is_away_without_it_is_not_waited_for(charter: str) -> None:
    found = held("Unknown", charter, {"connected": False, "responsive": False})
    assert found == Holding((), (), ("c1",))
    assert found.sentence == "0 of 1 clusters have it; away: c1"


@pytest.mark.parametrize("charter", ["2.7", "2.8", "3.1"])
def test_who_has_it_or_a_newer_one_has_it(charter: str) -> None:
    assert held("Unknown", charter, {"connected": True}) == Holding(("c1",), (), ())


def test_whose_connection_has_ended_is_not_waited_for_until_its_heartbeats_are_missed() -> None:
    found = held("Unknown", "2.6", {"connected": False, "responsive": True}, "Disconnected")
    assert found == Holding((), (), ("c1",))
