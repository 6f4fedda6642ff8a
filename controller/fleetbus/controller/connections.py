"""Who is connected now, by key: what advisories and listings have told, put together. No I/O.

Advisories tell at once and can get lost; a listing tells all and is a moment old, and may lack who is there. So a
listing adds at once what it names, and takes away only what several in a row did not name; what an advisory said
while it was made counts more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from fleetbus.schemas.connections import Connection, Ended, Page, Place, servers_told_whole

MISSED_LISTINGS = 2
"""So often a server that has told all of its connections must not have named one."""
UNANSWERED_LISTINGS = 3
"""So often a server must not have answered: then its connections went with it."""
_MOST_MOVED = 100_000
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


class Connections:
    """Of one realm."""

    def __init__(self) -> None:
        self.known: dict[Place, Connection] = {}
        self._by_key: dict[str, dict[Place, Connection]] = {}
        self._missed: dict[Place, int] = {}
        self._moved: set[Place] | None = None

    def of(self, key: str) -> Sequence[Connection]:
        """The connections of one key, the oldest first."""
        return sorted(self._by_key.get(key, {}).values(), key=lambda one: one.since or _EARLIEST)

    def came(self, connection: Connection) -> None:
        self._note(connection.place)
        self._put(connection)

    def left(self, ended: Ended) -> None:
        self._note(ended.connection.place)
        self._drop(ended.connection.place)

    def begin_listing(self) -> None:
        """A question goes out: from now on it is remembered who comes and leaves, which is newer than the answer."""
        self._moved = set()

    def listed(self, pages: Iterable[Page]) -> bool:
        """What was answered.

        False when it named less than is known: then another listing soon tells who is gone.
        """
        moved, self._moved = self._moved or set(), None
        pages = list(pages)
        told = [one for page in pages for one in page.connections if one.nkey]
        named = {one.place: one for one in told if one.place not in moved}
        answered, whole = {page.server_id for page in pages}, servers_told_whole(pages)
        for connection in named.values():
            self._put(connection)
        unnamed = [one for one in self.known if one not in named and one not in moved]
        for place in unnamed:
            if place[0] in answered and place[0] not in whole:
                continue  # It may stand on the page that did not come.
            self._missed[place] = self._missed.get(place, 0) + 1
            enough = MISSED_LISTINGS if place[0] in whole else UNANSWERED_LISTINGS
            if self._missed[place] >= enough:
                self._drop(place)
        return not unnamed

    def _note(self, place: Place) -> None:
        if self._moved is not None and len(self._moved) < _MOST_MOVED:
            self._moved.add(place)

    def _put(self, connection: Connection) -> None:
        place = connection.place
        self._missed.pop(place, None)
        self.known[place] = connection
        self._by_key.setdefault(connection.nkey, {})[place] = connection

    def _drop(self, place: Place) -> None:
        self._missed.pop(place, None)
        connection = self.known.pop(place, None)
        if connection is None:
            return
        siblings = self._by_key[connection.nkey]
        del siblings[place]
        if not siblings:
            del self._by_key[connection.nkey]
