"""Joining over a simulated apiserver: a name belongs to one cluster, and what is refused has written nothing."""

from __future__ import annotations

import base64
import multiprocessing
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from fleetbus.cli.ceremony.init import FleetPlan, make_fleet
from fleetbus.cli.ceremony.join import Joined, JoinRequest, join
from fleetbus.cli.ceremony.leave import leave_bus
from fleetbus.cli.ceremony.record import FILE, Member, changing, read_record, write_record
from fleetbus.cli.ceremony.servers import default_reload, reload_by
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.errors import AlreadyExists, DocumentInvalid, NotFound, SettingsInvalid
from fleetbus.schemas.subjects import ClusterId
from tests.simulation.kube import SimulatedKube
from tests.simulation.kube_cluster import SimulatedCluster
from tests.unit.cli.fleet_of_three import Answers, cluster, rows, run

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_fleet(tmp_path / "fleet", FleetPlan("demo", ("127.0.0.1",)), NOW)
    return tmp_path / "fleet"


def _cluster(seed: int) -> SimulatedCluster:
    made = SimulatedCluster(SystemClock(), seed=seed)
    made.documents["/openid/v1/jwks"] = {"keys": [_key()]}
    return made


def _key() -> dict[str, str]:
    point = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
    x, y = (base64.urlsafe_b64encode(n.to_bytes(32)).decode().rstrip("=") for n in (point.x, point.y))
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y, "use": "sig"}


async def _join(folder: Path, where: SimulatedCluster, request: JoinRequest) -> Joined:
    objects = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "fleetbus-system"}}]
    return await join(request, folder, SimulatedKube(where), objects)


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
    await leave_bus(ClusterId("main", "prod-us"), folder, None, lambda line: None)
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
        write_record(folder, read_record(folder).with_member(old))
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
            write_record(folder, record.with_member(Member(realm="main", name=f"c{number}", nkey="U0")))


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


async def test_a_reload_is_neither_a_typing_error_nor_somebody_elses_process(folder: Path) -> None:
    with pytest.raises(SettingsInvalid, match="neither a pid file nor a command"):
        reload_by("fleet/nats/server.pid", folder)
    await reload_by("true", folder)("")
    await reload_by(f"{sys.executable} -c pass", folder)("")
    assert default_reload(folder) is None
    (folder / "nats" / "nats-server.pid").write_text("1\n")
    reload = default_reload(folder)
    assert reload is not None
    with pytest.raises(NotFound, match="no nats-server runs as process 1"):
        await reload("")
