"""Each attack comes to what is promised, and nobody else notices."""

from __future__ import annotations

import asyncio

import pytest

from tests.attacks.attack import Attack, Scene
from tests.attacks.canary import Bystanders
from tests.attacks.suite import ATTACKS
from tests.attacks.world import World

PATIENCE_S = 40.0


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: f"{attack.who}-{attack.id}")
async def test_it_comes_to_what_is_promised_and_nobody_notices(
    world: World, others: Bystanders, attack: Attack
) -> None:
    async with asyncio.timeout(PATIENCE_S):
        assert await attack.attempt(Scene(world, attack.who, others.check)) == attack.result
        await others.check()
