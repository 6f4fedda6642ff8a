"""One cluster's presence: as its status showed it, and then as it is seen. Told what happens, with the time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from fleetbus.controller.decisions import presence as decisions
from fleetbus.controller.decisions.presence import Beats, Crowd, Flood, Linked
from fleetbus.controller.ports import Presence
from fleetbus.schemas import conditions
from fleetbus.schemas.capabilities import clusters as words
from fleetbus.schemas.documents import Status


@dataclass(slots=True)
class Member:
    """A cluster with this key. `left`: why its last connection ended.

    `awaited`: it has not been seen since this controller began, or has come back to the bus itself.
    """

    realm: str
    key: str
    linked: Linked = field(default_factory=Linked)
    beats: Beats = field(default_factory=Beats)
    crowd: Crowd = field(default_factory=Crowd)
    flood: Flood = field(default_factory=Flood)
    left: str = ""
    awaited: bool = True

    @classmethod
    def restored(cls, realm: str, key: str, status: Status | None, now_s: float) -> Self:
        """As the last controller showed it."""
        member = cls(realm, key, beats=Beats(since_s=now_s))
        if status is None:
            return member
        found = status.conditions
        connected = conditions.find(found, words.CONNECTED)
        responsive = conditions.find(found, words.RESPONSIVE)
        unique = conditions.find(found, words.NAME_UNIQUE)
        if connected is not None and connected.reason == words.REASON_FLAPPING:
            member.linked = Linked(None, (now_s,), flapping=True)
        elif connected is not None and connected.status == "True":
            member.linked = Linked(up=True)
        elif connected is not None and connected.reason == words.REASON_DISCONNECTED:
            member.linked = Linked(up=False)
            member.left = words.ClusterDetails.from_json(status.details).left
        if responsive is not None and responsive.status == "True":
            member.beats = Beats(True, now_s, now_s)
        elif responsive is not None and responsive.reason == words.REASON_FLOODING:
            member.flood = Flood(True, now_s)
        elif responsive is not None and responsive.status == "False":
            member.beats = Beats(False, since_s=now_s)
        member.crowd = Crowd(unique is not None and unique.reason == words.REASON_TOO_MANY)
        return member

    def presence(self) -> Presence:
        link = self.linked.link
        why = self.left if link == "disconnected" else ""
        return Presence(link, self.beats.responsive, self.crowd.told, why, self.flood.told)

    def look(self, connections: int, now_s: float, *, observed: bool, settled: bool) -> None:
        """So many connections are known. That there is none says something only if servers have told who is there,
        and of who was there before only once everybody has had time to come back (`settled`)."""
        was_up = self.linked.up
        gone = observed and (settled or not (self.awaited and was_up))
        if connections or gone:
            self.linked = decisions.turned(self.linked, connections > 0, now_s)
        self.linked = decisions.calmed(self.linked, now_s)
        if connections:
            self.awaited = False
            if not was_up:
                self.beats = decisions.began(self.beats, now_s)
        self.crowd = decisions.counted(self.crowd, connections, now_s)

    def hear(self, now_s: float) -> None:
        """A heartbeat came."""
        self.beats = decisions.heard(self.beats, now_s)

    def count(self, messages: int, seconds: float, now_s: float) -> None:
        """So many have come from it in this time."""
        self.flood = decisions.measured(self.flood, messages / seconds, now_s)

    def wait(self, now_s: float, *, deaf: bool) -> None:
        """Time has passed; `deaf`: in which nobody could be heard."""
        self.beats = (decisions.excused if deaf else decisions.missed)(self.beats, now_s)
