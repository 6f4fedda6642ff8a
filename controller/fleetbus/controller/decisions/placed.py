"""Which documents are placed on which clusters, as their statuses tell, in the words that all capabilities share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fleetbus.controller.decisions.memo import Memo
from fleetbus.controller.ports import ClusterView, Key, View
from fleetbus.schemas.documents import Status, Stored


@dataclass(frozen=True, slots=True)
class Told:
    """What a document's status tells the clusters that it is placed on."""

    uid: str
    artifact: str
    placed: frozenset[str]


_NOTHING = Told("", "", frozenset())
_told: Memo[Told] = Memo(4096)


def placed_on(cluster: ClusterView, view: View, kind: str) -> Iterator[tuple[Stored, Told]]:
    """The documents of a kind that are placed on a cluster; none that is being deleted."""
    for document in view.of_kind(kind):
        told = _told_by(document.key, view)
        if told is not None and cluster.id.name in told.placed:
            yield document, told


class Placements:
    """What was placed where when it was looked at last: which clusters have to be looked at again."""

    def __init__(self) -> None:
        self._last: dict[Key, Told] = {}

    def moved(self, key: Key, view: View) -> frozenset[str]:
        """Clusters that got or lost this document, or are to have something else of it."""
        before, now = self._last.pop(key, _NOTHING), _told_by(key, view) or _NOTHING
        if now is not _NOTHING:
            self._last[key] = now
        if (before.uid, before.artifact) == (now.uid, now.artifact):
            return before.placed ^ now.placed
        return before.placed | now.placed


def _told_by(key: Key, view: View) -> Told | None:
    """What a document's status tells clusters; None when it tells none anything."""
    document, status = view.documents.get(key), view.statuses.get(key)
    if document is None or status is None or status.uid != document.uid or document.deleting is not None:
        return None
    return _told.of(lambda: _read(status), status)


def _read(status: Status) -> Told:
    placed = status.details.get("placed")
    return Told(
        uid=status.uid,
        artifact=str(status.details.get("artifact") or ""),
        placed=frozenset(placed if isinstance(placed, (list, tuple)) else ()),
    )
