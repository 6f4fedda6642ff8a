"""Durations and times as operators write them in options."""

from __future__ import annotations

from datetime import datetime, timedelta

import click

from fleetbus.cli.text import parse_time
from fleetbus.schemas.durations import parse_duration


class Duration(click.ParamType[float]):
    """`30s`, `5m`, `1h30m`; seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, (int, float)):
            return float(value)
        seconds = parse_duration(str(value))
        if seconds is None:
            self.fail(f"`{value}` is no duration; write 30s, 5m or 1h30m", param, ctx)
        return seconds


def since(text: str, now: datetime) -> datetime | int:
    """A time (`1h` ago, or RFC 3339), or a sequence of the stream. Raises UsageError."""
    if text.isdigit():
        return int(text)
    seconds = parse_duration(text)
    if seconds is not None:
        return now - timedelta(seconds=seconds)
    at = parse_time(text)
    if at is None:
        raise click.UsageError(f"`{text}` is neither a duration, a time in RFC 3339, nor a sequence.")
    return at
