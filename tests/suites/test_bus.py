"""The contract of the port `Bus` for streams, against a real server and the simulated one."""

from __future__ import annotations

from contextlib import aclosing
from datetime import datetime, timedelta

import pytest

from fleetbus.runtime.ports import Message, Put
from fleetbus.schemas import subjects
from fleetbus.schemas.errors import BusUnavailable, MessageMalformed
from fleetbus.schemas.errors import SequenceConflict as Conflict
from fleetbus.schemas.subjects import ClusterId
from tests.suites.bus_pairs import C1, C2, CLOCK, Buses, given, soon
from tests.waiting import wait_until

# Writing


async def test_a_put_returns_the_sequence_under_which_the_message_stands(buses: Buses) -> None:
    bus, subject = buses.controller, subjects.desired(C1)
    before = CLOCK.now()
    sequence = await bus.put(Put(subject, b"one", headers={"Own": "yes"}))
    message = await bus.get_last("DESIRED", subject)
    assert message is not None
    assert (message.subject, message.data, message.sequence) == (subject, b"one", sequence)
    assert message.headers["Own"] == "yes"
    assert message.stored_at is not None
    assert abs(message.stored_at - before) < timedelta(seconds=5)


async def test_a_put_that_expects_nothing_is_refused_where_something_stands(buses: Buses) -> None:
    bus, subject = buses.controller, subjects.TERM
    first = await bus.put(Put(subject, b"one", expected=0))
    with pytest.raises(Conflict):
        await bus.put(Put(subject, b"two", expected=0))
    second = await bus.put(Put(subject, b"two", expected=first))
    with pytest.raises(Conflict):
        await bus.put(Put(subject, b"three", expected=first))
    message = await bus.get_last("DESIRED", subject)
    assert message is not None
    assert (message.data, message.sequence) == (b"two", second)


async def test_a_put_may_be_fenced_by_another_subject_and_by_a_pattern(buses: Buses) -> None:
    bus = buses.controller
    term = await bus.put(Put(subjects.TERM, b"", expected=0))
    await bus.put(Put(subjects.desired(C1), b"1", expected=term, expected_subject=subjects.TERM))
    with pytest.raises(Conflict):
        await bus.put(Put(subjects.desired(C1), b"2", expected=term - 1, expected_subject=subjects.TERM))
    emitted = subjects.emit("main", "c1", "bundle.applied")
    pattern = subjects.events_of("main", "c1")
    event = await bus.put(Put(emitted, b"{}", expected=0, expected_subject=pattern))
    with pytest.raises(Conflict):
        await bus.put(Put(emitted, b"{}", expected=0, expected_subject=pattern))
    await bus.put(Put(emitted, b"{}", expected=event, expected_subject=pattern))


async def test_a_batch_under_a_wrong_fence_stores_nothing(buses: Buses) -> None:
    bus = buses.controller
    term = await bus.put(Put(subjects.TERM, b"", expected=0))
    fenced = Put(subjects.desired(C1), b"new", expected=term + 1, expected_subject=subjects.TERM)
    with pytest.raises(Conflict):
        await bus.put_batch([Put(subjects.desired(C2), b"new"), fenced])
    assert await bus.get_last("DESIRED", subjects.ALL_HEADS) is None


async def test_a_batch_under_the_right_fence_stores_all_in_order(buses: Buses) -> None:
    bus = buses.controller
    term = await bus.put(Put(subjects.TERM, b"", expected=0))
    puts = [
        Put(subjects.desired(cluster), b"new", expected=term, expected_subject=subjects.TERM)
        for cluster in (C2, C1)
    ]
    last = await bus.put_batch(puts)
    heads = await bus.get_many("DESIRED", subjects.ALL_HEADS)
    assert [(head.subject, head.sequence) for head in heads] == [
        (subjects.desired(C2), last - 1),
        (subjects.desired(C1), last),
    ]


async def test_a_batch_holds_a_thousand_messages_and_not_one_more(buses: Buses) -> None:
    bus = buses.controller
    puts = [Put(subjects.desired(ClusterId("main", f"n{number}")), b"x") for number in range(1001)]
    with pytest.raises(MessageMalformed):
        await bus.put_batch(puts)
    with pytest.raises(MessageMalformed):
        await bus.put_batch([])
    await bus.put_batch(puts[:1000])
    assert len(await bus.get_many("DESIRED", subjects.ALL_HEADS)) == 1000


