"""What an action changed, field by field, small enough for an audit record. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from fleetbus.runtime.foreign_text import cleaned
from fleetbus.schemas.audit import Edit
from fleetbus.schemas.canonical import canonical, digest
from fleetbus.schemas.documents import Stored

MOST_EDITS = 32
MOST_CHARACTERS = 200
"""Of a value; a longer one is named by its digest, so that nothing is shown in part and nothing is lost."""
_MOST_PATH = 200
_UNTOLD = frozenset({"kind", "name", "uid", "generation", "createdAt", "updatedAt"})
"""What stands in the record itself, or changes with every write."""
_WHO = re.compile(rb'([a-z]+://)[^/@\s"]+@')
"""Who logs in at an address, and with what: it belongs into no document, and is not kept for ever here."""
_PLAIN = re.compile(r"^[A-Za-z0-9_-]+$")


def document_edits(before: Stored | None, after: Stored) -> tuple[tuple[Edit, ...], int]:
    """The fields that differ, by path, and how many more there are."""
    return edits(_told(before), _told(after))


def _told(stored: Stored | None) -> dict[str, Any]:
    return {key: value for key, value in stored.as_json().items() if key not in _UNTOLD} if stored else {}


def edits(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[tuple[Edit, ...], int]:
    """The leaves in which two JSON objects differ, by path, and how many more there are; a list is one leaf."""
    found = sorted(_differing("", before, after), key=lambda edit: edit.path)
    return tuple(found[:MOST_EDITS]), max(0, len(found) - MOST_EDITS)


def _differing(path: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Edit]:
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        below = _below(path, key)
        if _is_map(old) and _is_map(new):
            yield from _differing(below, old or {}, new or {})
        else:
            yield Edit(path=cleaned(below, _MOST_PATH), before=_text(old), after=_text(new))


def _is_map(value: Any) -> bool:
    return value is None or (isinstance(value, Mapping) and bool(value))


def _below(path: str, key: str) -> str:
    step = key if _PLAIN.fullmatch(key) else f"[{key}]"
    return f"{path}.{step}" if path and step is key else path + step


def _text(value: Any) -> str | None:
    if value is None:
        return None
    content = _WHO.sub(rb"\1***@", canonical(value))
    text = content.decode()
    return text if len(text) <= MOST_CHARACTERS else f"sha256:{digest(content)} ({len(content)} bytes)"
