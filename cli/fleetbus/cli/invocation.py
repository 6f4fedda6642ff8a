"""What every command is given: where to write, which context, and how to reach the fleet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fleetbus.cli.output import Output

if TYPE_CHECKING:
    from fleetbus.client import Fleet

T = TypeVar("T")
Connect = Callable[[str], AbstractAsyncContextManager["Fleet"]]
"""Name of a context ('' for the current one) → the fleet."""


def connect_to_fleet(context: str) -> AbstractAsyncContextManager[Fleet]:
    """The fleet of a context over the bus. Raises SettingsInvalid, BusUnavailable, NotPermitted."""
    from fleetbus.client import connect, load_context

    return connect(load_context(context))


@dataclass(slots=True)
class Invocation:
    """One run of the command. `context` is '' when the current one is meant."""

    output: Output
    context: str = ""
    connect: Connect = field(default=connect_to_fleet)

    def run(self, body: Callable[[Fleet], Awaitable[T]]) -> T:
        """`body` with the fleet of the context; what it returns."""

        async def connected() -> T:
            async with self.connect(self.context) as fleet:
                return await body(fleet)

        return self.run_async(connected())

    def run_async(self, body: Coroutine[Any, Any, T]) -> T:
        """A coroutine from start to end."""
        import asyncio

        return asyncio.run(body)


pass_invocation = click.make_pass_decorator(Invocation)
"""Gives a command its Invocation as first argument."""
