"""Remembered results of pure functions of values that are not hashable, by the values' identity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import ref

T = TypeVar("T")

_Key = tuple[int | str, ...]


class Memo(Generic[T]):
    """At most `capacity` results, each for as long as its values live: a version that was replaced, or whose
    cluster left, is not kept alive in here, and its identity finds nothing when it is used again.

    A result must not hold one of its values itself.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._kept: dict[_Key, tuple[tuple[ref[object], ...], T]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def of(self, make: Callable[[], T], *values: object, word: str = "") -> T:
        """What `make` gave for the very same values (and the same word), or gives now."""
        key: _Key = (*(id(value) for value in values), word)
        found = self._kept.get(key)
        if found is not None:
            return found[1]
        made = make()
        if len(self._kept) >= self._capacity:
            self._kept.pop(next(iter(self._kept)), None)

        def drop(_: ref[object]) -> None:
            self._kept.pop(key, None)

        self._kept[key] = (tuple(ref(value, drop) for value in values), made)
        return made
