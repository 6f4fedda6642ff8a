"""hvac off the loop: each call in a thread, few at once, within a time limit, its errors as ours.

hvac is imported by the first call, in its thread: it brings requests, 9 MB and 0.3 s, which an agent
without secrets never needs.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fleetbus.runtime.foreign_text import cleaned
from fleetbus.schemas.errors import FleetbusError, NotFound, VaultForbidden, VaultUnavailable

if TYPE_CHECKING:
    import hvac

T = TypeVar("T")

CALL_TIMEOUT_S = 10.0

_AT_ONCE = 4
# A KV mount refuses everything with a 400 for a moment after it was made.
_PASSING = "Upgrading from non-versioned"


class VaultLink:
    """One identity at one Vault. `ca_file` is PEM; without it the system's authorities are trusted."""

    def __init__(self, address: str, ca_file: Path | None = None, *, token: str = "") -> None:
        self._address = address
        self._verify: str | bool = str(ca_file) if ca_file else True
        self._token = token
        self._client: hvac.Client | None = None
        self._opening = threading.Lock()
        self._slots = asyncio.Semaphore(_AT_ONCE)

    def use_token(self, token: str) -> None:
        self._token = token
        if self._client is not None:
            self._client.token = token

    async def call(self, ask: Callable[[hvac.Client], T], where: str) -> T:
        """`ask` in a thread. Raises VaultUnavailable, VaultForbidden, NotFound, each naming `where`."""
        async with self._slots:
            return await asyncio.to_thread(self._blocking, ask, where)

    async def close(self) -> None:
        if self._client is not None:
            await asyncio.to_thread(self._client.adapter.close)
            self._client = None

    def _blocking(self, ask: Callable[[hvac.Client], T], where: str) -> T:
        import hvac.exceptions
        import requests

        try:
            return ask(self._opened())
        except (hvac.exceptions.VaultError, requests.RequestException, OSError) as error:
            raise _translated(error, where) from error

    def _opened(self) -> hvac.Client:
        import hvac
        import requests

        with self._opening:
            if self._client is None:
                session = requests.Session()
                # Neither a netrc nor a proxy of the environment decides how secrets travel.
                session.trust_env = False
                session.verify = self._verify
                client = hvac.Client(url=self._address, token="", timeout=CALL_TIMEOUT_S, session=session)
                client.token = self._token
                self._client = client
            return self._client


def _translated(error: Exception, where: str) -> FleetbusError:
    from hvac import exceptions

    if not isinstance(error, exceptions.VaultError):
        return VaultUnavailable(f"Vault cannot be reached: {type(error).__name__}", where=where)
    said = cleaned("; ".join(str(text).strip() for text in error.errors or ()) or type(error).__name__)
    if isinstance(error, exceptions.InvalidPath):
        return NotFound("Vault has nothing there", where=where)
    if isinstance(error, exceptions.Forbidden | exceptions.Unauthorized):
        return VaultForbidden(f"Vault does not allow it: {said}", where=where)
    if isinstance(error, exceptions.InvalidRequest) and _PASSING not in said:
        return VaultForbidden(f"Vault refused it: {said}", where=where)
    return VaultUnavailable(f"Vault does not serve: {said}", where=where)


def path_of(path: str) -> str:
    """`path` if it names a place below a mount; NotFound for one that would lead elsewhere."""
    if not path or any(part in ("", ".", "..") for part in path.split("/")):
        raise NotFound("not a path in Vault", where=cleaned(path))
    return path


def answered(answer: Any) -> dict[str, Any]:
    """The `data` of Vault's answer; empty when it has none."""
    found = answer.get("data") if isinstance(answer, dict) else None
    return found if isinstance(found, dict) else {}
