"""The verbs that change documents. Each change carries who did it and why."""

from __future__ import annotations

from collections.abc import Mapping

from fleetbus.controller.audit import Author, Entry
from fleetbus.controller.desk import Desk, Request
from fleetbus.controller.doors.retiring import refuse_revoked
from fleetbus.controller.doors.validation import known_kind, validated
from fleetbus.controller.ports import Key
from fleetbus.schemas import api, conditions
from fleetbus.schemas.audit import OUTCOME_ORDERED
from fleetbus.schemas.canonical import parse_json
from fleetbus.schemas.documents import Document, Revocation, Stored, Tombstone
from fleetbus.schemas.errors import NotPossible
from fleetbus.schemas.roles import IDENTITY_NEEDS, refusal, suffices

Result = Mapping[str, object]

_NOT_IDENTITY = frozenset({"owner", "description"})
"""Fields of a Cluster that only people read."""


async def apply(desk: Desk, request: Request) -> Result:
    asked = api.ApplyRequest.model_validate(parse_json(request.data))
    documents = validated(asked.documents)
    author = request.author("apply", asked.reason)

    def permit(before: Stored | None, after: Stored) -> None:
        refuse_revoked(desk, before, after)
        if not _is_another_cluster(before, after) or suffices(request.role, IDENTITY_NEEDS):
            return
        what = f"to {'change the identity of' if before else 'add'} cluster {after.name}"
        raise refusal(what, IDENTITY_NEEDS, request.by, request.role)

    applied = await desk.documents.apply(documents, author, dry_run=asked.dry_run, permit=permit)
    return api.ApplyResult(applied=tuple(applied), warnings=tuple(_warnings(desk, documents))).as_json()


def _is_another_cluster(before: Stored | None, after: Stored) -> bool:
    """Whether a cluster comes, or is known by something else than before."""
    if after.kind != "Cluster":
        return False
    mine, theirs = (
        {key: value for key, value in spec.items() if key not in _NOT_IDENTITY}
        for spec in (before.spec if before else {}, after.spec)
    )
    return before is None or mine != theirs


def _warnings(desk: Desk, documents: list[Document]) -> list[str]:
    """References to what is not there yet: allowed, since it may come; and what an apply does not lift."""
    coming = {(one.kind, one.metadata.name) for one in documents}
    stored = [desk.known.document((one.kind, one.metadata.name)) for one in documents]
    revoked = [
        f"SecretBinding {one.name} stays revoked until it is deleted and applied anew"
        for one in stored
        if one is not None and one.revoked is not None
    ]
    return revoked + [
        f"Bundle {one.metadata.name}: there is no Source `{one.spec.source}` yet"
        for one in documents
        if one.kind == "Bundle"
        and ("Source", one.spec.source) not in coming
        and desk.known.document(("Source", one.spec.source)) is None
    ]


async def delete(desk: Desk, request: Request) -> Result:
    asked = api.DeleteRequest.model_validate(parse_json(request.data))
    kind = known_kind(asked.kind)
    stored = desk.documents.named((kind, asked.name))
    if kind == "Cluster":
        raise NotPossible(
            "a cluster is not deleted but leaves the fleet",
            remedy=f"fleetbus cluster retire {asked.name} --purge",
        )
    if kind == "Source":
        _refuse_used(desk, asked.name)
    policy = asked.policy or stored.spec.get("untarget") or "Remove"
    return await _bury(desk, stored, policy, request.author("delete", asked.reason))


def _refuse_used(desk: Desk, source: str) -> None:
    users = [one.name for one in desk.known.view().of_kind("Bundle") if one.spec.get("source") == source]
    if users:
        some = ", ".join(users[:10]) + (", …" if len(users) > 10 else "")
        raise NotPossible(
            f"{len(users)} bundle{'s use' if len(users) > 1 else ' uses'} it: {some}",
            where=f"Source {source}",
            remedy="delete them, or point them to another source, first",
        )


