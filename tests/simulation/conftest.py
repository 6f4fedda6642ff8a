"""How many seeds the simulation of the whole fleet lives through: `--seeds N`, or `--seed S` for that one again."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("simulation of the whole fleet")
    group.addoption("--seeds", type=int, default=None, help="how many seeds, instead of the suite's")
    group.addoption("--seed", type=int, default=None, help="only this seed, with its whole story")


@pytest.fixture
def seeds(request: pytest.FixtureRequest) -> int | None:
    found: int | None = request.config.getoption("--seeds", default=None)
    return found


@pytest.fixture
def only_seed(request: pytest.FixtureRequest) -> int | None:
    found: int | None = request.config.getoption("--seed", default=None)
    return found
