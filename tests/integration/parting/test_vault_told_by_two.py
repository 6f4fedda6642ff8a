"""Vault is told by two at once: an entity that one has deleted is not made anew by the other. A real OpenBao."""

from __future__ import annotations

from typing import Any

import pytest

from fleetbus.local.vault import OpenBao
from fleetbus.runtime.vault_admin import VaultAdmin
from fleetbus.schemas.errors import NotFound


class _Slow(VaultAdmin):
    """Between whose looks somebody else deletes the entity."""

    async def _write(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        await self.delete_entity(path.rpartition("/")[2])
        return await super()._write(path, body)


async def test_an_entity_that_goes_meanwhile_is_not_made_anew(openbao: OpenBao) -> None:
    async with _Slow(openbao.address, openbao.root_token, openbao.ca_file) as admin:
        async with VaultAdmin(openbao.address, openbao.root_token, openbao.ca_file) as other:
            await other.ensure_entity("fleet_main_going", {})
        with pytest.raises(NotFound):
            await admin.disable_entity("fleet_main_going")
        with pytest.raises(NotFound):
            await admin.entity_id("fleet_main_going")
