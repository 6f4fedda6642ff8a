"""The one thing that the controller does in Vault: the members of groups that owners have made."""

from __future__ import annotations

from collections.abc import Iterable

from fleetbus.runtime.vault_admin import VaultAdmin


class VaultGroups:
    """`ports.GroupAdmin` on the controller's narrow token."""

    def __init__(self, admin: VaultAdmin) -> None:
        self._admin = admin

    async def group_members(self, group: str) -> frozenset[str]:
        """Entity ids. NotFound when its owner has not made the group."""
        return await self._admin.group_members(group)

    async def set_group_members(self, group: str, entities: Iterable[str]) -> None:
        await self._admin.set_group_members(group, sorted(entities))
