"""Watching one kind for ever: streaming list, changes, resume, relist; line by line, in little memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import orjson
import structlog

from fleetbus.runtime.clock import Clock
from fleetbus.runtime.kube_errors import error_of_status
from fleetbus.runtime.kube_paths import (
    METADATA_LIST,
    METADATA_OBJECT,
    collection_path,
    is_secret,
    named_as,
    where,
)
from fleetbus.runtime.kube_transport import JSON, KubeTransport, Request
from fleetbus.runtime.ports import KubeEvent, Resource
from fleetbus.schemas.errors import ApplyRefused, FleetbusError, KubeUnavailable, NotFound

MAX_LINE_BYTES = 16 * 1024 * 1024
PAGE = 500

_SERVER_ENDS_AFTER_S = 600.0
_BACKOFF_S = (0.1, 30.0)
_LASTED_S = 2.0
_INITIAL_EVENTS_END = "k8s.io/initial-events-end"
# The API server that lost its answer for a kind once, at a start for instance, is asked again before
# everything of that kind is taken to be gone.
_NOT_SERVED_AFTER = 2

log = structlog.get_logger(__name__)


class _Expired(Exception):
    """The resource version to resume at is gone (410): list again."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What is watched: a kind, in one namespace or everywhere, by labels or all of it."""

    resource: Resource
    namespace: str = ""
    label_selector: str = ""
    metadata_only: bool = True

    def request(self, query: Mapping[str, str], *, watching: bool = True) -> Request:
        selected = {"labelSelector": self.label_selector} if self.label_selector else {}
        metadata = METADATA_OBJECT if watching else METADATA_LIST
        return Request(
            "GET",
            collection_path(self.resource, self.namespace),
            query={**selected, **query},
            accept=metadata if self.metadata_only else JSON,
            where=where(self.resource, self.namespace, ""),
            secret=is_secret(self.resource),
        )


_Key = tuple[str, str]


@dataclass(slots=True)
class _Seen:
    """What a watch remembers: where it stands and the UID of each object, nothing else of them."""

    uids: dict[_Key, str] = field(default_factory=dict)
    listed: set[_Key] | None = field(default_factory=set)
    """Objects that the list under way has given; None once the list is complete."""
    version: str = ""
    streaming: bool = True


async def watch(transport: KubeTransport, clock: Clock, watched: Watched) -> AsyncGenerator[KubeEvent, None]:
    """Events of `Kube.watch`, for ever: each failure is waited out with growing, jittered pauses.

    A DELETED for an object that vanished unseen has only its kind, namespace, name and uid. When the API
    serves the kind no more, all of them are given as DELETED, then SYNCED, and it keeps asking.
    """
    seen = _Seen()
    failures = not_served = 0
    interrupted = False
    while True:
        began_s = clock.monotonic_s()
        trouble: FleetbusError | None = None
        try:
            async with aclosing(_round(transport, watched, seen)) as events:
                async for event in events:
                    if interrupted:
                        log.info("watch resumed", kind=watched.resource.kind)
                    interrupted, not_served = False, 0
                    yield event
        except _Expired:
            seen.version = ""
        except FleetbusError as error:
            trouble = error
        if isinstance(trouble, NotFound):
            not_served += 1
            if not_served == _NOT_SERVED_AFTER:
                seen.version, seen.listed = "", set()
                for event in _list_complete(watched.resource, seen):
                    yield event
        if trouble is not None and not interrupted:
            log.warning("watch interrupted", kind=watched.resource.kind, reason=trouble.reason)
            interrupted = True
        # A server that ends each watch at once is as good as one that fails.
        lasted = clock.monotonic_s() - began_s >= _LASTED_S
        failures = 0 if lasted else failures + 1
        if trouble is not None or not lasted:
            await clock.sleep(clock.jitter(min(_BACKOFF_S[1], _BACKOFF_S[0] * 2 ** min(failures, 12))))


