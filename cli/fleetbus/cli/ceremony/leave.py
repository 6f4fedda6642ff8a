"""What belongs to Vault's and the bus's owner besides joining: a cluster's leave, and sharing a secret."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fleetbus.cli.ceremony.files import read_text
from fleetbus.cli.ceremony.folder import server_file, write_server
from fleetbus.cli.ceremony.join import Reload, Say
from fleetbus.cli.ceremony.record import changing, read_record, write_record
from fleetbus.schemas import vault_policies
from fleetbus.schemas.subjects import ClusterId

if TYPE_CHECKING:
    from fleetbus.runtime.vault_admin import VaultAdmin


async def leave_bus(cluster: ClusterId, folder: Path, reload: Reload | None, say: Say) -> None:
    """Its user is taken out; once the bus has reloaded, it is disconnected."""
    with changing(folder):
        record = read_record(folder).without_member(cluster)
        write_record(folder, record)
        changed = write_server(folder, record)
    if changed:
        say(f"user of {cluster.name} taken out of nats/server.conf")
        if reload is not None:
            await reload(read_text(server_file(folder)))
            say("bus reloaded")


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
