"""Text that others wrote, made fit for a log, an event or a terminal."""

from __future__ import annotations


def clean(text: str, limit: int = 512) -> str:
    """One line of printable characters, cut at `limit`; what cannot be printed becomes `?`."""
    cut = text[: limit + 1]
    shown = "".join(character if character.isprintable() else "?" for character in cut.replace("\n", " "))
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def raised_at(error: BaseException) -> str:
    """File and line of the innermost frames: enough to find a mistake, and no value in it."""
    places = []
    trace = error.__traceback__
    while trace is not None:
        places.append(f"{trace.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}")
        trace = trace.tb_next
    return " < ".join(reversed(places[-4:]))
