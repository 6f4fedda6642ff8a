"""A large fleet is listed in answers that each fit into a message, and the client puts them together."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from fleetbus.client.fleet import Fleet
from fleetbus.controller.desk import Request
from fleetbus.controller.doors import reading
from fleetbus.controller.store import Documents
from fleetbus.controller.views import Known
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.ports import Message
from fleetbus.schemas import api, subjects
from fleetbus.schemas.canonical import canonical
from fleetbus.schemas.documents import Status
from fleetbus.schemas.errors import NotFound
from fleetbus.schemas.limits import MAX_PAYLOAD_BYTES
from tests.seals import SEAL
from tests.unit.controller.fleet import condition, stored

COUNT = 1000
NAMES = [f"c{number:04}" for number in range(COUNT)]
CLOCK = SystemClock()


@pytest.fixture(scope="module")
def known() -> Known:
    made = Known("test")
    message = "bundle/ingress: WorkloadFailing: " + "x" * 200
    conditions = tuple(condition(type_, "False", "Failing", message) for type_ in ("Ready", "Synced"))
    for name in NAMES:
        document = stored("Cluster", name, {"key": "U" * 56}, labels={"env": "prod", "site": name * 8})
        made.put_document(document)
        made.put_status(Status(kind="Cluster", name=name, uid=document.uid, conditions=conditions))
    for number in range(12):
        document = stored("Bundle", f"b{number:02}", {"source": "platform"})
        made.put_document(document)
        details = {
            "placed": NAMES,
            "ready": 7,
            "clusters": [{"cluster": name, "message": "x" * 256} for name in NAMES[:256]],
            "excluded": [
                {"cluster": name, "clause": "exclude", "message": "x" * 256} for name in NAMES[:256]
            ],
        }
        made.put_status(Status(kind="Bundle", name=document.name, uid=document.uid, details=details))
    return made


class Wire:
    """The port Bus as far as a client asks on it: straight into the doors; every answer must fit."""

    def __init__(self, known: Known) -> None:
        documents = Documents(None, known, CLOCK, None, SEAL)  # type: ignore[arg-type]
        self.desk: Any = SimpleNamespace(known=known, documents=documents, clock=CLOCK, watching=[])
        self.asked = 0

    async def request(self, subject: str, data: bytes, *, timeout_s: float) -> Message:
        self.asked += 1
        verbs = {subjects.api("list"): reading.list_, subjects.api("watch"): reading.watch}
        result = await verbs[subject](self.desk, Request("ana", data))
        answer = canonical(api.Answer(ok=True, result=dict(result)).as_json())
        assert len(answer) < MAX_PAYLOAD_BYTES
        return Message(subject, answer)


def client(wire: Wire) -> Fleet:
    bus: Any = wire
    return Fleet(bus, CLOCK)


def names(found: api.ListResult) -> list[str]:
    return [row.document["metadata"]["name"] for row in found.rows]


async def test_a_thousand_clusters_are_listed_in_pages(known: Known) -> None:
    wire = Wire(known)
    assert names(await client(wire).list("Cluster")) == NAMES
    assert wire.asked > 1


async def test_a_watcher_gets_the_whole_list(known: Known) -> None:
    async for found in client(Wire(known)).watch("Cluster", labels="env=prod"):
        assert names(found) == NAMES
        break


async def test_a_list_leaves_out_what_describe_tells_cluster_by_cluster(known: Known) -> None:
    fleet = client(Wire(known))
    listed = await fleet.list("Bundle")
    assert len(listed.rows) == 12
    details = listed.rows[0].document["status"]["details"]
    assert (details["ready"], len(details["placed"]), set(details)) == (7, COUNT, {"ready", "placed"})
    (named,) = (await fleet.list("Bundle", names=("b03",))).rows
    assert len(named.document["status"]["details"]["clusters"]) == 256


async def test_a_page_is_as_short_as_it_is_asked_for(known: Known) -> None:
    wire = Wire(known)

    async def page(**more: Any) -> api.ListResult:
        asked = api.ListRequest(kind="Cluster", **more)
        return api.ListResult.from_json(
            dict(await reading.list_(wire.desk, Request("a", canonical(asked.as_json()))))
        )

    first = await page(limit=3)
    assert (names(first), first.more_after) == (NAMES[:3], NAMES[2])
    last = await page(limit=3, after=NAMES[-4])
    assert (names(last), last.more_after) == (NAMES[-3:], "")
    with pytest.raises(NotFound):
        await page(names=("nobody",))
