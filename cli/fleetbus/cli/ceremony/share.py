"""Sharing a secret, which belongs to Vault's owner: the group whose members read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetbus.schemas import vault_policies

if TYPE_CHECKING:
    from fleetbus.runtime.vault_admin import VaultAdmin


async def share(name: str, vault: VaultAdmin) -> str:
    """Make the group of a shared secret, with its policy; the path below the KV mount where its value lies."""
    policy = vault_policies.shared_policy_name(name)
    await vault.write_policy(policy, vault_policies.shared_secret_policy(name))
    await vault.ensure_group(vault_policies.group_name(name), [policy])
    return vault_policies.shared_path(name)
