"""The Secret `fleetbus-system/fleetbus-agent`: read, and changed by the agent alone once it has begun."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any

from fleetbus.agent.settings import JOIN, NAME, NAMESPACE, SECRET, WHERE
from fleetbus.runtime.ports import Kube
from fleetbus.schemas.errors import KubeConflict, NotFound, SettingsInvalid

_ATTEMPTS = 5

Change = Callable[[Mapping[str, str]], Mapping[str, str]]
"""The values as they are → as they shall be. Pure."""


async def read_secret(kube: Kube) -> dict[str, str]:
    """Its values as text. Raises SettingsInvalid naming the key, KubeUnavailable, ApplyRefused."""
    return _values(await _read(kube))


async def change_secret(kube: Kube, change: Change) -> dict[str, str]:
    """Write what `change` makes of the newest values; what is there after that.

    Raises SettingsInvalid, KubeUnavailable, KubeConflict (somebody writes all the time), ApplyRefused.
    """
    for attempt in range(_ATTEMPTS):
        found = await _read(kube)
        before = _values(found)
        after = dict(change(before))
        if after == before:
            return after
        data = {key: base64.b64encode(value.encode()).decode() for key, value in after.items()}
        try:
            await kube.replace(SECRET, NAMESPACE, NAME, {**found, "data": data})
            return after
        except KubeConflict:
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


async def _read(kube: Kube) -> dict[str, Any]:
    try:
        return await kube.get(SECRET, NAMESPACE, NAME)
    except NotFound as error:
        raise SettingsInvalid("the Secret is not there", where=WHERE, remedy=JOIN) from error


def _values(found: Mapping[str, Any]) -> dict[str, str]:
    return {key: _decoded(key, value) for key, value in (found.get("data") or {}).items()}


def _decoded(key: str, value: Any) -> str:
    try:
        return base64.b64decode(str(value), validate=True).decode().strip()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise SettingsInvalid(f"key `{key}` is not base64 of text", where=WHERE, remedy=JOIN) from error
