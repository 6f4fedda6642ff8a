"""Text that somebody else wrote, made fit for our messages, logs and events: the one place that cleans it. Pure."""

from __future__ import annotations

import re

MAX_MESSAGE = 256

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
"""What a terminal would obey, whole: colours, cursor movements, titles."""


def cleaned(text: str, limit: int = MAX_MESSAGE) -> str:
    """One printable line of at most `limit` characters: control and direction characters are blanks."""
    shown = _ESCAPES.sub("", text[: 4 * limit])
    line = " ".join("".join(c if c.isprintable() else " " for c in shown).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def cleaned_lines(text: str) -> str:
    """The same with its lines kept, for the complaint of a program; as long as it is."""
    return "\n".join(cleaned(line, max(1, len(line))) for line in text.strip().splitlines())
