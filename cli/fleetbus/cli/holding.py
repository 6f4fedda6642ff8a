"""Who has the newest charter, and until when a change of keys has to wait for whom."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleetbus.cli import view
from fleetbus.runtime.clock import Clock
from fleetbus.schemas.api import Row
from fleetbus.schemas.capabilities.clusters import CONNECTED, REASON_DISCONNECTED
from fleetbus.schemas.errors import BusUnavailable, SignatureRefused, TimeoutExpired

if TYPE_CHECKING:
    from fleetbus.client import Fleet

LOOK_EVERY_S = 0.5
_MOST_NAMED = 8

Order = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Holding:
    """Clusters by name: who has it, who is connected and has not, who is away and has not."""

    held: tuple[str, ...]
    behind: tuple[str, ...]
    away: tuple[str, ...]

    @property
    def sentence(self) -> str:
        total = len(self.held) + len(self.behind) + len(self.away)
        said = f"{len(self.held)} of {total} clusters have it"
        said += f"; connected, but without it: {named(self.behind)}" if self.behind else ""
        return said + (f"; away: {named(self.away)}" if self.away else "")


def named(names: tuple[str, ...]) -> str:
    """Some names, and how many more."""
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


async def holding(fleet: Fleet, charter: Order) -> Holding:
    """As the clusters have reported it. Raises BusUnavailable."""
    held: list[str] = []
    behind: list[str] = []
    away: list[str] = []
    for row in (await fleet.list("Cluster")).rows:
        name = view.name_of(row.document)
        if _order(str(view.details(row.document).get("charter") or "")) >= charter:
            held.append(name)
        else:
            (behind if _is_connected(row) else away).append(name)
    return Holding(tuple(held), tuple(behind), tuple(away))


async def wait_charter(fleet: Fleet, charter: Order, end_s: float, clock: Clock) -> None:
    """Until the controller has told of it. Raises TimeoutExpired."""

    async def has() -> str:
        found = (await fleet.overview()).charter
        return "" if found >= charter else "the controller has not taken the charter yet"

    await _until(has, end_s, clock)


async def wait_held(fleet: Fleet, charter: Order, end_s: float, clock: Clock) -> Holding:
    """Until every cluster that is connected has it. Raises TimeoutExpired, which says who has not."""
    found = Holding((), (), ())

    async def has() -> str:
        nonlocal found
        found = await holding(fleet, charter)
        return found.sentence if found.behind else ""

    await _until(has, end_s, clock)
    return found


async def wait_signing(fleet: Fleet, key: str, end_s: float, clock: Clock) -> None:
    """Until the controller signs with it, and has signed anew what it has stored. Raises TimeoutExpired."""

    async def does() -> str:
        found = (await fleet.overview()).signing_key
        return "" if found == key else f"the controller signs with {found or 'another key'}, not with {key}"

    await _until(does, end_s, clock)


async def _until(missing: Callable[[], Awaitable[str]], end_s: float, clock: Clock) -> None:
    while True:
        try:
            said = await missing()
        except (BusUnavailable, SignatureRefused) as error:
            # A controller that takes another key or charter over is away for a moment, or has not seen it yet.
            said = error.sentence()
        if not said:
            return
        if clock.monotonic_s() >= end_s:
            raise TimeoutExpired(said, remedy="run the same again: it goes on where it is")
        await clock.sleep(LOOK_EVERY_S)


def _is_connected(row: Row) -> bool:
    """Also who was so by the last that was known, as a controller that has just begun has heard nobody yet; and who
    is heard, where the servers' own word on connections is missing or held back. Whose connection has ended is heard
    no more, though some heartbeats have to be missed until that is said."""
    said = view.condition(row.document, CONNECTED)
    if said.get("status") == "True" or row.live.get("connected"):
        return True
    return said.get("reason") != REASON_DISCONNECTED and bool(row.live.get("responsive"))


def _order(text: str) -> Order:
    epoch, _, version = text.partition(".")
    return (int(epoch), int(version)) if epoch.isdecimal() and version.isdecimal() else (0, 0)
