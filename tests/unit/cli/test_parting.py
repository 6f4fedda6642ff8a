"""A leave as a plan, a cluster's and a person's: the order of its steps, and what is done when one side is away."""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from fleetbus.cli import exit_codes
from fleetbus.cli.ceremony.expelling import Expelling
from fleetbus.cli.ceremony.folder import read_token
from fleetbus.cli.ceremony.init import FleetPlan
from fleetbus.cli.ceremony.keys import FolderKeys
from fleetbus.cli.ceremony.parting import Owned, Parting
from fleetbus.cli.ceremony.people import person_named
from fleetbus.cli.ceremony.record import FOR_EVER, read_record
from fleetbus.cli.ceremony.steps import Step, Taken, take
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.enrolment_api import EnrolmentRow, EnrolmentsResult, RetireRequest
from fleetbus.schemas.errors import BusUnavailable, NotFound, NotPermitted, NotPossible, VaultUnavailable
from fleetbus.schemas.nats_jwt import read
from tests.founding import founded
from tests.unit.cli.fleet_of_three import Answers, FleetOfThree, cluster, rows, run

CLOCK = SystemClock()
KEY = "U" + "A" * 55
ROW = EnrolmentRow(name="prod-us", realm="main", outcome="enrolled", member_nkey=KEY)


def reached(value: Any) -> Callable[[], Awaitable[Any]]:
    async def reach() -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    return reach