async def test_a_batch_is_refused_by_a_stream_that_agents_write(buses: Buses) -> None:
    with pytest.raises(MessageMalformed):
        await buses.agent.put_batch(
            [Put(subjects.state(C1, "facts"), b""), Put(subjects.state(C1, "session"), b"")]
        )


async def test_a_message_with_a_ttl_goes_by_itself(buses: Buses) -> None:
    bus = buses.controller
    await bus.put(Put(subjects.LEASE, b"mine", ttl_s=1))
    assert await bus.get_last("DESIRED", subjects.LEASE) is not None

    async def gone() -> bool:
        return await bus.get_last("DESIRED", subjects.LEASE) is None

    assert await wait_until(gone, CLOCK, 10)


async def test_a_ttl_is_refused_by_a_stream_that_agents_write(buses: Buses) -> None:
    with pytest.raises(MessageMalformed):
        await buses.agent.put(Put(subjects.state(C1, "facts"), b"", ttl_s=60))


async def test_a_message_that_is_too_large_is_refused_as_malformed(buses: Buses) -> None:
    with pytest.raises(MessageMalformed):
        await buses.agent.put(Put(subjects.state(C1, "facts"), b"x" * (600 * 1024)))
    with pytest.raises(MessageMalformed):
        await buses.controller.put(Put(subjects.desired(C1), b"x" * (1024 * 1024 + 1)))


async def test_a_put_that_no_stream_owns_is_unavailable(buses: Buses) -> None:
    with pytest.raises(BusUnavailable):
        await buses.controller.put(Put(f"{subjects.ROOT}.nowhere", b""))


# Reading


async def test_a_subject_without_a_value_is_none(buses: Buses) -> None:
    assert await buses.controller.get_last("DESIRED", subjects.desired(C1)) is None
    assert await buses.controller.get_at("DESIRED", 10**9) is None
    assert await buses.controller.get_many("DESIRED", subjects.ALL_HEADS) == []


async def test_the_last_of_a_pattern_is_the_newest_of_its_subjects(buses: Buses) -> None:
    bus = buses.controller
    for type_ in ("bundle.applied", "bundle.failed"):
        await bus.put(Put(subjects.emit("main", "c1", type_), type_.encode()))
    await bus.put(Put(subjects.emit("main", "c2", "bundle.applied"), b"of another cluster"))
    message = await buses.agent.get_last("EVENTS", subjects.events_of("main", "c1"))
    assert message is not None
    assert (message.subject, message.data) == (
        subjects.event("main", "c1", "bundle.failed"),
        b"bundle.failed",
    )


async def test_one_message_is_read_by_its_sequence(buses: Buses) -> None:
    bus = buses.controller
    sequence = await bus.put(Put(subjects.document("bundle", "web"), b"one"))
    await bus.put(Put(subjects.document("bundle", "web"), b"two"))
    message = await bus.get_at("DOCUMENTS", sequence)
    assert message is not None
    assert (message.data, message.sequence) == (b"one", sequence)


async def test_many_messages_come_oldest_first_after_a_sequence_and_up_to_a_limit(buses: Buses) -> None:
    bus = buses.controller
    for start in range(0, 1200, 600):
        await bus.put_batch(
            [Put(subjects.desired(ClusterId("main", f"n{start + n}")), b"x") for n in range(600)]
        )
    every = await bus.get_many("DESIRED", subjects.ALL_HEADS, limit=5000)
    sequences = [message.sequence for message in every]
    assert len(every) == 1200
    assert sequences == sorted(sequences)
    after = await bus.get_many("DESIRED", subjects.ALL_HEADS, after=sequences[99], limit=1050)
    assert [message.sequence for message in after] == sequences[100:1150]


