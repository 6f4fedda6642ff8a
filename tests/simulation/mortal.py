"""The simulated ports of a process that may die at any call: before the effect, or between effect and answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from nacl.signing import SigningKey

from fleetbus.runtime.clock import Clock
from fleetbus.runtime.ports import Message, Put, VaultSecret
from fleetbus.schemas import api, subjects
from fleetbus.schemas.canonical import canonical
from fleetbus.schemas.errors import BusUnavailable, FleetbusError, NotFound, VaultUnavailable
from fleetbus.schemas.nkeys import public_key
from fleetbus.schemas.requests import asked, read_answer
from fleetbus.schemas.signing import signer
from fleetbus.schemas.streams import Permissions, operator_permissions
from tests.simulation.bus import SimulatedBus, SimulatedServer
from tests.simulation.kube import KubeFaults, SimulatedKube
from tests.simulation.kube_cluster import Object, SimulatedCluster
from tests.simulation.processes import Process
from tests.simulation.vault import SimulatedVault, SimulatedVaultServer
from tests.tokens import TOKEN_ISSUER


@dataclass(slots=True)
class Dangers:
    """What may happen at a call, as shares of calls. Changed while processes run; all 0 is calm.

    `deaths`: the process dies there. `late_writes`: a write's answer is given up, and the server gets it up to
    `late_s` after that.
    """

    deaths: float = 0.0
    late_writes: float = 0.0
    late_s: float = 15.0


class MortalBus(SimulatedBus):
    """One process's connection. `unfenced`: words of subjects whose writes lose what they expect (a variant)."""

    def __init__(
        self,
        server: SimulatedServer,
        process: Process,
        dangers: Dangers,
        chance: Random,
        *,
        permissions: Permissions | None = None,
        account: str = "FLEET",
        user: str = "",
        unfenced: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(server, process.holder, permissions, account, user or process.holder)
        self._process = process
        self._dangers = dangers
        self._chance = chance
        self._unfenced = unfenced
        server.buses.append(self)
        process.on_death.append(self._leave)

    async def wait_connected(self) -> None:
        self._process.expect_alive()
        await super().wait_connected()

    async def connection_changed(self, seen: int) -> int:
        self._process.expect_alive()
        return await super().connection_changed(seen)

    async def put(self, put: Put) -> int:
        put = self._loosened(put)
        if self._is_late():
            await self._give_up([put], put.subject)
        return await super().put(put)

    async def put_batch(self, puts: Sequence[Put]) -> int:
        puts = [self._loosened(put) for put in puts]
        if self._is_late():
            await self._give_up(puts, puts[0].subject)
        return await super().put_batch(puts)

    async def _call(self, subject: str = "") -> None:
        self._process.expect_alive()
        await super()._call(subject)
        self._perhaps_die()

    def _acknowledged(self, sequence: int, subject: str) -> int:
        self._perhaps_die()
        return super()._acknowledged(sequence, subject)

    def _perhaps_die(self) -> None:
        if self._process.alive and self._chance.random() < self._dangers.deaths:
            self._process.kill()
        self._process.expect_alive()

    def _leave(self) -> None:
        if self._online:
            self._go("Client Closed")
        self._online = False
        self._server.buses.remove(self)

    def _loosened(self, put: Put) -> Put:
        """A write that is fenced by another subject, without its fence; one that expects its own stays."""
        if put.expected_subject is None or put.subject.split(".")[2] not in self._unfenced:
            return put
        return Put(put.subject, put.data, None, None, put.ttl_s, put.headers)

    def _is_late(self) -> bool:
        return self.connected and self._chance.random() < self._dangers.late_writes

    async def _give_up(self, puts: Sequence[Put], where: str) -> None:
        """The write is under way for long, and arrives when its writer has given it up, or never."""
        loop = asyncio.get_running_loop()
        late_s = self._chance.random() * self._dangers.late_s
        loop.call_later(late_s, self._arrive, list(puts), self.connection)
        await super()._call(where)
        await self._server.clock.sleep(5.0)
        self._process.expect_alive()
        raise BusUnavailable("no answer within 5 s", where=where)

    def _arrive(self, puts: Sequence[Put], connection: int) -> None:
        if self.connection != connection:
            return
        now = self._server.clock.now()
        stream = next(one for one in self._server.streams.values() if one.owns(puts[0].subject))
        try:
            if len(puts) > 1:
                stream.check_batch(puts, now)
            else:
                stream.check(puts[0], now)
        except FleetbusError:
            return
        for put in puts:
            self._server.store(stream, put)


class CrossingBus(SimulatedBus):
    """A connection whose requests cross into the controller's account, as the server marks them."""

    async def request(
        self, subject: str, data: bytes, *, timeout_s: float = 5.0, headers: Mapping[str, str] | None = None
    ) -> Message:
        await self._call(subject)
        inbox = f"_R_.{self._server.clock.identifier()}"
        answered: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._inboxes[inbox] = answered
        try:
            if not self._send(Message(subject, data, inbox, dict(headers or {}))):
                raise BusUnavailable("nobody answers there", where=subject)
            async with asyncio.timeout(timeout_s):
                return await answered
        except TimeoutError as cause:
            raise BusUnavailable(f"no answer within {timeout_s:g} s", where=subject) from cause
        finally:
            self._inboxes.pop(inbox)


class OperatorBus(CrossingBus):
    """An admin's connection."""

    def __init__(self, server: SimulatedServer, name: str, key: SigningKey) -> None:
        person = public_key(key)
        super().__init__(server, name, operator_permissions(person, "admin"), "OPERATORS", person)
        self._sign = signer(key)

    async def ask(self, verb: str, body: Mapping[str, Any], *, timeout_s: float) -> dict[str, Any]:
        """The result. Raises the error that was answered, and BusUnavailable when there was no answer."""
        clock, content = self._server.clock, canonical(dict(body))
        id, at = clock.identifier(), clock.now()
        request = asked(verb, content, id=id, at=at, issuer=TOKEN_ISSUER, sign=self._sign)
        message = await self.request(subjects.api(verb), request, timeout_s=timeout_s)
        if not message.data:
            raise BusUnavailable(f"an empty answer: {message.headers}")
        answer = read_answer(message.data, verb, id, ())
        if answer.error is not None:
            raise api.raised(answer.error)
        return answer.result


class MortalKube(SimulatedKube):
    """One process's client of its cluster."""

    def __init__(
        self,
        cluster: SimulatedCluster,
        process: Process,
        dangers: Dangers,
        faults: KubeFaults,
        chance: Random,
    ) -> None:
        super().__init__(cluster, faults=faults, seed=chance.getrandbits(32))
        self._process = process
        self._dangers = dangers
        self._mortality = chance

    async def _call(self, *, updating: bool = False) -> None:
        self._process.expect_alive()
        await super()._call(updating=updating)
        self._perhaps_die()

    async def _answer(self, found: Object) -> Object:
        self._perhaps_die()
        return await super()._answer(found)

    def _perhaps_die(self) -> None:
        if self._process.alive and self._mortality.random() < self._dangers.deaths:
            self._process.kill()
        self._process.expect_alive()


class MortalVault(SimulatedVault):
    """One process's view of Vault."""

    def __init__(
        self, server: SimulatedVaultServer, identity: str, process: Process, clock: Clock, **more: Any
    ) -> None:
        super().__init__(server, identity, clock, **more)
        self._process = process

    async def read(self, path: str) -> VaultSecret:
        self._process.expect_alive()
        found = await super().read(path)
        self._process.expect_alive()
        return found


class SimulatedGroups:
    """The controller's narrow token: members of groups, which is what lets a cluster read a shared secret.

    `entities`: entity → identity. `shared`: group → path; its owner has made it.
    """

    def __init__(
        self,
        server: SimulatedVaultServer,
        clock: Clock,
        entities: Mapping[str, str],
        shared: Mapping[str, str],
    ) -> None:
        self.members: dict[str, frozenset[str]] = dict.fromkeys(shared, frozenset())
        self._server = server
        self._clock = clock
        self._entities = entities
        self._shared = shared

    def of(self, process: Process) -> ProcessGroups:
        return ProcessGroups(self, process)

    async def ask(self, group: str) -> None:
        await self._clock.sleep(self._clock.jitter(0.005))
        if self._server.sealed:
            raise VaultUnavailable("Vault does not serve: Vault is sealed", where=group)
        if group not in self.members:
            raise NotFound("Vault has nothing there", where=group)

    def put(self, group: str, entities: Iterable[str]) -> None:
        self.members[group] = frozenset(entities)
        for entity, identity in self._entities.items():
            may = self._server.allow if entity in self.members[group] else self._server.forbid
            may(identity, self._shared[group])


class ProcessGroups:
    """`GroupAdmin` of one process."""

    def __init__(self, groups: SimulatedGroups, process: Process) -> None:
        self._groups = groups
        self._process = process

    async def group_members(self, group: str) -> frozenset[str]:
        self._process.expect_alive()
        await self._groups.ask(group)
        return self._groups.members[group]

    async def set_group_members(self, group: str, entities: Iterable[str]) -> None:
        self._process.expect_alive()
        await self._groups.ask(group)
        self._process.expect_alive()
        self._groups.put(group, entities)
