"""Keys that a real ssh-agent holds: found by comment, fingerprint or nkey, and their signatures verify."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fleetbus.runtime.ssh_agent import find_key
from fleetbus.schemas.errors import NotFound, SettingsInvalid
from fleetbus.schemas.nkeys import verify_key
from fleetbus.schemas.signing import covered, verify, wrapped
from tests.ssh_agent import SshAgent, ssh_agent


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[SshAgent]:
    async with ssh_agent(tmp_path) as running:
        yield running


async def test_its_key_signs_what_verifies_as_an_nkey(agent: SshAgent) -> None:
    await agent.add("of another kind", "ecdsa")
    await agent.add("ana@laptop")
    key = await find_key(str(agent.socket), "")
    signature = await key.sign(covered("a.subject", b"{}"))
    verify_key(key.public_key).verify(covered("a.subject", b"{}"), signature)
    envelope = wrapped(b"{}", {key.public_key: signature})
    assert verify("a.subject", envelope, {key.public_key}) == b"{}"
    (_, fingerprint) = await agent.fingerprints()
    for wanted in ("ana@laptop", fingerprint, key.public_key):
        assert (await find_key(str(agent.socket), wanted)).public_key == key.public_key


async def test_which_key_is_meant_must_be_said_when_there_are_several(agent: SshAgent) -> None:
    await agent.add("ana@laptop")
    await agent.add("ben@laptop")
    with pytest.raises(SettingsInvalid, match="2 keys"):
        await find_key(str(agent.socket), "")
    with pytest.raises(NotFound, match="no Ed25519 key `cyd`"):
        await find_key(str(agent.socket), "cyd")


async def test_a_key_that_was_taken_out_signs_nothing_any_more(agent: SshAgent) -> None:
    await agent.add("ana@laptop")
    key = await find_key(str(agent.socket), "ana@laptop")
    await agent.remove_all()
    with pytest.raises(NotFound):
        await find_key(str(agent.socket), "ana@laptop")
    with pytest.raises(SettingsInvalid, match="does not sign"):
        await key.sign(b"x")


@pytest.mark.parametrize(
    "answer",
    [b"", b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\x00\x00\x00\x05\x0c\x00\x00\x00\x09"],
    ids=["nothing", "empty", "too long", "cut off"],
)
async def test_something_else_at_its_socket_is_an_error_of_ours(answer: bytes, tmp_path: Path) -> None:
    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(64)
        writer.write(answer)
        writer.close()

    async with await asyncio.start_unix_server(reply, tmp_path / "s"):
        with pytest.raises(SettingsInvalid):
            await find_key(str(tmp_path / "s"), "")
