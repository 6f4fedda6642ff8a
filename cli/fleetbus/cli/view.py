"""What a document says about itself, read from its JSON: conditions, details, times. Missing things are empty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]

READY = "Ready"
TOKENS = {"True": "good", "False": "bad", "Unknown": "away"}
_GOING_ON = ("Progressing", "Pending")
"""How reasons end that say that it goes on by itself."""


def kind_of(document: Json) -> str:
    return str(document.get("kind", ""))


def name_of(document: Json) -> str:
    return str(_map(document.get("metadata")).get("name", ""))


def reference(document: Json) -> str:
    """`bundle/ingress`."""
    return f"{kind_of(document).lower()}/{name_of(document)}"


def metadata(document: Json) -> Json:
    return _map(document.get("metadata"))


def spec(document: Json) -> Json:
    return _map(document.get("spec"))


def details(document: Json) -> Json:
    """Status details: the capability's own fields."""
    return _map(_map(document.get("status")).get("details"))


def generation(document: Json) -> int:
    return _int(metadata(document).get("generation"))


def observed_generation(document: Json) -> int:
    return _int(_map(document.get("status")).get("observedGeneration"))


def conditions(document: Json) -> Sequence[Json]:
    return maps(_map(document.get("status")).get("conditions"))


def condition(document: Json, type_: str) -> Json:
    """The condition of a type; empty when there is none."""
    return next((one for one in conditions(document) if one.get("type") == type_), {})


def token(one: Json) -> str:
    """The colour of a condition: Unknown is blue when it goes on, magenta when it cannot be seen."""
    status = str(one.get("status", "Unknown"))
    if status == "Unknown" and str(one.get("reason", "")).endswith(_GOING_ON):
        return "busy"
    return TOKENS.get(status, "away")


def maps(value: object) -> Sequence[Json]:
    """The maps in a list; nothing for anything else."""
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, (list, tuple)) else []


def texts(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, (list, tuple)) else []


def inner(holder: Json, name: str) -> Json:
    """The map in a field; empty for anything else."""
    return _map(holder.get(name))


def _map(value: object) -> Json:
    return value if isinstance(value, Mapping) else {}


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0
