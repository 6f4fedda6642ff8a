"""The brake on placement: losing many clusters at once is held until the count is typed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Kept:
    """`placed`: what counts, sorted. `held`: placed only because their loss is held. `objects`: on the held ones.

    `lost`: clusters that go now.
    """

    placed: tuple[str, ...]
    held: tuple[str, ...] = ()
    objects: int = 0
    lost: tuple[str, ...] = ()


def shrunk_key(since: datetime) -> str:
    """The key in `released_prune` of a loss that is held since then."""
    return f"placement:{since.isoformat()}"


def keep(
    previous: Collection[str],
    wanted: Collection[str],
    *,
    limit: int,
    objects: Mapping[str, int],
    going: int = 0,
    released: int | None = None,
) -> Kept:
    """What becomes of a placement that was `previous` and is `wanted` now.

    Beyond `limit` clusters all losses are held, unless `released` is exactly the number of `objects` on them,
    or there are none on them.
    `going`: clusters that were let go and have not yet answered; they count, so that a loss in small
    steps is not let through. `previous` holds only clusters that are still in the fleet.
    """
    lost = tuple(sorted(set(previous) - set(wanted)))
    count = sum(objects.get(name, 0) for name in lost)
    empty = all(objects.get(name, 0) == 0 for name in lost)
    if len(lost) + going <= limit or empty or count == released:
        return Kept(tuple(sorted(wanted)), lost=lost)
    return Kept(tuple(sorted({*wanted, *lost})), held=lost, objects=count)
