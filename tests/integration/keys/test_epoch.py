"""A restored controller leads under a higher epoch; a stolen copy of the former one leads nobody."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from fleetbus.cli import rotate_publish
from fleetbus.cli.ceremony.folder import credential_file
from fleetbus.cli.rotate_publish import finish, raise_epoch
from fleetbus.controller.leader import TermRecord
from fleetbus.schemas import subjects
from fleetbus.schemas.errors import BusUnavailable
from fleetbus.schemas.streams import DESIRED
from tests.bus_server import CLOCK
from tests.integration.keys.stand import SOON_S, Stand
from tests.integration.keys.test_publish_key import forged, signing_key, until_holding
from tests.waiting import wait_until

ABOVE_ALL = 99


def stolen(stand: Stand, place: Path) -> Path:
    """The controller's folder as a backup has it, too."""
    shutil.copytree(stand.folder, place, ignore=shutil.ignore_patterns("nats", "work", "log"))
    return place


def unleash(stand: Stand, copy: Path) -> None:
    """What a thief makes of it who has a way onto the bus: any epoch, and nobody to ask whether he may."""
    shutil.copy(credential_file(stand.folder, "controller"), credential_file(copy, "controller"))
    file = copy / "controller.json"
    settings = json.loads(file.read_text())
    del settings["charterFile"], settings["root"]
    file.write_text(json.dumps({**settings, "epoch": ABOVE_ALL}))


async def test_agents_follow_the_restored_controller_and_not_the_stolen_copy(
    stand: Stand, tmp_path: Path
) -> None:
    async with stand.controller():
        await stand.until_answered()
        a, away = await stand.join("a", "away")
        await stand.until_synced("a", "away")
        await stand.run_command("a")
    copy, former = stolen(stand, tmp_path / "copy"), signing_key(stand)
    await away.stop()

    record = await raise_epoch(stand.changing(), 1, None)

    assert record.epoch == 2
    async with stand.controller():
        await finish(stand.changing())
        await until_holding(stand, a)
        await stand.until_synced("a")
        assert a.accepted()[0] == 2
        # The list of commands that were open comes with the new epoch, too.
        await until_told_commands(stand, "a", (2, 1))
    # As it was, the copy has no way onto the bus any more. With one it leads, but no document is signed for it.
    async with stand.controller(copy) as program:
        await refused_by_the_bus(copy)
        assert program.returncode is None
    unleash(stand, copy)
    accepted = a.accepted()
    async with stand.controller(copy):
        await until_led_by(stand, ABOVE_ALL)
    # Nor does anybody obey who tells with its key whom it does not know itself.
    async with stand.bus() as bus:
        for name in ("a", "away"):
            await forged(bus, name, former, epoch=ABOVE_ALL)
    await away.start()
    await until_holding(stand, a, away)

    async def refused() -> bool:
        facts = await stand.facts("a", "away")
        return all("signed by 0 of 1 keys" in one.refused for one in facts)

    assert await wait_until(refused, CLOCK, SOON_S)
    assert (a.accepted(), away.accepted()[0]) == (accepted, 1)
    # What it has left on the bus does not hinder the restored one.
    async with stand.controller():
        await stand.until_answered()
        await stand.until_synced("a", "away")
        assert (a.accepted()[0], away.accepted()[0]) == (2, 2)
        assert stand.record.resealing == ()


async def test_an_epoch_counts_only_when_the_root_has_named_it(stand: Stand) -> None:
    """Whoever has stolen the present key cannot put himself above what the root will say."""
    async with stand.controller():
        await stand.until_answered()
        (a,) = await stand.join("a")
        await stand.until_synced("a")
        await until_holding(stand, a)
    accepted = a.accepted()
    async with stand.bus() as bus:
        await forged(bus, "a", signing_key(stand), epoch=ABOVE_ALL)

        async def refused() -> bool:
            return "which the root has not named" in (await stand.facts("a"))[0].refused

        assert await wait_until(refused, CLOCK, SOON_S)
    assert a.accepted() == accepted
    await raise_epoch(stand.changing(), 1, None)
    async with stand.controller():
        await finish(stand.changing())
        await stand.until_synced("a")
        assert a.accepted()[0] == 2


async def test_a_controller_with_an_older_folder_says_so_and_ends(stand: Stand, tmp_path: Path) -> None:
    copy = stolen(stand, tmp_path / "copy")
    await raise_epoch(stand.changing(), 1, None)
    async with stand.controller():
        await finish(stand.changing())
    shutil.copy(credential_file(stand.folder, "controller"), credential_file(copy, "controller"))
    async with stand.controller(copy) as program, asyncio.timeout(SOON_S):
        assert await program.wait() == 1
    said = (copy / "log").read_text().splitlines()[-1]
    assert "does not name this controller's key" in said
    assert "fleetbus keys raise-epoch" in said


async def test_a_raise_that_was_interrupted_before_the_bus_heard_of_it_still_shuts_the_former_credential_out(
    stand: Stand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = stolen(stand, tmp_path / "copy")

    async def killed(*_: object) -> None:
        raise BusUnavailable("no server")

    with monkeypatch.context() as patch:
        patch.setattr(rotate_publish, "push_accounts", killed)
        with pytest.raises(BusUnavailable, match="still takes"):
            await raise_epoch(stand.changing(), 1, None)
    async with stand.controller():
        await finish(stand.changing())
    async with stand.controller(copy):
        await refused_by_the_bus(copy)


async def until_told_commands(stand: Stand, name: str, told: tuple[int, int]) -> None:
    """Until the cluster's list is of this epoch and length, and its agent refuses nothing."""

    async def accepted() -> bool:
        return (await stand.told_commands(name), (await stand.facts(name))[0].refused) == (told, "")

    assert await wait_until(accepted, CLOCK, SOON_S), await stand.facts(name)


async def refused_by_the_bus(folder: Path) -> None:
    async def said() -> bool:
        return "Authorization Violation" in (folder / "log").read_text()

    assert await wait_until(said, CLOCK, SOON_S)


async def until_led_by(stand: Stand, epoch: int) -> None:
    async with stand.bus() as bus:

        async def led() -> bool:
            last = await bus.get_last(DESIRED.name, subjects.TERM)
            return last is not None and TermRecord.from_bytes(last.data).epoch == epoch

        assert await wait_until(led, CLOCK, SOON_S)
