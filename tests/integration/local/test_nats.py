"""A nats-server comes back on its port with its streams, and takes another configuration while it runs."""

from __future__ import annotations

import nats
import pytest

from fleetbus.local.factories import NatsFactory
from fleetbus.schemas.errors import ServerFailed, SettingsInvalid

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


async def test_a_running_server_takes_another_user(nats_server: NatsFactory) -> None:
    server = await nats_server('authorization { users: [{user: "a", password: "a"}] }')

    await server.reload('authorization { users: [{user: "b", password: "b"}] }')

    client = await nats.connect(server.url, user="b", password="b")
    await client.close()


async def test_a_wrong_configuration_is_refused_and_the_old_one_stays(nats_server: NatsFactory) -> None:
    server = await nats_server('authorization { users: [{user: "a", password: "a"}] }')

    with pytest.raises(SettingsInvalid):
        await server.reload("authorization {")

    client = await nats.connect(server.url, user="a", password="a")
    await client.close()


async def test_a_server_that_does_not_start_says_why(nats_server: NatsFactory) -> None:
    with pytest.raises(ServerFailed, match="ended with code 1") as failed:
        await nats_server("no_such_setting: 1")
    assert ".log" in failed.value.remedy
