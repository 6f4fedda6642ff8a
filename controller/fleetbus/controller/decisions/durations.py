"""Durations as operators write them (Go's syntax without days): `90s`, `1h30m`, `250ms`."""

from __future__ import annotations

import re

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")


def seconds(duration: str, *, least: float = 0.0) -> float:
    """`duration`, which its model has checked, in seconds and not below `least`."""
    found = sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(duration))
    return max(found, least)
