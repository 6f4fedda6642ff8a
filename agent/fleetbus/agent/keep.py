"""What must outlive the process: the custom resource `agentstates.agent.fleetbus.dev`, one object `agent`.

Each value is JSON in a string: the API server, which keeps account of every field that it sees, sees one a key.

Each write names the version that it follows and who holds the Lease, so that an agent that was overtaken
cannot undo what its successor has kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from fleetbus.agent.ports import Rule
from fleetbus.agent.settings import NAMESPACE
from fleetbus.runtime.ports import Kube, Resource
from fleetbus.schemas.canonical import canonical, parse_json
from fleetbus.schemas.errors import AlreadyExists, KubeConflict, MessageMalformed, NotFound

AGENT_STATE = Resource("agent.fleetbus.dev", "v1alpha1", "agentstates", "AgentState", True)
NAME = "agent"
NEEDS = (
    Rule((AGENT_STATE.group,), (AGENT_STATE.plural,), ("create", "get", "update"), names=(NAME,), home=True),
)

_Kept = Mapping[str, Any]


class KubeKeep:
    """The port `Keep`. Entered under the Lease; concurrent calls share one request."""

    def __init__(self, kube: Kube, holder: str) -> None:
        self._kube = kube
        self._holder = holder
        self._version = ""
        self._state: dict[str, _Kept] = {}
        self._queued: dict[str, _Kept | None] = {}
        self._asked = 0
        self._written = 0
        self._writing = asyncio.Lock()

    async def load(self) -> None:
        """Read what an earlier process kept and mark it as this holder's. KubeUnavailable, KubeConflict."""
        await self._read()
        await self._write({})

    def kept(self, key: str) -> _Kept | None:
        return self._state.get(key)

    async def keep(self, values: Mapping[str, _Kept | None]) -> None:
        self._queued.update(values)
        self._asked += 1
        mine = self._asked
        async with self._writing:
            if self._written >= mine:
                return
            batch, upto, self._queued = self._queued, self._asked, {}
            is_written = False
            try:
                await self._write(batch)
                self._written, is_written = upto, True
            finally:
                if not is_written:
                    # The next call tries them along with its own; a later value for a key has precedence.
                    self._queued = {**batch, **self._queued}

    async def _write(self, values: Mapping[str, _Kept | None]) -> None:
        for last in (False, True):
            merged = {**self._state, **values}
            state = {key: value for key, value in merged.items() if value is not None}
            try:
                found = await self._put(state)
            except KubeConflict:
                held_by = await self._read()
                if last or held_by != self._holder:
                    raise
                continue
            self._version = str(found["metadata"].get("resourceVersion") or "")
            self._state = state
            return

    async def _put(self, state: Mapping[str, _Kept]) -> dict[str, Any]:
        body: dict[str, Any] = {
            "apiVersion": AGENT_STATE.api_version,
            "kind": AGENT_STATE.kind,
            "metadata": {"name": NAME, "namespace": NAMESPACE},
            "holder": self._holder,
            "state": {key: canonical(value).decode() for key, value in state.items()},
        }
        if self._version:
            body["metadata"]["resourceVersion"] = self._version
            try:
                return await self._kube.replace(AGENT_STATE, NAMESPACE, NAME, body)
            except NotFound as error:
                raise KubeConflict("the agent's state was deleted") from error
        try:
            return await self._kube.create(AGENT_STATE, NAMESPACE, body)
        except AlreadyExists as error:
            raise KubeConflict("the agent's state was made by somebody else") from error

    async def _read(self) -> str:
        """Take over what stands there; its holder. What somebody deleted is made again from memory."""
        try:
            found = await self._kube.get(AGENT_STATE, NAMESPACE, NAME)
        except NotFound:
            self._version = ""
            return self._holder
        self._version = str((found.get("metadata") or {}).get("resourceVersion") or "")
        self._state = parse_state(found)
        return str(found.get("holder") or "")


def parse_state(found: Mapping[str, Any]) -> dict[str, _Kept]:
    """What an AgentState holds, by key. What cannot be read counts as never kept."""
    state: dict[str, _Kept] = {}
    for key, text in (found.get("state") or {}).items():
        try:
            value = parse_json(str(text).encode())
        except MessageMalformed:
            continue
        if isinstance(value, dict):
            state[key] = value
    return state
