"""Credentials on the bus end: keys are revoked in their accounts, and every connection of them is seen to be closed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from fleetbus.cli.ceremony.folder import read_token, server_names
from fleetbus.cli.ceremony.issue import issue
from fleetbus.cli.ceremony.keys import SigningKeys
from fleetbus.cli.ceremony.record import changing, read_record, write_record
from fleetbus.cli.ceremony.revocations import revoking
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.nats_accounts import put_account_everywhere
from fleetbus.runtime.nats_connections import close_connection, read_connections
from fleetbus.runtime.ports import Bus
from fleetbus.schemas.connections import Connection
from fleetbus.schemas.errors import BusUnavailable, TimeoutExpired

CLOSED_WITHIN_S = 5.0
"""Servers close the connections of a revoked key by themselves; what is open then is an error."""
_ANSWERS_WITHIN_S = 1.5
_LOOK_EVERY_S = 0.02
_KICK_AFTER_S = 0.25


async def revoke_keys(
    folder: Path, accounts: Sequence[str], nkeys: Sequence[str], keys: SigningKeys, clock: Clock
) -> None:
    """The folder's record and tokens say that these keys count no more in these accounts, for ever.

    Raises NotPossible (no room for more), before anything is written; NotFound, VaultUnavailable, VaultForbidden (the
    key that signs accounts is not to be had).
    """
    now = clock.now()
    with changing(folder):
        write_record(folder, revoking(read_record(folder), accounts, nkeys, int(now.timestamp())))
    await issue(folder, keys, now)


async def tell_servers(bus: Bus, folder: Path, clock: Clock, accounts: Sequence[str]) -> frozenset[str]:
    """Each server has these accounts' tokens as the folder has them; those that have not said so.

    Raises BusUnavailable, SettingsInvalid.
    """
    names = server_names(read_record(folder))

    async def told(account: str) -> frozenset[str]:
        token, silent = "", frozenset[str]()
        # The server takes whatever comes last, so who wrote in the meantime must not be undone.
        while (latest := read_token(folder, account)) != token:
            token = latest
            silent = await put_account_everywhere(bus, clock, token, names, timeout_s=_ANSWERS_WITHIN_S)
        return silent

    return frozenset[str]().union(*await asyncio.gather(*map(told, accounts)))


@dataclass(frozen=True, slots=True)
class Closed:
    """What was seen: how many servers have none of these connections, how many had to be told to close one."""

    servers: int
    kicked: int


async def connected(
    bus: Bus, folder: Path, clock: Clock, accounts: Sequence[str]
) -> tuple[tuple[Connection, ...], frozenset[str]]:
    """The connections of these accounts' users, and the servers that have not told theirs. Raises BusUnavailable."""
    record = read_record(folder)
    names = server_names(record)
    looks = (
        read_connections(bus, clock, record.accounts[name], names, timeout_s=_ANSWERS_WITHIN_S)
        for name in accounts
    )
    found = await asyncio.gather(*looks)
    silent = frozenset[str]().union(*(one.silent for one in found))
    return tuple(one for each in found for one in each.connections), silent


async def see_closed(
    bus: Bus, folder: Path, clock: Clock, accounts: Sequence[str], is_theirs: Callable[[Connection], bool]
) -> Closed:
    """Until no server has such a connection of these accounts; what is still open after a moment is closed.

    Every server has said before that it knows the accounts as they are: no such connection can come any more.
    Raises BusUnavailable (a server that does not answer), TimeoutExpired (a connection that stays).
    """
    untold = await tell_servers(bus, folder, clock, accounts)
    began_s, kicked = clock.monotonic_s(), set[tuple[str, int]]()
    while True:
        found, silent = await connected(bus, folder, clock, accounts)
        open_ = [one for one in found if is_theirs(one)]
        late_s = clock.monotonic_s() - began_s
        unseen = silent | untold
        if late_s > CLOSED_WITHIN_S if open_ else unseen:
            raise _not_closed(open_, unseen)
        if not open_:
            return Closed(len(server_names(read_record(folder))), len(kicked))
        for one in open_ if late_s > _KICK_AFTER_S else ():
            await close_connection(bus, one)
            kicked.add((one.server_id, one.cid))
        await clock.sleep(_LOOK_EVERY_S)


def _not_closed(open_: Sequence[Connection], silent: Collection[str]) -> BusUnavailable | TimeoutExpired:
    unknown = f"no answer from {', '.join(sorted(silent))}: whether a connection is open there is not known"
    if open_:
        still = f"{len(open_)} connection{'s are' if len(open_) > 1 else ' is'} still open"
        return TimeoutExpired(
            "; ".join([f"{still} after {CLOSED_WITHIN_S:g} s", *([unknown] if silent else [])])
        )
    return BusUnavailable(
        unknown,
        remedy="a server that is away refuses the key once it is back and has met another; run this again then",
    )
