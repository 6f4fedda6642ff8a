"""YAML with positions: the values as kubectl reads them, and where each key and value stands.

YAML 1.1 as Kubernetes' tools have it: `yes`, `on`, `y` are booleans, 0644 is octal; no dates, no sexagesimal
numbers. Stricter in one thing: a key that stands twice is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from fleetbus.schemas.errors import DocumentInvalid

Path = tuple[str | int, ...]

MAX_NODES = 200_000
"""So many values at most, aliases counted each time: an alias bomb ends here."""

_BASE: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_BASE):  # type: ignore[misc]
    """Composes nodes; its tags are those of kubectl."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


_BOOL = re.compile(
    r"^(?:y|Y|yes|Yes|YES|n|N|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$"
)
_INT = re.compile(r"^[-+]?(?:0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)$")
_FLOAT = re.compile(r"^[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|\.[0-9]+|[0-9]+[eE][-+]?[0-9]+)$")
_NULL = re.compile(r"^(?:~|null|Null|NULL|)$")
_TRUE = frozenset({"y", "yes", "true", "on"})

_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", _BOOL, list("yYnNtTfFoO"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", _INT, list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", _NULL, ["~", "n", "N", ""])


@dataclass(frozen=True, slots=True)
class Spot:
    """A stretch of one line, counted from 1."""

    line: int
    column: int
    length: int


@dataclass(frozen=True, slots=True)
class Trouble:
    """The text is not YAML, or says something twice."""

    code: str
    message: str
    spot: Spot


@dataclass(frozen=True, slots=True)
class Parsed:
    """One YAML document: its value, and where the key and the value of each path stand."""

    value: Any
    keys: dict[Path, Spot] = field(default_factory=dict)
    values: dict[Path, Spot] = field(default_factory=dict)

    def spot(self, path: Path, *, key: bool = False) -> Spot:
        """Where `path` stands; for one that is missing, the nearest above it."""
        while path:
            first, second = (self.keys, self.values) if key else (self.values, self.keys)
            found = first.get(path) or second.get(path)
            if found:
                return found
            path = path[:-1]
            key = True
        return self.values.get((), Spot(1, 1, 1))


def parse(text: str) -> Iterator[Parsed | Trouble]:
    """Each document of a stream; empty ones are left out. After broken syntax nothing more can be read."""
    loader = _Loader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            builder = _Builder()
            try:
                value = builder.value(node, ())
            except _Broken as broken:
                yield Trouble(broken.error_code, broken.message, broken.spot)
                continue
            if value is not None:
                yield Parsed(value, builder.keys, builder.values)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        spot = Spot(mark.line + 1, mark.column + 1, 1) if mark else Spot(1, 1, 1)
        yield Trouble("FB1008", f"not YAML: {error.problem or error.context}", spot)
    except (yaml.YAMLError, RecursionError) as error:
        yield Trouble("FB1008", f"not YAML: {type(error).__name__}", Spot(1, 1, 1))
    finally:
        loader.dispose()


class _Broken(DocumentInvalid):
    """Ends the reading of one document."""

    def __init__(self, code: str, message: str, spot: Spot) -> None:
        super().__init__(message, code=code)
        self.spot = spot


class _Builder:
    """Values out of the nodes of one document."""

    def __init__(self) -> None:
        self.keys: dict[Path, Spot] = {}
        self.values: dict[Path, Spot] = {}
        self._nodes = 0

    def value(self, node: yaml.Node, path: Path) -> Any:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _Broken("FB1008", f"more than {MAX_NODES} values", _spot(node))
        self.values[path] = _spot(node)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        return _scalar(node)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        made: dict[str, Any] = {}
        inherited: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _Broken("FB1008", "a key that is no text", _spot(key_node))
            key = str(key_node.value)
            if key == "<<" and key_node.style not in {"'", '"'}:
                inherited = self._merged(value_node, path) | inherited
                continue
            if key in made:
                first = self.keys[(*path, key)].line
                raise _Broken("FB1006", f"`{key}` stands twice, first in line {first}", _spot(key_node))
            self.keys[(*path, key)] = _spot(key_node)
            made[key] = self.value(value_node, (*path, key))
        return inherited | made

    def _merged(self, node: yaml.Node, path: Path) -> dict[str, Any]:
        """What `<<` takes over: the keys of a map, or of several, the first before the others."""
        maps = node.value if isinstance(node, yaml.SequenceNode) else [node]
        taken: dict[str, Any] = {}
        for one in maps:
            if not isinstance(one, yaml.MappingNode):
                raise _Broken("FB1008", "`<<` takes over maps only", _spot(one))
            taken = self._mapping(one, path) | taken
            for key in taken:
                self.keys.pop((*path, key), None)
        return taken


def _spot(node: yaml.Node) -> Spot:
    start, end = node.start_mark, node.end_mark
    length = end.column - start.column if end.line == start.line else 1
    return Spot(start.line + 1, start.column + 1, max(1, length))


def _scalar(node: yaml.Node) -> Any:
    text = str(node.value)
    kind = node.tag.rsplit(":", 1)[-1]
    if kind == "bool":
        return text.lower() in _TRUE
    if kind == "null":
        return None
    if kind == "int":
        return _integer(text.replace("_", ""), node)
    if kind == "float":
        return float(text.replace("_", ""))
    if kind != "str":
        raise _Broken("FB1008", f"the tag `{node.tag[:60]}` is not known", _spot(node))
    return text


def _integer(text: str, node: yaml.Node) -> int:
    sign = -1 if text.startswith("-") else 1
    digits = text.lstrip("+-")
    if len(digits) > 70:
        raise _Broken("FB1008", "a number of more than 70 digits", _spot(node))
    if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit():
        return sign * int(digits, 8)
    return sign * int(digits, 0)
