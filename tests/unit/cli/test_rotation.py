"""A signing key is changed step by step; each step again changes nothing, and none leaves a fleet without a key."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from fleetbus.cli import rotate_publish
from fleetbus.cli.ceremony import authority, rotation
from fleetbus.cli.ceremony.charter import ensure_charter, read_charter
from fleetbus.cli.ceremony.folder import charter_file, credential_file, seed_file
from fleetbus.cli.ceremony.init import FleetPlan, make_fleet
from fleetbus.cli.ceremony.keys import FolderKeys
from fleetbus.cli.ceremony.record import FOR_EVER, read_record
from fleetbus.cli.holding import Holding
from fleetbus.cli.output import Output, Screen
from fleetbus.controller.mandate import read_mandate
from fleetbus.controller.settings import load_settings
from fleetbus.runtime.certificates import is_issued_by, make_authority, split
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.accounts import FLEET
from fleetbus.schemas.charter import MOST_FORMER, Charter
from fleetbus.schemas.errors import BusUnavailable, NotFound, NotPossible, SettingsInvalid, TimeoutExpired
from fleetbus.schemas.nkeys import public_key
from tests.founding import NOW, founded
from tests.unit.cli.fleet_of_three import Answers, run

PLAN = FleetPlan("demo", ("127.0.0.1",))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    founded(tmp_path / "fleet", PLAN)
    return tmp_path / "fleet"


def chartered(folder: Path, root_key: Path | None = None) -> Charter:
    return asyncio.run(ensure_charter(folder, NOW, root_key=root_key))


def signs_with(folder: Path) -> str:
    """As the controller reads it, which takes no key that the root has not named."""
    return public_key(read_mandate(load_settings(folder / "controller.json")).key)


def test_a_fleet_is_founded_with_a_charter(folder: Path) -> None:
    record, first = read_record(folder), chartered(folder)
    assert (first.publish, first.former, first.epoch) == (record.signing_keys, (), 1)
    assert first.authorities == (folder / "ca.crt").read_text()
    before = charter_file(folder).read_bytes()
    founded(folder, PLAN, now=NOW + timedelta(days=1))
    assert charter_file(folder).read_bytes() == before


def test_each_step_twice_is_once(folder: Path) -> None:
    first = chartered(folder)
    old = signs_with(folder)
    new = rotation.prepare(folder)
    assert rotation.prepare(folder) == new
    both = chartered(folder)
    assert (both.publish, both.version > first.version) == ((old, new), True)
    assert chartered(folder) == both
    assert signs_with(folder) == old
    assert seed_file(folder, f"{rotation.SIGNING}-next").stat().st_mode & 0o077 == 0
    assert rotation.switch(folder) == rotation.switch(folder) == new == signs_with(folder)
    assert seed_file(folder, rotation.SIGNING).stat().st_mode & 0o077 == 0
    rotation.finish(folder)
    rotation.finish(folder)
    last = chartered(folder)
    assert (last.publish, last.former, last.order > both.order) == ((new,), (old,), True)
    assert founded(folder, PLAN) == read_record(folder)
    assert chartered(folder) == last


def test_the_roots_key_is_asked_for_when_something_has_changed_and_only_then(tmp_path: Path) -> None:
    folder, root = tmp_path / "fleet", tmp_path / "root.seed"
    founded(folder, PLAN, root_key=root)
    chartered(folder)
    rotation.prepare(folder)
    with pytest.raises(NotFound, match="needs the root's key"):
        chartered(folder)
    old = signs_with(folder)
    assert chartered(folder, root).publish[0] == old


def test_a_higher_epoch_has_a_new_key_alone_and_another_credential(folder: Path) -> None:
    record, old = read_record(folder), signs_with(folder)
    rotation.prepare(folder)
    raised = rotation.raise_epoch(folder)
    assert rotation.raise_epoch(folder) == raised == read_record(folder)
    assert (raised.epoch, raised.resealing) == (2, raised.former_keys)
    assert old in raised.former_keys
    assert raised.revoked_at(FLEET, record.controller) == FOR_EVER
    assert not credential_file(folder, "controller").exists()
    made = founded(folder, PLAN)
    rotation.switch(folder)
    assert made.controller != record.controller
    mandate = read_mandate(load_settings(folder / "controller.json"))
    assert (public_key(mandate.key), mandate.epoch) == (made.signing_keys[0], 2)
    assert old in mandate.former
    rotation.finish(folder)
    assert "formerSigningKeys" not in json.loads((folder / "controller.json").read_text())
    assert rotation.raise_epoch(folder, 9).epoch == 9


def test_a_higher_epoch_that_was_interrupted_leaves_no_former_credential_in_use(folder: Path) -> None:
    """Between the record and the credential's file: the second run takes the file away, and only the revoked one."""
    credential = credential_file(folder, "controller")
    former = credential.read_bytes()
    raised = rotation.raise_epoch(folder)
    credential.write_bytes(former)
    assert rotation.raise_epoch(folder) == raised
    assert not credential.exists()
    made = founded(folder, PLAN)
    assert not made.revoked_at(FLEET, made.controller)
    rotation.raise_epoch(folder)
    assert credential.exists()


