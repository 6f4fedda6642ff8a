"""What a set changes in a cluster: two sets and what they name, compared. Pure but for what `Fetch` fetches.

The contents are named by their digests, so whoever hands them out can leave some out, but not change them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fleetbus.schemas.canonical import canonical, digest
from fleetbus.schemas.capabilities import bundles, secrets
from fleetbus.schemas.capabilities.bundles import BundleEntry, BundlesSection, RenderedObjects
from fleetbus.schemas.capabilities.secrets import SecretEntry, SecretsSection
from fleetbus.schemas.desired import DesiredSet, Retired
from fleetbus.schemas.errors import NotFound

Fetch = Callable[[str], Awaitable[bytes]]
"""A digest → the content that has it."""
_SHOWN = ("bundles", "secrets")


@dataclass(frozen=True, slots=True)
class BundleChange:
    """`objects`: sign (`+`, `~`, `-`) and object, such as `~ apps/Deployment shop/web`. `removed`: how many may go."""

    name: str
    before: str
    after: str
    objects: tuple[str, ...] = ()
    removed: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class SetChange:
    """`others`: what else changes, one sentence each. `prunes`: bundle id → how many of its objects may go."""

    bundles: tuple[BundleChange, ...] = ()
    others: tuple[str, ...] = ()
    prunes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Told:
    """One set, opened."""

    whole: DesiredSet
    bundles: Mapping[str, BundleEntry] = field(default_factory=dict)
    secrets: Mapping[str, SecretEntry] = field(default_factory=dict)
    says_more: bool = False
    """Than this version reads: a newer agent may obey what is not shown here."""


async def set_change(fetch: Fetch, before: str, after: str) -> SetChange:
    """What `after` changes where `before` counts (empty: nothing does). Raises NotFound when `after` is not there."""
    new = await _opened(fetch, after)
    others: list[str] = []
    try:
        old = await _opened(fetch, before) if before else _Told(DesiredSet())
    except NotFound:
        old = _Told(DesiredSet())
        others.append(
            f"the set {before[:12]}, which counts now, is stored no more: everything is shown as new"
        )
    found: list[BundleChange] = []
    prunes: dict[str, int] = {}
    for id_, entry in new.bundles.items():
        change = await _bundle(fetch, old.bundles.get(id_), entry)
        if change is not None:
            found.append(change)
            if change.removed:
                prunes[id_] = change.removed
    for one in new.whole.retired:
        if one not in old.whole.retired:
            found.append(await _retired(fetch, one, old.bundles.get(one.id)))
            if found[-1].removed:
                prunes[one.id] = found[-1].removed
    if new.says_more:
        others.append("it says more than this version of the command can show: take the controller's")
    others += _left(old, new)
    others += _secrets(old.secrets, new.secrets)
    others += _unknown(old.whole, new.whole)
    return SetChange(tuple(found), tuple(others), prunes)


async def names(fetch: Fetch, set_: str) -> dict[str, str]:
    """Bundle id → name, of a set."""
    told = await _opened(fetch, set_)
    retired = {one.id: one.name for one in told.whole.retired}
    return retired | {id_: entry.name for id_, entry in told.bundles.items()}


async def _opened(fetch: Fetch, name: str) -> _Told:
    raw = await fetch(name)
    whole = DesiredSet.from_bytes(raw)
    bundled, bound = BundlesSection(), SecretsSection()
    says_more = whole.to_bytes() != raw
    if ref := whole.sections.get(bundles.CAPABILITY):
        raw = await fetch(ref.digest)
        bundled = BundlesSection.from_bytes(raw)
        says_more = says_more or bundled.to_bytes() != raw
    if ref := whole.sections.get(secrets.CAPABILITY):
        raw = await fetch(ref.digest)
        bound = SecretsSection.from_bytes(raw)
        says_more = says_more or bound.to_bytes() != raw
    by_id = {one.id: one for one in bundled.bundles}
    return _Told(whole, by_id, {one.id: one for one in bound.secrets}, says_more)


async def _bundle(fetch: Fetch, before: BundleEntry | None, after: BundleEntry) -> BundleChange | None:
    if before == after:
        return None
    was = await _objects(fetch, before.artifact) if before else {}
    now = await _objects(fetch, after.artifact)
    objects = (
        *(f"+ {one}" for one in sorted(now.keys() - was.keys())),
        *(f"~ {one}" for one in sorted(now.keys() & was.keys()) if now[one] != was[one]),
        *(f"- {one}" for one in sorted(was.keys() - now.keys())),
    )
    removed = max(len(was.keys() - now.keys()) if after.prune else 0, after.released)
    notes = [
        f"{name} {getattr(before, name)} → {getattr(after, name)}"
        for name in ("adopt", "prune", "released")
        if before is not None and getattr(before, name) != getattr(after, name)
    ]
    return BundleChange(
        after.name,
        before.revision if before else "",
        after.revision,
        objects,
        removed,
        ", ".join(notes),
    )


async def _retired(fetch: Fetch, one: Retired, before: BundleEntry | None) -> BundleChange:
    if one.capability != bundles.CAPABILITY:
        return BundleChange(one.name, "", "", note=f"no more here, of {one.capability}: {one.policy}")
    if one.policy == "Keep":
        return BundleChange(one.name, before.revision if before else "", "", note="no more here: Keep")
    was = await _objects(fetch, before.artifact) if before else {}
    removed = one.count if one.count is not None else len(was)
    objects = tuple(f"- {name}" for name in sorted(was))
    revision = before.revision if before else ""
    return BundleChange(one.name, revision, "", objects, removed, "no more here: Remove")


async def _objects(fetch: Fetch, artifact: str) -> dict[str, str]:
    """An artifact's objects: what they are called, and the digest of each."""
    found = RenderedObjects.from_bytes(await fetch(artifact)).objects
    return {_called(one): digest(canonical(one)) for one in found}


def _called(one: Mapping[str, Any]) -> str:
    group = str(one.get("apiVersion", "")).rpartition("/")[0]
    metadata = one.get("metadata")
    named = metadata if isinstance(metadata, Mapping) else {}
    place = f"{named['namespace']}/" if named.get("namespace") else ""
    return f"{f'{group}/' if group else ''}{one.get('kind', '')} {place}{named.get('name', '')}"


def _left(old: _Told, new: _Told) -> Iterable[str]:
    """Bundles that are told no more without a word about their objects: those stay."""
    retired = {one.id for one in new.whole.retired}
    for id_, entry in old.bundles.items():
        if id_ not in new.bundles and id_ not in retired:
            yield f"bundle {entry.name} is told no more; its objects stay, and nobody looks after them"


def _secrets(old: Mapping[str, SecretEntry], new: Mapping[str, SecretEntry]) -> Iterable[str]:
    for id_, entry in new.items():
        before = old.get(id_)
        if before == entry:
            continue
        what = "revoked" if entry.revoked else "new" if before is None else "changed"
        yield f"secret {entry.name} {what}: {entry.path} → {entry.namespace}/{entry.secret}"
    for id_, entry in old.items():
        if id_ not in new:
            yield f"secret {entry.name} is told no more"


def _unknown(old: DesiredSet, new: DesiredSet) -> Iterable[str]:
    for name in sorted({*old.sections, *new.sections} - set(_SHOWN)):
        if old.sections.get(name) != new.sections.get(name):
            yield f"section {name} changes, and this version cannot show it: take the command of the controller's"
