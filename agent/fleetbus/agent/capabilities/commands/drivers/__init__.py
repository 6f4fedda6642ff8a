"""Drivers carry commands out. One is a module here and a line in `catalogue.py`; all pass the same harness.

A driver keeps nothing of its own: the command's id stands on the object that is its effect, written in the same
API request, so effect and id cannot part, and an agent that starts anew finds by the id what was done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn, Protocol

from fleetbus.runtime.ports import Clock, Kube, Resource

Phase = Literal["Running", "Succeeded", "Failed"]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a command's effect stands. `seen` is the resource version of the object that shows it."""

    phase: Phase
    percent: int = 0
    message: str = ""
    output: Mapping[str, Any] = field(default_factory=dict)
    seen: str = ""
    look_again_s: float = 30.0
    """When to look again if the watch on `effect` says nothing before."""


class Driver(Protocol):
    """One way to carry commands out. Raises only errors of the tree; Transient ones are tried again."""

    @property
    def name(self) -> str: ...

    @property
    def effect(self) -> Resource:
        """The kind of the object that is the effect; it carries ID_LABEL, and its watch tells of progress."""
        ...

    async def preflight(self, arguments: Mapping[str, Any]) -> str | None:
        """One sentence that names the field that is wrong, or None. Changes nothing."""
        ...

    async def start(self, id: str, arguments: Mapping[str, Any]) -> None:
        """Take effect. Once for an id, however often it is called. ApplyRefused: it took no effect."""
        ...

    async def observe(self, id: str) -> Progress | None:
        """None when there is no effect of this id."""
        ...

    async def abort(self, id: str) -> None:
        """Take the effect away; `observe` gives None some time after. Nothing when there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Tools:
    """What a driver is made with. `die` ends the process at once."""

    kube: Kube
    clock: Clock
    die: Callable[[], NoReturn]
