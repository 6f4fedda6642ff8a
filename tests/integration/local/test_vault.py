"""OpenBao keeps what it was given, also when it is killed, and is sealed until somebody unseals it."""

from __future__ import annotations

import pytest

from fleetbus.local.factories import BaoFactory
from fleetbus.local.vault import OpenBao
from fleetbus.schemas.errors import VaultUnavailable


async def test_a_value_can_be_written_and_read(openbao: OpenBao) -> None:
    await openbao.request("POST", "secret/data/local/a", {"data": {"word": "kept"}})

    answer = await openbao.request("GET", "secret/data/local/a")

    assert answer["data"]["data"] == {"word": "kept"}


async def test_a_killed_server_keeps_its_values_behind_the_seal(new_openbao: BaoFactory) -> None:
    server = await new_openbao()
    await server.request("POST", "secret/data/local/b", {"data": {"word": "kept"}})

    await server.kill()
    await server.start(unseal=False)
    with pytest.raises(VaultUnavailable, match="sealed"):
        await server.request("GET", "secret/data/local/b")
    await server.unseal()

    answer = await server.request("GET", "secret/data/local/b")
    assert answer["data"]["data"] == {"word": "kept"}


async def test_sealing_and_unsealing_a_running_server(new_openbao: BaoFactory) -> None:
    server = await new_openbao()
    address = server.address

    await server.seal()
    with pytest.raises(VaultUnavailable):
        await server.request("GET", "sys/mounts")
    await server.unseal()
    await server.restart()

    assert server.address == address
    assert "secret/" in await server.request("GET", "sys/mounts")


async def test_its_keys_are_readable_by_their_owner_only(openbao: OpenBao) -> None:
    for name in ("root-token", "unseal-key", "tls.key"):
        assert (openbao.dir / name).stat().st_mode & 0o777 == 0o600
