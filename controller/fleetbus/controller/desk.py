"""Everything that a door may use to answer: one value, made anew for each term."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from fleetbus.controller.at_once import AtOnce
from fleetbus.controller.audit import AuditChain, Author
from fleetbus.controller.command_lists import CommandLists
from fleetbus.controller.enrolments import Enrolments
from fleetbus.controller.issuing import Issuer
from fleetbus.controller.leader import Term
from fleetbus.controller.ports import Capability
from fleetbus.controller.publish import Publisher
from fleetbus.controller.recent import Recent
from fleetbus.controller.reconcile import Reconciler
from fleetbus.controller.refusals import Refusals
from fleetbus.controller.requests import Requests
from fleetbus.controller.statuses import Statuses
from fleetbus.controller.store import Documents
from fleetbus.controller.views import Known
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.ports import Bus
from fleetbus.schemas.enrolment import VaultPlace
from fleetbus.schemas.requests import actions_of
from fleetbus.schemas.signing import Sign


@dataclass(frozen=True, slots=True)
class Trust:
    """What a join token pins: public keys of the controller and of the root; and where Vault is.

    `charter` by (epoch, version): what the root has said last, under which this controller acts.
    """

    controller_keys: tuple[str, ...] = ()
    root: str = ""
    vault: VaultPlace | None = None
    charter: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Desk:
    """`operators`: public nkey → name, `roles`: public key of what signed a token → role; both read afresh each
    time. `version`: this controller's.
    `issuer`: makes the users of clusters; None where the settings name no keys for it. `sign`: as the controller.
    `settings_problem`: why the settings as they are now cannot be read, or nothing.

    `watching`: the kinds that are being watched now, one entry a watcher.
    """

    bus: Bus
    clock: Clock
    term: Term
    known: Known
    audit: AuditChain
    refusals: Refusals
    requests: Requests
    documents: Documents
    statuses: Statuses
    reconciler: Reconciler
    enrolments: Enrolments
    issuer: Issuer | None
    sign: Sign
    trust: Trust
    publisher: Publisher
    command_lists: CommandLists
    recent: Recent
    capabilities: Sequence[Capability]
    operators: Callable[[], Mapping[str, str]]
    roles: Callable[[], Mapping[str, str]]
    version: str
    settings_problem: Callable[[], str] = lambda: ""
    watching: list[str] = field(default_factory=list)
    asking: AtOnce = field(default_factory=AtOnce)

    def capability(self, kind: str) -> Capability | None:
        return next((one for one in self.capabilities if one.kind == kind), None)


@dataclass(frozen=True, slots=True)
class Request:
    """One question: who asks, with which public nkey, in which role, and the bytes of what is asked.

    `statement`: what who asks has signed, empty for what changes nothing.
    """

    by: str
    data: bytes
    verb: str = ""
    key: str = ""
    role: str = ""
    statement: bytes = b""
    types: tuple[str, ...] | None = None
    """Of events, for a subscriber who may read only those."""

    def author(self, action: str, reason: str = "") -> Author:
        """Who asks, as the author of what is done, by one of the verb's `actions_of`."""
        if self.verb and action not in actions_of(self.verb):
            raise ValueError(f"records of `{self.verb}` are never called {action}")
        return Author(self.by, action, reason, self.key, self.statement.decode())


Verb = Callable[[Desk, Request], Awaitable[Mapping[str, object]]]
"""Answers with the result's JSON; raises the errors of the tree."""
