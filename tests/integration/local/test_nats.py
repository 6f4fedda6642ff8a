"""A nats-server comes back on its port with its streams; one that does not start says why."""

from __future__ import annotations

import nats
import pytest

from fleetbus.local.factories import NatsFactory
from fleetbus.schemas.errors import ServerFailed

_STORE = "jetstream { store_dir: store }"


async def test_a_killed_server_keeps_its_port_and_its_streams(nats_server: NatsFactory) -> None:
    server = await nats_server(_STORE)
    client = await nats.connect(server.url)
    jetstream = client.jetstream()
    await jetstream.add_stream(name="KEPT", subjects=["kept.>"])
    await jetstream.publish("kept.a", b"1")
    await client.close()

    await server.kill()
    await server.start()

    client = await nats.connect(server.url)
    stream = await client.jetstream().stream_info("KEPT")
    await client.close()
    assert stream.state.messages == 1


async def test_a_server_that_does_not_start_says_why(nats_server: NatsFactory) -> None:
    with pytest.raises(ServerFailed, match="ended with code 1") as failed:
        await nats_server("no_such_setting: 1")
    assert ".log" in failed.value.remedy