async def _bury(desk: Desk, stored: Stored, policy: str, author: Author) -> Result:
    def amend(before: Stored) -> Stored:
        if before.deleting is not None:
            return before
        tombstone = Tombstone(
            at=desk.clock.now(), policy="Keep" if policy == "Keep" else "Remove", by=author.by
        )
        return before.model_copy(update={"deleting": tombstone})

    after = await desk.documents.amend(stored.key, amend, author)
    tombstone = after.deleting
    message = "it goes when every placed cluster's receipt is in"
    if tombstone is not None and tombstone.policy != policy:
        message = f"it was being deleted already, with policy {tombstone.policy}"
    return _accepted(after, message)


async def release(desk: Desk, request: Request) -> Result:
    asked = api.ReleaseRequest.model_validate(parse_json(request.data))
    kind = known_kind(asked.kind)
    capability = desk.capability(kind)
    if capability is None or capability.release is None:
        raise NotPossible(f"nothing of kind {kind} is ever held")
    key: Key = (kind, asked.name)
    released = capability.release(desk.documents.named(key), desk.known.status(key), asked.prune)

    def amend(before: Stored) -> Stored:
        return before.model_copy(update={"released_prune": dict(released)})

    after = await desk.documents.amend(key, amend, request.author("release", asked.reason))
    return _accepted(after, f"{asked.prune} held objects may be pruned now")


async def revoke(desk: Desk, request: Request) -> Result:
    asked = api.RevokeRequest.model_validate(parse_json(request.data))

    def amend(before: Stored) -> Stored:
        if before.revoked is not None:
            return before
        revocation = Revocation(
            at=desk.clock.now(), by=request.by, reason=asked.reason, generation=before.generation + 1
        )
        return before.model_copy(update={"revoked": revocation})

    key: Key = ("SecretBinding", asked.name)
    after = await desk.documents.amend(key, amend, request.author("revoke", asked.reason))
    message = "withdrawn from its clusters, whatever is applied; `fleetbus describe` shows the receipts"
    return _accepted(after, message)


async def sync(desk: Desk, request: Request) -> Result:
    asked = api.SyncRequest.model_validate(parse_json(request.data))
    kind = known_kind(asked.kind)
    stored = desk.documents.named((kind, asked.name))
    keys: list[Key] = [stored.key]
    source = stored.spec.get("source") if kind == "Bundle" else None
    if isinstance(source, str) and desk.known.document(("Source", source)) is not None:
        keys.insert(0, ("Source", source))

    def followers() -> list[Key]:
        name = keys[0][1] if keys[0][0] == "Source" else None
        return [
            one.key for one in desk.known.view().of_kind("Bundle") if name and one.spec.get("source") == name
        ]

    author = request.author("sync", asked.reason)
    entry = Entry(author=author, object=f"{kind.lower()}/{asked.name}", outcome=OUTCOME_ORDERED)
    await desk.audit.write((), (entry,))
    before = {key: _revision(desk, key) for key in followers()}
    await desk.reconciler.sync(keys, followers)
    moved = [key[1] for key in followers() if _revision(desk, key) != before.get(key)]
    return _accepted(desk.documents.named(stored.key), _followed(desk, keys[0], moved))


def _revision(desk: Desk, key: Key) -> tuple[object, object]:
    status = desk.known.status(key)
    details = status.details if status else {}
    return details.get("revision"), details.get("artifact")


def _followed(desk: Desk, key: Key, moved: list[str]) -> str:
    """What an operator wants to know after a sync: the revision, who took it, what is wrong."""
    status = desk.known.status(key)
    ready = conditions.find(status.conditions, conditions.READY) if status else None
    if ready is not None and ready.status == "False":
        return f"{ready.reason}: {ready.message}"
    details = status.details if status else {}
    ref, commit = details.get("ref"), details.get("commit")
    revision = f"{ref}@sha1:{commit}" if commit else ""
    took = f"bundles that moved: {', '.join(moved)}" if moved else "nothing moved"
    return f"{revision}; {took}" if revision else took


def _accepted(stored: Stored, message: str) -> Result:
    return api.Accepted(
        kind=stored.kind, name=stored.name, message=message, generation=stored.generation
    ).as_json()
