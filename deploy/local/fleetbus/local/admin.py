"""The owner of a local cluster: plain REST with the admin's client certificate, dicts in, dicts out.

For what stands around a fleet (nodes, tokens, tests); agents and controller use `fleetbus.runtime.kube`.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncGenerator, Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp

from fleetbus.local.pki import Pki
from fleetbus.schemas.errors import AlreadyExists, ApplyRefused, KubeConflict, KubeUnavailable, NotFound

_APPLY = "application/apply-patch+yaml; charset=utf-8"
_TIMEOUT = aiohttp.ClientTimeout(total=30)


class Admin:
    """One apiserver with one identity, for the length of a context.

    `token` in place of the client certificate asks as a ServiceAccount, as an agent does.
    """

    def __init__(self, server: str, pki: Pki, *, client: str = "admin", token: str = "") -> None:
        self.server = server
        self._trust = ssl.create_default_context(cafile=str(pki.authority))
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        if not token:
            self._trust.load_cert_chain(str(pki.certificate(client)), str(pki.key(client)))
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=_TIMEOUT, trust_env=False, connector=aiohttp.TCPConnector(ssl=self._trust)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        return _object(await self.request("GET", path, query=query))

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST to a collection. Raises AlreadyExists."""
        return _object(await self.request("POST", path, body))

    async def apply(self, path: str, body: Mapping[str, Any], *, owner: str = "local") -> dict[str, Any]:
        """Server-side apply of one object, forced, under the field manager `owner`."""
        query = {"fieldManager": owner, "force": "true"}
        return _object(await self.request("PATCH", path, body, content_type=_APPLY, query=query))

    async def merge(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """A merge patch, as a hand edit makes it."""
        content_type = "application/merge-patch+json"
        return _object(await self.request("PATCH", path, body, content_type=content_type))

    async def delete(self, path: str, *, propagation: str = "Background") -> None:
        """Delete an object; it is no error when there is none."""
        try:
            await self.request("DELETE", path, query={"propagationPolicy": propagation})
        except NotFound:
            return

    async def exists(self, path: str) -> bool:
        try:
            await self.request("GET", path)
        except NotFound:
            return False
        return True

    async def watch(self, path: str, **query: str) -> AsyncGenerator[dict[str, Any], None]:
        """The events of a watch as they come, the objects that are there at first; ends only by being left.

        Raises KubeUnavailable when the apiserver ends it.
        """
        if self._session is None:
            raise KubeUnavailable("the admin's session is not open", where=self.server)
        words = {"watch": "true", "allowWatchBookmarks": "false", **query}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        try:
            async with self._session.get(
                f"{self.server}{path}", headers=self._headers, params=words, timeout=timeout
            ) as answer:
                if answer.status >= 400:
                    raise _error(answer.status, await answer.read(), f"WATCH {path}")
                async for line in answer.content:
                    yield _object(line)
        except (aiohttp.ClientError, TimeoutError) as cause:
            raise KubeUnavailable("the apiserver does not answer", where=path) from cause
        raise KubeUnavailable("the apiserver ended the watch", where=path)

    async def ready(self) -> bool:
        """Whether the apiserver says that it is ready; False also when it does not answer."""
        try:
            return await self.request("GET", "/readyz") == b"ok"
        except (KubeUnavailable, ApplyRefused):
            return False

    async def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        content_type: str = "application/json",
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """One request; the answer's bytes.

        Raises NotFound, AlreadyExists, KubeConflict, KubeUnavailable (no answer, 429, 5xx), ApplyRefused.
        """
        if self._session is None:
            raise KubeUnavailable("the admin's session is not open", where=self.server)
        content = None if body is None else json.dumps(body).encode()
        kind = {"Content-Type": content_type} if content is not None else {}
        try:
            async with self._session.request(
                method,
                f"{self.server}{path}",
                data=content,
                headers={**self._headers, **kind, **(headers or {})},
                params=dict(query or {}),
            ) as answer:
                raw = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as cause:
            raise KubeUnavailable("the apiserver does not answer", where=path) from cause
        if answer.status >= 400:
            raise _error(answer.status, raw, f"{method} {path}")
        return raw


def _error(status: int, raw: bytes, where: str) -> Exception:
    try:
        answer = json.loads(raw)
        message, reason = str(answer.get("message", "")), str(answer.get("reason", ""))
    except (ValueError, AttributeError):
        message, reason = "", ""
    message = message or f"the apiserver answered {status}"
    if status == 404:
        return NotFound(message, where=where)
    if status == 409:
        return AlreadyExists(message, where=where) if reason == "AlreadyExists" else KubeConflict(message)
    if status == 429 or status >= 500:
        return KubeUnavailable(message, where=where)
    return ApplyRefused(message, where=where, status=status)


def _object(raw: bytes) -> dict[str, Any]:
    found = json.loads(raw)
    if not isinstance(found, dict):
        raise KubeUnavailable("the apiserver's answer is no object")
    return found
