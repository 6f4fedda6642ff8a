"""Contexts: which fleet, where its bus is, and with which credential one speaks to it. Kept in one YAML file.

    current-context: local
    contexts:
      local: {servers: ["tls://127.0.0.1:4222"], ca: ca.crt, creds: admin.creds, user: admin, fleet: local}

Paths that are not absolute start at the file's folder. The credential, a token and a seed, stands in a file of
its own, mode 0600, which the `nats` command reads as well. `proxy` is the URL of an HTTP proxy on the way to the
bus, or `direct`; without it HTTPS_PROXY and NO_PROXY count. `insecure-dev: true` marks a fleet that was made so,
the only kind whose addresses may be nats://. `certificate` is of the credential's key, for servers that want one.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetbus.runtime.private_files import check_private, check_proxy
from fleetbus.schemas.credentials import Credential, parse_credential
from fleetbus.schemas.errors import NotFound, SettingsInvalid

CONFIG_VARIABLE = "FLEETBUS_CONFIG"
CONTEXT_VARIABLE = "FLEETBUS_CONTEXT"
NO_CONTEXT = "FB5002"
"""Code of the error when nobody has said which fleet is meant."""
_MAKES_ONE = "`fleetbus init` or `fleetbus local up` makes one"


@dataclass(frozen=True, slots=True)
class Context:
    """One fleet and one credential. Without `ca_file` the machine's own authorities count."""

    name: str
    servers: tuple[str, ...]
    creds_file: Path
    user: str
    ca_file: Path | None = None
    fleet: str = ""
    signing_keys: tuple[str, ...] = ()
    """Public keys with which the fleet's controller signs, as they were known when the context was written."""
    insecure: bool = False
    """The fleet was made with --insecure-dev: its bus is plaintext, on this machine."""
    proxy: str = field(default="", repr=False)
    """URL of an HTTP proxy, `direct` for none, '' for what the environment says. Secret when it holds a login."""
    root: str = ""
    """The public key of the fleet's root, by which a newer word on these keys is believed."""
    former_keys: tuple[str, ...] = ()
    """Those that signed before."""
    charter: tuple[int, int] = (0, 0)
    """(epoch, version) of the root's word from which the keys are; no older one is taken."""
    certificate_file: Path | None = None
    """Certificate of the credential's key, for servers that want one."""

    def credential(self) -> Credential:
        """Raises SettingsInvalid when it cannot be read, or others may read it."""
        where = str(self.creds_file)
        try:
            check_private(self.creds_file, "credential")
            text = self.creds_file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsInvalid("the credential cannot be read", where=where) from error
        try:
            return parse_credential(text)
        except SettingsInvalid as error:
            raise SettingsInvalid(error.message, where=where) from error


@dataclass(frozen=True, slots=True)
class Contexts:
    """All contexts of a file; `current` may be empty."""

    current: str = ""
    contexts: tuple[Context, ...] = ()


def config_file() -> Path:
    """FLEETBUS_CONFIG, else `fleetbus/config.yaml` below XDG_CONFIG_HOME."""
    if named := os.environ.get(CONFIG_VARIABLE):
        return Path(named).expanduser()
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "fleetbus" / "config.yaml"


def load_context(name: str = "", *, file: Path | None = None) -> Context:
    """The context of this name; without one FLEETBUS_CONTEXT, else the current one.

    Raises SettingsInvalid: no file, no such context, or one that lacks something.
    """
    path = file or config_file()
    found = load_contexts(path)
    wanted = name or os.environ.get(CONTEXT_VARIABLE, "") or found.current
    if not wanted:
        raise SettingsInvalid(
            "there is no current context", where=str(path), remedy=_MAKES_ONE, code=NO_CONTEXT
        )
    for context in found.contexts:
        if context.name == wanted:
            return context
    known = ", ".join(context.name for context in found.contexts) or "none"
    raise SettingsInvalid(
        f"there is no context `{wanted}`", where=str(path), remedy=f"there are: {known}", code=NO_CONTEXT
    )


def load_contexts(file: Path | None = None) -> Contexts:
    """Everything in the file; nothing when there is none. Raises SettingsInvalid."""
    path = file or config_file()
    config = _read(path)
    contexts = _mapping(config.get("contexts"), "contexts", path)
    return Contexts(
        str(config.get("current-context") or ""),
        tuple(_context(str(name), value, path) for name, value in contexts.items()),
    )


