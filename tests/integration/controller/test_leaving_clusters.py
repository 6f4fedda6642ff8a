"""A cluster leaves by the API: no document brings its key back or hides one, and a later revocation is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from fleetbus.controller.doors import directory
from fleetbus.runtime.bus import NatsBus
from fleetbus.schemas.capabilities import clusters as words
from fleetbus.schemas.errors import NotFound, NotPossible
from tests.bus_server import CLOCK, FleetServer
from tests.integration.controller.enrolling import Candidate, admitted_token
from tests.integration.controller.people import Operator, controlling, events
from tests.integration.controller.toy import cluster_document
from tests.waiting import wait_until


async def row(operator: Operator, name: str) -> dict[str, Any]:
    found: dict[str, Any] = (await operator.ask("enrolments", {"name": name}))["rows"][0]
    return found


async def test_by_no_door_does_a_revoked_key_become_a_members_again(
    fleet: FleetServer, operator: Operator, tmp_path: Path
) -> None:
    async with controlling(fleet, tmp_path) as controller:
        await operator.wait_answered()
        lost = Candidate("uid-1")
        await lost.enrol(await admitted_token(fleet, operator, "lost"))
        await operator.ask("retire", {"name": "lost", "left": "revoked", "purge": True})
        (desk,) = controller.desks
        for name in ("lost", "other"):
            document = cluster_document(name, lost.nkey)
            with pytest.raises(NotPossible, match="was revoked at"):
                await operator.apply(document)
            found = directory._Found((1, 1), yaml.safe_dump(document))
            assert "was revoked at" in await directory._apply(desk, f"{name}.yaml", found)
            with pytest.raises(NotFound):
                await operator.ask("list", {"kind": "Cluster", "names": [name]})
        # Nor in the place of a key that counts.
        await operator.apply(cluster_document("other", Candidate().nkey))
        with pytest.raises(NotPossible, match="was revoked at"):
            await operator.apply(cluster_document("other", lost.nkey))


async def test_a_key_that_a_document_replaced_is_revoked_with_the_rest(
    fleet: FleetServer, operator: Operator, tmp_path: Path
) -> None:
    async with controlling(fleet, tmp_path):
        await operator.wait_answered()
        first, second = Candidate("uid-1"), Candidate("uid-1")
        await first.enrol(await admitted_token(fleet, operator, "y"))
        await operator.apply(cluster_document("y", second.nkey, uid="uid-1"))
        found = await row(operator, "y")
        assert (found["memberNkey"], found["formerKeys"]) == (second.nkey, [first.nkey])
        await operator.ask("retire", {"name": "y", "left": "revoked"})
        assert set((await row(operator, "y"))["formerKeys"]) == {first.nkey, second.nkey}


async def test_one_that_was_retired_and_kept_is_revoked_with_a_trace(
    fleet: FleetServer, bus: NatsBus, operator: Operator, tmp_path: Path
) -> None:
    async with controlling(fleet, tmp_path):
        await operator.wait_answered()
        await Candidate("uid-1").enrol(await admitted_token(fleet, operator, "y"))
        await operator.ask("retire", {"name": "y", "left": "retired", "reason": "moved"})
        await operator.ask("retire", {"name": "y", "left": "revoked", "reason": "INC-1"})

        async def told() -> bool:
            return words.EVENT_REVOKED in [one.short_type for one in await events(bus)]

        assert await wait_until(told, CLOCK, 10)
        types = [one.short_type for one in await events(bus) if one.subject == "cluster/y"]
        assert types.count(words.EVENT_RETIRED) == types.count(words.EVENT_REVOKED) == 1
        document = (await operator.ask("list", {"kind": "Cluster", "names": ["y"]}))["rows"][0]["document"]
        ready = {one["type"]: one for one in document["status"]["conditions"]}["Ready"]
        assert ready["reason"] == words.REASON_REVOKED
        assert (await row(operator, "y"))["outcome"] == "revoked"
        rows = (await operator.ask("audit", {"object": "cluster/y"}))["rows"]
    records = [json.loads(one["envelope"].partition("\n")[2]) for one in rows]
    written = [(one["action"], one["reason"]) for one in records if one["action"] in ("retire", "revoke")]
    assert written == [("retire", "moved"), ("revoke", "INC-1")]
