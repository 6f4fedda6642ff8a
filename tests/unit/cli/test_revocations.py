"""The keys that an account's token names: for as long as it matters, never more than fit, never one that is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetbus.cli.ceremony.closing import revoke_keys
from fleetbus.cli.ceremony.folder import read_token
from fleetbus.cli.ceremony.init import FleetPlan
from fleetbus.cli.ceremony.keys import FolderKeys
from fleetbus.cli.ceremony.record import FOR_EVER, FleetRecord, Revoked, read_record, write_record
from fleetbus.cli.ceremony.revocations import CROWDED, MOST_REVOKED, crowded, revoking
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.accounts import ENROL, OPERATORS
from fleetbus.schemas.enrolment import USERS_GONE_S
from fleetbus.schemas.errors import NotPossible
from tests.founding import founded

AGENTS = "AGENTS_main"
THEN = 1_790_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    founded(tmp_path / "fleet", FleetPlan("demo", ("127.0.0.1",)))
    return tmp_path / "fleet"


def named(record: FleetRecord, account: str) -> set[str]:
    return {one.nkey for one in record.revoked if one.account == account}


def full(record: FleetRecord, account: str, count: int = MOST_REVOKED) -> FleetRecord:
    """So many keys, each revoked a second after the one before."""
    many = [
        Revoked(account=account, nkey=f"U{number:05}", at=FOR_EVER, since=THEN + number)
        for number in range(count)
    ]
    return record.model_copy(update={"revoked": (*record.revoked, *many)})


def test_a_cluster_key_is_named_until_no_user_of_it_can_live(folder: Path) -> None:
    record = revoking(read_record(folder), (AGENTS, ENROL, OPERATORS), ["UOLD"], THEN)
    accounts = (AGENTS, ENROL, OPERATORS)
    before = revoking(record, accounts, ["UNEW"], THEN + USERS_GONE_S - 1)
    assert [named(before, one) for one in accounts] == [{"UOLD", "UNEW"}] * 3
    after = revoking(record, accounts, ["UNEW"], THEN + USERS_GONE_S)
    assert [named(after, one) for one in accounts] == [{"UNEW"}, {"UOLD", "UNEW"}, {"UOLD", "UNEW"}]


def test_in_enrol_the_oldest_makes_room_and_who_is_revoked_now_is_named(folder: Path) -> None:
    """Also by a clock that is behind the one that wrote the others down."""
    record = full(read_record(folder), ENROL)
    for now_s in (THEN + MOST_REVOKED, THEN - 1000):
        found = named(revoking(record, (ENROL,), ["UNEW"], now_s), ENROL)
        assert len(found) == MOST_REVOKED
        assert "UNEW" in found
        assert "U00000" not in found


async def test_what_an_account_has_no_room_for_is_refused_before_anything_is_written(folder: Path) -> None:
    for account in (AGENTS, OPERATORS):
        now_s = int(SystemClock().now().timestamp())
        write_record(folder, full(read_record(folder), account))
        present = [one.model_copy(update={"since": now_s}) for one in read_record(folder).revoked]
        write_record(folder, read_record(folder).model_copy(update={"revoked": tuple(present)}))
        before = read_record(folder), read_token(folder, account)
        with pytest.raises(NotPossible, match=f"the token of {account} has room for") as refused:
            await revoke_keys(folder, (ENROL, account), ["UNEW"], FolderKeys(folder), SystemClock())
        assert "revocation.md" in refused.value.remedy
        assert (read_record(folder), read_token(folder, account)) == before


def test_an_account_is_crowded_before_it_refuses_and_one_that_makes_room_never(folder: Path) -> None:
    record = full(full(full(read_record(folder), AGENTS, CROWDED), OPERATORS, CROWDED - 1), ENROL)
    assert crowded(record) == {AGENTS: CROWDED}
