"""The controller's one loop: a document's key → its capability's reconcile → status, artifacts, transitions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import structlog

from fleetbus.controller.artifacts import Artifacts
from fleetbus.controller.decisions.leaving import leaving_status
from fleetbus.controller.ports import Capability, Change, Key, Outcome, Ports
from fleetbus.controller.readiness import with_readiness
from fleetbus.controller.statuses import Statuses
from fleetbus.controller.store import Documents
from fleetbus.controller.views import CLUSTER, Known
from fleetbus.controller.worklist import Worklist
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.failures import raised_at
from fleetbus.schemas import conditions
from fleetbus.schemas.canonical import canonical, parse_json
from fleetbus.schemas.conditions import REASON_INTERNAL, REASON_RECONCILED, RECONCILED, Condition
from fleetbus.schemas.documents import Status, Stored
from fleetbus.schemas.errors import FleetbusError, TimeoutExpired, Transient

RECONCILE_TIMEOUT_S = 300.0
SYNC_TIMEOUT_S = 20.0
_EMITTING_S = 0.2

Removing = Callable[[Stored], Awaitable[None]]

_log = structlog.get_logger("controller")


def next_status(
    stored: Stored,
    before: Status | None,
    outcome: Outcome,
    capability: Capability,
    now: datetime,
) -> Status:
    """The status after a reconcile: conditions merged and summed up, what happened in the outbox. Pure."""
    base = before or Status(kind=stored.kind, name=stored.name, uid=stored.uid)
    merged = conditions.put(base.conditions, *outcome.conditions)
    ready = conditions.summarise(merged, now, generation=stored.generation)
    after = base.model_copy(
        update={
            "observed_generation": stored.generation,
            "conditions": conditions.put(merged, ready),
            "details": parse_json(canonical(_plain(outcome.details))),
        }
    )
    happened = [*capability.transitions(stored, before, after), *outcome.happened]
    return after.model_copy(update={"outbox": base.outbox.with_(now, *happened)}) if happened else after


def _plain(value: Any) -> Any:
    """Models inside details as JSON."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    as_json = getattr(value, "as_json", None)
    return as_json() if callable(as_json) else value


