"""What an account says on the running bus, against what the contract's data say: each difference in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fleetbus.schemas.errors import Refused
from fleetbus.schemas.nats_jwt import Claims, verify


def differences(wanted: Claims, token: str) -> tuple[str, ...]:
    """`token`: what a server has for the account, '' for nothing. No difference is left out."""
    if not token:
        return (f"{wanted.name} is not there",)
    try:
        there = verify(token)
    except Refused as error:
        return (f"{wanted.name}: {error.message}",)
    if there.says_the_same(wanted):
        return ()
    found = tuple(f"{wanted.name}: {one}" for one in _named(wanted, there))
    return found or (f"{wanted.name} says something else",)


def _named(wanted: Claims, there: Claims) -> Iterator[str]:
    for word, mine, theirs in (
        ("key", wanted.subject, there.subject),
        ("signing key", wanted.issuer, there.issuer),
        ("name", wanted.name, there.name),
        ("end", wanted.expires_at, there.expires_at),
    ):
        if mine != theirs:
            yield f"another {word}"
    yield from _roles(_scopes(wanted), _scopes(there))
    for part in ("exports", "imports"):
        yield from _list(part, _entries(wanted, part), _entries(there, part))
    for part in ("limits", "revocations"):
        yield from _values(part, _map(wanted.body.get(part)), _map(there.body.get(part)))
    known = {"signing_keys", "exports", "imports", "limits", "revocations"}
    for part in sorted((wanted.body.keys() | there.body.keys()) - known):
        if wanted.body.get(part) != there.body.get(part):
            yield f"`{part}` differs"


def _roles(wanted: Mapping[str, Any], there: Mapping[str, Any]) -> Iterator[str]:
    for role in sorted(wanted.keys() | there.keys()):
        if role not in there:
            yield f"no role {role}"
        elif role not in wanted:
            yield f"a role {role} that the contract does not have"
        elif wanted[role] != there[role]:
            yield from _role(role, wanted[role], there[role])


def _role(role: str, wanted: Mapping[str, Any], there: Mapping[str, Any]) -> Iterator[str]:
    if wanted.get("key") != there.get("key"):
        yield f"{role} has another key"
    mine, theirs = _map(wanted.get("template")), _map(there.get("template"))
    for word, part in (("publish to", "pub"), ("subscribe to", "sub")):
        one, other = mine.get(part), theirs.get(part)
        if (one is None) != (other is None):
            yield f"{role} may {word} {'anything' if other is None else 'some subjects only'}"
            continue
        allowed, found = (set(_texts(_map(side).get("allow"))) for side in (one, other))
        yield from (f"{role} may not {word} {subject}" for subject in sorted(allowed - found))
        yield from (f"{role} may {word} {subject}" for subject in sorted(found - allowed))
        if _map(one).get("deny") != _map(other).get("deny"):
            yield f"{role} is denied other subjects to {word}"
    rest = (mine.keys() | theirs.keys()) - {"pub", "sub"}
    yield from (f"{role} has another `{part}`" for part in sorted(rest) if mine.get(part) != theirs.get(part))


def _list(part: str, wanted: Mapping[str, Any], there: Mapping[str, Any]) -> Iterator[str]:
    for subject in sorted(wanted.keys() | there.keys()):
        if wanted.get(subject) != there.get(subject):
            word = "lacks" if subject not in there else "adds" if subject not in wanted else "changes"
            yield f"{word} {subject} among its {part}"


def _values(part: str, wanted: Mapping[str, Any], there: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted(wanted.keys() | there.keys()):
        if wanted.get(key) != there.get(key):
            yield f"{part}: {key} is {there.get(key, 'not said')} instead of {wanted.get(key, 'not said')}"


def _scopes(claims: Claims) -> dict[str, Any]:
    """By role; a signing key without a scope, whose users may do anything, by itself."""
    found: dict[str, Any] = {}
    for one in _items(claims.body.get("signing_keys")):
        scope = one if isinstance(one, dict) else {"role": f"without a scope ({one})", "key": one}
        found[str(scope.get("role"))] = scope
    return found


def _entries(claims: Claims, part: str) -> dict[str, Any]:
    return {str(_map(one).get("subject")): one for one in _items(claims.body.get(part))}


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _texts(value: Any) -> Iterator[str]:
    return (one for one in _items(value) if isinstance(one, str))
