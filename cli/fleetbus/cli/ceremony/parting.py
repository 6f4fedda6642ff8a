"""What it takes that a cluster is no member any more: Vault refuses it first, then the bus, then the fleet.

Who cannot be reached keeps back its own steps only. Each step can be taken again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fleetbus.cli.ceremony.closing import Closed, connected, revoke_keys, see_closed
from fleetbus.cli.ceremony.keys import SigningKeys
from fleetbus.cli.ceremony.online import put_accounts
from fleetbus.cli.ceremony.reaching import Reach
from fleetbus.cli.ceremony.record import FleetRecord, read_record
from fleetbus.cli.ceremony.steps import Step
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.ports import Bus
from fleetbus.schemas import vault_policies
from fleetbus.schemas.accounts import ENROL, agents_account
from fleetbus.schemas.connections import Connection
from fleetbus.schemas.enrolment_api import EnrolmentRow, RetireRequest, known_in_several
from fleetbus.schemas.errors import BusUnavailable, FleetbusError, NotFound, NotPossible
from fleetbus.schemas.subjects import ClusterId

if TYPE_CHECKING:
    from fleetbus.client import Fleet
    from fleetbus.runtime.vault_admin import VaultAdmin


@dataclass(frozen=True, slots=True)
class Owned:
    """What only the fleet's owner has: its folder, the keys that sign accounts, and the ways to the servers.

    `vault` is None when the fleet uses none.
    """

    folder: Path
    keys: SigningKeys
    bus: Reach[Bus]
    vault: Reach[VaultAdmin] | None


@dataclass(slots=True)
class Parting:
    """One cluster's. `owned`: None for who only speaks to the controller."""

    asked: RetireRequest
    clock: Clock
    fleet: Reach[Fleet]
    owned: Owned | None

    def steps(self) -> tuple[Step, ...]:
        """In the order in which they are taken."""
        leaving = "taking it out of the fleet"
        if self.owned is None:
            owned = Step("Bus", "owned", "telling the bus and Vault", _not_owned)
            return (owned, Step("Fleet", "left", leaving, self.leave))
        bus = _BusPart(self, self.owned)
        vault = _VaultPart(self, self.owned.vault) if self.owned.vault else None
        disabled, tokens, removed = vault.steps() if vault else ((), (), ())
        return (
            *disabled,
            Step("Bus", "revoked", "revoking its keys", bus.revoke),
            Step("Bus", "closed", "seeing every connection closed", bus.close, needs=("revoked",)),
            *tokens,
            *removed,
            Step("Fleet", "left", leaving, bus.leave),
        )

    async def cluster(self) -> ClusterId:
        """Its realm is the one that was given, the only one, or what the controller says. Raises NotFound."""
        there = read_record(self.owned.folder).realms() if self.owned else []
        realm = self.asked.realm or (there[0] if len(there) == 1 else "")
        if not realm:
            row = await self.row()
            if row is None:
                raise NotFound(f"there is no cluster `{self.asked.name}`", remedy="or give its --realm")
            realm = row.realm
        return ClusterId(realm, self.asked.name)

    async def row(self) -> EnrolmentRow | None:
        """What the controller knows of the name; None for nothing. Raises NotPossible when it is several realms'."""
        rows = (await (await self.fleet()).enrolments(name=self.asked.name)).rows
        found = [one for one in rows if self.asked.realm in ("", one.realm)]
        if len(found) > 1:
            raise known_in_several(self.asked.name, [one.realm for one in found])
        return found[0] if found else None

    async def keys(self) -> set[str]:
        """Those that the name has, had, or lost of late, as the controller knows. Raises what `row` raises."""
        row = await self.row()
        return {one for one in (row.member_nkey, *row.former_keys) if one} if row else set()

    async def lost_keys(self) -> set[str]:
        """`keys` without that of somebody who has joined meanwhile."""
        row = await self.row()
        return set(row.former_keys) if row else set()

    async def leave(self) -> str:
        """The controller's part."""
        return (await (await self.fleet()).retire(self.asked)).message


def no_connection(closed: Closed) -> str:
    """What was seen, in words."""
    told = f"; {closed.kicked} had to be closed by force" if closed.kicked else ""
    servers = "the server has" if closed.servers == 1 else f"all {closed.servers} servers have"
    return f"{servers} no connection of it{told}"


async def _not_owned() -> str:
    raise NotPossible(
        "only the fleet's owner can",
        remedy="who has the fleet's folder runs it again with --fleet-dir DIR",
    )


