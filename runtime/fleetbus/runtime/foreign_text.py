"""Text that another program wrote, made fit for our messages. Pure."""

from __future__ import annotations

MAX_MESSAGE = 256


def cleaned(text: str) -> str:
    """One printable line of at most MAX_MESSAGE characters: control and direction characters are blanks."""
    printable = "".join(c if c.isprintable() else " " for c in text[: 4 * MAX_MESSAGE])
    line = " ".join(printable.split())
    return line if len(line) <= MAX_MESSAGE else line[: MAX_MESSAGE - 1] + "…"
