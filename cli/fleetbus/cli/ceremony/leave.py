"""What belongs to Vault's and the bus's owner besides joining: a cluster's leave, and sharing a secret."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fleetbus.cli.ceremony.issue import Say, issue
from fleetbus.cli.ceremony.keys import SigningKeys
from fleetbus.cli.ceremony.online import Push
from fleetbus.cli.ceremony.record import changing, read_record, write_record
from fleetbus.schemas import vault_policies
from fleetbus.schemas.accounts import ENROL, agents_account
from fleetbus.schemas.subjects import ClusterId

if TYPE_CHECKING:
    from fleetbus.runtime.vault_admin import VaultAdmin


async def leave_bus(
    cluster: ClusterId, nkey: str, folder: Path, keys: SigningKeys, now: datetime, push: Push | None, say: Say
) -> None:
    """Its users are revoked, the one that renews too: once the bus knows, every server disconnects and refuses it.

    Raises BusUnavailable when the bus could not be told: then `push` has to be done again.
    """
    with changing(folder):
        accounts = (agents_account(cluster.realm), ENROL)
        record = read_record(folder).revoking(accounts, nkey, now)
        if write_record(folder, record):
            say(f"user of {cluster.name} revoked")
    await issue(folder, keys, now, say)
    # Also when nothing has changed: perhaps somebody could not tell the bus.
    told = [account for account in accounts if account in record.accounts]
    if push is not None and told:
        await push(told)
        say(f"bus told of {', '.join(told)}")


async def leave_vault(cluster: ClusterId, vault: VaultAdmin, say: Say) -> None:
    """Its mount goes, with its roles and all its tokens, then its entity."""
    name = vault_policies.identity_name(cluster)
    await vault.disable_mount(name)
    await vault.delete_entity(name)
    say(f"Vault has neither the mount auth/{name} nor its entity any more")


async def share(name: str, vault: VaultAdmin) -> str:
    """Make the group of a shared secret, with its policy; the path below the KV mount where its value lies."""
    policy = vault_policies.shared_policy_name(name)
    await vault.write_policy(policy, vault_policies.shared_secret_policy(name))
    await vault.ensure_group(vault_policies.group_name(name), [policy])
    return vault_policies.shared_path(name)
