"""Text that others wrote, made fit for a log, an event or a terminal."""

from __future__ import annotations


def clean(text: str, limit: int = 512) -> str:
    """One line of printable characters, cut at `limit`; what cannot be printed becomes `?`."""
    cut = text[: limit + 1]
    shown = "".join(character if character.isprintable() else "?" for character in cut.replace("\n", " "))
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"
