"""Where the keys live that sign tokens: seeds in files, or Vault's transit engine, which never gives them out."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from nacl.signing import SigningKey

from fleetbus.runtime.ports import Signer
from fleetbus.runtime.vault_link import VaultLink, answered
from fleetbus.schemas.errors import NotFound, SettingsInvalid, VaultForbidden
from fleetbus.schemas.nkeys import Kind, nkey_of, public_key

if TYPE_CHECKING:
    import hvac

_ENGINE = "transit"
_KEY_TYPE = "ed25519"


@dataclass(frozen=True, slots=True)
class SeedSigner:
    """A key in this process."""

    key: SigningKey = field(repr=False)
    kind: Kind

    @property
    def public_key(self) -> str:
        return public_key(self.key, self.kind)

    async def sign(self, content: bytes) -> bytes:
        return self.key.sign(content).signature


@dataclass(frozen=True, slots=True)
class TransitSigner:
    """The newest version of a key in Vault, as it was when this was made."""

    keys: TransitKeys
    name: str
    version: int
    public_key: str

    async def sign(self, content: bytes) -> bytes:
        return await self.keys.sign(self.name, self.version, content)


class TransitKeys:
    """Ed25519 keys of Vault's transit engine, for the length of a context; their names begin with `prefix`."""

    def __init__(
        self, address: str, token: str, ca_file: Path | None = None, *, prefix: str, mount: str = _ENGINE
    ) -> None:
        self._link = VaultLink(address, ca_file, token=token)
        self.prefix = prefix
        self._mount = mount

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._link.close()

    async def find(self, name: str, kind: Kind) -> Signer:
        """Raises NotFound, SettingsInvalid (a key of another type), VaultUnavailable, VaultForbidden."""
        path = self._path("keys", name)
        answer: Any = await self._link.call(lambda client: client.read(path), path)
        found = answered(answer)
        if not found:
            raise NotFound("Vault has no such key", where=path)
        if found.get("type") != _KEY_TYPE:
            raise SettingsInvalid(f"a key of another type than {_KEY_TYPE}", where=path)
        version = int(found["latest_version"])
        try:
            raw = base64.b64decode(found["keys"][str(version)]["public_key"], validate=True)
        except (KeyError, TypeError, binascii.Error) as error:
            raise SettingsInvalid("Vault shows no public key", where=path) from error
        return TransitSigner(self, name, version, nkey_of(raw, kind))

    async def ensure(self, name: str, kind: Kind) -> Signer:
        """The key of this name, made when there is none: Vault gives nobody its private half."""
        try:
            return await self.find(name, kind)
        except (NotFound, VaultForbidden):
            await self._enable()
        path = self._path("keys", name)
        body = {"type": _KEY_TYPE, "exportable": False, "allow_plaintext_backup": False}
        await self._write(path, body)
        return await self.find(name, kind)

    async def sign(self, name: str, version: int, content: bytes) -> bytes:
        path = self._path("sign", name)
        body = {"input": base64.b64encode(content).decode(), "key_version": version}
        text = str((await self._write(path, body)).get("signature", ""))
        try:
            return base64.b64decode(text.rpartition(":")[2], validate=True)
        except binascii.Error as error:
            raise SettingsInvalid("Vault gave no signature", where=path) from error

    async def _enable(self) -> None:
        mount = self._mount
        found: Any = await self._link.call(
            lambda client: client.sys.list_mounted_secrets_engines(), "sys/mounts"
        )
        if f"{mount}/" not in answered(found):
            await self._call(
                lambda client: client.sys.enable_secrets_engine(_ENGINE, path=mount), f"sys/mounts/{mount}"
            )

    def _path(self, verb: str, name: str) -> str:
        return f"{self._mount}/{verb}/{self.prefix}{name}"

    async def _write(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return await self._call(lambda client: client.write_data(path, data=body), path)

    async def _call(self, ask: Callable[[hvac.Client], Any], where: str) -> dict[str, Any]:
        answer: Any = await self._link.call(ask, where)
        return answered(answer)