async def test_many_messages_come_from_a_time_on(buses: Buses) -> None:
    bus = buses.controller
    emitted = subjects.emit("main", "c1", "bundle.applied")
    await bus.put(Put(emitted, b"1"))
    first = await bus.get_last("EVENTS", subjects.ALL_EVENTS)
    assert first is not None
    assert first.stored_at is not None
    since = first.stored_at + timedelta(milliseconds=50)
    assert await wait_until(lambda: _is_past(since), CLOCK, 5)
    numbers = [await bus.put(Put(emitted, text)) for text in (b"2", b"3")]
    found = await buses.operator.get_many("EVENTS", subjects.ALL_EVENTS, since=since)
    assert [message.data for message in found] == [b"2", b"3"]
    later = await buses.operator.get_many("EVENTS", subjects.ALL_EVENTS, since=since, after=numbers[0])
    assert [message.data for message in later] == [b"3"]
    far = CLOCK.now() + timedelta(hours=1)
    assert await buses.operator.get_many("EVENTS", subjects.ALL_EVENTS, since=far) == []


async def _is_past(moment: datetime) -> bool:
    return CLOCK.now() > moment


# Following


async def test_a_follower_gets_last_values_then_caught_up_then_every_write(buses: Buses) -> None:
    bus = buses.controller
    for cluster, data in ((C1, b"1"), (C2, b"2"), (C1, b"3")):
        await bus.put(Put(subjects.desired(cluster), data))
    async with aclosing(bus.follow("DESIRED", subjects.ALL_HEADS)) as items:
        assert await given(items, 3) == ["c2=2", "c1=3", "caught up"]
        sequences = [await bus.put(Put(subjects.desired(C2), data)) for data in (b"4", b"5")]
        fourth, fifth = await soon(anext(items)), await soon(anext(items))
        assert isinstance(fourth, Message)
        assert isinstance(fifth, Message)
        assert [(fourth.data, fourth.sequence), (fifth.data, fifth.sequence)] == [
            (b"4", sequences[0]),
            (b"5", sequences[1]),
        ]


async def test_a_follower_of_nothing_is_caught_up_at_once(buses: Buses) -> None:
    bus = buses.controller
    async with aclosing(bus.follow("STATUS", subjects.ALL_STATUSES)) as items:
        assert await given(items, 1) == ["caught up"]
        await bus.put(Put(subjects.status("bundle", "web"), b"1"))
        assert await given(items, 1) == ["web=1"]


async def test_a_follower_loses_nothing_over_a_reconnect_and_never_goes_back(buses: Buses) -> None:
    bus = buses.controller
    await bus.put(Put(subjects.desired(C1), b"0"))
    async with aclosing(bus.follow("DESIRED", subjects.ALL_HEADS)) as items:
        assert await given(items, 2) == ["c1=0", "caught up"]
        seen: list[int] = []
        for number in range(1, 40):
            if number in (10, 25):
                before = bus.connection
                await bus.reconnect()
                await soon(bus.connection_changed(before))
            await bus.put(Put(subjects.desired(C1), b"%d" % number))
        while not seen or seen[-1] < 39:
            item = await soon(anext(items))
            if isinstance(item, Message):
                seen.append(int(item.data))
        assert seen == sorted(seen)


async def test_a_follower_is_told_of_a_purge(buses: Buses) -> None:
    bus = buses.controller
    for aspect in ("facts", "session"):
        await buses.agent.put(Put(subjects.state(C1, aspect), b"1"))
    async with aclosing(bus.follow("STATE", subjects.ALL_STATES)) as items:
        assert await given(items, 3) == ["facts=1", "session=1", "caught up"]
        assert await bus.purge("STATE", subjects.states_of(C1)) == 2
        assert await given(items, 2) == ["facts removed", "session removed"]
        assert await bus.get_last("STATE", subjects.state(C1, "facts")) is None
        await buses.agent.put(Put(subjects.state(C1, "facts"), b"2"))
        assert await given(items, 1) == ["facts=2"]


async def test_a_message_cannot_say_that_it_was_removed(buses: Buses) -> None:
    removed = {"Fleetbus-Removed": "1"}
    facts, session = (Put(subjects.state(C1, one), b"1", headers=removed) for one in ("facts", "session"))
    await buses.agent.put(facts)
    async with aclosing(buses.controller.follow("STATE", subjects.ALL_STATES)) as items:
        assert await given(items, 2) == ["facts=1", "caught up"]
        await buses.agent.put(session)
        assert await given(items, 1) == ["session=1"]
