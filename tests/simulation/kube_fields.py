"""Who owns which field of a simulated object: server-side apply for maps; lists and scalars are whole. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar, cast

import orjson

from fleetbus.schemas.errors import KubeConflict

T = TypeVar("T")
Field = tuple[str, ...]
Manager = tuple[str, str]
"""Name and operation, `Apply` or `Update`."""
Owners = dict[Manager, frozenset[Field]]


def copied(value: T) -> T:
    """A copy of a JSON value that shares nothing with it; many times faster than `copy.deepcopy`."""
    return cast(T, orjson.loads(orjson.dumps(value)))


_ABSENT = object()
_SERVERS_OWN = frozenset(
    {"name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp"}
) | {
    "deletionTimestamp",
    "managedFields",
}


def fields(value: dict[str, Any], at: Field = ()) -> Iterator[Field]:
    """The leaves of an object that somebody can own."""
    for key, inner in value.items():
        if (not at and key in ("apiVersion", "kind")) or (at == ("metadata",) and key in _SERVERS_OWN):
            continue
        if isinstance(inner, dict) and inner:
            yield from fields(inner, (*at, key))
        else:
            yield (*at, key)


def applied(
    live: dict[str, Any], owners: Owners, body: dict[str, Any], manager: str, *, force: bool
) -> tuple[dict[str, Any], Owners]:
    """Object and owners after an apply. KubeConflict names fields that others own with another value."""
    me = (manager, "Apply")
    wanted = frozenset(fields(body))
    taken = {
        f: o for o, owned in owners.items() if o != me for f in owned & wanted if _differs(live, body, f)
    }
    if taken and not force:
        named = ", ".join(f".{'.'.join(f)} ({taken[f][0]})" for f in sorted(taken))
        raise KubeConflict(f"other managers own {named}")
    new_owners = {o: owned - taken.keys() for o, owned in owners.items() if o != me} | {me: wanted}
    kept = frozenset[Field]().union(*new_owners.values())
    result = copied(live)
    for field in owners.get(me, frozenset()) - kept:
        _remove(result, field)
    for field in wanted:
        _set(result, field, copied(_get(body, field)))
    return result, {o: owned for o, owned in new_owners.items() if owned}


def updated(live: dict[str, Any], result: dict[str, Any], owners: Owners, manager: str) -> Owners:
    """Owners after a create, replace or patch: what it changed belongs to it, what it removed to nobody."""
    me = (manager, "Update")
    present = frozenset(fields(result))
    changed = frozenset(field for field in present if _differs(live, result, field))
    left = {o: (owned - changed) & present for o, owned in owners.items() if o != me}
    left[me] = (owners.get(me, frozenset()) & present) | changed
    return {o: owned for o, owned in left.items() if owned}


def merged(live: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """RFC 7386."""
    result = dict(live)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            inner = result.get(key)
            result[key] = merged(inner if isinstance(inner, dict) else {}, value)
        else:
            result[key] = copied(value)
    return result


def managed_fields(owners: Owners, api_version: str, at: str) -> list[dict[str, Any]]:
    """`metadata.managedFields` for these owners."""
    return [
        {
            "manager": name,
            "operation": operation,
            "apiVersion": api_version,
            "time": at,
            "fieldsType": "FieldsV1",
            "fieldsV1": _tree(owned),
        }
        for (name, operation), owned in sorted(owners.items())
    ]


def _tree(owned: frozenset[Field]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for field in sorted(owned):
        inner = tree
        for key in field:
            inner = inner.setdefault(f"f:{key}", {})
    return tree


def _differs(one: dict[str, Any], other: dict[str, Any], field: Field) -> bool:
    return bool(_get(one, field) != _get(other, field))


def _get(value: Any, field: Field) -> Any:
    for key in field:
        if not isinstance(value, dict) or key not in value:
            return _ABSENT
        value = value[key]
    return value


def _set(target: dict[str, Any], field: Field, value: Any) -> None:
    for key in field[:-1]:
        if not isinstance(target.get(key), dict):
            target[key] = {}
        target = target[key]
    target[field[-1]] = value


def _remove(target: dict[str, Any], field: Field) -> None:
    """Remove a leaf and the maps that it leaves empty."""
    inner = target.get(field[0])
    if len(field) > 1 and isinstance(inner, dict):
        _remove(inner, field[1:])
    if len(field) == 1 or inner == {}:
        target.pop(field[0], None)
