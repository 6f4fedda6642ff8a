"""The port `Vault`: a cluster reads its secrets with its own workload identity, over hvac."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import orjson

from fleetbus.runtime.clock import Clock
from fleetbus.runtime.ports import VaultSecret
from fleetbus.runtime.vault_link import VaultLink, answered, path_of
from fleetbus.schemas.errors import NotFound, SettingsInvalid, VaultForbidden, VaultUnavailable

if TYPE_CHECKING:
    import hvac

# A new login reads the projected token again and checks the whole identity, which a renewal would not.
_LOGIN_AGAIN_AT = 2 / 3


@dataclass(frozen=True, slots=True)
class VaultAccess:
    """Where Vault is and who asks: a JWT role at the mount `auth/<mount>`, with the token in a file."""

    address: str
    mount: str
    role: str
    token_file: Path
    ca_file: Path | None = None
    kv_mount: str = "secret"


@dataclass(frozen=True, slots=True)
class _Stored:
    """What KV v2 says of a path; `values` is None when the newest version is deleted or destroyed."""

    version: int
    values: Mapping[str, Any] | None


class VaultClient:
    """Reads for the length of a context. Logs in at the first read, before a token ends, and after a 403."""

    def __init__(self, access: VaultAccess, clock: Clock) -> None:
        self._access = access
        self._clock = clock
        self._link = VaultLink(access.address, access.ca_file)
        self._logging_in = asyncio.Lock()
        self._logins = 0
        self._until_s = float("-inf")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._link.close()

    async def read(self, path: str) -> VaultSecret:
        """The newest version at `path`. Strings stay as they are; anything else becomes its JSON text."""
        stored = await self._stored(path)
        if stored.values is None:
            raise NotFound("the newest version is deleted", where=path)
        return VaultSecret(stored.version, {name: text_of(value) for name, value in stored.values.items()})

    async def version(self, path: str) -> int:
        """The newest version's number, 0 when it is deleted.

        Read with the values, which are dropped at once: a cluster's policy allows `data` only, and giving
        it `metadata` too would show it who else changed what.
        """
        stored = await self._stored(path)
        return stored.version if stored.values is not None else 0

    async def _stored(self, path: str) -> _Stored:
        path_of(path)

        def ask(client: hvac.Client) -> _Stored:
            return _kv_read(client, self._access.kv_mount, path)

        login = await self._logged_in()
        try:
            return await self._link.call(ask, path)
        except VaultForbidden:
            if self._logins == login and await self._token_counts():
                raise
        await self._log_in(after=login)
        return await self._link.call(ask, path)

    async def _logged_in(self) -> int:
        """The number of the login in use, after logging in when it is time to."""
        if self._clock.monotonic_s() >= self._until_s:
            await self._log_in(after=self._logins)
        return self._logins

    async def _token_counts(self) -> bool:
        """Whether the token is still one; if so, a forbidden path is forbidden by policy."""
        try:
            await self._link.call(lambda client: client.auth.token.lookup_self(), "auth/token")
        except VaultForbidden:
            return False
        return True

    async def _log_in(self, *, after: int) -> None:
        """Log in unless somebody did since the login numbered `after`."""
        access = self._access
        where = f"auth/{access.mount}"
        async with self._logging_in:
            if self._logins > after:
                return
            began_s = self._clock.monotonic_s()
            jwt = await asyncio.to_thread(_token_text, access.token_file)
            answer = await self._link.call(
                lambda client: client.auth.jwt.jwt_login(
                    access.role, jwt, use_token=False, path=access.mount
                ),
                where,
            )
            granted = (answer.get("auth") if isinstance(answer, dict) else None) or {}
            if not granted.get("client_token"):
                raise VaultUnavailable("Vault's answer to a login has no token", where=where)
            self._link.use_token(str(granted["client_token"]))
            lease_s = float(granted.get("lease_duration") or 0)
            # Without a lease the token does not end.
            self._until_s = (
                began_s + self._clock.jitter(lease_s * _LOGIN_AGAIN_AT, 0.1) if lease_s else float("inf")
            )
            self._logins += 1


def text_of(value: Any) -> str:
    """A value of a secret as text: a string as it is, anything else as compact JSON."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _kv_read(client: hvac.Client, mount: str, path: str) -> _Stored:
    from hvac.exceptions import InvalidPath

    try:
        answer: Any = client.secrets.kv.v2.read_secret_version(
            path, mount_point=mount, raise_on_deleted_version=True
        )
    except InvalidPath as error:
        # A deleted version is a 404 with metadata; a path that never was is one without.
        answer = error.json
        if "metadata" not in answered(answer):
            raise
    found = answered(answer)
    metadata = found.get("metadata") or {}
    values = found.get("data")
    return _Stored(int(metadata.get("version") or 0), values if isinstance(values, dict) else None)


def _token_text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsInvalid(
            "the token for Vault cannot be read",
            where=str(path),
            remedy="project a ServiceAccount token with Vault's audience there",
        ) from error
