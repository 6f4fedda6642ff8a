"""How one cluster's API is reached: its address, whom to trust, and with which credential.

Read from the folder that a pod finds, or from a kubeconfig. TLS is always verified.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetbus.schemas.errors import SettingsInvalid

POD_FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")

_REREAD_AFTER_S = 60.0
_LOOK_AFTER_S = 1.0


@dataclass(frozen=True, slots=True)
class KubeAccess:
    """One API server and one identity at it; either a token (file or text) or a client certificate.

    `server` is an https URL without a trailing slash, `authority`, `certificate` and `key` are PEM text,
    `namespace` is where its owner lives.
    """

    server: str
    authority: str = field(repr=False)
    namespace: str = "default"
    token_file: Path | None = None
    token: str = field(default="", repr=False)
    certificate: str = field(default="", repr=False)
    key: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if not self.server.startswith("https://"):
            raise SettingsInvalid(
                f"`{self.server[:200]}` is not an https URL",
                where="kube server",
                remedy="give the API server's address with https://",
            )

    @classmethod
    def from_folder(cls, folder: Path = POD_FOLDER) -> KubeAccess:
        """What a pod finds: `ca.crt`, `token`, `namespace`, and the address in a file `server` or, without
        it, in KUBERNETES_SERVICE_HOST and _PORT. Raises SettingsInvalid.
        """
        token_file = folder / "token"
        _text(token_file)
        named = folder / "namespace"
        return cls(
            server=_server(folder),
            authority=_text(folder / "ca.crt"),
            namespace=_text(named).strip() if named.exists() else "default",
            token_file=token_file,
        )

    @classmethod
    def from_kubeconfig(cls, path: Path, context: str = "") -> KubeAccess:
        """A context (default: the current one) of a kubeconfig whose user has a certificate or a token.

        Users of exec plugins and auth providers are refused: they would run a foreign program.
        PyYAML, which comes with the kubernetes package, is imported here only. Raises SettingsInvalid.
        """
        import yaml

        try:
            config = yaml.safe_load(_text(path))
        except yaml.YAMLError as error:
            raise SettingsInvalid("not YAML", where=str(path)) from error
        if not isinstance(config, dict):
            raise SettingsInvalid("not a kubeconfig", where=str(path))
        chosen = _named(config, "context", context or str(config.get("current-context") or ""), path)
        cluster = _named(config, "cluster", str(chosen.get("cluster")), path)
        user = _named(config, "user", str(chosen.get("user")), path)
        return _from_parts(chosen, cluster, user, path)


def _from_parts(
    chosen: Mapping[str, Any], cluster: Mapping[str, Any], user: Mapping[str, Any], path: Path
) -> KubeAccess:
    if cluster.get("insecure-skip-tls-verify"):
        raise SettingsInvalid(
            "insecure-skip-tls-verify is not supported",
            where=str(path),
            remedy="give the cluster's CA as certificate-authority-data",
        )
    token_file = path.parent / str(user["tokenFile"]) if user.get("tokenFile") else None
    access = KubeAccess(
        server=str(cluster.get("server") or "").rstrip("/"),
        authority=_pem(cluster, "certificate-authority", path),
        namespace=str(chosen.get("namespace") or "default"),
        token_file=token_file,
        token="" if token_file else str(user.get("token") or ""),
        certificate=_pem(user, "client-certificate", path),
        key=_pem(user, "client-key", path),
    )
    if not (access.token_file or access.token or (access.certificate and access.key)):
        raise SettingsInvalid(
            "the user has neither a token nor a client certificate",
            where=str(path),
            remedy="exec plugins and auth providers are not supported: use a ServiceAccount's token",
        )
    return access


class BearerToken:
    """The token of an access, read again when its file changes and at the latest every minute."""

    def __init__(self, access: KubeAccess) -> None:
        self._file = access.token_file
        self._value = access.token
        self._seen: tuple[int, int, int] | None = None
        self._looked_at_s = float("-inf")
        self._read_at_s = float("-inf")

    def current(self, now_s: float) -> str:
        """The token at a monotonic time; empty when the access has none. Raises SettingsInvalid."""
        if self._file is None or now_s - self._looked_at_s < _LOOK_AFTER_S:
            return self._value
        self._looked_at_s = now_s
        seen = _fingerprint(self._file)
        if seen != self._seen or now_s - self._read_at_s >= _REREAD_AFTER_S:
            self._value = _text(self._file).strip()
            self._seen, self._read_at_s = seen, now_s
        return self._value

    def look_again(self) -> None:
        """Read the file at the next use: the server did not accept what was read before."""
        self._looked_at_s = self._read_at_s = float("-inf")


def _server(folder: Path) -> str:
    if (folder / "server").exists():
        return _text(folder / "server").strip().rstrip("/")
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "")
    if not host or not port:
        raise SettingsInvalid(
            "no file `server`, and KUBERNETES_SERVICE_HOST and _PORT are not set",
            where=str(folder),
            remedy="run in a pod, or write the API server's URL into the file `server`",
        )
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def _fingerprint(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsInvalid("cannot be read", where=str(path)) from error


def _pem(section: Mapping[str, Any], name: str, path: Path) -> str:
    if inline := section.get(f"{name}-data"):
        try:
            return base64.b64decode(str(inline), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise SettingsInvalid(f"{name}-data is not base64 of PEM", where=str(path)) from error
    return _text(path.parent / str(section[name])) if section.get(name) else ""


def _named(config: Mapping[str, Any], what: str, name: str, path: Path) -> Mapping[str, Any]:
    for entry in config.get(f"{what}s") or []:
        if isinstance(entry, dict) and entry.get("name") == name and isinstance(entry.get(what), dict):
            found: Mapping[str, Any] = entry[what]
            return found
    raise SettingsInvalid(f"there is no {what} `{name}`", where=str(path))
