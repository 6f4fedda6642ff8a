"""Approvals at the controller: what could not count in the cluster is refused, what heads carry is kept in bounds."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from nacl.signing import SigningKey

from fleetbus.agent.ports import Identity
from fleetbus.controller.capabilities.bundles.standing import Wanted, applied, judge
from fleetbus.controller.capabilities.clusters import CAPABILITY
from fleetbus.controller.catalogue import CAPABILITIES
from fleetbus.controller.decisions.approvals import Carried, Fitting, fitting, still_carried, with_one
from fleetbus.controller.ports import ClusterView
from fleetbus.schemas.approvals import (
    COMMAND,
    MAX_CARRIED,
    PRUNE,
    SET,
    Approval,
    Approver,
    ProtectionState,
    Waiting,
)
from fleetbus.schemas.conditions import READY
from fleetbus.schemas.desired import Head
from fleetbus.schemas.errors import DocumentInvalid, FleetbusError, NotPossible
from fleetbus.schemas.nkeys import public_key
from fleetbus.schemas.subjects import ClusterId
from tests.approvers import ANA, BEN, EVE, NAMES, approval, here, signed
from tests.simulation.loop import VirtualLoop, simulate
from tests.unit.controller.fleet import FACTS, NOW, Desk, cluster, types
from tests.unit.controller.test_publish import Desk as PublishDesk
from tests.unit.controller.test_publish import cluster as cluster_document
from tests.unit.controller.test_publish import head_of

OLD, NEW = "0" * 64, "1" * 64
ME = Identity("test", ClusterId("main", "c1"), "uid-1")
KEY = ("Cluster", "c1")
STATE = ProtectionState(
    required=2,
    approvers=tuple(Approver(name=name, key=public_key(key)) for name, key in NAMES.items()),
    turn=7,
    set=OLD,
    waiting=(
        Waiting(kind=SET, digest=NEW, need=2),
        Waiting(kind=COMMAND, digest="2" * 64, command="order-1", need=2),
        Waiting(kind=PRUNE, digest=OLD, need=2, prunes={"b": 3}),
    ),
)


def protected(state: ProtectionState | None = STATE, **more: Any) -> ClusterView:
    return cluster("c1", facts=FACTS.model_copy(update={"protection": state}), **more)


def of_set(**fields: Any) -> Approval:
    return approval(fields.pop("digest", NEW), NOW, here(ME, STATE, **fields.pop("here", {})), **fields)


def fits(one: Approval, key: SigningKey = ANA, view: ClusterView | None = None) -> list[Fitting]:
    return fitting(signed(one, key), {"c1": view or protected()}, "test", NOW)


def test_what_waits_is_taken_with_the_name_that_the_owner_gave() -> None:
    (one,) = fits(of_set())
    assert (one.cluster.id.name, one.by) == ("c1", "ana")
    assert "signed by ana" in one.what
    assert fits(approval("2" * 64, NOW, here(ME), kind=COMMAND, command="order-1"), BEN)
    assert fits(of_set(digest=OLD, kind=PRUNE, here={"prunes": {"b": 3}}))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (of_set(digest="3" * 64), "does not wait for this"),
        (of_set(here={"turn": 6}), "does not wait for this"),
        (of_set(here={"before": NEW}), "does not wait for this"),
        (of_set(here={"cluster": "main/c9"}), "asks for no approvals"),
        (of_set(fleet="other"), "another fleet"),
        (of_set(expires_at=NOW), "not valid now"),
        (of_set(issued_at=NOW + timedelta(hours=1), expires_at=NOW + timedelta(hours=2)), "not valid now"),
        (of_set(expires_at=NOW + timedelta(days=8)), "more than 7 days"),
        (approval("2" * 64, NOW, here(ME), kind=COMMAND, command="order-2"), "does not wait for this"),
        (of_set(digest=OLD, kind=PRUNE, here={"prunes": {"other": 3}}), "does not wait for this"),
        (approval(NEW, NOW), "names no cluster"),
    ],
)
def test_what_could_not_count_is_refused_and_says_why(wrong: Approval, says: str) -> None:
    with pytest.raises(FleetbusError, match=says):
        fits(wrong)


def test_a_stranger_s_an_altered_and_no_approval_are_refused() -> None:
    with pytest.raises(NotPossible, match="does not know the key"):
        fits(of_set(), EVE)
    with pytest.raises(NotPossible, match="asks for no approvals"):
        fits(of_set(), view=protected(None))
    views = {"c1": protected()}
    for envelope in ("", "fleetbus1 x", signed(of_set(), ANA).replace("1111", "1112"), "x" * 9000):
        with pytest.raises(DocumentInvalid):
            fitting(envelope, views, "test", NOW)
    with pytest.raises(DocumentInvalid, match="one signature"):
        fitting(signed(of_set(), ANA, BEN), views, "test", NOW)


def test_an_approver_s_later_word_takes_the_place_of_the_one_before_and_what_expired_goes() -> None:
    first, again = signed(of_set(), ANA), signed(of_set(reason="again"), ANA)
    other = signed(of_set(expires_at=NOW + timedelta(minutes=1)), BEN)
    carried: Carried = with_one(with_one(with_one(None, first, NOW), other, NOW), again, NOW)
    assert carried == (other, again)
    assert still_carried(carried, NOW + timedelta(minutes=2)) == (again,)
    assert still_carried(carried, NOW + timedelta(hours=2)) is None
    many = tuple(signed(of_set(), SigningKey(bytes([100 + number]) * 32)) for number in range(MAX_CARRIED))
    with pytest.raises(NotPossible):
        with_one(many, signed(of_set(), EVE), NOW)


async def test_a_cluster_says_what_waits_and_tells_of_each_step(tmp_path: Path) -> None:
    desk = Desk(CAPABILITY, tmp_path, catalogue=CAPABILITIES)
    desk.join(protected(None))
    await desk.reconcile(KEY)
    assert all(one.type != "Approved" for one in desk.statuses[KEY].conditions)
    desk.join(protected(STATE.model_copy(update={"waiting": ()})))
    assert types((await desk.reconcile(KEY))[1]) == ["cluster.protected"]
    assert desk.verdict(KEY, "Approved") == ("True", "Approved")
    desk.join(protected())
    assert types((await desk.reconcile(KEY))[1]) == ["cluster.approval-needed"] * 3
    assert desk.verdict(KEY, "Approved") == ("Unknown", "ApprovalMissing")
    assert desk.verdict(KEY, READY)[0] == "Unknown"
    by_ana = STATE.waiting[0].model_copy(update={"approved_by": ("ana",)})
    desk.join(protected(STATE.model_copy(update={"waiting": (by_ana,)})))
    assert types((await desk.reconcile(KEY))[1]) == ["cluster.approval-given"]
    desk.join(protected(STATE.model_copy(update={"turn": 8, "set": NEW, "waiting": ()})))
    assert types((await desk.reconcile(KEY))[1]) == ["cluster.approved"]
    desk.join(protected(STATE.model_copy(update={"trouble": "it is gone"})))
    await desk.reconcile(KEY)
    assert desk.verdict(KEY, "Approved") == ("False", "ProtectionBroken")
    desk.join(protected(None))
    assert types((await desk.reconcile(KEY))[1]) == ["cluster.protected"]
    assert desk.verdict(KEY, "Approved") == ("True", "NotProtected")


def test_a_bundle_says_which_clusters_wait_for_approvals() -> None:
    wanted = Wanted("b", "shop", 1, NEW, "r", "r", True)
    found = [judge(protected(), wanted), judge(cluster("c2"), wanted)]
    verdict = applied(found, wanted)
    assert (verdict.status, verdict.reason) == ("Unknown", "ChangeNotApproved")
    assert "c1: waits for approvals; fleetbus approve" in verdict.message


def test_a_head_carries_approvals_of_its_set_and_of_no_other() -> None:
    async def scenario(loop: VirtualLoop, chance: Random) -> list[Head | None]:
        desk = PublishDesk(loop, chance)
        desk.known.put_document(cluster_document("c1"))
        publisher = await desk.publisher()
        running = asyncio.create_task(publisher.run())
        await desk.clock.sleep(5)
        first = await head_of(desk.bus, "c1")
        view = desk.known.cluster("c1")
        assert first is not None
        assert view is not None
        now = desk.clock.now()
        one = approval(first.set, now, here(ME))
        fit = Fitting(view, signed(one, ANA), one, public_key(ANA), "ana")
        await publisher.carry(fit)
        carried = await head_of(desk.bus, "c1")
        with pytest.raises(NotPossible, match="something else by now"):
            await publisher.carry(replace(fit, approval=approval(OLD, now, here(ME))))
        running.cancel()
        await asyncio.wait([running])
        return [first, carried]

    first, carried = simulate(1, scenario)
    assert first is not None
    assert carried is not None
    assert first.approvals is None
    assert "approvals" not in first.as_json()
    assert len(carried.approvals or ()) == 1
    assert (carried.set, carried.serial > first.serial) == (first.set, True)
