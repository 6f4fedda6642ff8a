"""What is used of nats-py, without the library for its WebSockets, which it imports where it is installed.

That one is three quarters of what importing nats-py costs, and so a third of the start of every command.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _without(name: str) -> Iterator[None]:
    """To an import in here the module is not installed, unless it was imported before."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]


with _without("aiohttp"):
    from nats import errors
    from nats.aio.client import Client, Srv
    from nats.aio.transport import Transport
    from nats.errors import ProtocolError
    from nats.protocol import parser

__all__ = ["Client", "ProtocolError", "Srv", "Transport", "errors", "parser"]
