"""The verb `retire`: a cluster leaves the fleet, revoked or in peace. Its key counts no more, its workloads stay.

The key's revocation and the document's tombstone are one batch. What follows (mailboxes, states, the document) follows
from the tombstone, whoever holds the term then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from fleetbus.controller.audit import Author, Entry
from fleetbus.controller.decisions import enrolment as decisions
from fleetbus.controller.decisions.leaving import departed
from fleetbus.controller.desk import Desk, Request
from fleetbus.controller.reconcile import SYNC_TIMEOUT_S
from fleetbus.controller.store import Beside
from fleetbus.controller.views import CLUSTER, identified
from fleetbus.schemas import api
from fleetbus.schemas.canonical import parse_json
from fleetbus.schemas.documents import Stored
from fleetbus.schemas.enrolment import Enrolment
from fleetbus.schemas.enrolment_api import RetireRequest, known_in_several
from fleetbus.schemas.errors import NotFound, NotPossible
from fleetbus.schemas.subjects import ClusterId

_ACTIONS = {"revoked": "revoke", "retired": "retire"}


async def retire(desk: Desk, request: Request) -> Mapping[str, object]:
    """With `purge` it waits until everything is gone, as long as an operator would."""
    asked = RetireRequest.model_validate(parse_json(request.data))
    cluster = _named(desk, asked)
    author = request.author(_ACTIONS[asked.left], asked.reason)
    async with desk.enrolments.locks[cluster]:
        present = desk.known.document((CLUSTER, cluster.name))
        stored = present if present and identified(present) == cluster else None
        record = desk.enrolments.read(cluster)
        after = decisions.left(record, asked.left, desk.clock.now(), request.by)
        entry = Entry(author, f"cluster/{cluster.name}", message=_told(record, after))
        beside = desk.enrolments.beside(after, entry) if after != record else None
        if stored is not None:
            stored = await _bury(desk, stored, asked, author, beside)
        elif beside is not None:
            await desk.enrolments.write(after, entry)
        await desk.command_lists.forget(cluster)
    gone = stored is None or (asked.purge and await _is_gone(desk, stored))
    message = "; ".join((_told(record, after), _kept(stored, gone=gone)))
    generation = stored.generation if stored else 0
    return api.Accepted(kind=CLUSTER, name=cluster.name, message=message, generation=generation).as_json()


def refuse_revoked(desk: Desk, before: Stored | None, after: Stored) -> None:
    """No document makes a revoked key a member's again, whoever applies it. Raises NotPossible."""
    if after.kind != CLUSTER or (before is not None and before.spec.get("key") == after.spec.get("key")):
        return
    revoked = desk.enrolments.revoked(str(after.spec.get("key") or ""))
    if revoked is not None:
        raise NotPossible(
            f"the key of cluster {after.name} was {revoked.left} at {revoked.at:%Y-%m-%d %H:%M} UTC",
            remedy=f"let it join with a new token: fleetbus cluster join {after.name}",
        )


def _named(desk: Desk, asked: RetireRequest) -> ClusterId:
    """The cluster of this name; one without a document is known by its record.

    Raises NotFound, NotPossible (its document cannot be read, or it is known in several realms).
    """
    stored = desk.known.document((CLUSTER, asked.name))
    present = identified(stored) if stored else None
    if stored is not None and present is None:
        raise NotPossible(f"the document of cluster {stored.name} cannot be read")
    known = {one.id for one in desk.enrolments.records(asked.name)} if asked.name else set[ClusterId]()
    known |= {present} if present else set()
    found = [one for one in known if asked.realm in ("", one.realm)]
    if not found:
        raise NotFound(f"there is no cluster `{asked.name[:63]}`", remedy="see `fleetbus get clusters`")
    if len(found) > 1:
        raise known_in_several(asked.name, [one.realm for one in found])
    return found[0]


async def _bury(
    desk: Desk, stored: Stored, asked: RetireRequest, author: Author, beside: Beside | None
) -> Stored:
    def amend(before: Stored) -> Stored:
        now, by = desk.clock.now(), author.by
        tombstone = departed(before.deleting, asked.left, now, by=by, reason=asked.reason, purge=asked.purge)
        return before.model_copy(update={"deleting": tombstone})

    return await desk.documents.amend(stored.key, amend, author, beside=beside)


async def _is_gone(desk: Desk, stored: Stored) -> bool:
    """Once the document is, or not within the time that an operator waits."""
    try:
        async with asyncio.timeout(SYNC_TIMEOUT_S):
            while (present := desk.known.document(stored.key)) is not None and present.uid == stored.uid:
                await desk.known.changed.wait()
    except TimeoutError:
        return False
    return True


def _told(before: Enrolment, after: Enrolment) -> str:
    """What the audit and the operator are told of keys and tokens."""
    new = [one.nkey for one in after.revoked if one not in before.revoked]
    withdrawn = len(before.tokens) - len(after.tokens)
    keys = f"key {', '.join(new)} counts no more" if new else "its keys count no more"
    if not withdrawn:
        return keys
    return f"{keys}; {withdrawn} open token{'s' if withdrawn > 1 else ''} withdrawn"


def _kept(stored: Stored | None, *, gone: bool) -> str:
    what = "its document, mailboxes and states"
    if stored is not None and stored.deleting is not None and stored.deleting.stays:
        return f"{what} are kept"
    return f"{what} are gone" if gone else f"{what} are going"
