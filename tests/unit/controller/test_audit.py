"""What a record tells of a change, and how refusals are counted."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from fleetbus.controller.audit import Author, Entry, changed
from fleetbus.controller.decisions.edits import MOST_CHARACTERS, MOST_EDITS, edits
from fleetbus.controller.refusals import INTERVAL_S, MOST_KINDS, Refusals
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.canonical import digest
from fleetbus.schemas.documents import Stored
from fleetbus.schemas.errors import BusUnavailable, NotFound
from fleetbus.schemas.limits import MAX_PAYLOAD_BYTES

CLOCK = SystemClock()
ANA = Author("ana", "delete", key="UANA")


def stored(**spec: Any) -> Stored:
    now = CLOCK.now()
    return Stored(kind="Bundle", name="web", uid="u", generation=1, created_at=now, updated_at=now, spec=spec)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({}, {"a": 1}, [("a", None, "1")]),
        ({"a": 1}, {}, [("a", "1", None)]),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, [("a.c", "2", "3")]),
        ({"a": {"b": 1}}, {}, [("a.b", "1", None)]),
        ({"a": {}}, {"a": {"b": 1}}, [("a", "{}", '{"b":1}')]),
        ({"a": [1, 2]}, {"a": [2]}, [("a", "[1,2]", "[2]")]),
        ({"a": {"x.y/z": 1}}, {"a": {"x.y/z": "2"}}, [("a[x.y/z]", "1", '"2"')]),
        ({"a": 1, "b": 2}, {"a": 1, "b": 2}, []),
        ({}, {"url": "https://ana:x@git.example.com/a"}, [("url", None, '"https://***@git.example.com/a"')]),
    ],
)
def test_edits_name_what_differs(before: Any, after: Any, told: list[tuple[str, str, str]]) -> None:
    found, left_out = edits(before, after)
    assert [(one.path, one.before, one.after) for one in found] == told
    assert left_out == 0


def test_a_record_stays_small_whatever_changes() -> None:
    long = "s" * (MOST_CHARACTERS + 1)
    found, left_out = edits({}, {f"k{index:03d}": long for index in range(MOST_EDITS + 7)})
    assert (len(found), left_out) == (MOST_EDITS, 7)
    assert found[0].after == f"sha256:{digest(b'%c%s%c' % (34, long.encode(), 34))} ({len(long) + 2} bytes)"
    deep: dict[str, Any] = {"end": 1}
    for _ in range(200):
        deep = {"d" * 200: deep}
    entry = changed(None, stored(deep=deep, wide={f"{index}" * 250: long for index in range(200)}), ANA)
    size = sum(len(one.to_bytes()) for one in entry.edits)
    assert size < MAX_PAYLOAD_BYTES // 20


def test_a_change_tells_both_digests_and_generations() -> None:
    before = stored(path="a")
    after = before.model_copy(
        update={"generation": 2, "spec": {"path": "b"}, "updated_at": CLOCK.now() + timedelta(seconds=1)}
    )
    entry = changed(before, after, ANA)
    assert (entry.before, entry.after) == (digest(before.to_bytes()), digest(after.to_bytes()))
    assert (entry.generation_before, entry.generation_after) == (1, 2)
    assert [one.path for one in entry.edits] == ["spec.path"]


@dataclass
class Chain:
    """Takes entries, or is away."""

    written: list[Entry] = field(default_factory=list)
    away: bool = False

    async def write(self, puts: object, entries: tuple[Entry, ...]) -> int:
        if self.away:
            raise BusUnavailable("away")
        self.written += entries
        return 1


class Steps(SystemClock):
    """A clock that is moved by hand."""

    at_s = 0.0

    def monotonic_s(self) -> float:
        return self.at_s


def desk() -> tuple[Refusals, Chain, Steps]:
    chain, clock = Chain(), Steps()
    return Refusals(chain, clock), chain, clock  # type: ignore[arg-type]


async def test_the_first_refusal_is_a_record_and_its_repetitions_one_more() -> None:
    refusals, chain, clock = desk()
    for _ in range(5):
        await refusals.add(ANA, "bundle/web", NotFound("there is none"))
    assert [one.count for one in chain.written] == [1]
    await refusals.tell()
    assert len(chain.written) == 1, "not before the interval is over"
    clock.at_s = INTERVAL_S + 1
    await refusals.tell()
    assert [one.count for one in chain.written] == [1, 4]
    assert chain.written[1].since is not None
    clock.at_s *= 2
    await refusals.tell()
    clock.at_s *= 2
    await refusals.add(ANA, "bundle/web", NotFound("there is none"))
    assert [one.count for one in chain.written] == [1, 4, 1], "after a quiet interval it is a first one again"


async def test_one_key_fills_only_its_own_places() -> None:
    refusals, chain, clock = desk()
    for number in range(500):
        await refusals.add(ANA, f"bundle/b{number}", NotFound(f"there is no b{number}"))
    await refusals.add(Author("ben", "delete", key="UBEN"), "bundle/web", NotFound("there is none"))
    assert [one.author.by for one in chain.written] == ["ana"] * MOST_KINDS + ["ben"]
    clock.at_s = INTERVAL_S + 1
    await refusals.tell()
    assert len(chain.written) == MOST_KINDS + 2
    last = chain.written[-1]
    assert last.count == 500 - MOST_KINDS
    assert last.message.startswith("several kinds, the last of them: there is no b499")


async def test_what_cannot_be_written_now_is_written_later() -> None:
    refusals, chain, clock = desk()
    chain.away = True
    for _ in range(3):
        await refusals.add(ANA, "bundle/web", NotFound("there is none"))
    clock.at_s = INTERVAL_S + 1
    await refusals.tell()
    assert chain.written == []
    chain.away = False
    await refusals.tell()
    assert [one.count for one in chain.written] == [3]