async def _round(transport: KubeTransport, watched: Watched, seen: _Seen) -> AsyncGenerator[KubeEvent, None]:
    """One connection: from the start when no version is known, else on from there, until it ends."""
    query = {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "timeoutSeconds": str(int(_SERVER_ENDS_AFTER_S)),
    }
    if not seen.version:
        seen.listed = set()
        if seen.streaming:
            query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        else:
            async for event in _listed(transport, watched, seen):
                yield event
    if seen.version:
        query["resourceVersion"] = seen.version
    try:
        async with transport.chunks(watched.request(query)) as chunks:
            async for line in lines(chunks):
                for event in _events(line, watched.resource, seen):
                    yield event
    except ApplyRefused as error:
        if "sendInitialEvents" not in query or error.status not in (400, 422):
            raise
        # Servers without streaming lists refuse the parameter; they are listed by pages instead.
        seen.streaming = False


async def _listed(transport: KubeTransport, watched: Watched, seen: _Seen) -> AsyncIterator[KubeEvent]:
    query = {"limit": str(PAGE)}
    while True:
        page = await transport.call(watched.request(query, watching=False))
        metadata = page.get("metadata") or {}
        for found in page.get("items") or []:
            for event in _changed(watched.resource, seen, "ADDED", found):
                yield event
        if not metadata.get("continue"):
            break
        query["continue"] = str(metadata["continue"])
    seen.version = str(metadata.get("resourceVersion") or "")
    for event in _list_complete(watched.resource, seen):
        yield event


async def lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Whole lines of a stream. Raises KubeUnavailable beyond MAX_LINE_BYTES in one."""
    rest: list[bytes] = []
    size = 0
    async for chunk in chunks:
        *whole, tail = chunk.split(b"\n")
        for line in whole:
            yield b"".join([*rest, line])
            rest, size = [], 0
        if tail:
            rest.append(tail)
            size += len(tail)
        if size > MAX_LINE_BYTES:
            raise KubeUnavailable(f"a line of a watch is longer than {MAX_LINE_BYTES} bytes")


def _events(line: bytes, resource: Resource, seen: _Seen) -> list[KubeEvent]:
    """What one line of the stream means; moves `seen`. Raises _Expired and the port's errors."""
    if not line.strip():
        return []
    try:
        entry = orjson.loads(line)
        kind, found = str(entry["type"]), entry["object"]
        metadata = found.get("metadata") or {}
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise KubeUnavailable("a line of a watch is not an event", where=resource.kind) from error
    if kind == "ERROR":
        status = int(found.get("code") or 500)
        if status == 410:
            raise _Expired
        raise error_of_status(status, found, where=resource.kind, secret=is_secret(resource))
    if kind == "BOOKMARK":
        if (metadata.get("annotations") or {}).get(_INITIAL_EVENTS_END) == "true":
            seen.version = str(metadata.get("resourceVersion") or "")
            return _list_complete(resource, seen)
        events: list[KubeEvent] = []
    else:
        events = _changed(resource, seen, kind, found)
    # While a list is under way its versions are out of order: a cut begins it again.
    if seen.listed is None:
        seen.version = str(metadata.get("resourceVersion") or seen.version)
    return events


def _changed(resource: Resource, seen: _Seen, kind: str, found: dict[str, Any]) -> list[KubeEvent]:
    metadata = found.get("metadata") or {}
    key = (str(metadata.get("namespace") or ""), str(metadata.get("name") or ""))
    uid = str(metadata.get("uid") or "")
    event = KubeEvent(kind, named_as(resource, found))
    if kind == "DELETED":
        seen.uids.pop(key, None)
        if seen.listed is not None:
            seen.listed.discard(key)
        return [event]
    before = seen.uids.get(key, uid)
    seen.uids[key] = uid
    if seen.listed is not None:
        seen.listed.add(key)
    # Deleted and made again while nobody looked.
    return [event] if before == uid else [_vanished(resource, key, before), event]


def _list_complete(resource: Resource, seen: _Seen) -> list[KubeEvent]:
    listed = seen.listed or set()
    gone = sorted(key for key in seen.uids if key not in listed)
    seen.listed = None
    return [*(_vanished(resource, key, seen.uids.pop(key)) for key in gone), KubeEvent("SYNCED", {})]


def _vanished(resource: Resource, key: _Key, uid: str) -> KubeEvent:
    metadata = {"name": key[1], "uid": uid} | ({"namespace": key[0]} if key[0] else {})
    return KubeEvent("DELETED", named_as(resource, {"metadata": metadata}))
