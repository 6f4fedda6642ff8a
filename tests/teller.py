"""A controller in miniature: signs heads and command lists, puts artifacts, reads states, emits events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from nacl.signing import SigningKey

from fleetbus.agent.ports import Identity
from fleetbus.agent.settings import AgentSettings
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.ports import Bus, Put
from fleetbus.schemas import subjects
from fleetbus.schemas.artifacts import Artifact, artifact, pack
from fleetbus.schemas.capabilities.bundles import BundleEntry, BundlesSection
from fleetbus.schemas.desired import Command, CommandList, DesiredSet, Head, Retired, SectionRef
from fleetbus.schemas.events import EMITTED_HEADER, cloud_event, emitted_header, emitted_in
from fleetbus.schemas.nkeys import public_key
from fleetbus.schemas.signing import signer, unverified, verify
from fleetbus.schemas.states import State
from fleetbus.schemas.streams import ASPECTS, EVENTS, STATE
from fleetbus.schemas.subjects import ClusterId
from tests.tokens import user_credential


@dataclass(slots=True)
class Teller:
    """Tells one cluster, over a bus with the controller's credential."""

    bus: Bus
    clock: Clock
    identity: Identity
    key: SigningKey = field(default_factory=SigningKey.generate)
    agent_key: SigningKey = field(default_factory=SigningKey.generate)
    epoch: int = 1
    serial: int = 0

    def settings(self, **fields: Any) -> AgentSettings:
        """What this cluster's agent is joined with."""
        given: dict[str, Any] = {
            "identity": self.identity,
            "credential": user_credential(self.agent_key, self.identity.cluster.name),
            "bus_servers": ("tls://127.0.0.1:1",),
            "bus_ca": "",
            "controller_keys": frozenset({public_key(self.key)}),
            "epoch": self.epoch,
        }
        return AgentSettings(**{**given, **fields})

    async def put_artifact(self, value: Any) -> Artifact:
        made = artifact(value)
        for name, content in pack(made).items():
            await self.bus.put(Put(subjects.artifact(name), content))
        return made

    async def entry(self, name: str, objects: Sequence[Mapping[str, Any]], **fields: Any) -> BundleEntry:
        made = await self.put_artifact({"objects": [dict(one) for one in objects]})
        given = {"id": f"id-{name}", "generation": 1, "revision": f"main@sha1:{made.name[:8]}"}
        return BundleEntry(
            **{**given, "name": name, "artifact": made.name, "objects": len(objects), **fields}
        )

    async def tell(
        self,
        entries: Sequence[BundleEntry],
        *,
        retired: Sequence[Retired] = (),
        halts: tuple[str, ...] = (),
        others: Mapping[str, SectionRef] | None = None,
        **head: Any,
    ) -> int:
        """Put a head that names these bundles; its sequence. `head`: fields that are to be otherwise."""
        section = await self.put_artifact(BundlesSection(bundles=tuple(entries)).as_json())
        refs = {"bundles": SectionRef(version=1, digest=section.name), **(others or {})}
        named = await self.put_artifact(DesiredSet(sections=refs, retired=tuple(retired)).as_json())
        self.serial += 1
        now = self.clock.now()
        given: dict[str, Any] = {
            "fleet": self.identity.fleet,
            "cluster": self.identity.uid,
            "epoch": self.epoch,
            "serial": self.serial,
            "issued_at": now,
            "not_after": now + timedelta(days=1),
            "halts": halts,
            "set": named.name,
        }
        return await self.put_head(Head(**{**given, **head}))

    async def put_head(self, head: Head, key: SigningKey | None = None) -> int:
        subject = subjects.desired(self.identity.cluster)
        return await self.bus.put(Put(subject, signer(key or self.key)(subject, head.to_bytes())))

    async def command(self, *commands: Command, approvals: tuple[str, ...] | None = None) -> int:
        self.serial += 1
        subject = subjects.command(self.identity.cluster)
        told = CommandList(
            fleet=self.identity.fleet,
            cluster=self.identity.uid,
            epoch=self.epoch,
            serial=self.serial,
            issued_at=self.clock.now(),
            commands=commands,
            approvals=approvals,
        )
        return await self.bus.put(Put(subject, signer(self.key)(subject, told.to_bytes())))

    async def state(self, aspect: str) -> State | None:
        """A state, once its signature has been checked."""
        cluster = self.identity.cluster
        subject = subjects.result(cluster) if aspect == "result" else subjects.state(cluster, aspect)
        message = await self.bus.get_last(STATE.name, subject)
        if message is None:
            return None
        return State.from_bytes(verify(subject, message.data, [public_key(self.agent_key)]))

    async def emit(self) -> int:
        """Make events of everything that is pending in this cluster's states; how many."""
        cluster, count = self.identity.cluster, 0
        chain = subjects.events_of(cluster.realm, cluster.name)
        last = await self.bus.get_last(EVENTS.name, chain)
        emitted = emitted_in(last.headers) if last else {}
        for aspect in (*ASPECTS, "result"):
            subject = subjects.result(cluster) if aspect == "result" else subjects.state(cluster, aspect)
            message = await self.bus.get_last(STATE.name, subject)
            if message is None:
                continue
            state = State.from_bytes(unverified(message.data))
            origin = f"{state.uid}/{aspect}"
            for one in state.outbox.pending:
                if one.sequence <= emitted.get(origin, 0):
                    continue
                emitted[origin] = one.sequence
                event = cloud_event(self.identity.fleet, cluster.name, origin, one)
                headers = {EMITTED_HEADER: emitted_header(emitted)}
                emit = subjects.emit(cluster.realm, cluster.name, one.type)
                await self.bus.put(Put(emit, event.to_bytes(), headers=headers))
                count += 1
        return count


def identity(uid: str, name: str = "c1") -> Identity:
    return Identity("test", ClusterId("main", name), uid)
