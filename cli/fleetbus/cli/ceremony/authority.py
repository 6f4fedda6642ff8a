"""The bus's authority is replaced in a fleet's folder, a step at a time; each step can be done again.

`prepare` (the next authority is believed beside the present one), `switch` (it issues the servers' certificates),
`finish` (the former one is believed no more). The former one vouches for the next, and the servers show that for as
long as it lasts: who was away during all of this and knows the former one alone still believes them.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from fleetbus.cli.ceremony.files import write_whole
from fleetbus.cli.ceremony.folder import authority_file, cross_file
from fleetbus.cli.ceremony.record import changing, read_record
from fleetbus.runtime.certificates import Issued, cross_sign, make_authority, may_be_followed, split
from fleetbus.schemas.errors import NotPossible

_NEXT = "ca-next"


def is_prepared(folder: Path) -> bool:
    """Whether the next authority is believed, and has issued nothing yet."""
    return _next(folder, "key").is_file()


def believed(folder: Path) -> tuple[bytes, ...]:
    """The authorities that clients are told to believe, PEM each; the first is the one that issues."""
    return split(authority_file(folder).read_bytes())


def prepare(folder: Path, now: datetime, *, forced: bool = False) -> None:
    """Raises NotPossible when who is away would not find back, unless `forced`."""
    with changing(folder):
        present = believed(folder)[0]
        if not may_be_followed(present) and not forced:
            raise NotPossible(
                "this fleet's authority was made before one could vouch for the next:"
                " clusters that are away during the change have to join again",
                remedy="wait until all are connected, and give --force",
            )
        if not is_prepared(folder):
            made = make_authority(f"{read_record(folder).fleet} bus", now, path_length=1)
            write_whole(_next(folder, "crt"), made.certificate)
            write_whole(_next(folder, "key"), made.key, secret=True)
        following = _next(folder, "crt").read_bytes()
        write_whole(authority_file(folder), present + following)


def switch(folder: Path, now: datetime) -> None:
    """The next authority issues from now on. The servers' certificates are `init`'s to make."""
    with changing(folder):
        if not is_prepared(folder):
            return
        key = folder / "ca.key"
        present, following = believed(folder)[0], _next(folder, "crt").read_bytes()
        if present != following:
            cross_file(folder).unlink(missing_ok=True)
            if may_be_followed(present):
                vouched = cross_sign(Issued(present, key.read_bytes()), following, now)
                write_whole(cross_file(folder), vouched)
            write_whole(authority_file(folder), following + present)
        _next(folder, "key").replace(key)
        _next(folder, "crt").unlink()


def finish(folder: Path) -> None:
    """Only the authority that issues is believed, by who has heard of it."""
    with changing(folder):
        write_whole(authority_file(folder), believed(folder)[0])


def _next(folder: Path, kind: str) -> Path:
    return folder / f"{_NEXT}.{kind}"
