"""How much of what is placed on a cluster it reports as ready, in the words that all capabilities share. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fleetbus.controller.decisions.memo import Memo
from fleetbus.controller.ports import ClusterView, Key, View
from fleetbus.schemas.capabilities import bundles, secrets
from fleetbus.schemas.documents import Status


@dataclass(frozen=True, slots=True)
class Item:
    """One placed document in one cluster. `ready` as the cluster's own condition says."""

    name: str
    ready: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class _Told:
    uid: str
    artifact: str
    placed: frozenset[str]


_NOTHING = _Told("", "", frozenset())
_told: Memo[_Told] = Memo(4096)


def placed_bundles(cluster: ClusterView, view: View) -> tuple[Item, ...]:
    found: list[Item] = []
    for told, name in _placed(cluster, view, "Bundle"):
        aspect = bundles.aspect_of(told.uid)
        report = next(
            (one for one in _reports(cluster, aspect, "bundles") if one.get("id") == told.uid), None
        )
        if report is None or report.get("removed") or report.get("artifact") != told.artifact:
            found.append(Item(name, "Unknown", bundles.REASON_PROGRESSING, ""))
            continue
        conditions = report.get("conditions")
        ready = (
            [one for one in conditions if isinstance(one, dict) and one.get("type") == "Ready"]
            if isinstance(conditions, list)
            else []
        )
        found.append(_item(name, ready[0] if ready else {}))
    return tuple(found)


def placed_secrets(cluster: ClusterView, view: View) -> tuple[Item, ...]:
    found: list[Item] = []
    for told, name in _placed(cluster, view, "SecretBinding"):
        reports = _reports(cluster, secrets.ASPECT, "secrets")
        report = next((one for one in reports if one.get("id") == told.uid), {})
        condition = report.get("condition")
        found.append(_item(name, condition if isinstance(condition, dict) else {}))
    return tuple(found)


class Placements:
    """What was placed where when it was looked at last: which clusters have to be looked at again."""

    def __init__(self) -> None:
        self._last: dict[Key, _Told] = {}

    def moved(self, key: Key, view: View) -> frozenset[str]:
        """Clusters that got or lost this document, or are to have something else of it."""
        before, now = self._last.pop(key, _NOTHING), _told_by(key, view) or _NOTHING
        if now is not _NOTHING:
            self._last[key] = now
        if (before.uid, before.artifact) == (now.uid, now.artifact):
            return before.placed ^ now.placed
        return before.placed | now.placed


def _item(name: str, condition: Mapping[str, Any]) -> Item:
    status = condition.get("status")
    return Item(
        name,
        status if status in ("True", "False") else "Unknown",
        str(condition.get("reason") or bundles.REASON_PROGRESSING),
        str(condition.get("message") or "")[: bundles.MAX_MESSAGE_BYTES],
    )


def _placed(cluster: ClusterView, view: View, kind: str) -> Iterator[tuple[_Told, str]]:
    for document in view.of_kind(kind):
        told = _told_by(document.key, view)
        if told is not None and cluster.id.name in told.placed:
            yield told, document.name


def _told_by(key: Key, view: View) -> _Told | None:
    """What a document's status tells clusters; None when it tells none anything."""
    document, status = view.documents.get(key), view.statuses.get(key)
    if document is None or status is None or status.uid != document.uid or document.deleting is not None:
        return None
    return _told.of(lambda: _read(status), status)


def _read(status: Status) -> _Told:
    placed = status.details.get("placed")
    return _Told(
        uid=status.uid,
        artifact=str(status.details.get("artifact") or ""),
        placed=frozenset(placed if isinstance(placed, (list, tuple)) else ()),
    )


def _reports(cluster: ClusterView, aspect: str, field: str) -> list[Mapping[str, Any]]:
    state = cluster.states.get(aspect)
    entries = state.body.get(field) if state is not None else None
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
