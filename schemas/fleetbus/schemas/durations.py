"""Durations as operators write them (Go's syntax, and days): `90s`, `1h30m`, `250ms`, `7d`. Pure."""

from __future__ import annotations

import re

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")


def parse_duration(text: str) -> float | None:
    """Seconds; None when it is no duration."""
    if not _WHOLE.fullmatch(text):
        return None
    return sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(text))


def seconds_of(duration: str, *, least: float = 0.0) -> float:
    """A duration that its model has checked, in seconds and not below `least`."""
    return max(parse_duration(duration) or 0.0, least)
