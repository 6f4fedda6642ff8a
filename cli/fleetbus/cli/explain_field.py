"""The documentation of a field, as `kubectl explain` has it: `bundle`, `bundle.spec.placement`."""

from __future__ import annotations

import difflib
import json
import sys

from fleetbus.cli import exit_codes
from fleetbus.cli.fields import FieldDoc, field_at, names_at, schema_of
from fleetbus.cli.output import Output
from fleetbus.cli.references import kind_of_word
from fleetbus.cli.table import Cell
from fleetbus.schemas.catalogue import KINDS
from fleetbus.schemas.documents import API_VERSION
from fleetbus.schemas.errors import NotFound


def print_field(output: Output, dotted: str) -> int:
    """Raises UsageError for an unknown type, NotFound (with a guess) for an unknown field."""
    word, *path = dotted.replace("[]", "").strip(".").split(".")
    kind = kind_of_word(word)
    schema = schema_of(KINDS[kind])
    found = field_at(schema, path)
    if found is None:
        raise _unknown(schema, kind, path)
    output.line(Cell("KIND:     ", "name"), kind)
    output.line(Cell("VERSION:  ", "name"), API_VERSION)
    if path:
        output.line(Cell("FIELD:    ", "name"), f"{'.'.join(path)} <{found.type}>{_required(found)}")
    output.line("")
    output.line(found.description or _about(kind, path))
    for line in _facts(found):
        output.line(line)
    if found.below:
        output.line("")
        output.line(Cell("FIELDS:", "name"))
        rows = [
            [Cell(f"  {one.path[-1]}", "name"), Cell(f"<{one.type}>{_required(one)}"), Cell(_short(one))]
            for one in found.below
        ]
        output.table(["", "", ""], rows, wrapped=True)
    return exit_codes.DONE


def _about(kind: str, path: list[str]) -> str:
    """Of a kind itself, what its module says of it."""
    words = (sys.modules[KINDS[kind].__module__].__doc__ or "").split("\n\n")[0]
    return "No description." if path else " ".join(words.split())


def _required(field: FieldDoc) -> str:
    return " required" if field.required else ""


def _short(field: FieldDoc) -> str:
    return " ".join([field.description, *_facts(field)]).strip()


def _facts(field: FieldDoc) -> list[str]:
    facts = []
    if len(field.values) > 1:
        facts.append(f"One of {', '.join(field.values)}.")
    if field.examples:
        facts.append(f"Such as {', '.join(field.examples)}.")
    if field.default not in (None, "", [], {}):
        facts.append(f"Default {json.dumps(field.default)}.")
    return facts


def _unknown(schema: dict[str, object], kind: str, path: list[str]) -> NotFound:
    for length in range(len(path)):
        if field_at(schema, path[: length + 1]) is None:
            names = names_at(schema, path[:length])
            near = difflib.get_close_matches(path[length], names, n=1)
            place = ".".join([kind.lower(), *path[:length]])
            guess = f"did you mean `{near[0]}`? " if near else ""
            fields = f"fields of {place}: {', '.join(names)}" if names else f"{place} has no fields"
            return NotFound(f"there is no field `{path[length]}` in {place}", remedy=f"{guess}{fields}")
    return NotFound(f"there is no field `{'.'.join(path)}` in {kind.lower()}")
