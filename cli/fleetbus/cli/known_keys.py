"""Whose signatures an operator's command believes: as the context pins the root, what the root has said last."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fleetbus.client.context import Context, load_context, save_context
from fleetbus.schemas.errors import BusUnavailable, NotPermitted, SettingsInvalid

if TYPE_CHECKING:
    from fleetbus.client import Fleet
    from fleetbus.schemas.charter import Sealed


@dataclass(frozen=True, slots=True)
class KnownKeys:
    """`present` sign now; `former` have signed records of the audit chain before."""

    present: tuple[str, ...] = ()
    former: tuple[str, ...] = ()

    @property
    def ever(self) -> tuple[str, ...]:
        return (*self.present, *self.former)


def kept_keys(name: str) -> KnownKeys:
    """As a context ('' for the current one) has them; none without a context."""
    try:
        return _keys(load_context(name))
    except SettingsInvalid:
        return KnownKeys()


async def known_keys(fleet: Fleet, name: str) -> KnownKeys:
    """The same, once the context has what the root has said since. Never what it has said before.

    Raises Refused when what stands on the bus is not the root's.
    """
    try:
        context = load_context(name)
    except SettingsInvalid:
        return KnownKeys()
    if not context.root:
        return _keys(context)
    sealed = await _read(fleet.charter(context.root, context.fleet))
    if sealed is None or sealed.charter.order <= context.charter:
        return _keys(context)
    charter = sealed.charter
    newer = replace(context, signing_keys=charter.publish, former_keys=charter.former, charter=charter.order)
    save_context(newer, current=False)
    return _keys(newer)


async def _read(reading: Awaitable[Sealed | None]) -> Sealed | None:
    try:
        return await reading
    except (BusUnavailable, NotPermitted):
        # A bus from before there were charters.
        return None


def _keys(context: Context) -> KnownKeys:
    return KnownKeys(context.signing_keys, context.former_keys)
