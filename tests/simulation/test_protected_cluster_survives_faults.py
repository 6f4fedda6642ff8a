"""A protected cluster on a virtual clock: through faults and crashes no change comes that two of three did not sign."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from nacl.signing import SigningKey

from fleetbus.agent.protection import PROTECTION
from fleetbus.schemas.approvals import SET, ProtectionState
from fleetbus.schemas.capabilities.bundles import BundleEntry
from fleetbus.schemas.states import Facts
from tests.approvers import ANA, BEN, CYD, EVE, approval, here, protection, signed
from tests.bundles_stand import config_map
from tests.simulation.bus import BusFaults
from tests.simulation.loop import VirtualLoop, simulate
from tests.simulation.test_agent_survives_faults import World

SIGNERS: tuple[tuple[SigningKey, ...], ...] = (
    (),
    (ANA,),
    (EVE, BEN),
    (ANA, ANA),
    (ANA, BEN),
    (BEN, CYD),
)
_COLOURS = ("red", "green", "blue")


@dataclass(slots=True)
class Ledger:
    """What was signed, as the tests' own judge sees it: (turn, set before, set) → who."""

    who: dict[tuple[int, str, str], set[bytes]] = field(default_factory=dict)
    colours: dict[str, str] = field(default_factory=lambda: {"": ""})
    """Of each set."""

    def sign(self, at: ProtectionState, digest: str, keys: Sequence[SigningKey]) -> None:
        signers = self.who.setdefault((at.turn, at.set, digest), set())
        signers |= {bytes(key) for key in keys if key is not EVE}

    def use(self, seen: str, now: str) -> bool:
        """Whether steps that two had signed lead from one colour to the other; they and what is older are used up."""
        reached = {seen: -1}
        for turn, before, after in sorted(key for key, who in self.who.items() if len(who) >= 2):
            if turn > reached.get(self.colours[before], turn):
                reached.setdefault(self.colours[after], turn)
        used = reached.get(now)
        if used is None:
            return False
        self.who = {key: who for key, who in self.who.items() if key[0] > used}
        return True


class Protected(World):
    """The world, and what its approvers and a controller that minds neither them nor the owner do in it."""

    def __init__(self, loop: VirtualLoop, chance: random.Random) -> None:
        super().__init__(loop, chance)
        self.cluster.put(PROTECTION, ("fleetbus-system", "fleetbus"), protection(2), {})
        self.ledger = Ledger()
        self.given: list[str] = []

    def colour(self) -> str:
        return str(self.data().get("a", {}).get("colour", ""))

    async def watch(self) -> None:
        seen = ""
        while True:
            now = self.colour()
            assert now == seen or self.ledger.use(seen, now), (seen, now, self.ledger)
            seen = now
            await asyncio.sleep(0.1)

    async def tell(self, colour: str, entry: BundleEntry, signers: Sequence[SigningKey]) -> None:
        """A set, and the approvals that it gets, beside every one that a stolen controller ever saw."""
        await self.teller.tell([entry], approvals=self._carried())
        waiting = await self._waiting(colour)
        if waiting is None:
            return
        digest = next(one.digest for one in waiting.waiting if one.kind == SET)
        self.ledger.colours[digest] = colour
        self.ledger.sign(waiting, digest, signers)
        one = approval(digest, self.clock.now(), here(self.teller.identity, waiting))
        self.given += [signed(one, key) for key in signers]
        await self.teller.tell([entry], approvals=self._carried())

    def _carried(self) -> tuple[str, ...]:
        return tuple(self.given[-40:])

    async def _waiting(self, colour: str) -> ProtectionState | None:
        """The newest report of a set that waits; None when none comes, as it counts already."""
        before = await self.teller.state("facts")
        for _ in range(120):
            await asyncio.sleep(0.5)
            state = await self.teller.state("facts")
            if state is None or (before is not None and state.serial == before.serial):
                continue
            facts = Facts.from_json(state.body)
            told = facts.accepted == (self.teller.epoch, self.teller.serial)
            if told and facts.protection and any(one.kind == SET for one in facts.protection.waiting):
                return facts.protection
            if told and self.colour() == colour:
                return None
        return None


async def scenario(loop: VirtualLoop, chance: random.Random) -> tuple[str, str]:
    world = Protected(loop, chance)
    entries = {
        colour: await world.teller.entry("app", [config_map("a", "default", colour=colour)])
        for colour in _COLOURS
    }
    world.server.faults = BusFaults(nudges_lost=0.3, nudges_late=0.3)
    last = ""
    async with asyncio.TaskGroup() as group:

        async def agents() -> None:
            """One agent after the other, each killed at any moment."""
            while True:
                async with world.agent():
                    await asyncio.sleep(chance.uniform(0.0, 90.0))

        living = [group.create_task(agents()), group.create_task(world.watch())]
        for _ in range(6):
            last = chance.choice(_COLOURS)
            await world.tell(last, entries[last], chance.choice(SIGNERS))
            await asyncio.sleep(chance.uniform(0.0, 60.0))
        for _ in range(20):
            if world.colour() == last:
                break
            await world.tell(last, entries[last], (ANA, BEN))
            await asyncio.sleep(60.0)
        for task in living:
            task.cancel()
    return world.colour(), last


@pytest.mark.parametrize("seed", range(16))
def test_no_change_comes_unsigned_and_a_signed_one_does(seed: int) -> None:
    colour, last = simulate(seed, scenario, limit_s=40_000)
    assert colour == last
