"""Words for completion, answered from a file of names that commands keep: only json, nothing of the bus.

The shell runs `fleetbus __complete WORD…`; the answer is a word a line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final

from fleetbus.cli.kind_words import WORDS

_TYPES: Final = tuple(words[0] for _, words in WORDS)
_KIND_OF: Final = {word: kind for kind, words in WORDS for word in words}
_COMMANDS: Final = (
    *(
        "status",
        "get",
        "describe",
        "explain",
        "events",
        "audit",
        "doctor",
        "apply",
        "validate",
        "delete",
        "release",
        "approve",
    ),
    *(
        "sync",
        "wait",
        "command",
        "secret",
        "init",
        "cluster",
        "operator",
        "approver",
        "subscriber",
        "keys",
        "local",
        "context",
        "help",
    ),
    *("completion", "version"),
)
_BELOW: Final = {
    "command": ("run", "list", "cancel"),
    "audit": ("verify", "export"),
    "secret": ("revoke", "share"),
    "cluster": ("join", "pending", "approve", "dismiss", "vault", "revoke", "retire"),
    "operator": ("create", "list", "remove", "roles"),
    "approver": ("create",),
    "subscriber": ("create", "list", "remove"),
    "keys": ("show", "rotate", "raise-epoch"),
    "local": ("up", "down", "status", "env", "logs"),
    "context": ("list", "use"),
    "help": ("exit-codes", "environment", "formatting"),
    "completion": ("bash", "zsh", "fish"),
}
_TAKES_REFERENCE: Final = frozenset(
    {"get", "describe", "explain", "delete", "release", "approve", "sync", "wait", "why"}
)
_VALUED: Final = frozenset(
    {"--context", "--color", "-o", "--output", "--cluster", "--object", "-l", "--selector"}
)
_FORMS: Final = ("table", "wide", "name", "json", "yaml")


def complete(words: Sequence[str]) -> int:
    """Print what may stand in place of the last word; 0."""
    last = words[-1] if words else ""
    for found in candidates(words[:-1], last):
        if found.startswith(last):
            sys.stdout.write(found + "\n")
    return 0


def candidates(before: Sequence[str], last: str) -> Sequence[str]:
    """The words that may come after `before`; `last` is what is typed already."""
    option = before[-1] if before else ""
    if option in {"-o", "--output"}:
        return _FORMS
    if option == "--cluster":
        return _names().get("Cluster", ())
    if option == "--object":
        return _references(last)
    if option == "--context":
        return _contexts()
    valued = {index + 1 for index, word in enumerate(before) if word in _VALUED}
    given = [word for index, word in enumerate(before) if not word.startswith("-") and index not in valued]
    if not given:
        return _COMMANDS
    first = given[0]
    if first in _BELOW:
        return _after_group(first, given[1:])
    if first not in _TAKES_REFERENCE:
        return ()
    if "/" not in last and len(given) > 1 and given[1] in _KIND_OF:
        return _names().get(_KIND_OF[given[1]], ())
    references = _references(last)
    return references if "/" in last else (*_TYPES, *references)


def _references(last: str) -> Sequence[str]:
    """`TYPE/` for each type, or the names of the one that is typed already."""
    word, slash, _ = last.partition("/")
    if slash:
        return [f"{word}/{name}" for name in _names().get(_KIND_OF.get(word, ""), ())]
    return [f"{kind.lower()}/" for kind, _ in WORDS]


def _after_group(group: str, given: Sequence[str]) -> Sequence[str]:
    if not given:
        return _BELOW[group]
    if (group, given[0]) == ("secret", "revoke"):
        return _names().get("SecretBinding", ())
    if group == "cluster" and given[0] in ("revoke", "retire", "vault"):
        return _names().get("Cluster", ())
    if (group, given[0]) == ("context", "use"):
        return _contexts()
    return ()


def names_file() -> str:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(home, "fleetbus", "names.json")


def _names() -> dict[str, list[str]]:
    import json

    try:
        with open(names_file(), encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _contexts() -> list[str]:
    return _names().get("contexts", [])


def remember(kind: str, names: Sequence[str]) -> None:
    """Keep the names of a kind for completion; a cache that cannot be written is done without."""
    import json

    known = _names()
    if known.get(kind) == list(names):
        return
    known[kind] = list(names)
    file = names_file()
    beside = f"{file}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(file), exist_ok=True)
        with open(beside, "w", encoding="utf-8") as opened:
            json.dump(known, opened)
        os.replace(beside, file)
    except OSError:
        return
