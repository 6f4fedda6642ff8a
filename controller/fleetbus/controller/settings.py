"""The controller's settings: one file, JSON or YAML, and the credential, keys and tokens that it names by path."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog
from nacl.signing import SigningKey
from pydantic import Field, ValidationError

from fleetbus.controller.issuing import LIFETIME_S
from fleetbus.controller.manifests_yaml import load_documents
from fleetbus.runtime.private_files import check_proxy
from fleetbus.schemas.bus_address import parse_addresses
from fleetbus.schemas.credentials import Credential, parse_credential
from fleetbus.schemas.enrolment import MOST_LIFETIME_S, VaultPlace
from fleetbus.schemas.errors import FleetbusError, SettingsInvalid
from fleetbus.schemas.models import Written
from fleetbus.schemas.nkeys import key_of_seed

_log = structlog.get_logger("controller")


class Settings(Written):
    """As `fleetbus init` writes it. Paths that are relative start at the file's own folder."""

    fleet: str = Field(min_length=1)
    epoch: int = Field(default=1, ge=1)
    bus_servers: tuple[str, ...] = Field(min_length=1)
    bus_ca_file: Path | None = None
    bus_certificate_file: Path | None = Field(
        default=None, description="Certificate of the credential's key, for servers that want one (--mtls)."
    )
    client_authority_file: Path | None = Field(
        default=None, description="Authority that certifies clusters' keys, where servers want certificates."
    )
    client_authority_key_file: Path | None = None
    bus_insecure_dev: bool = Field(
        default=False,
        description="The fleet was made with --insecure-dev: plaintext on this machine's loopback.",
    )
    bus_proxy: str = Field(
        default="",
        repr=False,
        description="URL of an HTTP proxy on the way to the bus, or `direct`; else HTTPS_PROXY and NO_PROXY count. "
        "With a login in it this file must be of mode 0600.",
    )
    bus_credential_file: Path
    signing_seed_file: Path
    former_signing_keys: tuple[str, ...] = Field(
        default=(), description="Public nkeys that signed the stored documents before a change of the key."
    )
    charter_file: Path | None = Field(
        default=None, description="What the fleet's root has said last: epoch, keys, authorities."
    )
    operators: dict[str, str] = Field(default_factory=dict, description="Public nkey: name.")
    role_keys: dict[str, str] = Field(
        default_factory=dict, description="Public key that signs operators' tokens: the role that this gives."
    )
    root: str = Field(default="", description="The fleet's root: its public key, which join tokens pin.")
    accounts: dict[str, str] = Field(
        default_factory=dict, description="Public keys of the bus's accounts in which clusters have users."
    )
    issuing_keys_dir: Path | None = Field(
        default=None,
        description="Folder of the seeds with which clusters' users are made; else Vault's transit.",
    )
    credential_lifetime_s: float = Field(
        default=LIFETIME_S, gt=0, le=MOST_LIFETIME_S, description="How long a cluster's user lives, at most."
    )
    vault_address: str = ""
    vault_ca_file: Path | None = None
    vault_token_file: Path | None = None
    work_dir: Path
    credentials_dir: Path | None = None
    local_sources: tuple[Path, ...] = Field(
        default=(), description="Folders of this machine below which a Source may name a repository."
    )
    documents_dir: Path | None = None
    render_without_isolation: bool = Field(
        default=False, description="Run kustomize also where it cannot be kept from the network."
    )
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$")


_PATHS = tuple(name for name in Settings.model_fields if name.endswith(("_file", "_dir")))


def load_settings(path: Path) -> Settings:
    """Raises SettingsInvalid, which names the file and the first wrong field."""
    try:
        found = load_documents(path.read_text(encoding="utf-8"), path.name)
    except (OSError, UnicodeDecodeError) as cause:
        raise SettingsInvalid("the settings cannot be read", where=str(path)) from cause
    except FleetbusError as cause:
        raise SettingsInvalid(cause.message, where=cause.where or str(path)) from cause
    if len(found) != 1:
        raise SettingsInvalid("the settings must be one document", where=str(path))
    return _parsed(found[0], path)


def _parsed(content: Mapping[str, Any], path: Path) -> Settings:
    # `fleetbus init` may write null or nothing for what there is none of.
    given = {key: value for key, value in content.items() if value not in (None, "")}
    try:
        settings = Settings.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise SettingsInvalid(f"{place}: {first['msg']}", where=str(path)) from error
    try:
        parse_addresses(settings.bus_servers, insecure=settings.bus_insecure_dev)
    except SettingsInvalid as error:
        raise SettingsInvalid(f"busServers: {error.sentence()}", where=str(path)) from error
    check_proxy(settings.bus_proxy, path, "busProxy")
    folder = path.resolve().parent
    absolute = {name: folder / value for name in _PATHS if (value := getattr(settings, name)) is not None}
    local = tuple(folder / value for value in settings.local_sources)
    return settings.model_copy(update={**absolute, "local_sources": local})


def vault_place(settings: Settings) -> VaultPlace | None:
    """Where clusters find Vault. Raises SettingsInvalid."""
    if not settings.vault_address:
        return None
    ca_file = settings.vault_ca_file
    return VaultPlace(address=settings.vault_address, ca=read_secret(ca_file) if ca_file else "")


def read_key(path: Path) -> SigningKey:
    """The key of a seed file. Raises SettingsInvalid without quoting anything of it."""
    return key_of_seed(read_secret(path))


def read_credential(path: Path) -> Credential:
    """Raises SettingsInvalid without quoting anything of it."""
    try:
        return parse_credential(read_secret(path) + "\n")
    except SettingsInvalid as error:
        raise SettingsInvalid(error.message, where=error.where or str(path)) from error


def read_secret(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as cause:
        raise SettingsInvalid("the file cannot be read", where=str(path)) from cause


class Current:
    """What may change while the program runs: operators, the keys of roles, and the accounts of realms.

    Read again when the file was written; a broken file leaves the last good ones.
    """

    def __init__(self, path: Path, first: Settings) -> None:
        self._path = path
        self._settings = first
        self._stamp = self._look()
        self._problem = ""

    def settings(self) -> Settings:
        """The last that could be read."""
        return self._read()

    def operators(self) -> Mapping[str, str]:
        """Public nkey → name."""
        return self._read().operators

    def roles(self) -> Mapping[str, str]:
        """Public key that signs tokens → role."""
        return self._read().role_keys

    def accounts(self) -> Mapping[str, str]:
        """Name → public key."""
        return self._read().accounts

    def _read(self) -> Settings:
        """One `stat` a call; the file is small."""
        stamp = self._look()
        if stamp != self._stamp:
            self._stamp = stamp
            self.read_again()
        return self._settings

    def read_again(self) -> None:
        try:
            self._settings = load_settings(self._path)
            self._problem = ""
        except SettingsInvalid as error:
            if self._problem != error.sentence():
                _log.warning("the settings cannot be read again", reason=error.sentence())
            self._problem = error.sentence()

    def problem(self) -> str:
        """Why the file cannot be read as it is now; empty when it can."""
        self._read()
        return self._problem

    def _look(self) -> tuple[int, int]:
        try:
            stat = self._path.stat()
        except OSError:
            return (0, 0)
        return (stat.st_mtime_ns, stat.st_size)
