"""What every command is given: where to write, which context, and how to reach the fleet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fleetbus.cli.output import Output
from fleetbus.cli.table import Cell

if TYPE_CHECKING:
    from fleetbus.client import Fleet

T = TypeVar("T")
Connect = Callable[[str], AbstractAsyncContextManager["Fleet"]]
"""Name of a context ('' for the current one) → the fleet."""


def warn_of_plaintext(output: Output, what: str) -> None:
    """On standard error, in a pipe as well, each time that such a fleet is used."""
    output.say(Cell("warning: ", "warn"), f"{what} has no TLS (--insecure-dev): for development only")


def connect_to_fleet(context: str) -> AbstractAsyncContextManager[Fleet]:
    """The fleet of a context over the bus. Raises SettingsInvalid, BusUnavailable, NotPermitted."""
    from fleetbus.client import connect, load_context

    return connect(load_context(context))


@dataclass(slots=True)
class Invocation:
    """One run of the command. `context` is '' when the current one is meant."""

    output: Output
    context: str = ""
    _connect: Connect = field(default=connect_to_fleet)

    @asynccontextmanager
    async def fleet(self) -> AsyncIterator[Fleet]:
        """The fleet of the context; who reaches it without TLS is told so."""
        async with self._connect(self.context) as fleet:
            if fleet.insecure:
                warn_of_plaintext(self.output, "this fleet")
            yield fleet

    def run(self, body: Callable[[Fleet], Awaitable[T]]) -> T:
        """`body` with the fleet of the context; what it returns."""

        async def connected() -> T:
            async with self.fleet() as fleet:
                return await body(fleet)

        return self.run_async(connected())

    def run_async(self, body: Coroutine[Any, Any, T]) -> T:
        """A coroutine from start to end."""
        import asyncio

        return asyncio.run(body)


pass_invocation = click.make_pass_decorator(Invocation)
"""Gives a command its Invocation as first argument."""
