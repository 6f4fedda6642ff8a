"""An answer counts when it is the controller's, also by a key that the root has named since."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from nacl.signing import SigningKey

from fleetbus.client.answers import Answers
from fleetbus.runtime.ports import Message
from fleetbus.schemas import subjects
from fleetbus.schemas.api import Answer
from fleetbus.schemas.charter import Charter
from fleetbus.schemas.errors import BusUnavailable, MessageTooNew, SignatureRefused
from fleetbus.schemas.nkeys import Kind, public_key
from fleetbus.schemas.requests import answer_to
from fleetbus.schemas.signing import covered, signer, wrapped

ROOT, OLD, NEW, OTHER = (SigningKey(bytes([number]) * 32) for number in range(1, 5))
ID = "12345678"


@dataclass
class Bus:
    """The port Bus as far as a charter is read on it."""

    data: bytes | None = None
    reads: int = 0

    async def get_last(self, stream: str, subject: str) -> Message | None:
        self.reads += 1
        if self.data is None:
            raise BusUnavailable("away")
        return Message(subject, self.data)


def charter(version: int, *keys: SigningKey, root: SigningKey = ROOT) -> bytes:
    said = Charter(
        fleet="demo",
        epoch=1,
        version=version,
        issued_at=datetime(2026, 11, 1, tzinfo=UTC),
        publish=tuple(map(public_key, keys)),
    )
    content = said.to_bytes()
    signature = root.sign(covered(subjects.CHARTER, content)).signature
    return wrapped(content, {public_key(root, Kind.OPERATOR): signature})


def answer(key: SigningKey, id: str = ID) -> bytes:
    return answer_to(Answer(ok=True, result={"a": 1}), "overview", id, signer(key))


def known() -> Answers:
    return Answers(frozenset({public_key(OLD)}), public_key(ROOT, Kind.OPERATOR), "demo", (1, 1))


async def read(answers: Answers, bus: Bus, data: bytes) -> Answer:
    port: Any = bus
    return await answers.read(port, data, "overview", ID)


async def test_a_key_that_the_root_has_named_since_counts_from_then_on() -> None:
    answers, bus = known(), Bus(charter(2, NEW))
    assert (await read(answers, bus, answer(NEW))).result == {"a": 1}
    assert (await read(answers, bus, answer(NEW))).ok
    assert bus.reads == 1
    with pytest.raises(SignatureRefused):
        await read(answers, bus, answer(OLD))


@pytest.mark.parametrize(
    "said", [charter(1, NEW), charter(2, OLD), charter(2, NEW, root=OTHER), b"fleetbus1 x", None]
)
async def test_nobody_else_names_a_key(said: bytes | None) -> None:
    with pytest.raises(SignatureRefused, match="not this fleet's controller"):
        await read(known(), Bus(said), answer(NEW))


async def test_neither_an_unsigned_nor_anothers_answer_counts() -> None:
    plain = answer_to(Answer(ok=True), "overview", "", signer(OLD))
    for data in (plain, answer(OTHER), answer(OLD, "87654321"), b""):
        with pytest.raises(SignatureRefused):
            await read(known(), Bus(), data)
    assert (await read(known(), Bus(), answer(OLD))).ok


async def test_a_newer_contract_is_called_that() -> None:
    with pytest.raises(MessageTooNew):
        await read(known(), Bus(), answer(OLD).replace(b"fleetbus1", b"fleetbus2", 1))


async def test_a_context_without_keys_believes_what_comes() -> None:
    assert (await read(Answers(), Bus(), answer(OTHER))).ok
