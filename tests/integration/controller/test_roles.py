"""Every verb with every role: on the bus, and at the controller when the bus would let everything through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from nacl.signing import SigningKey

from fleetbus.cli.ceremony.folder import read_token, token_file
from fleetbus.cli.ceremony.init import FleetPlan
from fleetbus.cli.ceremony.issue import sign
from fleetbus.cli.ceremony.keys import ACCOUNTS, read_credential
from fleetbus.cli.ceremony.online import push_accounts
from fleetbus.cli.output import standard_output
from fleetbus.cli.people import make_people
from fleetbus.client import Fleet
from fleetbus.local.processes import Processes
from fleetbus.runtime.bus import NatsBus
from fleetbus.schemas import api, roles, subjects
from fleetbus.schemas.accounts import OPERATORS
from fleetbus.schemas.audit import OUTCOME_REFUSED
from fleetbus.schemas.errors import BusUnavailable, FleetbusError, NotPermitted
from fleetbus.schemas.nats_jwt import read
from fleetbus.schemas.nkeys import Kind, public_key
from fleetbus.schemas.roles import NEEDS, OPERATOR, ROLES, OperatorRole, suffices
from tests.bus_server import OPERATORS_BY_ROLE, FleetServer, fleet_server
from tests.integration.controller.people import CLOCK, Operator, controlling
from tests.integration.controller.test_api import audits
from tests.waiting import wait_until


async def outcome(bus: NatsBus, verb: str) -> str:
    """`bus`: it was not let through; `role`: the controller says that the role does not suffice; else `asked`."""
    try:
        message = await bus.request(subjects.api(verb), b"{}", timeout_s=30)
    except NotPermitted:
        return "bus"
    error = api.Answer.from_bytes(message.data).error
    return "role" if error is not None and error.code == roles.CODE else "asked"


async def outcomes(fleet: FleetServer, role: OperatorRole) -> dict[str, str]:
    async with fleet.bus(OPERATORS_BY_ROLE[role]) as bus:
        return {verb: await outcome(bus, verb) for verb in api.VERBS}


def wanted(role: OperatorRole, refused: str) -> dict[str, str]:
    return {verb: "asked" if suffices(role, needed) else refused for verb, needed in NEEDS.items()}


async def test_each_role_asks_its_verbs_and_the_bus_stops_the_others(
    fleet: FleetServer, operator: Operator, tmp_path: Path
) -> None:
    async with controlling(fleet, tmp_path):
        await operator.wait_answered()
        for role in ROLES:
            assert (role, await outcomes(fleet, role)) == (role, wanted(role, "bus"))


@pytest.fixture
async def open_fleet(processes: Processes, tmp_path: Path) -> AsyncIterator[FleetServer]:
    """A server whose permissions let every role ask every verb."""
    async with fleet_server(processes, tmp_path, f"open-{tmp_path.name}") as fleet:
        claims = read(await asyncio.to_thread(read_token, fleet.folder, OPERATORS))
        body: dict[str, Any] = orjson.loads(orjson.dumps(dict(claims.body)))
        for scope in body["signing_keys"]:
            scope["template"]["pub"]["allow"].append(subjects.ALL_API)
        wider = replace(claims, body=body, issued_at=claims.issued_at + 1)
        token = await sign(wider, await fleet.keys.find(ACCOUNTS, Kind.OPERATOR))
        token_file(fleet.folder, OPERATORS).write_text(token + "\n")
        await push_accounts(fleet.folder, (OPERATORS,), CLOCK)
        yield fleet


async def test_the_controller_asks_for_the_role_itself(open_fleet: FleetServer, tmp_path: Path) -> None:
    async with (
        controlling(open_fleet, tmp_path / "work"),
        open_fleet.bus("operator") as bus,
        open_fleet.bus("controller") as look,
    ):
        await Operator(bus, open_fleet.credentials["operator"]).wait_answered()
        for role in ROLES:
            assert (role, await outcomes(open_fleet, role)) == (role, wanted(role, "role"))
        async with open_fleet.bus(OPERATORS_BY_ROLE[OPERATOR]) as some:
            someone = Operator(some, open_fleet.credentials[OPERATORS_BY_ROLE[OPERATOR]])
            with pytest.raises(NotPermitted) as refused:
                await someone.ask("retire", {"name": "c1"})
        assert refused.value.message == "`retire` needs the role admin; some-operator is operator"

        async def noted() -> bool:
            return any(
                (one.actor, one.action, one.code) == ("some-operator", "retire", roles.CODE)
                for one in await audits(look, OUTCOME_REFUSED)
            )

        assert await wait_until(noted, CLOCK, 20)


async def test_a_refusal_of_the_bus_says_the_same_sentence(fleet: FleetServer) -> None:
    who = OPERATORS_BY_ROLE["viewer"]
    async with fleet.bus(who) as bus:
        client = Fleet(bus, CLOCK, fleet.credentials[who])
        with pytest.raises(NotPermitted) as refused:
            await client.release("Bundle", "shop", prune=1)
    assert refused.value.message == "`release` needs the role approver; some-viewer is viewer"
    assert refused.value.error_code == roles.CODE


async def test_another_role_counts_on_the_running_bus_and_the_old_credential_no_more(
    processes: Processes, tmp_path: Path
) -> None:
    async with fleet_server(processes, tmp_path, f"change-{tmp_path.name}") as fleet:
        plan = FleetPlan("test", operators=("operator",), roles={"operator": "viewer"})
        async with fleet.bus("operator") as before:
            await make_people(fleet.folder, plan, None, standard_output())

            async def gone() -> bool:
                return not before.connected

            assert await wait_until(gone, CLOCK, 10)
        credential = await asyncio.to_thread(read_credential, fleet.folder, "operator-operator")
        renewed = replace(
            fleet,
            credentials={"operator": credential},
            inboxes={"operator": subjects.personal_inbox(credential.nkey)},
        )
        async with renewed.bus("operator") as after:
            client = Fleet(after, CLOCK, credential)
            with pytest.raises(NotPermitted, match="`sync` needs the role operator; operator is viewer"):
                await client.sync("Source", "platform")
            with pytest.raises(BusUnavailable, match="no controller answers"):
                await client.overview()


async def test_only_an_admin_says_by_which_keys_a_cluster_is_known(
    fleet: FleetServer, operator: Operator, tmp_path: Path
) -> None:
    def cluster(key: str, **labels: str) -> dict[str, Any]:
        return {
            "apiVersion": "fleetbus.dev/v1alpha1",
            "kind": "Cluster",
            "metadata": {"name": "c1", "labels": labels},
            "spec": {"key": key},
        }

    mine, other = (public_key(SigningKey.generate()) for _ in range(2))
    async with controlling(fleet, tmp_path), fleet.bus(OPERATORS_BY_ROLE[OPERATOR]) as bus:
        await operator.wait_answered()
        someone = Operator(bus, fleet.credentials[OPERATORS_BY_ROLE[OPERATOR]])
        with pytest.raises(NotPermitted, match="to add cluster c1 needs the role admin"):
            await someone.apply(cluster(mine))
        assert await operator.apply(cluster(mine)) == ["created"]
        assert await someone.apply(cluster(mine, env="prod")) == ["configured"]
        with pytest.raises(NotPermitted, match="to change the identity of cluster c1"):
            await someone.apply(cluster(other, env="prod"))
        assert await operator.apply(cluster(other, env="prod")) == ["configured"]


async def test_a_token_of_a_role_that_the_controller_does_not_know_is_refused(
    fleet: FleetServer, operator: Operator, tmp_path: Path
) -> None:
    async with controlling(fleet, tmp_path, roles={}):

        async def refused() -> bool:
            try:
                await operator.ask("list", {"kind": "Cluster"})
            except NotPermitted as error:
                return error.error_code == roles.CODE and "is of no role" in error.message
            except FleetbusError:
                return False
            return False

        assert await wait_until(refused, CLOCK, 20)
