"""The controller's token is renewed for as long as it runs, and read again when Vault refuses it. On virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from fleetbus.controller.vault_token import LONGEST_PAUSE_S, kept_alive
from fleetbus.schemas.errors import VaultForbidden, VaultUnavailable
from tests.simulation.loop import VirtualClock, VirtualLoop, simulate


class Vault:
    """One token counts, for `lasts_s` after each renewal."""

    def __init__(self, clock: VirtualClock, lasts_s: float) -> None:
        self.clock = clock
        self.lasts_s = lasts_s
        self.valid, self.used = "first", "first"
        self.until_s = lasts_s
        self.away = False
        self.renewed = 0

    def use_token(self, token: str) -> None:
        self.used = token

    async def renew_own_token(self) -> float:
        if self.away:
            raise VaultUnavailable("sealed")
        if self.used != self.valid or self.clock.monotonic_s() > self.until_s:
            raise VaultForbidden("permission denied")
        self.until_s = self.clock.monotonic_s() + self.lasts_s
        self.renewed += 1
        return self.lasts_s


@pytest.fixture(autouse=True)
def _without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    async def here(read: Callable[[Path], str], file: Path) -> str:
        return read(file)

    monkeypatch.setattr(asyncio, "to_thread", here)


@pytest.mark.parametrize("lasts_s", [60.0, 7 * 24 * 3600.0])
def test_it_never_ends_while_the_controller_runs(tmp_path: Path, lasts_s: float) -> None:
    file = tmp_path / "token"
    file.write_text("first")

    async def scenario(loop: VirtualLoop, chance: Random) -> int:
        clock = VirtualClock(loop, chance)
        vault = Vault(clock, lasts_s)
        async with kept_alive(vault, file, clock):
            await clock.sleep(3 * 3600)
            assert clock.monotonic_s() <= vault.until_s
        return vault.renewed

    renewed = simulate(1, scenario, limit_s=4 * 3600)
    assert 3 * 3600 / min(lasts_s / 3, LONGEST_PAUSE_S) / 1.3 < renewed < 3 * 3600 / 15


def test_a_token_that_was_made_anew_is_taken_and_an_outage_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first")

    async def scenario(loop: VirtualLoop, chance: Random) -> str:
        clock = VirtualClock(loop, chance)
        vault = Vault(clock, 3600)
        async with kept_alive(vault, file, clock):
            await clock.sleep(60)
            vault.away = True
            await clock.sleep(1800)
            vault.away = False
            await clock.sleep(60)
            assert clock.monotonic_s() + 3000 < vault.until_s
            vault.valid = "second"
            await clock.sleep(LONGEST_PAUSE_S * 1.3)
            assert vault.used == "first", "nothing else is written yet"
            file.write_text("second")
            vault.until_s = clock.monotonic_s() + 3600
            await clock.sleep(30)
        return vault.used

    assert simulate(1, scenario, limit_s=4 * 3600) == "second"
