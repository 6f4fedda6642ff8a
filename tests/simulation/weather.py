"""What goes wrong with whole servers and machines from time to time, for as long as it is awaited."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from tests.simulation.fleet import Member, SimulatedFleet
from tests.simulation.processes import Slot


async def blow(fleet: SimulatedFleet) -> None:
    """One thing after the other, of the kinds that the plan has, until cancelled."""
    kinds = fleet.plan.weathers
    while kinds:
        await fleet.clock.sleep(fleet.chance.expovariate(1 / fleet.plan.weather_every_s))
        await _HAPPENS[fleet.chance.choice(kinds)](fleet)


def _slot(fleet: SimulatedFleet) -> Slot:
    return fleet.chance.choice([one for one in fleet.slots if one.process is not None])


def _member(fleet: SimulatedFleet) -> Member:
    return fleet.chance.choice(list(fleet.members.values()))


async def _cut_one(fleet: SimulatedFleet) -> None:
    for bus in fleet.buses_of(_slot(fleet)):
        fleet.bus.cut(bus, fleet.chance.random() * 30.0)


async def _cut_controllers(fleet: SimulatedFleet) -> None:
    """Longer than a lease lasts: somebody else leads after that."""
    for slot in fleet.controllers[: fleet.chance.choice((1, 2))]:
        for bus in fleet.buses_of(slot):
            fleet.bus.cut(bus, 8.0 + fleet.chance.random() * 20.0)


async def _freeze_agent(fleet: SimulatedFleet) -> None:
    """On a server that is cut off: it finds out itself, and leaves."""
    for bus in fleet.buses_of(_member(fleet).agent):
        fleet.bus.freeze(bus)


async def _kill_one(fleet: SimulatedFleet) -> None:
    fleet.kills += 1
    _slot(fleet).kill()


async def _terminate_one(fleet: SimulatedFleet) -> None:
    await _slot(fleet).terminate()


async def _kube_away(fleet: SimulatedFleet, longest_s: float = 40.0) -> None:
    member = _member(fleet)
    member.server.set_away(True)
    await fleet.clock.sleep(fleet.chance.random() * longest_s)
    member.server.set_away(False)


async def _kube_away_long(fleet: SimulatedFleet) -> None:
    await _kube_away(fleet, 400.0)


async def _vault_sealed(fleet: SimulatedFleet) -> None:
    fleet.vault.sealed = True
    await fleet.clock.sleep(fleet.chance.random() * 60.0)
    fleet.vault.sealed = False


async def _git_away(fleet: SimulatedFleet) -> None:
    fleet.repository.away = True
    await fleet.clock.sleep(fleet.chance.random() * 60.0)
    fleet.repository.away = False


async def _second_agent(fleet: SimulatedFleet) -> None:
    """Two agents of one cluster, for a while; now and then it is the first that goes."""
    member = _member(fleet)
    member.second.start()
    await fleet.clock.sleep(fleet.chance.random() * 20.0)
    if fleet.chance.random() < 0.5:
        member.agent.kill()
        await fleet.clock.sleep(fleet.chance.random() * 60.0)
    await member.second.stop()


_HAPPENS: Mapping[str, Callable[[SimulatedFleet], Awaitable[None]]] = {
    "cut-one": _cut_one,
    "cut-controllers": _cut_controllers,
    "freeze-agent": _freeze_agent,
    "kill-one": _kill_one,
    "terminate-one": _terminate_one,
    "kube-away": _kube_away,
    "kube-away-long": _kube_away_long,
    "vault-sealed": _vault_sealed,
    "git-away": _git_away,
    "second-agent": _second_agent,
}
