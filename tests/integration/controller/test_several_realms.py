"""A name that is known in several realms: which is meant must be said, and the other is left as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetbus.controller.audit import Author, Entry
from fleetbus.controller.desk import Desk
from fleetbus.schemas.enrolment import Enrolment, RevokedKey
from fleetbus.schemas.errors import NotFound, NotPossible
from fleetbus.schemas.subjects import ClusterId
from tests.bus_server import CLOCK, FleetServer
from tests.integration.controller.enrolling import Candidate, admitted_token
from tests.integration.controller.people import Operator, controlling

NAME = {"name": "y", "left": "revoked"}


async def left_before(desk: Desk, realm: str) -> None:
    """As after a cluster of this realm was purged."""
    key = RevokedKey(nkey=Candidate().nkey, uid="uid-0", at=CLOCK.now(), by="ana", left="retired")
    record = Enrolment(realm=realm, name="y", revoked=(key,))
    await desk.enrolments.write(record, Entry(Author("ana", "retire"), "cluster/y"))


async def test_a_kept_cluster_is_not_purged_for_its_namesake(
    fleet: FleetServer, operator: Operator, tmp_path: Path
) -> None:
    async with controlling(fleet, tmp_path) as controller:
        await operator.wait_answered()
        await Candidate().enrol(await admitted_token(fleet, operator, "y"))
        await operator.ask("retire", {**NAME, "left": "retired"})
        (desk,) = controller.desks
        await left_before(desk, "edge")
        with pytest.raises(NotPossible, match="known in the realms edge, main"):
            await operator.ask("retire", {**NAME, "purge": True})
        assert desk.enrolments.read(ClusterId("edge", "y")).revoked[0].left == "retired"
        await operator.ask("retire", {**NAME, "purge": True, "realm": "edge"})
        rows = (await operator.ask("list", {"kind": "Cluster", "names": ["y"]}))["rows"]
        assert len(rows) == 1
        await operator.ask("retire", {**NAME, "purge": True, "realm": "main"})
        with pytest.raises(NotFound):
            await operator.ask("list", {"kind": "Cluster", "names": ["y"]})
        with pytest.raises(NotFound):
            await operator.ask("retire", {**NAME, "realm": "elsewhere"})