class Reconciler:
    """Reconciles for the length of one term. `removing`: what else goes with a document, before it goes."""

    def __init__(
        self,
        clock: Clock,
        known: Known,
        documents: Documents,
        statuses: Statuses,
        artifacts: Artifacts,
        capabilities: Sequence[Capability],
        ports: Ports,
        removing: Removing,
    ) -> None:
        self._clock = clock
        self._known = known
        self._documents = documents
        self._statuses = statuses
        self._artifacts = artifacts
        self._capabilities = capabilities
        self._by_kind = {capability.kind: capability for capability in capabilities}
        self._ports = ports
        self._removing = removing
        self.work: Worklist[Key] = Worklist(clock, self._reconcile, spacing_s=self._spacing_s)

    def changed(self, change: Change) -> None:
        if change.aspect in {"outbox", "published-commands"}:
            return
        if change.what == "document" and self._known.document((change.kind, change.name)) is not None:
            self.work.add((change.kind, change.name), first=True)
        view = self._known.view()
        for capability in self._capabilities:
            try:
                for key in capability.affected(change, view):
                    self.work.add(key)
            except Exception as error:  # The edge of a capability: its mistake must not stop the followers.
                _log.error("affected failed", capability=capability.name, error=type(error).__name__)

    async def run(self) -> None:
        """Everything once, and then whatever is affected, until cancelled."""
        for key in self._known.view().documents:
            self.work.add(key)
        await self.work.run()

    async def sync(self, keys: Sequence[Key], followers: Callable[[], Iterable[Key]]) -> None:
        """Reconcile `keys` afresh and wait for them, then for their followers. Raises TimeoutExpired."""
        try:
            async with asyncio.timeout(SYNC_TIMEOUT_S):
                for key in keys:
                    self._known.asked.add(key)
                    self.work.add(key, first=True)
                    while key in self._known.asked:
                        await self.work.finished.wait()
                await asyncio.sleep(0)
                while self.work.busy(followers()):
                    await self.work.finished.wait()
        except TimeoutError as cause:
            raise TimeoutExpired(
                f"it is still going on after {SYNC_TIMEOUT_S:g} s", remedy="`fleetbus wait` waits for it"
            ) from cause

    def _spacing_s(self) -> float:
        return min(1.0, 0.01 + 0.0005 * len(self._known.view().clusters))

    async def _reconcile(self, key: Key) -> float | None:
        stored, capability = self._known.document(key), self._by_kind.get(key[0])
        if stored is None or capability is None:
            self._known.asked.discard(key)
            if capability is not None and self._known.status(key) is not None:
                # The document went, and the bus before its status could.
                await self._statuses.remove(key)
            return None
        asked = frozenset(self._known.asked)
        outcome = await self._outcome(capability, stored, asked)
        await self._artifacts.store(outcome.artifacts)
        status = await self._write(capability, stored, outcome)
        if key in asked:
            self._known.asked.discard(key)
        if outcome.removable and stored.deleting is not None and not stored.deleting.stays:
            if status is not None and status.outbox.pending:
                return _EMITTING_S
            await self._remove(stored)
            return None
        return outcome.again_in_s

    async def _outcome(self, capability: Capability, stored: Stored, asked: frozenset[Key]) -> Outcome:
        view = replace(self._known.view(), asked=asked)
        now = self._clock.now()
        try:
            async with asyncio.timeout(RECONCILE_TIMEOUT_S):
                outcome = await capability.reconcile(stored, view, self._ports, now)
            cluster = view.clusters.get(stored.name) if stored.kind == CLUSTER else None
            if cluster is None or stored.deleting is not None:
                return outcome
            return with_readiness(outcome, cluster, view, self._capabilities, now)
        except TimeoutError as cause:
            raise TimeoutExpired(
                f"{stored.kind} {stored.name}: no end within {RECONCILE_TIMEOUT_S:g} s"
            ) from cause
        except Transient:
            raise
        except FleetbusError as error:
            return self._failed(stored, error.reason, error.sentence(), now)
        except Exception as error:  # The edge of the loop: one document must not stop the others.
            identifier = self._clock.identifier()
            _log.error(
                "reconcile failed",
                id=identifier,
                document=str(stored.key),
                error=type(error).__name__,
                raised_at=raised_at(error),
            )
            message = f"the controller failed here; its log has more under {identifier}"
            return self._failed(stored, REASON_INTERNAL, message, now)

    def _failed(self, stored: Stored, reason: str, message: str, now: datetime) -> Outcome:
        """Nothing is known but that it failed: details stay, one condition says why."""
        before = self._known.status(stored.key)
        condition = Condition(
            type=RECONCILED,
            status="False",
            reason=reason,
            message=message,
            last_transition_at=now,
            observed_generation=stored.generation,
        )
        return Outcome(conditions=[condition], details=before.details if before else {})

    async def _write(self, capability: Capability, stored: Stored, outcome: Outcome) -> Status | None:
        now = self._clock.now()
        conditions_ = list(outcome.conditions)
        if not any(one.type == RECONCILED for one in conditions_):
            before = self._known.status(stored.key)
            if before and conditions.find(before.conditions, RECONCILED):
                conditions_.append(_reconciled(stored, now))
        outcome = replace(outcome, conditions=conditions_)

        def amend(before: Status | None) -> Status | None:
            present = self._known.document(stored.key)
            if present is None or present.uid != stored.uid:
                return None
            if stored.kind == CLUSTER and stored.deleting is not None:
                return leaving_status(stored, before, now)
            return next_status(stored, before, outcome, capability, now)

        return await self._statuses.amend(stored.key, amend)

    async def _remove(self, stored: Stored) -> None:
        await self._removing(stored)
        await self._documents.remove(stored.key)
        await self._statuses.remove(stored.key)
        _log.info("removed", document=f"{stored.kind.lower()}/{stored.name}")


def _reconciled(stored: Stored, now: datetime) -> Condition:
    return Condition(
        type=RECONCILED,
        status="True",
        reason=REASON_RECONCILED,
        last_transition_at=now,
        observed_generation=stored.generation,
    )