class Vault:
    """Notes what it was told. `empty`: it has nothing of the name."""

    def __init__(self, *, empty: bool = False) -> None:
        self.told: list[str] = []
        self.empty = empty

    async def disable_entity(self, name: str) -> None:
        if self.empty:
            raise NotFound("Vault has nothing there")
        self.told.append(f"disable {name}")

    async def revoke_logins(self, mount: str) -> int:
        self.told.append(f"revoke {mount}")
        return 2

    async def disable_mount(self, mount: str) -> None:
        self.told.append(f"unmount {mount}")

    async def delete_entity(self, name: str) -> None:
        self.told.append(f"delete {name}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    founded(tmp_path / "fleet", FleetPlan("demo", ("127.0.0.1",)))
    return tmp_path / "fleet"


async def leave(
    folder: Path, answers: Answers, *, fleet: Any = None, vault: Any = None, bus: Any = None
) -> list[Taken]:
    away = BusUnavailable("no connection within 10 s")
    owned = Owned(folder, FolderKeys(folder), reached(bus or away), reached(vault or Vault()))
    asked = RetireRequest(name="prod-us", left="revoked")
    parting = Parting(asked, CLOCK, reached(fleet or FleetOfThree(answers)), owned)
    return list(await take(parting.steps(), CLOCK, CLOCK.monotonic_s(), lambda one: None))


async def test_vault_comes_first_then_the_bus_then_the_fleet(folder: Path) -> None:
    vault = Vault()
    taken = await leave(folder, Answers(), vault=vault)
    assert [(one.step.side, one.step.name) for one in taken] == [
        ("Vault", "disabled"),
        ("Bus", "revoked"),
        ("Bus", "closed"),
        ("Vault", "tokens"),
        ("Vault", "removed"),
        ("Fleet", "left"),
    ]
    name = "fleet_main_prod-us"
    assert vault.told == [f"disable {name}", f"revoke {name}", f"unmount {name}", f"delete {name}"]


async def test_what_vault_never_had_is_not_said_to_be_removed(folder: Path) -> None:
    """As of a name that was mistyped; what another run has left there is removed all the same."""
    vault = Vault(empty=True)
    taken = {one.step.name: one for one in await leave(folder, Answers(), vault=vault)}
    assert (taken["disabled"].text, taken["removed"].text) == ("it has no entity", "nothing of it is there")
    assert "unmount fleet_main_prod-us" in vault.told


async def test_a_bus_that_is_away_keeps_nothing_else_back_and_the_folder_remembers(folder: Path) -> None:
    """Whatever is pushed next, by whom ever, tells it."""
    answers = Answers(enrolments=EnrolmentsResult(rows=(ROW,)))
    taken = {one.step.name: one for one in await leave(folder, answers)}
    assert isinstance(taken["revoked"].error, BusUnavailable)
    assert (taken["closed"].error, taken["closed"].done) == (None, False)
    assert all(taken[name].done for name in ("disabled", "tokens", "removed", "left"))
    assert [verb for verb, _ in answers.asked] == ["retire"]
    record = read_record(folder)
    assert {(one.account, one.nkey, one.at) for one in record.revoked} == {
        ("AGENTS_main", KEY, FOR_EVER),
        ("ENROL", KEY, FOR_EVER),
    }


async def test_vault_that_is_away_keeps_only_its_own_steps_back(folder: Path) -> None:
    taken = {one.step.name: one for one in await leave(folder, Answers(), vault=VaultUnavailable("away"))}
    assert isinstance(taken["disabled"].error, VaultUnavailable)
    assert isinstance(taken["tokens"].error, VaultUnavailable)
    assert (taken["removed"].error, taken["removed"].done) == (None, False)
    assert taken["left"].done


async def test_a_controller_that_is_away_keeps_vault_from_nothing(folder: Path) -> None:
    vault = Vault()
    taken = {
        one.step.name: one
        for one in await leave(folder, Answers(), fleet=BusUnavailable("no controller answers"), vault=vault)
    }
    assert isinstance(taken["left"].error, BusUnavailable)
    assert taken["removed"].done


async def test_a_name_of_several_realms_is_nobodys_until_one_is_given(folder: Path) -> None:
    rows = tuple(ROW.model_copy(update={"realm": realm}) for realm in ("main", "edge"))
    owned = Owned(folder, FolderKeys(folder), reached(BusUnavailable("away")), reached(Vault()))
    fleet = reached(FleetOfThree(Answers(enrolments=EnrolmentsResult(rows=rows))))
    either = Parting(RetireRequest(name="prod-us", left="revoked"), CLOCK, fleet, owned)
    with pytest.raises(NotPossible, match="known in the realms edge, main") as refused:
        await either.row()
    assert refused.value.remedy == "give --realm"
    one = Parting(RetireRequest(name="prod-us", realm="edge", left="revoked"), CLOCK, fleet, owned)
    assert (await one.row() or ROW).realm == "edge"


async def expelled(folder: Path, answers: Answers, name: str = "admin", *, fleet: Any = None) -> list[Taken]:
    """With a bus that is away."""
    person = person_named(read_record(folder), "operator", name)
    away = BusUnavailable("no connection within 10 s")
    owned = Owned(folder, FolderKeys(folder), reached(away), None)
    plan = Expelling(person, "left", CLOCK, reached(fleet or FleetOfThree(answers)), owned)
    return list(await take(plan.steps(), CLOCK, CLOCK.monotonic_s(), lambda one: None))


async def test_a_person_stays_in_the_folder_until_the_bus_and_the_fleet_were_told(folder: Path) -> None:
    """So that running it again completes it; what is pushed in the meantime shuts the key out already."""
    answers, before = Answers(), read_record(folder).people
    taken = await expelled(folder, answers)
    assert [(one.step.side, one.done) for one in taken] == [
        ("Bus", False),
        ("Bus", False),
        ("Fleet", True),
        ("Folder", False),
    ]
    record = read_record(folder)
    assert record.people == before
    nkey = person_named(record, "operator", "admin").nkey
    assert read(read_token(folder, "OPERATORS")).body["revocations"] == {nkey: FOR_EVER}
    (verb, asked) = answers.asked[0]
    assert (verb, asked.kind, asked.name, asked.key, asked.reason) == (
        "expel",
        "operator",
        "admin",
        nkey,
        "left",
    )


async def test_a_step_that_fails_keeps_back_what_needs_it_and_nothing_else() -> None:
    async def works() -> str:
        return "done"

    async def fails() -> str:
        raise NotFound("it is not there")

    steps = (
        Step("Bus", "a", "doing a", fails),
        Step("Bus", "b", "doing b", works, needs=("a",)),
        Step("Bus", "c", "doing c", works, needs=("b",)),
        Step("Fleet", "d", "doing d", works),
    )
    told: list[str] = []
    taken = await take(steps, CLOCK, CLOCK.monotonic_s(), lambda one: told.append(one.step.name))
    assert told == ["a", "b", "c", "d"]
    assert [(one.done, one.error is not None) for one in taken] == [
        (False, True),
        (False, False),
        (False, False),
        (True, False),
    ]


def test_without_the_folder_the_fleets_part_is_done_and_the_rest_is_said() -> None:
    answers = Answers()
    ran = run(answers, "cluster", "revoke", "prod-us", "--yes", "--reason", "INC-1")
    assert ran.code == exit_codes.FAILED
    assert "--fleet-dir" in ran.out
    assert "run it again: fleetbus cluster revoke prod-us --keep --reason INC-1\n" in ran.err
    assert "Before it joins again" in ran.err
    assert "FAIL telling the bus and Vault: only the fleet's owner can" in ran.out
    (verb, asked) = answers.asked[0]
    assert (verb, asked.left, asked.purge, asked.reason) == ("retire", "revoked", False, "INC-1")


def test_it_asks_and_a_retirement_must_say_what_becomes_of_what_is_known() -> None:
    answers = Answers()
    assert run(answers, "cluster", "revoke", "prod-us").code == exit_codes.USAGE
    ran = run(answers, "cluster", "retire", "prod-us", "--yes")
    assert (ran.code, "--keep" in ran.err) == (exit_codes.USAGE, True)
    assert answers.asked == []
    asked = run(answers, "cluster", "retire", "prod-us", "--purge").err
    assert "retires cluster prod-us and deletes what is known of it; its workloads stay." in asked
    assert "revokes cluster prod-us; its workloads stay." in run(answers, "cluster", "revoke", "prod-us").err


def test_the_command_that_completes_it_says_all_that_was_said(tmp_path: Path) -> None:
    folder = tmp_path / "a fleet"
    founded(folder, FleetPlan("demo", ("127.0.0.1",)))
    given = ("--fleet-dir", str(folder), "--realm", "main", "--reason", "moved to b")
    for kept in ("--purge", "--keep"):
        command = ("cluster", "retire", "prod-us", kept, *given)
        ran = run(Answers(), *command, "--yes")
        assert ran.code == exit_codes.UNAVAILABLE
        assert shlex.join(["fleetbus", *command]) in ran.err


def test_who_speaks_without_tls_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FleetOfThree, "insecure", True)
    ran = run(Answers(), "cluster", "revoke", "prod-us", "--yes")
    assert "this fleet has no TLS" in ran.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BusUnavailable("away"), exit_codes.UNAVAILABLE),
        (NotPermitted("no"), exit_codes.NOT_PERMITTED),
        (VaultUnavailable("away"), exit_codes.FAILED),
    ],
)
async def test_the_exit_code_says_what_was_missing(error: Exception, code: int) -> None:
    from io import StringIO

    from fleetbus.cli.output import Output, Screen
    from fleetbus.cli.steps_taken import concluded, report

    async def fails() -> str:
        raise error

    out, err = StringIO(), StringIO()
    output = Output(out, err, Screen(), Screen())
    taken = await take((Step("Bus", "a", "doing a", fails),), CLOCK, CLOCK.monotonic_s(), report(output))
    assert concluded(taken, "cluster/x revoked", "fleetbus cluster revoke x", output) == code
    assert "FAIL doing a: " in out.getvalue()
    assert "fleetbus cluster revoke x" in err.getvalue()


def test_who_is_nobody_cannot_be_removed(folder: Path) -> None:
    for kind in ("operator", "subscriber"):
        ran = run(Answers(), kind, "remove", "nobody", "--fleet-dir", str(folder), "--yes")
        assert (ran.code, f"no {kind} named `nobody`" in ran.err) == (exit_codes.FAILED, True)
    ran = run(Answers(), "operator", "remove", "admin", "--fleet-dir", str(folder))
    assert ran.code == exit_codes.USAGE


@pytest.mark.parametrize(
    ("deleting", "said"),
    [
        (
            {"policy": "Keep", "left": {"how": "revoked", "stays": True}},
            "Left        it stays until it joins",
        ),
        (
            {"policy": "Keep", "left": {"how": "retired", "stays": False}},
            "Leaving     its document, mailboxes",
        ),
        ({"policy": "Remove"}, "Deleting    it goes when every placed"),
    ],
)
def test_what_becomes_of_one_that_left_is_described(deleting: dict[str, Any], said: str) -> None:
    left = rows(cluster("prod-us", "False", "ClusterRevoked"), deleting=deleting)
    assert said in run(Answers(rows={"Cluster": left}), "describe", "cluster/prod-us").out
