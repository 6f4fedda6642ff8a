"""An agent's credential in foreign hands: whatever it writes stops nobody, and what is refused is said."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator

import pytest

from fleetbus.local.demo.repository import Repository
from fleetbus.schemas import subjects
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
    seed = base64.b64decode(secret["data"]["seed"]).decode().strip()
    authority = (operator.fleet.folder / "ca.crt").read_text()
    server = FleetServer(operator.fleet.nats, authority, {"agent": seed}, {})
    async with raw_publisher(server, "agent") as publisher:
        yield publisher


@pytest.mark.parametrize(
    ("data", "block"),
    [
        (b"this is no JSON", b""),
        (b"", b""),
        (b"\xff\xfe\x00 not UTF-8", b""),
        (b"fleetbus1 abc.def\n{}", b""),
        (b"fleetbus2 abc.def\n{}", b""),
        (b"x" * 500_000, b""),
        (b"{}", b"NATS/1.0\r\n\r\n"),
        (b"{}", b"NATS/1.0\r\nBroken\r\n\r\n"),
        (b"{}", b"NATS/1.0\r\nName: \xff\xfe\r\n\r\n"),
        (b"{}", b"NATS/1.0"),
    ],
    ids=[
        "no-json",
        "empty",
        "not-utf8",
        "unsigned",
        "newer",
        "large",
        "empty-headers",
        "broken-header",
        "header-not-utf8",
        "headers-cut-off",
    ],
)
async def test_a_hostile_state_stops_nobody(
    operator: Operator,
    repository: Repository,
    stolen: RawPublisher,
    data: bytes,
    block: bytes,
    request: pytest.FixtureRequest,
) -> None:
    name = "h-" + request.node.callspec.id
    before = len(operator.events("cluster.message-refused", f"cluster/{CLUSTER.name}"))
    await stolen.publish(FACTS, data, block=block)
    repository.write("namespace.json", namespace(name))
    repository.write("one.json", config_map(name, "one", "here"))
    await repository.commit("first")

    await operator.apply(source(name, repository), bundle(name, {"selector": {}}), wait=True)

    await operator.until_value(dict.fromkeys(operator.fleet.clusters, "here"), name, "one")
    refused = operator.events("cluster.message-refused", f"cluster/{CLUSTER.name}")
    for event in refused[before:]:
        text = json.dumps(event.as_json())
        assert "\\u001b" not in text
        assert event.data["message"].isprintable()
    described = (await operator.run("describe", f"cluster/{CLUSTER.name}")).out
    assert described.replace("\n", "").isprintable()
    await operator.run("delete", f"bundle/{name}", "--yes", "--wait")


async def test_the_refusal_is_seen_and_passes(operator: Operator, stolen: RawPublisher) -> None:
    await stolen.publish(FACTS, b"forged \x1b]52;c;bad\x07")

    await operator.until_event("cluster.message-refused", f"cluster/{CLUSTER.name}")

    # The agent reports again by itself, and nothing of it is left.
    await operator.settled(timeout_s=150)