PLACES = ("charter", "wait_charter", "wait_held", "wait_signing", "last charter", "last wait_charter")


@pytest.mark.parametrize("place", range(len(PLACES)), ids=PLACES)
def test_a_change_of_keys_that_is_interrupted_anywhere_is_one_change(
    folder: Path, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    """Not a second one, whose key nobody asked for: also where only the last word of the first was missing."""
    old, seen = signs_with(folder), 0

    def interrupted(real: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def step(*given: Any, **more: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == place + 1:
                raise TimeoutExpired("killed")
            return await real(*given, **more)

        return step

    async def waited(*_: object) -> Holding:
        return Holding((), (), ())

    monkeypatch.setattr(rotate_publish, "ensure_charter", interrupted(ensure_charter))
    for wait in ("wait_charter", "wait_held", "wait_signing"):
        monkeypatch.setattr(rotate_publish, wait, interrupted(waited))
    output = Output(StringIO(), StringIO(), Screen(False, 100, False), Screen(False, 100, False))
    connect: Any = nullcontext
    changing = rotate_publish.Changing(folder, None, connect, 1.0, False, SystemClock(), output)
    with pytest.raises(TimeoutExpired):
        asyncio.run(rotate_publish.rotate(changing))
    key = asyncio.run(rotate_publish.rotate(changing))
    record = read_record(folder)
    assert (record.signing_keys, record.former_keys) == ((key,), (old,))
    assert signs_with(folder) == key
    # The next one is another one.
    assert asyncio.run(rotate_publish.rotate(changing)) != key


def test_however_often_the_key_was_changed_the_root_names_the_newest_of_the_former_ones(
    folder: Path,
) -> None:
    keys = [signs_with(folder)]
    for _ in range(MOST_FORMER + 2):
        rotation.prepare(folder)
        keys.append(rotation.switch(folder))
        rotation.finish(folder)
    said: list[str] = []
    charter = asyncio.run(ensure_charter(folder, NOW, said.append))
    assert (charter.publish, charter.former) == ((keys[-1],), tuple(keys[2:-1]))
    assert "the 2 oldest of the former keys" in said[-1]
    assert rotation.raise_epoch(folder).epoch == 2
    assert chartered(folder).epoch == 2


def test_an_epoch_that_is_too_low_is_raised_again_before_it_is_in_use(folder: Path) -> None:
    """A backup knows less than the bus; and the new key can be stolen while the memory is signed anew."""
    first = signs_with(folder)
    low = rotation.raise_epoch(folder)
    assert rotation.raise_epoch(folder, 2) == low
    high = rotation.raise_epoch(folder, 4)
    assert (high.epoch, high.resealing) == (4, (first, *low.signing_keys))
    founded(folder, PLAN)
    rotation.switch(folder)
    higher = rotation.raise_epoch(folder, 5)
    assert higher.resealing == (first, *low.signing_keys, *high.signing_keys)
    founded(folder, PLAN)
    rotation.switch(folder)
    assert set(read_mandate(load_settings(folder / "controller.json")).former) == set(higher.resealing)


def test_a_higher_epoch_is_not_in_use_before_the_bus_has_heard_of_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often the command is run: the former credential is a way in until the bus knows that it is not."""
    told: list[Path] = []

    async def unheard(folder: Path, *_: object) -> None:
        told.append(folder)
        raise BusUnavailable("no server")

    monkeypatch.setattr(rotate_publish, "push_accounts", unheard)
    for count, more in enumerate((["--yes"], ["--no-wait"], []), start=1):
        ran = run(Answers(), "keys", "raise-epoch", "--fleet-dir", str(folder), *more)
        assert (ran.code != 0, len(told)) == (True, count)
        assert "the bus still takes the controller's former credential" in ran.err
    assert (read_record(folder).epoch, rotation.is_prepared(folder)) == (2, False)


def test_a_controller_takes_no_key_and_no_charter_that_do_not_fit(folder: Path) -> None:
    rotation.prepare(folder)
    rotation.switch(folder)
    with pytest.raises(SettingsInvalid, match="does not name this controller's key"):
        signs_with(folder)
    chartered(folder)
    signs_with(folder)
    charter_file(folder).write_text("fleetbus1 x.y\n{}")
    with pytest.raises(SettingsInvalid, match="charter"):
        signs_with(folder)
    with pytest.raises(SettingsInvalid, match="charter"):
        read_charter(folder, read_record(folder))


def test_without_the_roots_key_nothing_is_begun(tmp_path: Path) -> None:
    folder, root = tmp_path / "fleet", tmp_path / "root.seed"
    founded(folder, PLAN, root_key=root)
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    other = tmp_path / "other.seed"
    founded(tmp_path / "another", PLAN, root_key=other)
    for words in (("rotate", "publish"), ("rotate", "authority"), ("raise-epoch", "--yes")):
        ran = run(Answers(), "keys", *words, "--fleet-dir", str(folder))
        assert (ran.code, "--root-key FILE" in ran.err) == (1, True), ran.err
        ran = run(Answers(), "keys", *words, "--fleet-dir", str(folder), "--root-key", str(other))
        assert (ran.code, "not this fleet's root key" in ran.err) == (1, True), ran.err
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


def test_a_higher_epoch_is_confirmed(folder: Path) -> None:
    before = signs_with(folder)
    ran = run(Answers(), "keys", "raise-epoch", "--fleet-dir", str(folder))
    assert ran.code == 64
    assert "--yes" in ran.err
    assert signs_with(folder) == before


def test_each_step_of_another_authority_twice_is_once(folder: Path) -> None:
    first, former = chartered(folder), authority.believed(folder)
    for _ in range(2):
        authority.prepare(folder, NOW)
    both = authority.believed(folder)
    assert both[:1] == former
    assert len(both) == 2
    assert chartered(folder).authorities != first.authorities
    founded(folder, PLAN, now=NOW + timedelta(days=1))
    assert authority.believed(folder) == both
    for _ in range(2):
        authority.switch(folder, NOW)
    assert authority.believed(folder) == both[::-1]
    assert not authority.is_prepared(folder)
    assert (folder / "ca.key").stat().st_mode & 0o077 == 0
    for _ in range(2):
        authority.finish(folder)
    assert authority.believed(folder) == both[1:]
    leaf, *shown = split((renewed(folder) / "server.crt").read_bytes())
    assert is_issued_by(leaf, both[1])
    # And who knows the former one alone finds a way from it to the certificate.
    assert [is_issued_by(one, former[0]) for one in shown] == [True]
    assert authorities(chartered(folder)) == both[1:]


def test_an_authority_that_may_vouch_for_no_other_is_replaced_only_by_force(folder: Path) -> None:
    """As those of fleets are that were founded before."""
    old = make_authority("demo bus", NOW)
    (folder / "ca.crt").write_bytes(old.certificate)
    (folder / "ca.key").write_bytes(old.key)
    with pytest.raises(NotPossible, match="vouch"):
        authority.prepare(folder, NOW)
    authority.prepare(folder, NOW, forced=True)
    authority.switch(folder, NOW)
    leaf, *shown = split((renewed(folder) / "server.crt").read_bytes())
    assert is_issued_by(leaf, authority.believed(folder)[0])
    assert shown == []


def renewed(folder: Path) -> Path:
    """The server's folder, with certificates of the authority that issues now."""
    founding = make_fleet(folder, PLAN, FolderKeys(folder), NOW, renew_certificates=True)
    asyncio.run(founding)
    return folder / "nats"


def authorities(charter: Charter) -> tuple[bytes, ...]:
    return split(charter.authorities.encode())
