"""The watch loop against a scripted API server: every way that a stream can begin, break and go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import orjson
import pytest

from fleetbus.runtime.kube_transport import KubeTransport, Request
from fleetbus.runtime.kube_watch import MAX_LINE_BYTES, Watched, lines, watch
from fleetbus.runtime.ports import KubeEvent, Resource
from fleetbus.schemas.errors import ApplyRefused, FleetbusError, KubeUnavailable, NotFound

CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap", True)

Script = list[list[dict[str, Any]] | FleetbusError]


class Clock:
    """Sleeping costs no time but moves the clock; what was slept is kept."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.at_s = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.at_s)

    def monotonic_s(self) -> float:
        return self.at_s

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at_s += seconds
        await asyncio.sleep(0)

    def jitter(self, seconds: float, share: float = 0.25) -> float:
        return seconds

    def identifier(self) -> str:
        return "0" * 16


class Transport:
    """Answers each watch with the next part of a script, and lists with `pages`; then waits for ever."""

    def __init__(self, *script: list[dict[str, Any]] | FleetbusError, pages: Script | None = None) -> None:
        self.script = list(script)
        self.pages = list(pages or [])
        self.queries: list[dict[str, str]] = []

    async def call(self, request: Request) -> dict[str, Any]:
        self.queries.append(dict(request.query or {}))
        page = self.pages.pop(0)
        if isinstance(page, FleetbusError):
            raise page
        return page[0]

    @asynccontextmanager
    async def chunks(self, request: Request) -> AsyncIterator[AsyncIterator[bytes]]:
        self.queries.append(dict(request.query or {}))
        part = self.script.pop(0) if self.script else None
        if isinstance(part, FleetbusError):
            raise part
        yield self._stream(part)

    async def _stream(self, part: list[dict[str, Any]] | None) -> AsyncIterator[bytes]:
        if part is None:
            await asyncio.Event().wait()
        for entry in part or []:
            yield orjson.dumps(entry) + b"\n"


def entry(kind: str, name: str, version: int, uid: str = "") -> dict[str, Any]:
    metadata = {"name": name, "namespace": "n", "uid": uid or f"uid-{name}", "resourceVersion": str(version)}
    return {"type": kind, "object": {"kind": "PartialObjectMetadata", "metadata": metadata}}


def bookmark(version: int, *, end: bool = False) -> dict[str, Any]:
    metadata: dict[str, Any] = {"resourceVersion": str(version)}
    if end:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
    return {"type": "BOOKMARK", "object": {"metadata": metadata}}


def error(code: int) -> dict[str, Any]:
    return {"type": "ERROR", "object": {"kind": "Status", "code": code, "reason": "Expired", "message": "no"}}


async def run(transport: Transport, count: int) -> tuple[list[str], Clock]:
    """The first `count` events, as `ADDED a uid-a`, and the clock."""
    clock = Clock()
    seen: list[str] = []
    events = watch(cast("KubeTransport", transport), clock, Watched(CONFIG_MAP))
    async with asyncio.timeout(2):
        while len(seen) < count:
            seen.append(brief(await anext(events)))
    await events.aclose()
    return seen, clock


def brief(event: KubeEvent) -> str:
    metadata = event.object.get("metadata") or {}
    return f"{event.type} {metadata.get('name', '')} {metadata.get('uid', '')}".strip()


LISTED = [entry("ADDED", "b", 5), entry("ADDED", "a", 3), bookmark(7, end=True)]


async def test_a_cut_resumes_after_the_last_version_seen() -> None:
    transport = Transport([*LISTED, entry("MODIFIED", "a", 8), bookmark(20)], [entry("ADDED", "c", 21)])
    seen, _ = await run(transport, 5)
    assert seen == ["ADDED b uid-b", "ADDED a uid-a", "SYNCED", "MODIFIED a uid-a", "ADDED c uid-c"]
    first, second = transport.queries
    assert first["sendInitialEvents"] == "true"
    assert first["resourceVersionMatch"] == "NotOlderThan"
    assert "resourceVersion" not in first
    assert second["resourceVersion"] == "20"
    assert "sendInitialEvents" not in second


