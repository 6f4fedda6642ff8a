"""What trust costs a message: signing and checking, beside reading the same bytes as JSON."""

from __future__ import annotations

import asyncio
import timeit
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from nacl.signing import SigningKey

from fleetbus.schemas.canonical import digest
from fleetbus.schemas.desired import Head
from fleetbus.schemas.nkeys import public_key
from fleetbus.schemas.signing import signer, verify
from fleetbus.schemas.states import State
from tests.bench.figures import Figure, figure
from tests.bench.stand import Stand

CALLS = 20_000
_SUBJECT = "fleet.v1.state.main.prod-us.bundles-0"
_AT = datetime(2026, 11, 1, tzinfo=UTC)


async def measure(stand: Stand) -> list[Figure]:
    return await asyncio.to_thread(_measure, stand.rounds(CALLS))


def _measure(calls: int) -> list[Figure]:
    head = Head(
        fleet="demo",
        cluster="0d1f6a1e-6a9c-4c43-9a5e-000000000000",
        epoch=1,
        serial=1_790_000_000_000,
        issued_at=_AT,
        not_after=_AT + timedelta(days=1),
        set=digest(b""),
    )
    state = State(
        fleet="demo",
        cluster="prod-us",
        uid=head.cluster,
        aspect="bundles-0",
        serial=1,
        at=_AT,
        body={"bundles": [{"id": digest(str(number).encode()), "phase": "Healthy"} for number in range(40)]},
    )
    return [
        *_costs("head", head.to_bytes(), Head.from_bytes, calls),
        *_costs("state", state.to_bytes(), State.from_bytes, calls),
    ]


def _costs(what: str, content: bytes, read: Callable[[bytes], object], calls: int) -> list[Figure]:
    key = SigningKey.generate()
    sign, keys = signer(key), {public_key(key)}
    envelope = sign(_SUBJECT, content)
    reading = _us(lambda: read(content), calls)
    beside = f"reading its {len(content)} bytes"
    return [
        figure(f"{what}: sign", _us(lambda: sign(_SUBJECT, content), calls), "µs", beside, reading),
        figure(
            f"{what}: verify", _us(lambda: verify(_SUBJECT, envelope, keys), calls), "µs", beside, reading
        ),
    ]


def _us(call: Callable[[], object], calls: int) -> float:
    """Of one call, the best of five rounds, as `timeit` advises."""
    return min(timeit.repeat(call, number=calls // 5, repeat=5)) / (calls // 5) * 1e6
