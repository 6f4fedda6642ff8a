"""A nats-server with the fleet's own accounts, and a credential for each kind of who connects to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from nacl.signing import SigningKey

from fleetbus.local.files import write_whole
from fleetbus.local.nats import NatsServer
from fleetbus.local.processes import Processes
from fleetbus.runtime.bus import BusSettings, NatsBus
from fleetbus.runtime.certificates import issue_server, make_authority
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.nats_streams import ensure_streams
from fleetbus.schemas import streams, subjects
from fleetbus.schemas.signing import key_of_seed, public_key, seed_of
from fleetbus.schemas.subjects import ClusterId

CLUSTERS = ("c1", "c2")


@dataclass(frozen=True, slots=True)
class FleetServer:
    """The server, its authority, and everybody's seed and inbox prefix by name."""

    server: NatsServer
    ca_pem: str
    seeds: dict[str, str]
    inboxes: dict[str, str]

    def settings(self, who: str) -> BusSettings:
        return BusSettings((self.server.url,), self.seeds[who], self.inboxes[who], who, ca_pem=self.ca_pem)

    def public_key(self, who: str) -> str:
        return public_key(key_of_seed(self.seeds[who]))

    @asynccontextmanager
    async def bus(self, who: str) -> AsyncIterator[NatsBus]:
        """A connected bus with the credential of `who`: controller, operator, subscriber or a cluster."""
        async with NatsBus(self.settings(who), SystemClock()) as bus:
            await bus.wait_connected()
            yield bus


@asynccontextmanager
async def fleet_server(processes: Processes, directory: Path, name: str) -> AsyncIterator[FleetServer]:
    """A running server with TLS, accounts and all streams."""
    keys = {
        who: SigningKey.generate() for who in ("system", "controller", "operator", "subscriber", *CLUSTERS)
    }
    inboxes = {
        "controller": subjects.CONTROLLER_INBOX,
        **{who: subjects.personal_inbox(public_key(keys[who])) for who in ("operator", "subscriber")},
        **{cluster: subjects.inbox(subjects.MAIN, cluster) for cluster in CLUSTERS},
    }
    now = SystemClock().now()
    authority = make_authority("fleetbus test", now)
    issued = issue_server(authority, "localhost", ["127.0.0.1"], now)
    directory = directory / name
    write_whole(directory / "ca.crt", authority.certificate)
    write_whole(directory / "tls.crt", issued.certificate)
    write_whole(directory / "tls.key", issued.key, secret=True)
    config = configuration(keys)
    async with NatsServer(processes, directory, config, name=name) as server:
        seeds = {who: seed_of(key) for who, key in keys.items()}
        fleet = FleetServer(server, authority.certificate.decode(), seeds, inboxes)
        async with fleet.bus("controller") as bus:
            await ensure_streams(bus)
        yield fleet


async def empty_streams(bus: NatsBus) -> None:
    """Every stream as after `init`; what the server keeps for ever goes with its stream."""
    for stream in streams.STREAMS:
        if stream.keeps_for_ever:
            await bus.request(subjects.jetstream_api(f"STREAM.DELETE.{stream.name}"), b"")
        else:
            await bus.purge(stream.name, ">")
    await ensure_streams(bus)


def configuration(keys: dict[str, SigningKey], extra: Iterable[str] = ()) -> str:
    """The server's configuration for these keys, without the line that says where it listens."""
    main = subjects.MAIN
    users = streams.Users(
        system=public_key(keys["system"]),
        controllers=(public_key(keys["controller"]),),
        operators=(
            _person(public_key(keys["operator"]), streams.operator_permissions),
            _person(public_key(keys["subscriber"]), streams.subscriber_permissions),
        ),
        agents={
            main: tuple(
                streams.User(public_key(keys[name]), streams.agent_permissions(ClusterId(main, name)))
                for name in CLUSTERS
            )
        },
    )
    transport = streams.Transport("tls.crt", "tls.key", "ca.crt", "js")
    whole = streams.server_configuration(users, transport, listen="127.0.0.1:0")
    lines = [line for line in whole.splitlines() if not line.startswith("listen:")]
    return "\n".join([*lines, *extra])


def _person(nkey: str, permissions: Callable[[str], streams.Permissions]) -> streams.User:
    return streams.User(nkey, permissions(nkey))
