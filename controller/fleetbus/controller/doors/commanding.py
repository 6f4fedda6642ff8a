"""The verbs `command` and `commands`: orders to one cluster, issued, cancelled, listed."""

from __future__ import annotations

from collections.abc import Mapping

from fleetbus.controller import orders
from fleetbus.controller.command_lists import ordered
from fleetbus.controller.desk import Desk, Request
from fleetbus.controller.ports import ClusterView
from fleetbus.schemas import api
from fleetbus.schemas.canonical import parse_json
from fleetbus.schemas.capabilities.commands import CommandRow
from fleetbus.schemas.errors import DocumentInvalid, NotFound

Result = Mapping[str, object]


async def command(desk: Desk, request: Request) -> Result:
    asked = api.CommandRequest.model_validate(parse_json(request.data))
    if asked.action == "run":
        if asked.order is None:
            raise DocumentInvalid(
                "there is no order", where="order", remedy="say what is to be run, and where"
            )
        view = _cluster(desk, asked.order.cluster)
        issued = await desk.command_lists.issue(
            view, asked.order, request.author("command-run", asked.order.reason)
        )
        rows = [row for row in _rows(desk, view.id.name) if row.id == issued.id]
    else:
        view = _holder(desk, asked.id, asked.cluster)
        results = view.results
        await desk.command_lists.change(
            view.id.name,
            lambda before: orders.cancelled(before, asked.id, results),
            ordered(
                request.author("command-cancel", asked.reason),
                asked.id,
                {"cluster": view.id.name, "cancelled": True},
            ),
        )
        rows = [row for row in _rows(desk, view.id.name) if row.id == asked.id]
    return api.CommandsResult(commands=tuple(rows)).as_json()


async def commands(desk: Desk, request: Request) -> Result:
    asked = api.CommandsRequest.model_validate(parse_json(request.data))
    names = [_cluster(desk, asked.cluster).id.name] if asked.cluster else sorted(desk.known.view().clusters)
    rows = [row for name in names for row in _rows(desk, name)]
    rows.sort(key=lambda row: (row.issued_at, row.id), reverse=True)
    return api.CommandsResult(commands=tuple(rows)).as_json()


def _cluster(desk: Desk, name: str) -> ClusterView:
    desk.documents.named(("Cluster", name))
    view = desk.known.cluster(name)
    if view is None:
        raise NotFound(f"cluster {name} has a document that this controller cannot read")
    return view


def _holder(desk: Desk, identifier: str, cluster: str) -> ClusterView:
    """The cluster whose list has this command."""
    for view in desk.known.clusters():
        listed = view.commands.commands if view.commands else ()
        if (not cluster or view.id.name == cluster) and any(one.id == identifier for one in listed):
            return view
    raise NotFound(f"there is no open command `{identifier[:40]}`", remedy="see `fleetbus command list`")


def _rows(desk: Desk, name: str) -> list[CommandRow]:
    view = desk.known.cluster(name)
    if view is None or view.commands is None:
        return []
    return orders.rows(name, view.commands.commands, view.results, desk.clock.now())
