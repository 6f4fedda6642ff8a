"""A realm's account on the bus, made before its first cluster joins."""

from __future__ import annotations

from pathlib import Path

from fleetbus.cli.ceremony.init import account_key, write_controller
from fleetbus.cli.ceremony.keys import SigningKeys
from fleetbus.cli.ceremony.record import changing, read_record, write_record
from fleetbus.schemas.accounts import AGENT, agents_account, role_key_name
from fleetbus.schemas.nkeys import Kind


async def ensure_realm(folder: Path, realm: str, keys: SigningKeys) -> bool:
    """Account, role key, and the controller's settings; whether any of it is new. Raises DocumentInvalid, NotFound."""
    account = agents_account(realm)
    role = role_key_name(account, AGENT)
    known = read_record(folder)
    if account in known.accounts and role in known.roles:
        return False
    signer = await keys.ensure(role, Kind.ACCOUNT)
    with changing(folder):
        known = read_record(folder)
        accounts = {account: account_key()} | known.accounts
        roles = known.roles | {role: signer.public_key}
        changed = known.model_copy(update={"accounts": accounts, "roles": roles})
        write_controller(folder, changed, known)
        write_record(folder, changed)
    return True
