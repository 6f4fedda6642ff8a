"""Remembered results of pure functions of values that are not hashable, by the values' identity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Memo(Generic[T]):
    """At most `capacity` results; the values are kept with them, so that an identity is never used again."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._kept: dict[tuple[object, ...], tuple[tuple[object, ...], T]] = {}

    def of(self, make: Callable[[], T], *values: object, word: str = "") -> T:
        """What `make` gave for the very same values (and the same word), or gives now."""
        key: tuple[object, ...] = (*(id(value) for value in values), word)
        found = self._kept.get(key)
        if found is not None:
            return found[1]
        made = make()
        if len(self._kept) >= self._capacity:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = (values, made)
        return made