def save_context(context: Context, *, file: Path | None = None, current: bool = True) -> Path:
    """Write or replace one context, and with `current` make it the current one; the file.

    Other contexts and keys stay. The file is replaced in one step, mode 0600.
    """
    path = file or config_file()
    config = _read(path)
    entry: dict[str, Any] = {
        "servers": list(context.servers),
        "creds": str(context.creds_file),
        "user": context.user,
    }
    entry |= {"ca": str(context.ca_file)} if context.ca_file else {}
    entry |= {"certificate": str(context.certificate_file)} if context.certificate_file else {}
    entry |= {"proxy": context.proxy} if context.proxy else {}
    entry |= {"insecure-dev": True} if context.insecure else {}
    entry |= {"fleet": context.fleet} if context.fleet else {}
    entry |= {"signing-keys": list(context.signing_keys)} if context.signing_keys else {}
    entry |= {"former-keys": list(context.former_keys)} if context.former_keys else {}
    entry |= {"root": context.root} if context.root else {}
    entry |= {"charter": list(context.charter)} if context.charter > (0, 0) else {}
    contexts = {**_mapping(config.get("contexts"), "contexts", path), context.name: entry}
    config = {**config, "contexts": contexts}
    if current or not config.get("current-context"):
        config["current-context"] = context.name
    _write(path, config)
    return path


def use_context(name: str, *, file: Path | None = None) -> None:
    """Make a context the current one. Raises NotFound."""
    path = file or config_file()
    config = _read(path)
    if name not in _mapping(config.get("contexts"), "contexts", path):
        raise NotFound(f"there is no context `{name}`", where=str(path))
    _write(path, {**config, "current-context": name})


def remove_context(name: str, *, file: Path | None = None) -> None:
    """Take a context out of the file; nothing when it is not there. Credential and authority stay."""
    path = file or config_file()
    config = _read(path)
    contexts = dict(_mapping(config.get("contexts"), "contexts", path))
    if contexts.pop(name, None) is None:
        return
    config = {**config, "contexts": contexts}
    if config.get("current-context") == name:
        config["current-context"] = next(iter(contexts), "")
    _write(path, config)


def _read(path: Path) -> Mapping[str, Any]:
    import yaml

    try:
        config = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsInvalid("the contexts cannot be read", where=str(path)) from error
    except yaml.YAMLError as error:
        raise SettingsInvalid("it is not YAML", where=str(path)) from error
    return _mapping(config, "the whole", path)


def _mapping(value: Any, what: str, path: Path) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise SettingsInvalid(f"{what} must be a map", where=str(path))
    return value


def _context(name: str, value: Any, path: Path) -> Context:
    entry = _mapping(value, f"contexts.{name}", path)

    def text(key: str, *, needed: bool = True) -> str:
        found = entry.get(key)
        if not found and not needed:
            return ""
        if not isinstance(found, str) or not found:
            raise SettingsInvalid(f"contexts.{name}.{key} must be given as text", where=str(path))
        return found

    servers = entry.get("servers")
    if not isinstance(servers, list) or not servers or not all(isinstance(one, str) for one in servers):
        raise SettingsInvalid(f"contexts.{name}.servers must be a list of addresses", where=str(path))

    def keys(key: str) -> tuple[str, ...]:
        found = entry.get(key) or []
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
            raise SettingsInvalid(f"contexts.{name}.{key} must be a list of public keys", where=str(path))
        return tuple(found)

    charter = entry.get("charter") or [0, 0]
    if not isinstance(charter, list) or [type(one) for one in charter] != [int, int]:
        raise SettingsInvalid(f"contexts.{name}.charter must be two numbers", where=str(path))
    insecure = entry.get("insecure-dev", False)
    if not isinstance(insecure, bool):
        raise SettingsInvalid(f"contexts.{name}.insecure-dev must be true or false", where=str(path))
    proxy = text("proxy", needed=False)
    check_proxy(proxy, path, f"contexts.{name}.proxy")
    authority, certificate = text("ca", needed=False), text("certificate", needed=False)
    return Context(
        name,
        tuple(servers),
        _place(path, text("creds")),
        text("user"),
        _place(path, authority) if authority else None,
        text("fleet", needed=False),
        keys("signing-keys"),
        insecure,
        proxy,
        text("root", needed=False),
        keys("former-keys"),
        (charter[0], charter[1]),
        _place(path, certificate) if certificate else None,
    )


def _place(path: Path, named: str) -> Path:
    return path.parent / Path(named).expanduser()


def _write(path: Path, config: Mapping[str, Any]) -> None:
    import yaml

    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".config-")
        with os.fdopen(handle, "w") as file:
            yaml.safe_dump(dict(config), file, sort_keys=False)
        Path(temporary).replace(path)
    except OSError as error:
        raise SettingsInvalid("the contexts cannot be written", where=str(path)) from error
