"""One agent's secrets at work: each binding is looked at when it is due, when it changed, or when it was touched."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import structlog

from fleetbus.agent.capabilities.secrets import records
from fleetbus.agent.capabilities.secrets.apply import HELD, Applied, Writer
from fleetbus.agent.capabilities.secrets.observe import SECRET, live_of, observe, ours
from fleetbus.agent.capabilities.secrets.plan import Place, Record, Wanted, plan, wanted
from fleetbus.agent.ports import Outcome, Ports, Told
from fleetbus.schemas.capabilities.secrets import ASPECT, BINDING_LABEL, SecretsSection, SecretsState
from fleetbus.schemas.errors import Transient
from fleetbus.schemas.events import Happened

log = structlog.get_logger(__name__)

AT_ONCE = 8
"""Bindings that are worked on at the same time."""
_SHORTEST_RETRY_S = 0.5
_PUT_BACK_LIMIT = 5
_PUT_BACK_WITHIN_S = 60.0
_KEEP_AGAIN_S = 2.0
_TICK_S = 0.001
"""A sleep may end a little before the moment that it was for."""
_EVERYTHING = "*"


@dataclass(slots=True)
class _Binding:
    """What this process knows of one binding besides its record. Times are monotonic seconds."""

    want: Wanted
    due_at_s: float = 0.0
    failures: int = 0
    touched: bool = False
    put_back_at_s: list[float] = field(default_factory=list)

    def may_put_back(self, now_s: float) -> bool:
        """Not more than a few times a minute, if somebody else keeps writing to the Secret."""
        self.put_back_at_s = [at for at in self.put_back_at_s if now_s - at < _PUT_BACK_WITHIN_S]
        return len(self.put_back_at_s) < _PUT_BACK_LIMIT


class Secrets:
    """The worker. Its one task is a watch on the metadata of the Secrets that carry a binding's label."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._records: dict[str, Record] = {}
        self._bindings: dict[str, _Binding] = {}
        self._stored: dict[str, Record] | None = None
        self._touched: dict[Place, str] = {}
        self._marked: dict[Place, str] = {}
        self._wake = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    async def reconcile(self, told: Told) -> Outcome:
        if self._stored is None:
            await self._remember()
        self._watch()
        wants = wanted(_section(told), told.retired)
        self._follow(wants, silent=told.content is None)
        happened: list[Happened] = []
        gate = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            for binding in self._due():
                tasks.create_task(self._one(binding, told, gate, happened))
        saved = await self._keep()
        body = SecretsState(secrets=tuple(self._records[id_].state for id_ in sorted(self._records)))
        return Outcome(
            aspects={ASPECT: body.as_json()},
            happened={ASPECT: tuple(happened)} if happened else {},
            again_in_s=self._again_in_s(saved),
        )

    async def changed(self) -> None:
        """Until a Secret of ours is not what we left."""
        self._watch()
        assert self._watching is not None
        waking = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait((waking, self._watching), return_when=asyncio.FIRST_COMPLETED)
            if self._watching.done():
                self._watching.result()
            self._wake.clear()
        finally:
            waking.cancel()

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            with suppress(asyncio.CancelledError):
                await self._watching

    async def _remember(self) -> None:
        """What was kept, and what the marks in the cluster show beyond it. Raises KubeUnavailable."""
        kept = records.from_json(self._ports.keep.kept(records.KEY))
        found = dict(kept)
        now = self._ports.clock.now()
        for live in await ours(self._ports.kube):
            if live.managed and live.binding_id and live.binding_id not in found:
                found[live.binding_id] = records.recovered(live, now)
        self._records, self._stored = found, kept

    def _follow(self, wants: Sequence[Wanted], *, silent: bool) -> None:
        """Take over what is told now. A binding that is told no more keeps its Secret, and while nothing at
        all is told (`silent`) its state as well; a receipt stays for as long as it is asked for."""
        told = {want.id: want for want in wants}
        now = self._ports.clock.now()
        for id_ in sorted(self._records.keys() - told.keys()):
            record = self._records[id_]
            if record.uid and silent:
                continue
            if record.uid:
                want = Wanted(id_, record.state.name, "follow")
                self._records[id_] = records.with_trouble(want, record, records.UNTOLD, now)
            else:
                del self._records[id_]
        for id_ in self._bindings.keys() - told.keys():
            del self._bindings[id_]
        for want in wants:
            known = self._bindings.get(want.id)
            if known is None or known.want != want:
                self._bindings[want.id] = _Binding(want)

    def _due(self) -> list[_Binding]:
        now_s = self._ports.clock.monotonic_s()
        touched, self._touched = self._touched, {}
        for id_, binding in self._bindings.items():
            strays = any(place in touched and place != binding.want.place for place in self._places(id_))
            binding.touched = binding.touched or strays or self._differs(self._records.get(id_), touched)
        return [
            binding
            for binding in self._bindings.values()
            if binding.due_at_s <= now_s + _TICK_S or (binding.touched and binding.may_put_back(now_s))
        ]

    async def _one(
        self, binding: _Binding, told: Told, gate: asyncio.Semaphore, happened: list[Happened]
    ) -> None:
        want = binding.want
        async with gate:
            binding.touched = False
            record = self._records.get(want.id)
            seen = await observe(self._ports, want, record, self._places(want.id))
            applied = await self._writer(want, told).take(plan(want, seen, record), record)
        self._settle(binding, applied)
        if applied.trouble is HELD and told.superseded():
            binding.due_at_s = 0.0
        happened += applied.happened

    def _writer(self, want: Wanted, told: Told) -> Writer:
        def may_write() -> bool:
            # A revocation is an emergency act itself: a halt of the fleet does not keep a secret alive.
            halted = _EVERYTHING in told.halts() and want.aim != "revoke"
            return not halted and not told.superseded()

        return Writer(self._ports, want, may_write)

    def _settle(self, binding: _Binding, applied: Applied) -> None:
        clock, id_ = self._ports.clock, binding.want.id
        before, record = self._records.get(id_), applied.record
        if record is not None:
            if before is not None and binding.failures == 0 and _is_blip(before, applied):
                record = replace(record, state=before.state)
            self._records[id_] = record
            self._note(before, record)
        now_s = clock.monotonic_s()
        if applied.happened:
            binding.put_back_at_s.append(now_s)
        binding.failures = binding.failures + 1 if applied.trouble.passing else 0
        wait_s = binding.want.refresh_s
        if binding.failures:
            wait_s = min(wait_s, _SHORTEST_RETRY_S * 2 ** min(binding.failures, 8))
        binding.due_at_s = now_s + clock.jitter(wait_s)

    def _note(self, before: Record | None, after: Record) -> None:
        old = before.state.condition if before else None
        new = after.state.condition
        if old is None or (old.status, old.reason) != (new.status, new.reason):
            log.info("secret binding", binding=after.state.name, status=new.status, reason=new.reason)

    async def _keep(self) -> bool:
        if self._records == self._stored:
            return True
        snapshot = dict(self._records)
        try:
            await self._ports.keep.keep({records.KEY: records.as_json(snapshot)})
        except Transient:
            # Nothing is lost by it: the marks on the Secrets themselves say whose they are.
            return False
        self._stored = snapshot
        return True

    def _again_in_s(self, saved: bool) -> float | None:
        now_s = self._ports.clock.monotonic_s()
        waits = [binding.due_at_s - now_s for binding in self._bindings.values()]
        waits += [] if saved else [_KEEP_AGAIN_S]
        return max(0.0, min(waits)) if waits else None

    def _watch(self) -> None:
        if self._watching is None:
            self._watching = asyncio.create_task(self._follow_secrets(), name="watch of bound Secrets")

    async def _follow_secrets(self) -> None:
        watch = self._ports.kube.watch(SECRET, label_selector=BINDING_LABEL, metadata_only=True)
        async for event in watch:
            if event.type == "SYNCED":
                continue
            live = live_of(event.object)
            there = event.type != "DELETED"
            self._touched[live.place] = live.resource_version if there else ""
            self._marked.pop(live.place, None)
            if there and live.managed and live.binding_id:
                self._marked[live.place] = live.binding_id
            if self._is_news(live.place):
                self._wake.set()

    def _places(self, id_: str) -> list[Place]:
        return [place for place, owner in self._marked.items() if owner == id_]

    def _is_news(self, place: Place) -> bool:
        binding = self._bindings.get(self._marked.get(place, ""))
        stray = binding is not None and binding.want.place != place
        return stray or any(
            self._differs(record, {place: self._touched[place]}) for record in self._records.values()
        )

    @staticmethod
    def _differs(record: Record | None, touched: Mapping[Place, str]) -> bool:
        """Whether the record's Secret is not as we left it."""
        if record is None or record.place is None or record.state.removed or record.place not in touched:
            return False
        return touched[record.place] != record.seen


def _is_blip(before: Record, applied: Applied) -> bool:
    """One look that could not be made, after all was well: no news before the next one fails, too."""
    trouble = applied.trouble
    return trouble.passing and trouble.status == "Unknown" and before.state.condition.status == "True"


def _section(told: Told) -> SecretsSection | None:
    if told.content is None or isinstance(told.content, SecretsSection):
        return told.content
    return SecretsSection.from_json(told.content)
