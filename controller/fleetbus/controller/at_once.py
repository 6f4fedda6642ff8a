"""How much one operator may have answered at a time: whoever asks more takes no place from others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fleetbus.schemas.errors import Transient
from fleetbus.schemas.limits import REQUESTS_AT_ONCE_EACH


class AtOnce:
    """Counts what is being answered, by the public key of who asks."""

    def __init__(self, most: int = REQUESTS_AT_ONCE_EACH) -> None:
        self._most = most
        self._asked: dict[str, int] = {}

    @contextmanager
    def place(self, key: str) -> Iterator[None]:
        """Raises Transient when this key has all of its places."""
        count = self._asked.get(key, 0)
        if count >= self._most:
            raise Transient(f"{self._most} requests of this key are being answered", remedy="ask again later")
        self._asked[key] = count + 1
        try:
            yield
        finally:
            self._asked[key] -= 1
            if not self._asked[key]:
                del self._asked[key]
