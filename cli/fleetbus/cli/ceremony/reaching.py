"""A connection that is being made while other things are done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

T = TypeVar("T")
Reach = Callable[[], Awaitable[T]]
"""What was reached; whoever awaits it is told the same error when it was not."""


@asynccontextmanager
async def reaching(context: AbstractAsyncContextManager[T]) -> AsyncIterator[Reach[T]]:
    """`context` is entered from now on, and left at the end. Raises nothing of its own."""
    entering = asyncio.create_task(_entered(context))

    async def reached() -> T:
        return await asyncio.shield(entering)

    try:
        yield reached
    finally:
        entering.cancel()
        await asyncio.wait([entering])
        if not entering.cancelled() and entering.exception() is None:
            await context.__aexit__(None, None, None)


async def _entered(context: AbstractAsyncContextManager[T]) -> T:
    return await context.__aenter__()
