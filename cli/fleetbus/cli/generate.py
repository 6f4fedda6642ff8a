"""Writes `kind_words.py`: the kinds of the catalogue for what must start without their models.

`python -m fleetbus.cli.generate`
"""

from __future__ import annotations

from pathlib import Path

from fleetbus.schemas.catalogue import KINDS

FILE = Path(__file__).with_name("kind_words.py")
_HEAD = '''"""The kinds, each with its words, the plural first. Generated from the catalogue by `make generate`."""

from __future__ import annotations

from typing import Final

'''


def kind_words() -> str:
    """The text of `kind_words.py`."""
    lines = [
        f"    {_tuple(kind, model.plural, kind.lower(), *model.short_names)},"
        for kind, model in KINDS.items()
    ]
    return _HEAD + "\n".join(["WORDS: Final = (", *lines, ")", ""])


def _tuple(kind: str, *words: str) -> str:
    quoted = ", ".join(f'"{word}"' for word in words)
    return f'("{kind}", ({quoted}))'


if __name__ == "__main__":
    FILE.write_text(kind_words(), encoding="utf-8")
