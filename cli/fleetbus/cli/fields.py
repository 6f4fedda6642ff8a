"""The fields of documents, read from their JSON Schemas: for `explain`, and for errors that name them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleetbus.schemas.documents import Document


@dataclass(frozen=True, slots=True)
class FieldDoc:
    """One field: its type in words, what it is for, and the fields below it."""

    path: tuple[str, ...]
    type: str
    description: str = ""
    default: Any = None
    values: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    pattern: str = ""
    required: bool = False
    below: tuple[FieldDoc, ...] = ()


def schema_of(model: type[Document]) -> dict[str, Any]:
    """The JSON Schema of a kind, in the words of what is written (camelCase)."""
    return model.model_json_schema(by_alias=True)


def field_at(schema: Mapping[str, Any], path: Sequence[str | int]) -> FieldDoc | None:
    """The field at `path` (indexes and keys of maps are skipped), with those directly below; None without."""
    node: Mapping[str, Any] = schema
    required = False
    names: list[str] = []
    for part in path:
        inner = _resolved(schema, node)
        if isinstance(part, str) and part in inner.get("properties", {}):
            required = part in inner.get("required", ())
            node = inner["properties"][part]
            names.append(part)
        elif (item := _item(schema, inner)) is not None:
            node = item
        else:
            return None
    return _documented(schema, node, tuple(names), required, deep=True)


def names_at(schema: Mapping[str, Any], path: Sequence[str | int]) -> tuple[str, ...]:
    """The names of the fields directly below `path`, in the order in which they are declared."""
    found = field_at(schema, path)
    return tuple(one.path[-1] for one in found.below) if found else ()


def dotted(path: Sequence[str | int]) -> str:
    """`spec.strategy.waves[]`, as errors name a place."""
    text = ""
    for part in path:
        text += "[]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _documented(
    schema: Mapping[str, Any], node: Mapping[str, Any], path: tuple[str, ...], required: bool, *, deep: bool
) -> FieldDoc:
    inner = _resolved(schema, node)
    target = inner
    while (item := _item(schema, target)) is not None and "properties" not in target:
        target = item
    children: list[FieldDoc] = []
    for name, child in target.get("properties", {}).items() if deep else ():
        wanted = name in target.get("required", ())
        children.append(_documented(schema, child, (*path, name), wanted, deep=False))
    examples = node.get("examples") or inner.get("examples") or ()
    return FieldDoc(
        path=path,
        type=_type(schema, node),
        description=_text(node) or _text(inner),
        default=node.get("default"),
        values=_values(inner),
        examples=tuple(str(one) for one in examples),
        pattern=str(inner.get("pattern", "")),
        required=required,
        below=tuple(children),
    )


def _text(node: Mapping[str, Any]) -> str:
    return " ".join(str(node.get("description", "")).split())


def _values(inner: Mapping[str, Any]) -> tuple[str, ...]:
    if "const" in inner:
        return (str(inner["const"]),)
    return tuple(str(one) for one in inner.get("enum", ()))


def _item(schema: Mapping[str, Any], inner: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What a list or a map holds."""
    item = inner.get("items" if inner.get("type") == "array" else "additionalProperties")
    return _resolved(schema, item) if isinstance(item, Mapping) else None


def _resolved(schema: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    """`node` without references, and without the null of an optional field."""
    while True:
        if "$ref" in node:
            node = schema["$defs"][str(node["$ref"]).rsplit("/", 1)[-1]]
            continue
        choices = [one for one in node.get("anyOf", ()) if one.get("type") != "null"]
        if len(choices) != 1:
            return node
        node = choices[0]


def _type(schema: Mapping[str, Any], node: Mapping[str, Any]) -> str:
    inner = _resolved(schema, node)
    if inner.get("type") == "array":
        return f"[]{_type(schema, inner.get('items', {}))}"
    if isinstance(inner.get("additionalProperties"), Mapping):
        return f"map of {_type(schema, inner['additionalProperties'])}"
    if "properties" in inner or inner.get("type") == "object":
        return "object"
    return str(inner.get("type") or ("string" if _values(inner) else "any"))
