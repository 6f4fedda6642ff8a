"""An agent's credential in foreign hands: whatever it writes stops nobody, and what is refused is said."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator

import pytest

from fleetbus.local.demo.repository import Repository
from fleetbus.schemas import subjects
from fleetbus.schemas.credentials import Credential
from fleetbus.schemas.subjects import MAIN, ClusterId
from tests.bus_server import FleetServer
from tests.e2e.operator_story import Operator, bundle, config_map, namespace, source
from tests.integration.bus.raw import RawPublisher, raw_publisher

CLUSTER = ClusterId(MAIN, "staging-eu")
FACTS = subjects.state(CLUSTER, "facts").encode()


@pytest.fixture
async def stolen(operator: Operator) -> AsyncIterator[RawPublisher]:
    """A connection with the credential of one agent, which writes what no client library would."""
    admin = operator.fleet.clusters[CLUSTER.name].admin
    secret = await admin.get("/api/v1/namespaces/fleetbus-system/secrets/fleetbus-agent")
    token, seed = (base64.b64decode(secret["data"][key]).decode().strip() for key in ("jwt", "seed"))
    server = FleetServer(
        operator.fleet.nats, operator.fleet.folder, {"agent": Credential(token, seed)}, {}, {}
    )
    async with raw_publisher(server, "agent") as publisher:
        yield publisher


HOSTILE = {
    "no JSON": (b"this is no JSON", b""),
    "empty": (b"", b""),
    "not UTF-8": (b"\xff\xfe\x00 not UTF-8", b""),
    "unsigned": (b"fleetbus1 abc.def\n{}", b""),
    "newer": (b"fleetbus2 abc.def\n{}", b""),
    "large": (b"x" * 500_000, b""),
    "too large": (b"x" * 600_000, b""),
    "empty headers": (b"{}", b"NATS/1.0\r\n\r\n"),
    "broken header": (b"{}", b"NATS/1.0\r\nBroken\r\n\r\n"),
    "header not UTF-8": (b"{}", b"NATS/1.0\r\nName: \xff\xfe\r\n\r\n"),
    "headers cut off": (b"{}", b"NATS/1.0"),
}


async def test_hostile_states_stop_nobody(
    operator: Operator, repository: Repository, stolen: RawPublisher
) -> None:
    """After each of them a change still reaches every cluster, the one in foreign hands too."""
    name = "hostile"
    repository.write("namespace.json", namespace(name))
    repository.write("one.json", config_map(name, "one", "before"))
    await repository.commit("first")
    await operator.apply(source(name, repository), bundle(name, {"selector": {}}), wait=True)
    before = len(operator.events("cluster.message-refused", f"cluster/{CLUSTER.name}"))

    for what, (data, block) in HOSTILE.items():
        await stolen.publish(FACTS, data, block=block)
        repository.write("one.json", config_map(name, "one", what))
        await repository.commit(what)
        await operator.client.sync("Source", name)
        await operator.until_value(dict.fromkeys(operator.fleet.clusters, what), name, "one")

    await operator.until_event("cluster.message-refused", f"cluster/{CLUSTER.name}")
    for event in operator.events("cluster.message-refused", f"cluster/{CLUSTER.name}")[before:]:
        assert event.data["message"].isprintable()
    described = (await operator.run("describe", f"cluster/{CLUSTER.name}")).out
    assert described.replace("\n", "").isprintable()


async def test_the_refusal_is_seen_and_passes(operator: Operator, stolen: RawPublisher) -> None:
    await stolen.publish(FACTS, b"forged \x1b]52;c;bad\x07")

    await operator.until_event("cluster.message-refused", f"cluster/{CLUSTER.name}")

    # The agent reports again by itself, and nothing of it is left.
    await operator.settled(timeout_s=150)
