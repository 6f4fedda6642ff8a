"""Joining over a simulated apiserver: a name belongs to one cluster, and what is refused has written nothing."""

from __future__ import annotations

import base64
import multiprocessing
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from fleetbus.cli.ceremony.admit import JoinRequest
from fleetbus.cli.ceremony.folder import read_token
from fleetbus.cli.ceremony.init import FleetPlan
from fleetbus.cli.ceremony.join import Joined, join
from fleetbus.cli.ceremony.keys import FolderKeys
from fleetbus.cli.ceremony.leave import leave_bus
from fleetbus.cli.ceremony.online import Push
from fleetbus.cli.ceremony.record import FILE, Member, changing, read_record, write_record
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.errors import AlreadyExists, DocumentInvalid, NotFound, SettingsInvalid
from fleetbus.schemas.nats_jwt import Claims, read, verify
from fleetbus.schemas.subjects import ClusterId
from tests.founding import NOW, founded
from tests.simulation.kube import SimulatedKube
from tests.simulation.kube_cluster import SimulatedCluster
from tests.unit.cli.fleet_of_three import Answers, cluster, rows, run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    founded(tmp_path / "fleet", FleetPlan("demo", ("127.0.0.1",)))
    return tmp_path / "fleet"


def _cluster(seed: int) -> SimulatedCluster:
    made = SimulatedCluster(SystemClock(), seed=seed)
    made.documents["/openid/v1/jwks"] = {"keys": [_key()]}
    return made


def _key() -> dict[str, str]:
    point = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
    x, y = (base64.urlsafe_b64encode(n.to_bytes(32)).decode().rstrip("=") for n in (point.x, point.y))
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y, "use": "sig"}


async def _join(
    folder: Path,
    where: SimulatedCluster,
    request: JoinRequest,
    *,
    now: datetime = NOW,
    push: Push | None = None,
) -> Joined:
    objects = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "fleetbus-system"}}]
    return await join(request, folder, SimulatedKube(where), objects, FolderKeys(folder), now, push=push)


async def _leave(folder: Path, name: str, *, now: datetime = NOW, push: Push | None = None) -> None:
    await leave_bus(ClusterId("main", name), folder, FolderKeys(folder), now, push, lambda line: None)


def _token(joined: Joined) -> str:
    """In the Secret that the agent reads."""
    made = next(one for one in joined.objects if one["kind"] == "Secret")
    return base64.b64decode(made["data"]["jwt"]).decode()


def _account(folder: Path) -> Claims:
    return read(read_token(folder, "AGENTS_main"))


class Told:
    """A bus that only remembers of which accounts it was told."""

    def __init__(self) -> None:
        self.names: list[str] = []

    async def push(self, names: Sequence[str]) -> None:
        self.names += names


