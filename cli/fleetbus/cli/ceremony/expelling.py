"""What it takes that an operator or a subscriber is none any more: the bus first, then the fleet, then the folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleetbus.cli.ceremony.closing import revoke_keys, see_closed
from fleetbus.cli.ceremony.folder import forget_credential
from fleetbus.cli.ceremony.init import write_controller
from fleetbus.cli.ceremony.issue import issue
from fleetbus.cli.ceremony.online import put_accounts
from fleetbus.cli.ceremony.parting import Owned, no_connection
from fleetbus.cli.ceremony.reaching import Reach
from fleetbus.cli.ceremony.record import Person, changing, read_record, write_record
from fleetbus.cli.ceremony.steps import Step
from fleetbus.runtime.clock import Clock
from fleetbus.schemas.accounts import OPERATORS
from fleetbus.schemas.people import ExpelRequest

if TYPE_CHECKING:
    from fleetbus.client import Fleet

_ACCOUNTS = (OPERATORS,)


@dataclass(frozen=True, slots=True)
class Expelling:
    """One person's. The folder knows the person until all else is done, so that it can be run again."""

    person: Person
    reason: str
    clock: Clock
    fleet: Reach[Fleet]
    owned: Owned

    def steps(self) -> tuple[Step, ...]:
        """In the order in which they are taken."""
        return (
            Step("Bus", "revoked", "revoking the key", self._revoke),
            Step("Bus", "closed", "seeing every connection closed", self._close, needs=("revoked",)),
            Step("Fleet", "told", "noting it in the audit", self._tell),
            Step("Folder", "removed", "forgetting the credential", self._remove, needs=("revoked", "told")),
        )

    async def _revoke(self) -> str:
        owned, key = self.owned, self.person.nkey
        await revoke_keys(owned.folder, _ACCOUNTS, (key,), owned.keys, self.clock)
        await put_accounts(await owned.bus(), owned.folder, _ACCOUNTS)
        return f"key {key} revoked in {OPERATORS}"

    async def _close(self) -> str:
        owned, key = self.owned, self.person.nkey
        closed = await see_closed(
            await owned.bus(), owned.folder, self.clock, _ACCOUNTS, lambda one: one.nkey == key
        )
        return no_connection(closed)

    async def _tell(self) -> str:
        person = self.person
        asked = ExpelRequest(kind=person.kind, name=person.name, key=person.nkey, reason=self.reason)
        return (await (await self.fleet()).expel(asked)).message

    async def _remove(self) -> str:
        """The account's room for connections may have become another."""
        folder, person = self.owned.folder, self.person
        with changing(folder):
            known = read_record(folder)
            if person in known.people:
                others = tuple(one for one in known.people if one != person)
                changed = known.model_copy(update={"people": others})
                # The record last: it alone tells whoever runs this again that there is something to do.
                forget_credential(folder, person.file)
                write_controller(folder, changed, known)
                write_record(folder, changed)
        if made := await issue(folder, self.owned.keys, self.clock.now()):
            await put_accounts(await self.owned.bus(), folder, made)
        return f"keys/{person.file}.creds and its place in fleet.json and controller.json are gone"
