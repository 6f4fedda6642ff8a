"""What the ceremony and the controller write in Vault: mounts, roles, entities, policies, groups, tokens.

With the owner's token everything; with the controller's (`vault_policies.controller_policy`) only
`group_members`, `set_group_members` and `entity_id`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from fleetbus.runtime.vault_link import VaultLink, answered, path_of
from fleetbus.schemas.errors import NotFound, SettingsInvalid, VaultForbidden, VaultUnavailable

if TYPE_CHECKING:
    import hvac

_ALGORITHMS = ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512"]


@dataclass(frozen=True, slots=True)
class SealStatus:
    """Whether Vault was ever initialised, and whether it is sealed."""

    initialised: bool
    sealed: bool


class VaultAdmin:
    """Writes for the length of a context, with a token. Each method can be repeated."""

    def __init__(
        self, address: str, token: str, ca_file: Path | None = None, *, kv_mount: str = "secret"
    ) -> None:
        self._address = address
        self._ca_file = ca_file
        self._link = VaultLink(address, ca_file, token=token)
        self._kv_mount = kv_mount

    def use_token(self, token: str) -> None:
        """Go on with another token."""
        self._link.use_token(token)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._link.close()

    async def seal_status(self) -> SealStatus:
        found = await self._call("sys/seal-status", lambda client: client.sys.read_seal_status())
        return SealStatus(bool(found.get("initialized")), bool(found.get("sealed")))

    async def enable_jwt_mount(
        self, mount: str, public_keys: Sequence[str], *, bound_issuer: str = ""
    ) -> str:
        """A JWT mount at `auth/<mount>` that trusts exactly these keys (PEM); its accessor."""
        where = f"auth/{mount}"
        if f"{mount}/" not in await self._mounts():
            await self._call(where, lambda client: client.sys.enable_auth_method("jwt", path=mount))
        await self._call(
            where,
            lambda client: client.auth.jwt.configure(
                jwt_validation_pubkeys=list(public_keys),
                bound_issuer=bound_issuer or None,
                jwt_supported_algs=_ALGORITHMS,
                path=mount,
            ),
        )
        return await self.mount_accessor(mount)

    async def mount_accessor(self, mount: str) -> str:
        """The accessor of `auth/<mount>`. Raises NotFound."""
        found = (await self._mounts()).get(f"{mount}/")
        if not isinstance(found, dict):
            raise NotFound("there is no such mount", where=f"auth/{mount}")
        return str(found["accessor"])

    async def revoke_logins(self, mount: str) -> int:
        """Every token that was given at `auth/<mount>` ends, and with each its leases; how many there were."""
        where = f"auth/{mount}/"
        found: dict[str, Any] = {}
        with suppress(NotFound):
            found = await self._call(f"{where}login", lambda client: client.sys.list_leases(f"{where}login"))
        await self._call(where, lambda client: client.sys.revoke_prefix(where))
        return len(found.get("keys") or ())

    async def disable_mount(self, mount: str) -> None:
        """Remove `auth/<mount>`, its roles and the aliases of entities at it; all its tokens end."""
        try:
            await self._call(f"auth/{mount}", lambda client: client.sys.disable_auth_method(mount))
        except VaultForbidden:
            # Of two who remove it at once one is refused.
            if f"{mount}/" in await self._mounts():
                raise

    async def write_role(
        self,
        mount: str,
        role: str,
        *,
        bound_subject: str,
        bound_audiences: Sequence[str],
        token_policies: Sequence[str],
        ttl_s: int,
    ) -> None:
        """Who logs in at `auth/<mount>`: one subject with one of the audiences; service tokens of `ttl_s`."""
        await self._call(
            f"auth/{mount}/role/{role}",
            lambda client: client.auth.jwt.create_role(
                role,
                user_claim="sub",
                allowed_redirect_uris=[],
                bound_subject=bound_subject,
                bound_audiences=list(bound_audiences),
                token_policies=list(token_policies),
                token_no_default_policy=True,
                token_ttl=ttl_s,
                token_max_ttl=ttl_s,
                token_type="service",
                path=mount,
            ),
        )

    async def ensure_entity(self, name: str, metadata: Mapping[str, str]) -> str:
        """An entity with exactly this metadata; its id. One that is disabled stays so."""
        await self._write(f"identity/entity/name/{name}", {"metadata": dict(metadata)})
        return await self.entity_id(name)

    async def entity_id(self, name: str) -> str:
        """Raises NotFound."""
        return str((await self._read(f"identity/entity/name/{name}"))["id"])

    async def is_disabled(self, name: str) -> bool:
        """Whether an entity's tokens and logins are refused. Raises NotFound."""
        return bool((await self._read(f"identity/entity/name/{name}")).get("disabled"))

    async def ensure_entity_alias(self, entity_id: str, mount_accessor: str, alias: str) -> None:
        """`alias` (the token's subject) at a mount is this entity, also when it was another's before."""
        body = {"name": alias, "canonical_id": entity_id, "mount_accessor": mount_accessor}
        await self._write("identity/entity-alias", body)

    async def disable_entity(self, name: str, disabled: bool = True) -> None:
        """A disabled entity's tokens and logins are refused at once; read back. Raises NotFound, VaultUnavailable."""
        path = f"identity/entity/name/{name}"
        before = await self._read(path)
        await self._write(path, {"disabled": disabled})
        after = await self._read(path)
        if after["id"] != before["id"]:
            # Somebody has deleted it in between, so that this write made another one.
            await self.delete_entity(name)
            raise NotFound("the entity went meanwhile", where=path)
        if after.get("disabled") is not disabled:
            raise VaultUnavailable("Vault shows the entity as it was before", where=path)

    async def delete_entity(self, name: str) -> None:
        path = f"identity/entity/name/{name}"
        await self._call(path, lambda client: client.delete(path))

    async def write_policy(self, name: str, text: str) -> None:
        await self._call(
            f"sys/policies/acl/{name}", lambda client: client.sys.create_or_update_acl_policy(name, text)
        )

    async def ensure_group(self, name: str, policies: Sequence[str]) -> str:
        """An internal group with these policies; its id.

        Its members stay only if it had the policies already: whoever may set members could have made the
        group first, and must not gain by what its owner adds later.
        """
        path = f"identity/group/name/{name}"
        wanted: dict[str, Any] = {"type": "internal", "policies": list(policies)}
        try:
            before = await self._read(path)
        except NotFound:
            before = {}
        if not set(policies) <= set(before.get("policies") or ()):
            wanted["member_entity_ids"] = []
        await self._write(path, wanted)
        return str((await self._read(path))["id"])

    async def group_members(self, name: str) -> frozenset[str]:
        """Ids of the entities in a group. Raises NotFound."""
        found = await self._read(f"identity/group/name/{name}")
        return frozenset(found.get("member_entity_ids") or ())

    async def set_group_members(self, name: str, entity_ids: Sequence[str]) -> None:
        """Make these the members of a group that exists. Raises NotFound: making one is its owner's."""
        path = f"identity/group/name/{name}"
        await self._read(path)
        await self._write(path, {"member_entity_ids": sorted(entity_ids)})

    async def create_token(self, policies: Sequence[str], *, period_s: int) -> str:
        """An orphan service token with only these policies, without an entity, renewable for ever.

        Raises SettingsInvalid when the token used here has an entity that the new one would inherit.
        """
        answer: Any = await self._link.call(
            lambda client: client.auth.token.create_orphan(
                policies=list(policies), no_default_policy=True, period=period_s, display_name="fleetbus"
            ),
            "auth/token/create-orphan",
        )
        granted = answer["auth"]
        if granted.get("entity_id"):
            accessor = granted["accessor"]
            await self._call("auth/token", lambda client: client.auth.token.revoke_accessor(accessor))
            raise SettingsInvalid(
                "a token made with this one belongs to a person",
                where="auth/token/create-orphan",
                remedy="use the root token, or one without an entity",
            )
        return str(granted["client_token"])

    async def renew_own_token(self) -> float:
        """The seconds that it lasts from now on. Raises VaultForbidden when it is dead or cannot be renewed."""
        answer: Any = await self._link.call(
            lambda client: client.auth.token.renew_self(), "auth/token/renew-self"
        )
        return float(answer["auth"]["lease_duration"])

    async def is_alive(self, token: str) -> bool:
        """Whether another token still counts. Raises VaultUnavailable."""
        link = VaultLink(self._address, self._ca_file, token=token)
        try:
            await link.call(lambda client: client.auth.token.lookup_self(), "auth/token/lookup-self")
        except VaultForbidden:
            return False
        finally:
            await link.close()
        return True

    async def ensure_kv(self) -> None:
        """The KV v2 mount. Raises VaultForbidden when something else is mounted there."""
        mount = self._kv_mount
        found: Any = await self._link.call(
            lambda client: client.sys.list_mounted_secrets_engines(), "sys/mounts"
        )
        existing = answered(found).get(f"{mount}/")
        if existing is None:
            await self._call(
                f"sys/mounts/{mount}",
                lambda client: client.sys.enable_secrets_engine("kv", path=mount, options={"version": "2"}),
            )
        elif (existing.get("options") or {}).get("version") != "2":
            raise VaultForbidden("another engine is mounted there", where=mount)

    async def put(self, path: str, values: Mapping[str, Any]) -> int:
        """A new version at `path` below the KV mount; its number."""
        path_of(path)
        found = await self._call(
            path,
            lambda client: client.secrets.kv.v2.create_or_update_secret(
                path, dict(values), mount_point=self._kv_mount
            ),
        )
        return int(found.get("version") or 0)

    async def delete(self, path: str) -> None:
        """Delete the newest version; it can be restored."""
        path_of(path)
        await self._call(
            path,
            lambda client: client.secrets.kv.v2.delete_latest_version_of_secret(
                path, mount_point=self._kv_mount
            ),
        )

    async def versions(self, path: str) -> dict[int, bool]:
        """Number → whether it can be read, of each version. Raises NotFound."""
        path_of(path)
        found = await self._call(
            path,
            lambda client: client.secrets.kv.v2.read_secret_metadata(path, mount_point=self._kv_mount),
        )
        return {
            int(number): not (version["deletion_time"] or version["destroyed"])
            for number, version in (found.get("versions") or {}).items()
        }

    async def _mounts(self) -> dict[str, Any]:
        return await self._call("sys/auth", lambda client: client.sys.list_auth_methods())

    async def _read(self, path: str) -> dict[str, Any]:
        found: Any = await self._link.call(lambda client: client.read(path), path)
        if found is None:
            raise NotFound("Vault has nothing there", where=path)
        return answered(found)

    async def _write(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return await self._call(path, lambda client: client.write_data(path, data=body))

    async def _call(self, where: str, ask: Callable[[hvac.Client], Any]) -> dict[str, Any]:
        """The `data` of an answer, or the answer itself where Vault gives no envelope."""
        answer: Any = await self._link.call(ask, where)
        return answered(answer) or (answer if isinstance(answer, dict) else {})
