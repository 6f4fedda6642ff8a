"""The key that signs what clusters obey is changed while the fleet runs; who was away finds back."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from nacl.signing import SigningKey

from fleetbus.cli.ceremony import rotation
from fleetbus.cli.ceremony.charter import ensure_charter, read_charter
from fleetbus.cli.ceremony.folder import charter_file, seed_file
from fleetbus.cli.ceremony.keys import read_key
from fleetbus.cli.holding import holding
from fleetbus.cli.keys import folder_fleet
from fleetbus.cli.rotate_publish import rotate
from fleetbus.runtime.bus import NatsBus
from fleetbus.runtime.ports import Bus, Put
from fleetbus.schemas import subjects
from fleetbus.schemas.desired import Head
from fleetbus.schemas.errors import TimeoutExpired
from fleetbus.schemas.nkeys import public_key
from fleetbus.schemas.signing import signer, unverified, verify
from fleetbus.schemas.streams import DESIRED, DOCUMENTS, STATUS
from fleetbus.schemas.subjects import ClusterId
from tests.bus_server import CLOCK
from tests.integration.keys.stand import SOON_S, Member, Stand
from tests.unit.cli.fleet_of_three import Answers, run
from tests.waiting import wait_until


async def until_holding(stand: Stand, *members: Member) -> None:
    order = charter_of(stand)

    async def have() -> bool:
        return all(one.charter is not None and one.charter.order == order for one in members)

    assert await wait_until(have, CLOCK, SOON_S)


async def until_reported(stand: Stand, *names: str) -> None:
    """Until these clusters' words that they have the newest charter have come to the controller."""
    async with folder_fleet(stand.folder) as fleet:

        async def have() -> bool:
            return set(names) <= set((await holding(fleet, charter_of(stand))).held)

        assert await wait_until(have, CLOCK, SOON_S)


async def until_charter_stands(stand: Stand, bus: NatsBus) -> None:
    async def stands() -> bool:
        found = await bus.get_last(DESIRED.name, subjects.CHARTER)
        return found is not None and found.data == charter_file(stand.folder).read_bytes().strip()

    assert await wait_until(stands, CLOCK, SOON_S), stand.problems()


def charter_of(stand: Stand) -> tuple[int, int]:
    sealed = read_charter(stand.folder, stand.record)
    assert sealed is not None
    return sealed.charter.order


def signing_key(stand: Stand) -> SigningKey:
    return read_key(seed_file(stand.folder, rotation.SIGNING))


async def forged(bus: Bus, member: str, key: SigningKey, **changes: object) -> Head:
    """A head in the place of the newest, later than it, as who holds `key` and the broker can write it."""
    subject = subjects.desired(ClusterId("main", member))
    last = await bus.get_last(DESIRED.name, subject)
    assert last is not None
    told = Head.from_bytes(unverified(last.data))
    head = told.model_copy(update={"serial": told.serial + 1000, "halts": ("*",), **changes})
    await bus.put(Put(subject, signer(key)(subject, head.to_bytes())))
    return head


async def stored(bus: NatsBus) -> list[tuple[str, bytes]]:
    """What the controller has in its memory, and what it tells."""
    places = [
        (DOCUMENTS.name, subjects.ALL_DOCUMENTS),
        (STATUS.name, subjects.ALL_STATUSES),
        (DESIRED.name, subjects.ALL_HEADS),
    ]
    found: dict[str, bytes] = {}
    for stream, subject in places:
        found |= {one.subject: one.data for one in await bus.get_many(stream, subject)}
    return list(found.items())


