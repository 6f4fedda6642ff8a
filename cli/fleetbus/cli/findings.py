"""What pydantic found wrong in a document, in the words of who wrote it: code, message, help, fields."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from fleetbus.cli.fields import dotted, field_at, names_at, schema_of
from fleetbus.cli.text import without_login
from fleetbus.schemas.documents import Document

UNKNOWN_FIELD = "FB1001"
WRONG_VALUE = "FB1003"
MISSING_FIELD = "FB1004"

_NEAR = 0.55

_TYPES = {
    "string": "text",
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "tuple": "a list",
    "list": "a list",
    "dict": "a map",
    "model": "a map of fields",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong at `path`; `at_key`: the key is marked, not the value."""

    code: str
    message: str
    path: tuple[str | int, ...] = ()
    at_key: bool = False
    label: str = ""
    help: str = ""
    note: str = ""
    more: str = ""


def findings(error: ValidationError, model: type[Document], document: Mapping[str, Any]) -> Iterator[Finding]:
    """Every error of a document, in the order of its fields."""
    schema = schema_of(model)
    kind = model.__name__
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    owner = f"{kind} {str(name)[:80]}" if name else kind
    wrong = error.errors(include_url=False)
    unknown = [tuple(one["loc"]) for one in wrong if one["type"] == "extra_forbidden"]
    for one in wrong:
        path = tuple(one["loc"])
        place = dotted(path)
        above = dotted(path[:-1])
        if one["type"] == "missing" and any(_misspelt(path, other) for other in unknown):
            continue
        if one["type"] == "extra_forbidden":
            yield _unknown(schema, kind, owner, path, above)
        elif one["type"] == "missing":
            yield _missing(schema, kind, owner, path, above)
        else:
            yield _wrong(schema, kind, owner, path, place, one)


def _unknown(
    schema: Mapping[str, Any], kind: str, owner: str, path: tuple[str | int, ...], above: str
) -> Finding:
    field = str(path[-1])
    names = names_at(schema, path[:-1])
    near = difflib.get_close_matches(field, names, n=1, cutoff=_NEAR)
    return Finding(
        UNKNOWN_FIELD,
        f"unknown field `{field[:80]}` in {owner}",
        path,
        at_key=True,
        label=f"not a field of {above or kind}",
        help=f"did you mean `{near[0]}`?" if near else "",
        note=f"fields here: {', '.join(names)}" if names else "",
        more=_explain(kind, above),
    )


def _misspelt(missing: tuple[str | int, ...], unknown: tuple[str | int, ...]) -> bool:
    """Whether the unknown field is so near to the missing one that one error says it."""
    return missing[:-1] == unknown[:-1] and bool(
        difflib.get_close_matches(str(unknown[-1]), [str(missing[-1])], cutoff=_NEAR)
    )


def _missing(
    schema: Mapping[str, Any], kind: str, owner: str, path: tuple[str | int, ...], above: str
) -> Finding:
    field = str(path[-1])
    found = field_at(schema, path)
    what = f" ({found.description.split('. ')[0].rstrip('.')})" if found and found.description else ""
    return Finding(
        MISSING_FIELD,
        f"missing field `{field}` in {owner}",
        path[:-1],
        at_key=True,
        label=f"needs `{field}`",
        help=f"add `{field}: …`{what}",
        more=_explain(kind, f"{above}.{field}" if above else field),
    )


def _wrong(
    schema: Mapping[str, Any],
    kind: str,
    owner: str,
    path: tuple[str | int, ...],
    place: str,
    one: Mapping[str, Any],
) -> Finding:
    found = field_at(schema, path)
    names = [part for part in path if isinstance(part, str)]
    field = names[-1] if names else kind
    value = one["input"]
    shown = f"`{_shown(value)}`" if not isinstance(value, (dict, list)) else "a map" if value else "this"
    if isinstance(value, list):
        shown = "a list"
    message, help_ = f"{shown} is not a value of {field} in {owner}", ""
    if one["type"] == "value_error":
        text = str(one["ctx"]["error"])
        if isinstance(value, (dict, list)):
            message = f"{field} in {owner}: {text}"
        else:
            said, _, help_ = text.partition("; ")
            if said.startswith("`"):
                message = f"{said}, in {field} of {owner}"
            else:
                help_ = f"{said}; {help_}" if help_ else said
    elif found and found.values:
        help_ = f"one of {', '.join(f'`{value}`' for value in found.values)}"
    elif one["type"] == "string_pattern_mismatch":
        examples = f", such as {', '.join(f'`{text}`' for text in found.examples)}" if found else ""
        if found is None or not found.examples:
            examples = f": {found.description}" if found and found.description else ""
        help_ = f"it must match `{one['ctx']['pattern']}`{examples}"
    else:
        help_ = _type_help(one, value)
    return Finding(WRONG_VALUE, message, path, help=help_, more=_explain(kind, place))


def _type_help(one: Mapping[str, Any], value: object) -> str:
    word = str(one["type"]).split("_")[0]
    if word == "string" and isinstance(value, (bool, int, float)):
        return f'it must be text: write "{_shown(value)}" in quotes'
    if word in _TYPES and str(one["type"]).endswith(("_type", "_parsing")):
        return f"it must be {_TYPES[word]}"
    text = str(one["msg"])
    return text[:1].lower() + text[1:]


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else without_login(str(value))[:80]


def _explain(kind: str, place: str) -> str:
    path = place.replace("[]", "")
    return f"fleetbus explain {kind.lower()}.{path}" if path else f"fleetbus explain {kind.lower()}"
