"""A bus can be left at any moment, also when a cancellation is lost where a connection is being made."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from nacl.signing import SigningKey

from fleetbus.runtime.bus import BusSettings, NatsBus
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.nats_client import Connection
from fleetbus.schemas import subjects
from fleetbus.schemas.errors import BusUnavailable
from tests.tokens import user_credential


async def test_it_is_left_although_a_cancellation_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    opening, lost = asyncio.Event(), 0

    async def open_(self: Connection, *args: Any, **options: Any) -> None:
        nonlocal lost
        opening.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            lost += 1
            if lost > 1:
                raise
            raise BusUnavailable("refused, at the same moment") from error

    monkeypatch.setattr(Connection, "open", open_)
    credential = user_credential(SigningKey.generate())
    inbox = subjects.personal_inbox(credential.nkey)
    settings = BusSettings(("tls://127.0.0.1:1",), credential, inbox, "test")
    async with asyncio.timeout(20):
        async with NatsBus(settings, SystemClock()):
            await opening.wait()
    assert lost >= 1
