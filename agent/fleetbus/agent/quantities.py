"""Kubernetes quantities such as `3920m` and `16Gi`. Pure."""

from __future__ import annotations

import re
from decimal import Decimal

_QUANTITY = re.compile(r"^([0-9]+(?:\.[0-9]+)?)(?:e([0-9]+)|([numkMGTPE]|[KMGTPE]i)?)$")
_POWERS = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}


def quantity(text: str) -> Decimal:
    """Its value in units; 0 for what is no quantity."""
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        return Decimal(0)
    number, exponent, suffix = match.groups()
    if exponent:
        return Decimal(number).scaleb(int(exponent) if len(exponent) < 4 else 0)
    if suffix in _BINARY:
        return Decimal(number) * Decimal(1024) ** _BINARY[suffix]
    return Decimal(number).scaleb(_POWERS.get(suffix or "", 0))


def cores(value: Decimal) -> str:
    """As Kubernetes writes processor time: whole cores, else thousandths."""
    return f"{int(value)}" if value == int(value) else f"{int(value * 1000)}m"