async def test_the_fleet_goes_on_under_another_key(stand: Stand) -> None:
    before = signing_key(stand)
    async with stand.controller() as program, stand.bus() as bus:
        await stand.until_answered()
        a, b, away = await stand.join("a", "b", "away")
        await stand.until_synced("a", "b", "away")
        await until_holding(stand, a, b, away)
        await away.stop()

        key = await rotate(stand.changing())

        assert key == public_key(signing_key(stand)) != public_key(before)
        assert stand.record.signing_keys == (key,)
        await until_holding(stand, a, b)
        await stand.until_synced("a", "b")
        # Nobody was disconnected, nothing was restarted, and nothing is left that only the former key vouches for.
        assert [one.bus.connection if one.bus else 0 for one in (a, b)] == [1, 1]
        assert program.returncode is None
        for subject, envelope in await stored(bus):
            verify(subject, envelope, {key})

        await until_reported(stand, "a", "b")
        shown = await asyncio.to_thread(run, Answers(), "keys", "show", "--fleet-dir", str(stand.folder))
        assert "held       2 of 3 clusters have it; " in shown.out, shown
        assert f"publish    {key}\nformer     {public_key(before)}\n" in shown.out
        await away.start()
        await until_holding(stand, away)
        await stand.until_synced("away")
        told_before = {one.name: one.accepted() for one in (a, away)}
        # The former key is obeyed by nobody, also by who was away; the controller puts its own word in the place again.
        forgeries = {one.name: await forged(bus, one.name, before) for one in (a, away)}

        async def mended() -> bool:
            return all(one.accepted() > told_before[one.name] for one in (a, away))

        assert await wait_until(mended, CLOCK, SOON_S)
        for one in (a, away):
            assert one.accepted()[1] != forgeries[one.name].serial
            last = await bus.get_last(DESIRED.name, subjects.desired(ClusterId("main", one.name)))
            assert last is not None
            verify(last.subject, last.data, {key})
        assert await stand.audit_is_whole()


async def test_nothing_is_switched_while_a_connected_cluster_has_not_heard(stand: Stand) -> None:
    async with stand.controller():
        await stand.until_answered()
        (a,) = await stand.join("a")
        await stand.join("deaf", deaf=True)
        await stand.until_connected("a", "deaf")
        before = public_key(signing_key(stand))
        rotation.prepare(stand.folder)
        await ensure_charter(stand.folder, CLOCK.now())
        await until_holding(stand, a)
        await stand.until_answered()

        with pytest.raises(TimeoutExpired, match="connected, but without it: deaf"):
            await rotate(stand.changing(timeout_s=3))

        assert public_key(signing_key(stand)) == before
        await until_holding(stand, a)
        # Told to go on, it does so from where it was: the key that was prepared is the one that comes.
        prepared = [key for key in stand.record.signing_keys if key != before]
        assert [await rotate(stand.changing(forced=True))] == prepared


async def test_who_has_a_token_or_a_lapsed_credential_of_before_the_change_finds_its_way(
    stand: Stand,
) -> None:
    """Both know the former key alone, and can do nothing but ask; the root, which they pin, says the new one."""
    async with stand.controller():
        await stand.until_answered()
        token, lapsed = await stand.token("late"), await stand.enrol(await stand.token("lapsed"))
        await stand.until_synced("lapsed")
        await lapsed.stop()

        await rotate(stand.changing())

        late = await stand.enrol(token)
        await stand.until_renewed(lapsed)
        await lapsed.start()
        await until_holding(stand, late, lapsed)
        await stand.until_synced("late", "lapsed")
        assert late.charter is not None
        assert late.charter.publish == stand.record.signing_keys != token.controller_keys


async def test_an_older_charter_and_another_roots_are_refused(stand: Stand) -> None:
    async with stand.controller(), stand.bus() as bus:
        await stand.until_answered()
        (a,) = await stand.join("a")
        await until_holding(stand, a)
        old = await bus.get_last(DESIRED.name, subjects.CHARTER)
        assert old is not None
        rotation.prepare(stand.folder)
        await ensure_charter(stand.folder, CLOCK.now() + timedelta(seconds=1))
        await until_holding(stand, a)
        order = charter_of(stand)

        root = SigningKey.generate()
        for envelope in (old.data, b"nonsense", signer(root)(subjects.CHARTER, unverified(old.data))):
            await bus.put(Put(subjects.CHARTER, envelope))
            assert a.trusted is not None
            await a.trusted.look_first(a.bus_here)
            assert a.charter is not None
            assert a.charter.order == order
        # Nor does it last: the root's word stands there again, for whoever has none yet.
        await until_charter_stands(stand, bus)
        await bus.purge(DESIRED.name, subjects.CHARTER)
        await until_charter_stands(stand, bus)
        # An agent that starts anew begins with what it has kept.
        await a.stop()
        await a.start()
        await until_holding(stand, a)