async def test_a_cut_inside_the_list_lists_again() -> None:
    transport = Transport([entry("ADDED", "a", 9)], LISTED)
    seen, _ = await run(transport, 4)
    assert seen == ["ADDED a uid-a", "ADDED b uid-b", "ADDED a uid-a", "SYNCED"]
    assert all("resourceVersion" not in query for query in transport.queries)


async def test_an_expired_version_lists_again_and_tells_what_vanished() -> None:
    again = [entry("ADDED", "a", 30, uid="new"), bookmark(31, end=True)]
    seen, _ = await run(Transport(LISTED, [error(410)], again), 7)
    assert seen[3:] == ["DELETED a uid-a", "ADDED a new", "DELETED b uid-b", "SYNCED"]


async def test_an_expired_version_may_also_be_an_http_status() -> None:
    transport = Transport(LISTED, KubeUnavailable("503"), KubeUnavailable("503"), [entry("ADDED", "c", 9)])
    seen, clock = await run(transport, 4)
    assert seen[3] == "ADDED c uid-c"
    assert clock.slept[1] > clock.slept[0]


async def test_pauses_grow_to_half_a_minute_and_no_further() -> None:
    transport = Transport(*[KubeUnavailable("503")] * 12, LISTED)
    _, clock = await run(transport, 1)
    assert clock.slept[0] < 0.5
    assert max(clock.slept) == 30
    assert clock.slept == sorted(clock.slept)


async def test_a_server_without_streaming_lists_is_listed_by_pages() -> None:
    def page(name: str, **metadata: str) -> list[dict[str, Any]]:
        return [{"items": [entry("", name, 1)["object"]], "metadata": metadata}]

    pages: Script = [page("a", **{"continue": "more"}), page("b", resourceVersion="40")]
    refusal = ApplyRefused("sendInitialEvents is forbidden", status=422)
    transport = Transport(refusal, [entry("DELETED", "a", 41)], pages=pages)
    seen, _ = await run(transport, 4)
    assert seen == ["ADDED a uid-a", "ADDED b uid-b", "SYNCED", "DELETED a uid-a"]
    assert transport.queries[2]["continue"] == "more"
    assert transport.queries[3]["resourceVersion"] == "40"


async def test_a_kind_that_is_served_no_more_is_empty_after_the_second_answer() -> None:
    gone = NotFound("no such resource")
    transport = Transport(LISTED, gone, gone, gone, LISTED)
    seen, _ = await run(transport, 9)
    assert seen[3:6] == ["DELETED a uid-a", "DELETED b uid-b", "SYNCED"]
    assert seen[6:] == ["ADDED b uid-b", "ADDED a uid-a", "SYNCED"]


@pytest.mark.parametrize(
    "line", [b"no json\n", b"[]\n", b'{"type":"ADDED"}\n', b'{"type":"ADDED","object":1}\n']
)
async def test_a_line_that_is_no_event_breaks_the_stream_only(line: bytes) -> None:
    class Broken(Transport):
        async def _stream(self, part: list[dict[str, Any]] | None) -> AsyncIterator[bytes]:
            async for chunk in super()._stream(part):
                yield chunk
            if len(self.queries) == 1:
                yield line

    seen, _ = await run(Broken(LISTED, [entry("ADDED", "c", 9)]), 4)
    assert seen[3] == "ADDED c uid-c"


async def test_lines_are_put_together_and_bounded() -> None:
    async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
        for part in parts:
            yield part

    whole = [line async for line in lines(chunks(b"a", b"b\nc", b"\n\nd\ne"))]
    assert whole == [b"ab", b"c", b"", b"d"]
    with pytest.raises(KubeUnavailable):
        [line async for line in lines(chunks(*[b"x" * 1024 * 1024] * (MAX_LINE_BYTES // 1024 // 1024 + 1)))]
