"""A NATS micro service on the Bus port alone: found by `nats service ls`, info and stats included.

Its subscriptions are those of the port, so it outlives reconnects, which nats-py's own service does not.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
import structlog

from fleetbus.runtime.clock import Clock
from fleetbus.runtime.foreign_text import cleaned
from fleetbus.runtime.ports import Bus, Message, Subscription
from fleetbus.schemas.errors import BusUnavailable, FleetbusError, MessageMalformed, TimeoutExpired
from fleetbus.schemas.limits import REQUESTS_AT_ONCE

Answer = Callable[[str, Message], Awaitable[bytes]]

QUEUE = "q"
ANSWER_TIMEOUT_S = 60.0
ERROR_HEADER = "Nats-Service-Error"
ERROR_CODE_HEADER = "Nats-Service-Error-Code"

_log = structlog.get_logger("bus")

_VERBS = ("PING", "INFO", "STATS")
_NANOSECONDS = 1_000_000_000


@dataclass(slots=True)
class _Endpoint:
    name: str
    subject: str
    requests: int = 0
    errors: int = 0
    last_error: str = ""
    busy_s: float = 0.0

    def described(self) -> dict[str, Any]:
        return {"name": self.name, "subject": self.subject, "queue_group": QUEUE, "metadata": {}}

    def statistics(self) -> dict[str, Any]:
        nanoseconds = int(self.busy_s * _NANOSECONDS)
        return {
            "name": self.name,
            "subject": self.subject,
            "queue_group": QUEUE,
            "num_requests": self.requests,
            "num_errors": self.errors,
            "last_error": self.last_error,
            "processing_time": nanoseconds,
            "average_processing_time": nanoseconds // max(1, self.requests),
        }


@dataclass(slots=True)
class _Service:
    """One served service: its identity, its endpoints, its places."""

    bus: Bus
    clock: Clock
    name: str
    version: str
    description: str
    answer: Answer
    identifier: str
    started: datetime
    endpoints: list[_Endpoint] = field(default_factory=list)
    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(REQUESTS_AT_ONCE))

    def describe(self, verb: str) -> dict[str, Any]:
        common = {"name": self.name, "id": self.identifier, "version": self.version, "metadata": {}}
        kind = {"type": f"io.nats.micro.v1.{verb.lower()}_response"}
        if verb == "INFO":
            endpoints = [endpoint.described() for endpoint in self.endpoints]
            return kind | common | {"description": self.description, "endpoints": endpoints}
        if verb == "STATS":
            started = self.started.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            statistics = [endpoint.statistics() for endpoint in self.endpoints]
            return kind | common | {"started": started, "endpoints": statistics}
        return kind | common


async def serve(
    bus: Bus,
    clock: Clock,
    name: str,
    version: str,
    description: str,
    endpoints: Mapping[str, str],
    answer: Answer,
) -> None:
    """Serve until cancelled; at most REQUESTS_AT_ONCE answers are made at a time, each within ANSWER_TIMEOUT_S."""
    service = _Service(bus, clock, name, version, description, answer, clock.identifier(), clock.now())
    service.endpoints = [_Endpoint(name, subject) for name, subject in endpoints.items()]
    async with AsyncExitStack() as stack:
        tails = ("", f".{name}", f".{name}.{service.identifier}")
        asked = [await stack.enter_async_context(bus.subscribe(f"$SRV.*{tail}")) for tail in tails]
        attended = [
            (endpoint, await stack.enter_async_context(bus.subscribe(endpoint.subject, queue=QUEUE)))
            for endpoint in service.endpoints
        ]
        async with asyncio.TaskGroup() as tasks:
            for questions in asked:
                tasks.create_task(_introduce(service, questions))
            for endpoint, requests in attended:
                tasks.create_task(_attend(service, endpoint, requests, tasks))


async def _introduce(service: _Service, asked: Subscription) -> None:
    async for message in asked:
        verb = message.subject.split(".")[1]
        if verb in _VERBS and message.reply:
            await _reply(service.bus, message.reply, orjson.dumps(service.describe(verb)))


async def _attend(
    service: _Service, endpoint: _Endpoint, requests: Subscription, tasks: asyncio.TaskGroup
) -> None:
    async for message in requests:
        await service.places.acquire()
        tasks.create_task(_answer(service, endpoint, message))


async def _answer(service: _Service, endpoint: _Endpoint, message: Message) -> None:
    began = service.clock.monotonic_s()
    data, failure = b"", None
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            data = await service.answer(endpoint.name, message)
    except FleetbusError as error:
        failure = error
    except TimeoutError:
        failure = TimeoutExpired(f"no answer was made within {ANSWER_TIMEOUT_S:g} s")
    except Exception as error:  # The edge of the loop: one bad request must not end the service.
        failure = FleetbusError(f"the service failed: {type(error).__name__}")
        last = traceback.extract_tb(error.__traceback__)[-1]
        _log.error(
            "answer failed",
            endpoint=endpoint.name,
            error=type(error).__name__,
            at=f"{last.name}:{last.lineno}",
        )
    finally:
        service.places.release()
    endpoint.requests += 1
    endpoint.busy_s += service.clock.monotonic_s() - began
    failure = await _reply(service.bus, message.reply, data, failure) or failure
    if failure is not None:
        endpoint.errors += 1
        endpoint.last_error = failure.error_code


async def _reply(
    bus: Bus, subject: str, data: bytes, failure: FleetbusError | None = None
) -> FleetbusError | None:
    """Answer with data or with a failure; a failure of the answering itself, such as too much data."""
    if not subject:
        return None
    headers = None
    if failure is not None:
        headers = {ERROR_HEADER: cleaned(failure.sentence(), 1024), ERROR_CODE_HEADER: failure.error_code}
    try:
        await bus.publish(subject, data, headers=headers)
    except MessageMalformed as error:
        return error if failure else await _reply(bus, subject, b"", error) or error
    except BusUnavailable as error:
        return error  # Who asked has lost the connection too, or asks again.
    return None
