"""What an agent is started with: one folder as a pod has it, and one Secret in its cluster. Checked here.

The Secret `fleetbus-system/fleetbus-agent` holds a join token first; the agent itself puts the rest in its place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from fleetbus.agent.ports import Identity, Rule
from fleetbus.runtime.ports import Resource
from fleetbus.schemas.agent_pod import AGENT_NAME, AGENT_NAMESPACE
from fleetbus.schemas.bus_address import parse_addresses
from fleetbus.schemas.bus_proxy import DIRECT, parse_proxy
from fleetbus.schemas.charter import Sealed, opened
from fleetbus.schemas.credentials import Credential
from fleetbus.schemas.errors import FleetbusError, SettingsInvalid
from fleetbus.schemas.nats_jwt import read
from fleetbus.schemas.nkeys import Kind, verify_key
from fleetbus.schemas.subjects import ClusterId, cluster_name

NAMESPACE = AGENT_NAMESPACE
NAME = AGENT_NAME
SECRET = Resource("", "v1", "secrets", "Secret", True)
NEEDS = (Rule((SECRET.group,), (SECRET.plural,), ("get", "update"), names=(NAME,), home=True),)
POD_VAULT_TOKEN = Path("/var/run/secrets/fleetbus/vault-token")

WHERE = f"Secret {NAMESPACE}/{NAME}"
PROXY = "bus-proxy"
CHARTER = "charter"
"""The Secret's key for what the root has said last."""
JOIN = "run `fleetbus cluster join` for this cluster again"
_UID = re.compile(r"^[0-9a-zA-Z-]{1,64}$")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class VaultSettings:
    """Where Vault is. `ca` is PEM; empty means the machine's authorities."""

    address: str
    mount: str
    role: str
    ca: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """Whose agent this is, where the bus is, whose signatures count. `epoch`: heads of an older one are refused."""

    identity: Identity
    credential: Credential
    bus_servers: tuple[str, ...]
    bus_ca: str = field(repr=False)
    controller_keys: frozenset[str]
    epoch: int = 0
    vault: VaultSettings | None = None
    renewer: str = field(default="", repr=False)
    """The token of the user that never ends and can do nothing but renew; of the same key."""
    insecure: bool = False
    """The fleet was made with --insecure-dev: the bus is plaintext, on this machine."""
    proxy: str = field(default="", repr=False)
    """As `BusSettings.proxy`."""
    root: str = ""
    """The public key whose charters count; without it none does."""
    charter: Sealed | None = None
    """The newest that was accepted, as it was kept."""

    @property
    def authorities(self) -> str:
        """Of the bus, PEM: as the root has said last, else as the join token pinned."""
        return self.charter.charter.authorities if self.charter else self.bus_ca

    certificate: str = field(default="", repr=False)
    """PEM, for the cluster's key, where servers want one of their clients."""


def vault_token_file(folder: Path) -> Path:
    """The token for Vault's audience: beside the others, or where a pod mounts it."""
    beside = folder / "vault-token"
    return beside if beside.exists() else POD_VAULT_TOKEN


def parse_settings(text: Mapping[str, str]) -> AgentSettings:
    """Settings from a Secret's values. SettingsInvalid names the key and never quotes a value."""
    insecure = text.get("bus-insecure-dev") == "true"
    cluster = ClusterId(_checked(text, "realm", _cluster_name), _checked(text, "cluster", _cluster_name))
    fleet = _checked(text, "fleet", _cluster_name)
    root = _checked(text, "root", _root) if text.get("root") else ""
    return AgentSettings(
        identity=Identity(fleet, cluster, _checked(text, "uid", _uid)),
        credential=_credential(text),
        bus_servers=_checked(text, "bus-servers", lambda servers: _servers(servers, insecure=insecure)),
        bus_ca="" if insecure and not text.get("bus-ca") else _checked(text, "bus-ca", _pem),
        controller_keys=_checked(text, "controller-keys", _keys),
        epoch=_checked({"epoch": "0", **text}, "epoch", _epoch),
        vault=_vault(text),
        renewer=_checked(text, "renewer-jwt", _token) if text.get("renewer-jwt") else "",
        insecure=insecure,
        proxy=parse_proxy_setting(text),
        root=root,
        charter=_checked(text, CHARTER, lambda envelope: opened(envelope.encode(), root, fleet))
        if root and text.get(CHARTER)
        else None,
        certificate=_checked(text, "bus-certificate", _pem) if text.get("bus-certificate") else "",
    )


def parse_proxy_setting(text: Mapping[str, str]) -> str:
    """The key `bus-proxy`, which whoever runs the cluster may add to the token or to what came of it; '' for none.

    Raises SettingsInvalid without quoting it.
    """
    return _checked(text, PROXY, _proxy) if text.get(PROXY) else ""


def _credential(text: Mapping[str, str]) -> Credential:
    token = _checked(text, "jwt", _token)
    return _checked(text, "seed", lambda seed: Credential(token, seed))


def _token(text: str) -> str:
    read(text)
    return text


def _vault(text: Mapping[str, str]) -> VaultSettings | None:
    if not text.get("vault-address"):
        return None
    return VaultSettings(
        address=_checked(text, "vault-address", _https),
        mount=_checked(text, "vault-mount", _word),
        role=_checked(text, "vault-role", _word),
        ca=_checked(text, "vault-ca", _pem) if text.get("vault-ca") else "",
    )


def _checked(text: Mapping[str, str], key: str, parse: Callable[[str], _T]) -> _T:
    if not text.get(key):
        raise SettingsInvalid(f"key `{key}` is missing", where=WHERE, remedy=JOIN)
    try:
        return parse(text[key])
    except (ValueError, FleetbusError) as error:
        said = error.message if isinstance(error, FleetbusError) else str(error)
        raise SettingsInvalid(f"key `{key}`: {said}", where=WHERE, remedy=JOIN) from error


def _cluster_name(text: str) -> str:
    try:
        return cluster_name(text)
    except FleetbusError as error:
        raise ValueError("not a DNS label that starts with a letter") from error


def _uid(text: str) -> str:
    if not _UID.fullmatch(text):
        raise ValueError("not a UID")
    return text


def _servers(text: str, *, insecure: bool) -> tuple[str, ...]:
    servers = tuple(part.strip() for part in text.split(",") if part.strip())
    parse_addresses(servers, insecure=insecure)
    return servers


def _proxy(text: str) -> str:
    setting = text.strip()
    if setting != DIRECT:
        parse_proxy(setting)
    return setting


def _keys(text: str) -> frozenset[str]:
    keys = frozenset(part.strip() for part in text.split(",") if part.strip())
    for key in keys:
        verify_key(key)
    if not keys:
        raise ValueError("no key in it")
    return keys


def _root(text: str) -> str:
    verify_key(text, Kind.OPERATOR)
    return text


def _pem(text: str) -> str:
    if "-----BEGIN CERTIFICATE-----" not in text:
        raise ValueError("not a PEM certificate")
    return text


def _epoch(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError("not a whole number")
    return int(text)


def _https(text: str) -> str:
    if not text.startswith("https://"):
        raise ValueError("not an https:// address")
    return text.rstrip("/")


def _word(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._/-]{1,128}", text):
        raise ValueError("not a name")
    return text