@dataclass(slots=True)
class _VaultPart:
    """`known`: Vault has something of it."""

    parting: Parting
    vault: Reach[VaultAdmin]
    known: bool = True

    def steps(self) -> tuple[tuple[Step, ...], ...]:
        """What comes before the bus's, and twice what comes after."""
        needs = ("disabled", "tokens")
        return (
            (Step("Vault", "disabled", "disabling its entity", self.disable),),
            (Step("Vault", "tokens", "revoking its tokens", self.revoke_tokens),),
            (Step("Vault", "removed", "removing its mount and entity", self.remove, needs),),
        )

    async def disable(self) -> str:
        name = await self._name()
        try:
            await (await self.vault()).disable_entity(name)
        except NotFound:
            self.known = False
            return "it has no entity"
        return "entity disabled: its tokens and logins are refused"

    async def revoke_tokens(self) -> str:
        count = await (await self.vault()).revoke_logins(await self._name())
        return f"{count} token{'' if count == 1 else 's'} revoked, with their leases"

    async def remove(self) -> str:
        vault, name = await self.vault(), await self._name()
        await vault.disable_mount(name)
        await vault.delete_entity(name)
        return f"mount auth/{name} and its entity are gone" if self.known else "nothing of it is there"

    async def _name(self) -> str:
        return vault_policies.identity_name(await self.parting.cluster())


@dataclass(slots=True)
class _BusPart:
    """`revoked`: keys of which the folder knows by now. `told`: the bus was told of all that were known."""

    parting: Parting
    owned: Owned
    revoked: set[str] = field(default_factory=set)
    told: bool = False

    async def revoke(self) -> str:
        """Also the keys of whoever is connected under the name, whether the controller knows them or not.

        A controller that is silent keeps back nobody who is connected; with nobody to see, no key is known.
        """
        keys, unsaid, unreached = set[str](), None, None
        try:
            keys = await self.parting.keys()
        except FleetbusError as error:
            unsaid = error
        try:
            found, _ = await connected(await self.owned.bus(), *self._place(), await self._accounts())
            mine = await self._agents_key()
            keys |= {one.nkey for one in found if self._is_under_the_name(one, mine)}
        except BusUnavailable as error:
            unreached = error
        await self._tell(keys)
        if unreached is not None:
            raise unreached
        if unsaid is not None and not keys:
            raise unsaid
        self.told = True
        if not keys:
            return "no key of it is known"
        names = " and ".join(await self._accounts())
        return f"{len(keys)} key{'' if len(keys) == 1 else 's'} revoked in {names}"

    async def close(self) -> str:
        bus, mine = await self.owned.bus(), await self._agents_key()

        def is_theirs(one: Connection) -> bool:
            return one.nkey in self.revoked or self._is_under_the_name(one, mine)

        return no_connection(await see_closed(bus, *self._place(), await self._accounts(), is_theirs))

    async def leave(self) -> str:
        """A key that no connection showed, or that was let in while all this was done, is revoked as well.

        Now that the controller lets in nobody more by an open token, what it knows is all there is.
        """
        said = await self.parting.leave()
        late = await self.parting.lost_keys() - self.revoked if self.told else set[str]()
        if not late:
            return said
        await self._tell(late)
        await self.close()
        more = "1 more key is" if len(late) == 1 else f"{len(late)} more keys are"
        return f"{said}; {more} revoked on the bus, unseen before"

    async def _tell(self, keys: set[str]) -> None:
        """The folder first: what the bus was not told it is told by whatever is pushed next."""
        if not keys:
            return
        accounts = await self._accounts()
        await revoke_keys(self.owned.folder, accounts, sorted(keys), self.owned.keys, self.parting.clock)
        self.revoked |= keys
        await put_accounts(await self.owned.bus(), self.owned.folder, accounts)

    async def _accounts(self) -> Sequence[str]:
        wanted = (agents_account((await self.parting.cluster()).realm), ENROL)
        there = self._record().accounts
        return [one for one in wanted if one in there]

    async def _agents_key(self) -> str:
        return self._record().accounts.get(agents_account((await self.parting.cluster()).realm), "")

    def _record(self) -> FleetRecord:
        return read_record(self.owned.folder)

    def _place(self) -> tuple[Path, Clock]:
        return self.owned.folder, self.parting.clock

    def _is_under_the_name(self, one: Connection, agents_key: str) -> bool:
        return bool(agents_key) and one.account == agents_key and one.name == self.parting.asked.name
