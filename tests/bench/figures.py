"""What was measured: figures with what they are compared with, as a table and as a file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_HEAD = ("FIGURE", "VALUE", "RATIO", "COMPARED WITH")


@dataclass(frozen=True, slots=True)
class Figure:
    """One number. `ratio`: the value as a share of what it is compared with; None when that has no number."""

    name: str
    value: float
    unit: str
    compared_with: str = ""
    ratio: float | None = None


def figure(
    name: str, value: float, unit: str, rival: str = "", rival_value: float | None = None, *, aim: str = ""
) -> Figure:
    """A figure beside a rival's number in the same unit, and the aim in words."""
    told = f"{rival} {shown(rival_value)} {unit}" if rival_value is not None else rival
    compared_with = "; ".join(part for part in (told, f"aim {aim}" if aim else "") if part)
    ratio = round(value / rival_value, 3) if rival_value else None
    return Figure(name, round(value, 3), unit, compared_with, ratio)


def percentile(samples: Iterable[float], percent: float) -> float:
    """The smallest sample that at least `percent` of all do not exceed (nearest rank)."""
    ordered = sorted(samples)
    if not ordered:
        raise ValueError("no samples")
    if not 0 < percent <= 100:
        raise ValueError(f"{percent} is no percentage")
    return ordered[math.ceil(len(ordered) * percent / 100) - 1]


def median(samples: Iterable[float]) -> float:
    return percentile(samples, 50)


def shown(value: float) -> str:
    """Three digits that say something: `0.0123`, `12.3`, `1230`."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def table(figures: Sequence[Figure]) -> str:
    """One line a figure, in columns."""
    rows = [_HEAD, *(_row(one) for one in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
        for row in rows
    )


def _row(one: Figure) -> tuple[str, str, str, str]:
    ratio = "" if one.ratio is None else f"{shown(one.ratio)} ×"
    return one.name, f"{shown(one.value)} {one.unit}".rstrip(), ratio, one.compared_with


def write(figures: Sequence[Figure], file: Path) -> None:
    """A JSON list of {name, value, unit, compared_with, ratio}."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([asdict(one) for one in figures], indent=2, ensure_ascii=False) + "\n")
