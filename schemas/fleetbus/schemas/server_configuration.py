"""The configuration of nats-server, in its own language, made from a fleet's tokens.

The server trusts the operator's token and keeps the accounts' tokens in a folder, where they can be replaced while
it runs. Those in the configuration are for its first start: an older one never replaces one in the folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fleetbus.schemas.limits import (
    HANDSHAKE_S,
    MAX_CONTROL_LINE_BYTES,
    MAX_PAYLOAD_BYTES,
    MAX_PENDING_BYTES,
    MAX_SUBSCRIPTION_TOKENS,
    PING_INTERVAL_S,
    PINGS_MISSED,
    STREAM_QUEUE,
    WRITE_DEADLINE_S,
)

MOST_ACCOUNTS = 1000
_INSECURE = (
    "# INSECURE (--insecure-dev): no TLS. Who listens on this machine's loopback reads what is on this bus.\n"
)


@dataclass(frozen=True, slots=True)
class Places:
    """Files of one server's TLS, and the folders of JetStream's and of the accounts' tokens."""

    certificate_file: str
    key_file: str
    ca_file: str
    store_dir: str
    accounts_dir: str
    client_ca_file: str = ""
    """The authority of clients, who then have to show a certificate of it; empty: they need none."""
    websocket: str = ""
    """`host:port` where WebSockets are taken; empty for nowhere."""
    insecure: bool = False
    """Plaintext: a fleet of --insecure-dev."""


@dataclass(frozen=True, slots=True)
class Trust:
    """The operator's token, the system account's key, and each account's token by key."""

    operator: str
    system_account: str
    accounts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Routes:
    """How one of several servers meets the others, each proving itself to each: `peers` are `host:port`."""

    cluster: str
    listen: str
    peers: Sequence[str]
    certificate_file: str
    key_file: str
    ca_file: str


def server_configuration(
    name: str, listen: str, trust: Trust, places: Places, routes: Routes | None = None
) -> str:
    """A whole server's configuration. `listen` is `host:port`."""
    preload = "".join(f"  {key}: {token}\n" for key, token in sorted(trust.accounts.items()))
    return (
        (_INSECURE if places.insecure else "") + f"server_name: {_quoted(name)}\n"
        f"listen: {_quoted(listen)}\n"
        f"max_payload: {MAX_PAYLOAD_BYTES}\n"
        f"max_control_line: {MAX_CONTROL_LINE_BYTES}\nmax_sub_tokens: {MAX_SUBSCRIPTION_TOKENS}\n"
        f"max_pending: {MAX_PENDING_BYTES}\n"
        f'ping_interval: "{PING_INTERVAL_S}s"\nping_max: {PINGS_MISSED}\n'
        f'write_deadline: "{WRITE_DEADLINE_S}s"\n'
        f"jetstream {{ store_dir: {_quoted(places.store_dir)}, sync_interval: always,"
        f" max_buffered_msgs: {STREAM_QUEUE} }}\n"
        + ("" if places.insecure else f"{_listener(places)}\n")
        + (_websocket(places) if places.websocket else "")
        + (_cluster(routes) if routes else "")
        + f"operator: {trust.operator}\n"
        f"system_account: {trust.system_account}\n"
        f"resolver {{ type: full, dir: {_quoted(places.accounts_dir)}, allow_delete: true,"
        f' interval: "1m", limit: {MOST_ACCOUNTS} }}\n'
        f"resolver_preload {{\n{preload}}}\n"
    )


def _websocket(places: Places) -> str:
    return (
        f"websocket {{\n  listen: {_quoted(places.websocket)}\n"
        f'  handshake_timeout: "{HANDSHAKE_S}s"\n  {_listener(places)}\n}}\n'
    )


def _cluster(routes: Routes) -> str:
    peers = ", ".join(_quoted(f"tls://{peer}") for peer in routes.peers)
    return (
        f"cluster {{\n  name: {_quoted(routes.cluster)}\n  listen: {_quoted(routes.listen)}\n"
        f"  tls {{ {_files(routes)}, verify: true, timeout: {HANDSHAKE_S} }}\n  routes: [ {peers} ]\n}}\n"
    )


def _listener(places: Places) -> str:
    """TLS towards clients."""
    if not places.client_ca_file:
        return f"tls {{ {_files(places)}, timeout: {HANDSHAKE_S} }}"
    files = _files(replace(places, ca_file=places.client_ca_file))
    return f"tls {{ {files}, verify: true, timeout: {HANDSHAKE_S} }}"


def _files(where: Places | Routes) -> str:
    return (
        f"cert_file: {_quoted(where.certificate_file)}, key_file: {_quoted(where.key_file)},"
        f" ca_file: {_quoted(where.ca_file)}"
    )


def _quoted(text: str) -> str:
    return '"' + text + '"'
