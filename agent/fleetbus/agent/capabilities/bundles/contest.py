"""Whether somebody fights over an object: what was put back again and again is left alone for a while. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

MOST_PUT_BACKS = 3
WINDOW_S = 300.0
REST_S = 600.0

DELETED = "whoever deletes it"


@dataclass(frozen=True, slots=True)
class Contest:
    """The put-backs of one object as it is wanted now. Times in seconds of a monotonic clock."""

    digest: str
    put_backs: tuple[tuple[float, str], ...] = ()
    rests_until_s: float = 0.0
    editor: str = ""

    def message(self) -> str:
        return (
            f"{self.editor} changed it {MOST_PUT_BACKS} times within {WINDOW_S / 60:.0f} minutes after it was put back;"
            " it is left alone until the bundle changes or ten minutes have passed"
        )


def put_back(contest: Contest | None, digest: str, editor: str, now_s: float) -> Contest:
    """One more put-back of what `editor` did."""
    if contest is None or contest.digest != digest:
        contest = Contest(digest)
    recent = tuple(one for one in contest.put_backs if now_s - one[0] < WINDOW_S)
    return replace(contest, put_backs=(*recent, (now_s, editor)), rests_until_s=0.0, editor="")


def drifted(contest: Contest | None, digest: str, editor: str, now_s: float) -> Contest | None:
    """What to think of a new drift by `editor`: a contest that rests, or None to put it back."""
    if contest is None or contest.digest != digest:
        return None
    if contest.rests_until_s:
        return contest if now_s < contest.rests_until_s else None
    by_editor = [at for at, who in contest.put_backs if who == editor and now_s - at < WINDOW_S]
    if len(by_editor) < MOST_PUT_BACKS:
        return None
    return replace(contest, rests_until_s=now_s + REST_S, editor=editor)
