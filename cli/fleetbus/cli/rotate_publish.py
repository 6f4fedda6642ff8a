"""How the controller's signing key is changed on a running fleet: each step waits until nobody needs what it ends."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fleetbus.cli.ceremony import rotation
from fleetbus.cli.ceremony.charter import ensure_charter
from fleetbus.cli.ceremony.folder import root_file
from fleetbus.cli.ceremony.init import FleetPlan, make_fleet
from fleetbus.cli.ceremony.keys import root_signer
from fleetbus.cli.ceremony.online import push_accounts
from fleetbus.cli.ceremony.record import FleetRecord, read_record
from fleetbus.cli.ceremony.servers import signing_keys
from fleetbus.cli.holding import wait_charter, wait_held, wait_signing
from fleetbus.cli.output import Output
from fleetbus.runtime.clock import Clock
from fleetbus.schemas.accounts import FLEET
from fleetbus.schemas.charter import Charter
from fleetbus.schemas.errors import BusUnavailable, SettingsInvalid

if TYPE_CHECKING:
    from fleetbus.client import Fleet


@dataclass(frozen=True, slots=True)
class Changing:
    """A fleet whose keys are being changed. `forced`: nobody is waited for who has not got the new charter yet."""

    folder: Path
    root_key: Path | None
    connect: Callable[[], AbstractAsyncContextManager[Fleet]]
    timeout_s: float
    forced: bool
    clock: Clock
    output: Output

    async def charter(self) -> Charter:
        """As the record has it by now, signed. Raises NotFound without the root's key."""
        now = self.clock.now()
        return await ensure_charter(self.folder, now, self.output.line, root_key=self.root_key)

    def expect_root(self) -> None:
        """Before anything is changed: what has to be signed can be. Raises NotFound, SettingsInvalid."""
        if root_signer(self.folder, self.root_key).public_key != self.record.operator:
            where = str(self.root_key or root_file(self.folder))
            raise SettingsInvalid("not this fleet's root key", where=where)

    @property
    def record(self) -> FleetRecord:
        return read_record(self.folder)

    @property
    def end_s(self) -> float:
        return self.clock.monotonic_s() + self.timeout_s


async def rotate(changing: Changing) -> str:
    """With overlap: no cluster that is connected misses anything, and who is away finds back. The key that signs now.

    Interrupted at any place, or ended by TimeoutExpired, it goes on when it is called again.
    """
    folder, output = changing.folder, changing.output
    changing.expect_root()
    if not _is_ending(changing):
        made = rotation.prepare(folder)
        output.line(f"key {made} prepared")
        await spread(changing, await changing.charter())
        rotation.switch(folder)
    return await finish(changing)


async def spread(changing: Changing, charter: Charter) -> None:
    """Until the controller has told of the charter and every cluster that is connected has it."""
    end_s, clock = changing.end_s, changing.clock
    async with changing.connect() as fleet:
        await wait_charter(fleet, charter.order, end_s, clock)
        if changing.forced:
            changing.output.line(f"charter {charter} told; nobody is waited for")
            return
        found = await wait_held(fleet, charter.order, end_s, clock)
    changing.output.line(f"charter {charter}: {found.sentence}")


async def finish(changing: Changing) -> str:
    """Once the controller signs with the key that is in its place, no other is named any more.

    Of a higher epoch the bus is told first, as whoever raised it may have been interrupted before.
    """
    own = rotation.switch(changing.folder)
    if changing.record.resealing:
        await tell_bus(changing)
    async with changing.connect() as fleet:
        await wait_signing(fleet, own, changing.end_s, changing.clock)
    changing.output.line(f"the controller signs with {own}")
    rotation.finish(changing.folder)
    charter = await changing.charter()
    async with changing.connect() as fleet:
        await wait_charter(fleet, charter.order, changing.end_s, changing.clock)
    rotation.heard(changing.folder)
    return own


async def raise_epoch(changing: Changing, at_least: int, token_file: Path | None) -> FleetRecord:
    """A new key alone, a higher epoch, and another credential for the controller: all but the controller's own part.

    Interrupted, or without a bus (BusUnavailable), it goes on when it is called again; so does `finish`.
    """
    folder, output = changing.folder, changing.output
    changing.expect_root()
    known = rotation.raise_epoch(folder, at_least)
    async with signing_keys(folder, known.fleet, known.signing, known.vault, token_file) as keys:
        record = await make_fleet(
            folder,
            FleetPlan(known.fleet),
            keys,
            changing.clock.now(),
            output.line,
            root_key=changing.root_key,
        )
    rotation.switch(folder)
    output.line(f"epoch {record.epoch}, signed by {record.signing_keys[0]} alone")
    await tell_bus(changing)
    return record


async def tell_bus(changing: Changing) -> None:
    """The controller's former credential counts no more; as often as one likes. Raises BusUnavailable."""
    try:
        await push_accounts(changing.folder, (FLEET,), changing.clock)
    except BusUnavailable as error:
        raise BusUnavailable(
            f"the bus still takes the controller's former credential: {error.message}",
            where=error.where,
            remedy="start it, then run the same again",
        ) from error
    changing.output.line("bus told that the controller's former credential counts no more")


def _is_ending(changing: Changing) -> bool:
    """Whether a change was begun whose new key is in its place: only the former one has still to go."""
    record = changing.record
    is_switched = len(record.signing_keys) > 1 and not rotation.is_prepared(changing.folder)
    return is_switched or record.unheard or bool(record.resealing)