def _files(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


async def test_another_cluster_does_not_get_the_name(folder: Path) -> None:
    first, second = _cluster(1), _cluster(2)
    joined = await _join(folder, first, JoinRequest("prod-us"))
    assert (await _join(folder, first, JoinRequest("prod-us"))).nkey == joined.nkey
    before, revision = _files(folder), second.revision
    with pytest.raises(AlreadyExists, match="another cluster has joined as `prod-us`"):
        await _join(folder, second, JoinRequest("prod-us"))
    assert (_files(folder), second.revision) == (before, revision)

    replaced = await _join(folder, second, JoinRequest("prod-us", replace=True))
    assert [(one.nkey, one.uid) for one in read_record(folder).clusters] == [(replaced.nkey, replaced.uid)]
    assert replaced.uid != joined.uid


async def test_a_cluster_has_one_name(folder: Path) -> None:
    where = _cluster(1)
    await _join(folder, where, JoinRequest("prod-us"))
    for replace in (False, True):
        with pytest.raises(AlreadyExists, match="this cluster has joined as `prod-us`"):
            await _join(folder, where, JoinRequest("prod-eu", replace=replace))
    await _leave(folder, "prod-us")
    await _join(folder, where, JoinRequest("prod-eu"))
    assert [one.name for one in read_record(folder).clusters] == ["prod-eu"]


async def test_what_the_controller_knows_counts_as_well(folder: Path) -> None:
    where = _cluster(1)
    with pytest.raises(AlreadyExists):
        await _join(folder, where, JoinRequest("prod-us", stored_uid="of-another"))
    joined = await _join(folder, where, JoinRequest("prod-us", stored_uid="of-another", replace=True))
    await _join(folder, where, JoinRequest("prod-us", stored_uid=joined.uid))


async def test_one_that_joined_before_its_uid_was_kept_is_known_by_its_key(folder: Path) -> None:
    where = _cluster(1)
    joined = await _join(folder, where, JoinRequest("prod-us"))
    for nkey in (joined.nkey, read_record(folder).system):
        old = Member(realm="main", name="prod-us", nkey=nkey)
        write_record(folder, read_record(folder).with_member(old, NOW))
        if nkey == joined.nkey:
            await _join(folder, where, JoinRequest("prod-us"))
            continue
        with pytest.raises(AlreadyExists):
            await _join(folder, where, JoinRequest("prod-us"))


def test_the_command_asks_the_controller_and_before_it_replaces(folder: Path) -> None:
    answers = Answers(rows={"Cluster": rows(cluster("prod-us", "True", "Ready"))})
    arguments = ("cluster", "join", "prod-us", "--fleet-dir", str(folder), "--kubeconfig", "/nowhere")
    ran = run(answers, *arguments, "--replace")
    assert (ran.code, answers.asked) == (64, [])
    assert "needs --yes" in ran.err
    assert "FB6002" in run(answers, *arguments, "--replace", "--yes").err


async def test_a_wrong_name_is_nowhere(folder: Path) -> None:
    before = _files(folder)
    with pytest.raises(DocumentInvalid):
        JoinRequest("7")
    with pytest.raises(ValueError, match="`7` cannot name a cluster"):
        Member(realm="main", name="7", nkey="U0")
    assert _files(folder) == before
    broken = (
        (folder / FILE).read_text().replace('"clusters": []', '"clusters": [{"realm": "main", "name": "7"}]')
    )
    (folder / FILE).write_text(broken)
    with pytest.raises(SettingsInvalid, match=r"damaged: .*clusters\.0"):
        read_record(folder)


def _add(folder: Path, start: int) -> None:
    for number in range(start, start + 10):
        with changing(folder):
            record = read_record(folder)
            write_record(folder, record.with_member(Member(realm="main", name=f"c{number}", nkey="U0"), NOW))


def test_processes_that_join_at_once_lose_nobody(folder: Path) -> None:
    forked = multiprocessing.get_context("fork")
    writers = [forked.Process(target=_add, args=(folder, start)) for start in (0, 10, 20)]
    for one in writers:
        one.start()
    for one in writers:
        one.join(20)
    assert [one.exitcode for one in writers] == [0, 0, 0]
    assert len(read_record(folder).clusters) == 30
    with pytest.raises(NotFound), changing(folder / "nowhere"):
        pass


async def test_a_join_changes_no_account_and_gives_the_same_token_again(folder: Path) -> None:
    where, told = _cluster(1), Told()
    before = _files(folder)
    joined = await _join(folder, where, JoinRequest("prod-us"), push=told.push)
    changed = {file.name for file, content in _files(folder).items() if before.get(file) != content}
    assert (changed, told.names) == ({"fleet.json"}, [])
    again = await _join(folder, where, JoinRequest("prod-us"), now=NOW + timedelta(hours=1))
    assert _token(again) == _token(joined)
    claims, record = verify(_token(joined)), read_record(folder)
    assert (claims.subject, claims.name) == (joined.nkey, "prod-us")
    assert (claims.issuer, claims.body) == (
        record.roles["AGENTS_main.agent"],
        {"issuer_account": record.accounts["AGENTS_main"]},
    )


async def test_who_has_left_is_revoked_and_joins_again_with_a_later_token(folder: Path) -> None:
    where, told = _cluster(1), Told()
    first = verify(_token(await _join(folder, where, JoinRequest("prod-us"))))
    # The clock of whoever removes it may be behind.
    for now in (NOW - timedelta(hours=1), NOW):
        await _leave(folder, "prod-us", now=now, push=told.push)
        revoked = _account(folder).body["revocations"]
        assert revoked == {first.subject: first.issued_at}
    assert told.names == ["AGENTS_main", "AGENTS_main"]
    second = verify(_token(await _join(folder, where, JoinRequest("prod-us"))))
    assert second.subject == first.subject
    assert second.issued_at > _account(folder).body["revocations"][second.subject]


async def test_whoever_is_replaced_is_revoked(folder: Path) -> None:
    told = Told()
    first = await _join(folder, _cluster(1), JoinRequest("prod-us"))
    await _join(folder, _cluster(2), JoinRequest("prod-us", replace=True), push=told.push)
    assert set(_account(folder).body["revocations"]) == {first.nkey}
    assert told.names == ["AGENTS_main"]


async def test_a_realms_first_cluster_makes_its_account(folder: Path) -> None:
    told = Told()
    joined = await _join(folder, _cluster(1), JoinRequest("prod-us", realm="edge"), push=told.push)
    account = read(read_token(folder, "AGENTS_edge"))
    assert told.names == ["AGENTS_edge"]
    assert verify(_token(joined)).body == {"issuer_account": account.subject}
    assert all(".main." not in one["subject"] for one in account.body["imports"])
    await _join(folder, _cluster(2), JoinRequest("prod-eu", realm="edge"), push=told.push)
    assert told.names == ["AGENTS_edge"]
