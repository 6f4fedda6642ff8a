"""Which documents an operator means: TYPE, TYPE NAME…, TYPE/NAME, TYPE1,TYPE2, with a guess for a typo."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import click

from fleetbus.schemas.catalogue import KINDS, kind_named


@dataclass(frozen=True, slots=True)
class Wanted:
    """Documents of one kind: those named, or all."""

    kind: str
    names: tuple[str, ...] = ()


def kind_of_word(word: str) -> str:
    """The kind that a word means. Raises UsageError with a guess."""
    kind = kind_named(word)
    if kind is None:
        words = [one for name, model in KINDS.items() for one in (name.lower(), model.plural)]
        near = difflib.get_close_matches(word.lower(), words, n=1)
        guess = f" Did you mean `{near[0]}`?" if near else ""
        plurals = ", ".join(model.plural for model in KINDS.values())
        raise click.UsageError(f"`{word}` is no type of document.{guess} There are {plurals}.")
    return kind


def wanted(arguments: Sequence[str]) -> list[Wanted]:
    """What `get` is asked for. Raises UsageError."""
    if not arguments:
        raise click.UsageError("Say which: TYPE, TYPE NAME or TYPE/NAME.")
    if any("/" in argument for argument in arguments):
        named: dict[str, list[str]] = {}
        for argument in arguments:
            kind, name = one(argument)
            named.setdefault(kind, []).append(name)
        return [Wanted(kind, tuple(names)) for kind, names in named.items()]
    kinds = [kind_of_word(word) for word in arguments[0].split(",") if word]
    if len(kinds) > 1 and len(arguments) > 1:
        raise click.UsageError("Names go with one type only; write TYPE/NAME for several.")
    return [Wanted(kind, tuple(arguments[1:])) for kind in dict.fromkeys(kinds)]


def one(argument: str) -> tuple[str, str]:
    """(kind, name) of TYPE/NAME. Raises UsageError."""
    word, slash, name = argument.partition("/")
    if not slash or not name or "/" in name:
        raise click.UsageError(f"`{argument}` must be TYPE/NAME, such as bundle/ingress.")
    return kind_of_word(word), name


def one_of(arguments: Sequence[str]) -> tuple[str, str]:
    """(kind, name) of `TYPE/NAME` or `TYPE NAME`. Raises UsageError."""
    if len(arguments) == 1:
        return one(arguments[0])
    if len(arguments) == 2:
        return kind_of_word(arguments[0]), arguments[1]
    raise click.UsageError("Say which one: TYPE/NAME.")
