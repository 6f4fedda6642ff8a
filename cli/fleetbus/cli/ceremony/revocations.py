"""Which revoked keys the accounts' tokens name, so that they name them for as long as it matters. Pure.

An account's token names every revoked key, and must fit into one message of the bus. A cluster's key leaves the agents'
account once no user of it can live any more. In ENROL, where users never end, the oldest make room: what their owner
may do there is ask the controller, which refuses the key for ever.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fleetbus.cli.ceremony.record import FOR_EVER, FleetRecord, Revoked
from fleetbus.schemas.accounts import ENROL, is_agents
from fleetbus.schemas.enrolment import USERS_GONE_S
from fleetbus.schemas.errors import NotPossible

MOST_REVOKED = 8000
"""Keys in one account's token: each takes 96 bytes of the 1 MiB that the bus takes."""
CROWDED = MOST_REVOKED * 7 // 10
"""From so many on `doctor` warns."""


def revoking(record: FleetRecord, accounts: Sequence[str], nkeys: Sequence[str], now_s: int) -> FleetRecord:
    """The record in which no token of these keys counts in these accounts, whenever it was made.

    Raises NotPossible when an account's token has no room for them.
    """
    for account in accounts:
        record = _fitting(record.with_revoked(account, nkeys, FOR_EVER, now_s), account, nkeys, now_s)
    return record


def crowded(record: FleetRecord) -> dict[str, int]:
    """Accounts that may soon refuse to name another key, and how many they name."""
    counts = {name: len(_named(record, name)) for name in record.accounts if name != ENROL}
    return {name: count for name, count in counts.items() if count >= CROWDED}


def _fitting(record: FleetRecord, account: str, new: Collection[str], now_s: int) -> FleetRecord:
    named = _named(record, account)
    if is_agents(account):
        named = [one for one in named if not one.since or one.since > now_s - USERS_GONE_S]
    if account == ENROL:
        # Whatever clock an earlier one was written by: who is revoked now is named.
        named.sort(key=lambda one: (one.nkey in new, one.since), reverse=True)
        named = named[:MOST_REVOKED]
    if len(named) > MOST_REVOKED:
        raise NotPossible(
            f"the token of {account} has room for {MOST_REVOKED} revoked keys, and would name {len(named)}",
            where=account,
            remedy='see "When the list is full" in docs/security/revocation.md',
        )
    kept = {one.nkey for one in named}
    stays = tuple(one for one in record.revoked if one.account != account or one.nkey in kept)
    return record.model_copy(update={"revoked": stays})


def _named(record: FleetRecord, account: str) -> list[Revoked]:
    return [one for one in record.revoked if one.account == account]
