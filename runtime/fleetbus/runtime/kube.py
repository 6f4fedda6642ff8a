"""The port `Kube` on a real API server: plain dicts over the REST transport of kubernetes.aio."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Any, Self

from fleetbus.runtime.clock import Clock
from fleetbus.runtime.foreign_text import cleaned
from fleetbus.runtime.kube_access import KubeAccess
from fleetbus.runtime.kube_discovery import Discovery
from fleetbus.runtime.kube_paths import (
    METADATA_LIST,
    METADATA_OBJECT,
    collection_path,
    create_path,
    is_secret,
    named_as,
    object_path,
    where,
)
from fleetbus.runtime.kube_transport import APPLY_PATCH, JSON, MERGE_PATCH, KubeTransport, Request
from fleetbus.runtime.kube_watch import PAGE, Watched, watch
from fleetbus.runtime.ports import KubeEvent, Resource
from fleetbus.schemas.canonical import canonical
from fleetbus.schemas.errors import NotFound, SettingsInvalid

_Object = dict[str, Any]
_Objects = list[_Object]
_Resources = list[Resource]


class KubeClient:
    """One cluster's API for the length of a context.

    At most `in_flight` requests at once, each within 30 s of its start; watches are not counted.
    """

    def __init__(self, access: KubeAccess, clock: Clock, *, in_flight: int = 16) -> None:
        self.access = access
        self._clock = clock
        self._in_flight = in_flight
        self._open: KubeTransport | None = None
        self._discovery = Discovery(self._fetch, clock)

    async def __aenter__(self) -> Self:
        try:
            self._open = KubeTransport(self.access, self._clock, in_flight=self._in_flight)
        except (OSError, ValueError) as error:
            raise SettingsInvalid(
                cleaned(f"the cluster's CA or client certificate cannot be used: {error}"),
                where=self.access.server,
            ) from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.close()

    @property
    def _transport(self) -> KubeTransport:
        if self._open is None:
            raise SettingsInvalid("the client is used outside of its context", where=self.access.server)
        return self._open

    async def resource(self, api_version: str, kind: str) -> Resource:
        return await self._discovery.resource(api_version, kind)

    async def resources(self) -> _Resources:
        return await self._discovery.all()

    async def version(self) -> str:
        """As the server says it, `v1.36.3`."""
        return str((await self.read_path("/version")).get("gitVersion") or "")

    async def read_path(self, path: str) -> _Object:
        return await self._fetch(path, f"{JSON}, */*")

    async def get(
        self, resource: Resource, namespace: str, name: str, *, metadata_only: bool = False
    ) -> _Object:
        accept = METADATA_OBJECT if metadata_only else JSON
        return await self._object("GET", resource, namespace, name, accept=accept)

    async def list(
        self,
        resource: Resource,
        *,
        namespace: str = "",
        label_selector: str = "",
        metadata_only: bool = False,
    ) -> _Objects:
        """By pages; for what may be many, `watch` needs less memory."""
        query = {"limit": str(PAGE)} | ({"labelSelector": label_selector} if label_selector else {})
        found: _Objects = []
        while True:
            page = await self._transport.call(
                Request(
                    "GET",
                    collection_path(resource, namespace),
                    query=query,
                    accept=METADATA_LIST if metadata_only else JSON,
                    where=where(resource, namespace, ""),
                    secret=is_secret(resource),
                )
            )
            found += (named_as(resource, item) for item in page.get("items") or [])
            more = (page.get("metadata") or {}).get("continue")
            if not more:
                return found
            query["continue"] = str(more)

    async def create(self, resource: Resource, namespace: str, body: _Object) -> _Object:
        name = str((body.get("metadata") or {}).get("name") or "")
        return await self._transport.call(
            Request(
                "POST",
                create_path(resource, namespace),
                body=body,
                where=where(resource, namespace, name),
                secret=is_secret(resource),
            )
        )

    async def replace(self, resource: Resource, namespace: str, name: str, body: _Object) -> _Object:
        return await self._object("PUT", resource, namespace, name, body=body)

    async def apply(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: _Object | bytes,
        *,
        field_manager: str,
        force: bool = False,
        dry_run: bool = False,
        metadata_only: bool = False,
    ) -> _Object:
        query = {"fieldManager": field_manager, "fieldValidation": "Strict"}
        query |= {"force": "true"} if force else {}
        query |= {"dryRun": "All"} if dry_run else {}
        return await self._object(
            "PATCH",
            resource,
            namespace,
            name,
            query=query,
            body=body if isinstance(body, bytes) else canonical(body),
            content_type=APPLY_PATCH,
            accept=METADATA_OBJECT if metadata_only else JSON,
        )

    async def merge_patch(self, resource: Resource, namespace: str, name: str, body: _Object) -> _Object:
        return await self._object("PATCH", resource, namespace, name, body=body, content_type=MERGE_PATCH)

    async def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        propagation: str = "Background",
        uid: str = "",
        resource_version: str = "",
    ) -> None:
        wanted = {"uid": uid, "resourceVersion": resource_version}
        options: _Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        if preconditions := {key: value for key, value in wanted.items() if value}:
            options["preconditions"] = preconditions
        try:
            await self._object("DELETE", resource, namespace, name, body=options)
        except NotFound:
            return

    def watch(
        self,
        resource: Resource,
        *,
        namespace: str = "",
        label_selector: str = "",
        metadata_only: bool = True,
    ) -> AsyncGenerator[KubeEvent, None]:
        watched = Watched(resource, namespace, label_selector, metadata_only)
        return watch(self._transport, self._clock, watched)

    async def _object(
        self, method: str, resource: Resource, namespace: str, name: str, **more: Any
    ) -> _Object:
        request = Request(
            method,
            object_path(resource, namespace, name),
            where=where(resource, namespace, name),
            secret=is_secret(resource),
            **more,
        )
        answer = await self._transport.call(request)
        # A deletion may be answered by a Status; everything else is the object itself.
        return answer if method == "DELETE" else named_as(resource, answer)

    async def _fetch(self, path: str, accept: str) -> _Object:
        return await self._transport.call(Request("GET", path, accept=accept, where=path))
