"""Quantities as Kubernetes writes them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from fleetbus.agent.quantities import cores, quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4", "4"),
        ("3920m", "3.92"),
        ("16Gi", "17179869184"),
        ("1.5G", "1500000000"),
        ("2e3", "2000"),
        ("100k", "100000"),
        ("", "0"),
        ("many", "0"),
        ("1Zi", "0"),
    ],
)
def test_quantities(text: str, value: str) -> None:
    assert quantity(text) == Decimal(value)


def test_cores() -> None:
    assert (cores(Decimal("8")), cores(Decimal("3.92"))) == ("8", "3920m")
