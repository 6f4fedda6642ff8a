"""What an answer of the Kubernetes API that is no success means, in errors of our own. Pure.

A validation error may quote the value that it refuses, so for a Secret only the reason is kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from fleetbus.runtime.foreign_text import cleaned
from fleetbus.schemas.errors import (
    AlreadyExists,
    ApplyRefused,
    FleetbusError,
    KubeConflict,
    KubeUnavailable,
    NotFound,
)
from fleetbus.schemas.guard import GUARD, refusal_of_policy

_REFUSED = frozenset({400, 403, 405, 406, 413, 415, 422})
_SCHEMA_ERROR = "failed to create typed patch object"
_CONFLICT_WITH = re.compile(r'^conflict with "((?:[^"\\]|\\.)*)"')


def error_of(status: int, body: bytes, *, where: str = "", secret: bool = False) -> FleetbusError:
    """The error for an HTTP status and the body (a `Status` object, or anything) that came with it."""
    return error_of_status(status, _status_object(body), where=where, secret=secret)


def error_of_status(
    status: int, answer: Mapping[str, Any], *, where: str = "", secret: bool = False
) -> FleetbusError:
    """The same for a `Status` object that was read already."""
    reason = str(answer.get("reason") or "")
    text = str(answer.get("message") or "")
    said = cleaned(f"{reason or 'refused'} ({status})" if secret or not text else text)
    if status in _REFUSED and (refused := _by_policy(text, secret)):
        return ApplyRefused(refused, where=where, status=status)
    if status == 409:
        if reason == "AlreadyExists":
            return AlreadyExists(said, where=where)
        return KubeConflict(_conflicts(answer) or said, where=where)
    if status == 404:
        return NotFound(said, where=where)
    if status in _REFUSED or (status == 500 and _SCHEMA_ERROR in text):
        return ApplyRefused(said, where=where, status=status)
    if status == 401:
        return KubeUnavailable("the API server does not accept the credential (401)", where=where)
    return KubeUnavailable(said, where=where)


def _by_policy(text: str, secret: bool) -> str:
    """What a policy says, without the words around it; of the guard's sentence the object's name, too.

    The guard quotes no values, so what it says of a Secret is kept; of other policies that is not known.
    """
    policy, sentence = refusal_of_policy(text) or ("", "")
    if policy == GUARD:
        return cleaned(sentence.partition(": ")[2] or sentence)
    return cleaned(f"policy {policy} refuses it: {sentence}") if policy and not secret else ""


def _conflicts(answer: Mapping[str, Any]) -> str:
    """`.data.a (kubectl), .spec.b (helm)` from the causes of a field manager conflict; values never are."""
    details = answer.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    found = []
    for cause in causes if isinstance(causes, list) else []:
        if isinstance(cause, dict) and cause.get("reason") == "FieldManagerConflict":
            match = _CONFLICT_WITH.match(str(cause.get("message") or ""))
            manager = match.group(1) if match else "another manager"
            found.append(f"{cause.get('field') or 'a field'} ({manager})")
    return cleaned("other managers own " + ", ".join(found)) if found else ""


def _status_object(body: bytes) -> Mapping[str, Any]:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return answer if isinstance(answer, dict) else {}
