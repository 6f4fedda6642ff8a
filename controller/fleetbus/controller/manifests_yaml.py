"""YAML as `kubectl` reads it (sigs.k8s.io/yaml over YAML 1.1), and nothing beyond: no tags, dates, sexagesimals.

Booleans are also `y`, `n`, `yes`, `no`, `on`, `off`; `0644` is octal; keys become strings; a key that is given
twice is refused. libyaml refuses deep nesting; what composes to too many nodes (some 300 bytes each) ends at a
limit while it is composed, an alias bomb at a budget while it is walked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from fleetbus.schemas.errors import ObjectInvalid

MAX_DEPTH = 200
_MAX_INTEGER = 2**64
_MAX_DIGITS = 100

_NULL = re.compile(r"^(?:~|null|Null|NULL|)$")
_TRUE = frozenset({"y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"})
_FALSE = frozenset({"n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"})
_INTEGER = re.compile(r"^[-+]?(?:0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*)$")
_FLOAT = re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$")
_NOT_FINITE = re.compile(r"^(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$")
_PREFIX = "tag:yaml.org,2002:"
_PLAIN = "plain"
"""The tag given here to a scalar that has neither quotes nor a tag: only these are more than text."""
_STR, _MAP, _SEQ = _PREFIX + "str", _PREFIX + "map", _PREFIX + "seq"
_TYPES: dict[str, tuple[type, ...]] = {
    _PREFIX + "int": (int,),
    _PREFIX + "float": (int, float),
    _PREFIX + "bool": (bool,),
    _PREFIX + "null": (type(None),),
}
_KNOWN_TAGS = {_PLAIN, _STR, _MAP, _SEQ, *_TYPES}


@dataclass(frozen=True, slots=True)
class Marked:
    """A document of a YAML stream and where it begins."""

    value: dict[str, Any]
    name: str
    line: int

    @property
    def where(self) -> str:
        return f"{self.name}:{self.line}" if self.name else f"line {self.line}"


@dataclass(frozen=True, slots=True)
class Limits:
    """The most characters of a stream, nodes of one document, and nodes of the whole stream."""

    text: int
    document_nodes: int
    nodes: int


FILE = Limits(4 * 1024 * 1024, 500_000, 500_000)
BUILT = Limits(32 * 1024 * 1024, 500_000, 2_000_000)
"""For what a program has built out of many files."""


class _TooManyNodes(Exception):
    pass


class _Composer(yaml.CSafeLoader):
    """libyaml's parser and composer; what a plain scalar means is judged here.

    `left`: nodes that may still be composed. A node with a tag of its own is not asked for here.
    """

    left = 0

    def resolve(self, kind: type[yaml.Node], value: str | None, implicit: Any) -> str:
        self.left -= 1
        if self.left < 0:
            raise _TooManyNodes
        if kind is yaml.ScalarNode:
            return _PLAIN if implicit[0] else _STR
        return _MAP if kind is yaml.MappingNode else _SEQ


@dataclass(slots=True)
class _Budget:
    """How many nodes may still be walked: without aliases a text has fewer than it has characters."""

    nodes: int


def load_documents(text: str, name: str = "") -> list[dict[str, Any]]:
    """The mappings of a YAML or JSON stream, empty documents left out.

    Raises ObjectInvalid with `name:line:column` for what is no YAML, no mapping, too large, or ambiguous.
    """
    return [marked.value for marked in load_marked(text, name)]


def load_marked(text: str, name: str = "", limits: Limits = FILE) -> list[Marked]:
    """As `load_documents`, with the line at which each document begins."""
    if len(text) > limits.text:
        raise ObjectInvalid(f"larger than {limits.text // 2**20} MiB", where=name)
    return list(_documents(text, name, limits))


def _nodes(text: str, limits: Limits) -> Iterator[yaml.Node | None]:
    loader = _Composer(text)
    # As many may have a tag as there are exclamation marks, and are not counted one by one.
    left = limits.nodes - text.count("!")
    try:
        loader.left = allowed = min(left, limits.document_nodes)
        while loader.check_node():
            yield loader.get_node()
            left -= allowed - loader.left
            loader.left = allowed = min(left, limits.document_nodes)
    finally:
        loader.dispose()


def _documents(text: str, name: str, limits: Limits) -> Iterator[Marked]:
    budget = _Budget(min(4 * len(text) + 10_000, 2 * limits.nodes))
    try:
        for node in _nodes(text, limits):
            if node is None or _is_empty(node):
                continue
            if not isinstance(node, yaml.MappingNode):
                raise _invalid("a mapping must stand here", node, name)
            yield Marked(_mapping(node, name, budget, 0), name, node.start_mark.line + 1)
    except _TooManyNodes as error:
        raise ObjectInvalid("it has too many values", where=name, remedy="make several files") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ObjectInvalid(
            f"not YAML: {_problem(error)}", where=_place(name, mark) if mark else name
        ) from error
    except yaml.reader.ReaderError as error:
        before = text.encode(errors="replace")[: error.position]
        where = f"{name}:{before.count(10) + 1}:{len(before) - before.rfind(10)}"
        raise ObjectInvalid("not YAML: a character that YAML does not allow", where=where) from error
    except (RecursionError, UnicodeError) as error:
        raise ObjectInvalid("not YAML: nested too deep or not Unicode", where=name) from error


def _problem(error: yaml.MarkedYAMLError) -> str:
    problem = str(error.problem or "malformed")
    return f"{error.context}: {problem}" if error.context else problem


def _is_empty(node: yaml.Node) -> bool:
    return bool(node.tag == _PLAIN and _NULL.fullmatch(node.value))


def _value(node: yaml.Node, name: str, budget: _Budget, depth: int) -> Any:
    budget.nodes -= 1
    if budget.nodes < 0 or depth > MAX_DEPTH:
        raise _invalid("the aliases of this document make it too large, or it is nested too deep", node, name)
    if node.tag not in _KNOWN_TAGS:
        raise _invalid(f"the tag `{node.tag[:60]}` is not allowed", node, name)
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, name, budget, depth)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, name, budget, depth + 1) for item in node.value]
    return _scalar(node, name)


def _mapping(node: yaml.MappingNode, name: str, budget: _Budget, depth: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    merged: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise _invalid("a key must be a plain word", key_node, name)
        if key_node.value == "<<" and key_node.tag == _PLAIN:
            _merge(merged, value_node, name, budget, depth)
            continue
        key = _key(key_node, name)
        if key in made:
            raise _invalid(f"the key `{key[:80]}` is given twice", key_node, name)
        made[key] = _value(value_node, name, budget, depth + 1)
    return {**merged, **made} if merged else made


def _merge(merged: dict[str, Any], node: yaml.Node, name: str, budget: _Budget, depth: int) -> None:
    """The YAML 1.1 merge key: what stands first wins, and what the mapping says itself wins over all."""
    sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
    for source in sources:
        if not isinstance(source, yaml.MappingNode):
            raise _invalid("`<<` takes mappings", node, name)
        for key, value in _mapping(source, name, budget, depth + 1).items():
            merged.setdefault(key, value)


def _key(node: yaml.Node, name: str) -> str:
    """As Go prints the value: `1: x` has the key `1`, `on: x` the key `true`."""
    value = _scalar(node, name)
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    return str(value)


def _scalar(node: yaml.Node, name: str) -> Any:
    text: str = node.value
    if node.tag == _STR:
        return text
    value = _resolve(text, node, name)
    if node.tag == _PLAIN:
        return value
    wanted = _TYPES.get(node.tag, ())
    if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
        raise _invalid(f"`{text[:40]}` is not a value of {node.tag.removeprefix(_PREFIX)}", node, name)
    return value


def _resolve(text: str, node: yaml.Node, name: str) -> Any:
    if _NULL.fullmatch(text):
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if _INTEGER.fullmatch(text):
        return _number(text, node, name)
    if _NOT_FINITE.fullmatch(text):
        raise _invalid(f"`{text}` is no value that JSON can say", node, name)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise _invalid(f"`{text[:40]}` is too large a number", node, name)
        # Go writes 1e3 and 1.0 as whole numbers, and fields of integers take nothing else.
        return int(number) if number.is_integer() and abs(number) < 2**63 else number
    return text


def _number(text: str, node: yaml.Node, name: str) -> int | str:
    sign = -1 if text.startswith("-") else 1
    digits = text.lstrip("+-").replace("_", "")
    if len(digits) > _MAX_DIGITS:
        raise _too_large(text, node, name)
    base = {"0b": 2, "0o": 8, "0x": 16}.get(digits[:2])
    try:
        if base is not None:
            number = sign * int(digits[2:], base)
        elif len(digits) > 1 and digits.startswith("0"):
            number = sign * int(digits, 8)
        else:
            number = sign * int(digits)
    except ValueError:
        # Such as `089`: no octal digits; Go's YAML goes on to read it as a decimal float.
        if not digits.isdigit():
            return text
        number = sign * int(digits)
    if not -_MAX_INTEGER // 2 <= number < _MAX_INTEGER:
        raise _too_large(text, node, name)
    return number


def _too_large(text: str, node: yaml.Node, name: str) -> ObjectInvalid:
    return _invalid(f"`{text[:40]}` needs more than 64 bits; quote it if it is text", node, name)


def _place(name: str, mark: yaml.Mark) -> str:
    return f"{name}:{mark.line + 1}:{mark.column + 1}" if name else f"{mark.line + 1}:{mark.column + 1}"


def _invalid(message: str, node: yaml.Node, name: str) -> ObjectInvalid:
    return ObjectInvalid(message, where=_place(name, node.start_mark))
