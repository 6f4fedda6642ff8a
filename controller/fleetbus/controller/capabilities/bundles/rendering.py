"""The artifact that a bundle wants: rendered anew, kept because nothing changed, or kept because it is held."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from fleetbus.controller.capabilities.bundles.holds import emptied_key
from fleetbus.controller.capabilities.bundles.render import EMPTY, Input, Rendered, Renderings
from fleetbus.controller.capabilities.bundles.source import Read
from fleetbus.controller.capabilities.bundles.standing import Verdict
from fleetbus.schemas.artifacts import Artifact
from fleetbus.schemas.capabilities import bundles as words
from fleetbus.schemas.capabilities.bundles import BundleDetails, BundleSpec
from fleetbus.schemas.documents import Stored
from fleetbus.schemas.errors import FleetbusError, NotFound, SourceUnreachable, TimeoutExpired

NOT_FETCHED_S = 0.5
TRY_AGAIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Rendering:
    """`made`: the artifact to store, if it was rendered now. `current`: it is what the newest revision says."""

    verdict: Verdict
    artifact: str
    objects: int
    rendered_from: str
    revision: str
    artifact_revision: str
    emptied_at: datetime | None
    current: bool
    made: Artifact | None = None
    again_in_s: float | None = None


async def decide(
    renderings: Renderings,
    document: Stored,
    spec: BundleSpec,
    source: Read,
    before: BundleDetails,
    work_dir: Path,
    now: datetime,
    *,
    afresh: bool,
) -> Rendering:
    """Whatever goes wrong, the last good artifact stays."""
    if source.git is None or source.details is None:
        verdict = source.verdict
        text = f"{before.objects} objects" if before.artifact else verdict.message
        return _keep(
            before,
            before.revision,
            Verdict("True" if before.artifact else "Unknown", _rendered(before), text),
        )
    revision = source.details.revision
    wanted = Input(source.git, source.details.commit, spec.path, spec.namespace)
    if before.rendered_from == wanted.digest and before.artifact and not afresh:
        verdict = Verdict("True", words.REASON_RENDERED, f"{before.objects} objects")
        return _keep(before, revision, verdict, current=True)
    try:
        rendered = await renderings.once(wanted, work_dir, afresh=afresh)
    except NotFound as error:
        return _emptied(document, before, wanted, revision, now, missing=error)
    except SourceUnreachable as error:
        verdict = Verdict("Unknown", words.REASON_SOURCE_NOT_READY, error.sentence())
        return replace(_keep(before, revision, verdict), again_in_s=NOT_FETCHED_S)
    except TimeoutExpired as error:
        return replace(_failed(before, document, revision, error), again_in_s=TRY_AGAIN_S)
    except FleetbusError as error:
        return _failed(before, document, revision, error)
    if rendered.objects == 0:
        return _emptied(document, before, wanted, revision, now)
    return _new(before, wanted, revision, rendered)


def _emptied(
    document: Stored,
    before: BundleDetails,
    wanted: Input,
    revision: str,
    now: datetime,
    missing: NotFound | None = None,
) -> Rendering:
    """Nothing is left: held while there were objects, until their count is typed."""
    since = before.emptied_at or now
    what = (
        f"there is no folder `{wanted.path}` at {revision}" if missing else f"nothing is left at {revision}"
    )
    if before.objects == 0 and missing:
        return _keep(
            before, revision, Verdict("False", words.REASON_PATH_MISSING, f"bundle/{document.name}: {what}")
        )
    if before.objects and document.released_prune.get(emptied_key(since)) != before.objects:
        message = (
            f"{what}; {before.objects} objects stay as of {before.artifact_revision}; "
            f"fleetbus release bundle/{document.name} --prune {before.objects}"
        )
        kept = _keep(before, revision, Verdict("False", words.REASON_PRUNE_HELD, message))
        return replace(kept, emptied_at=since)
    return replace(
        _new(before, wanted, revision, EMPTY), emptied_at=since if before.objects else before.emptied_at
    )


def _new(before: BundleDetails, wanted: Input, revision: str, rendered: Rendered) -> Rendering:
    same = rendered.artifact.name == before.artifact
    return Rendering(
        verdict=Verdict("True", words.REASON_RENDERED, f"{rendered.objects} objects"),
        artifact=rendered.artifact.name,
        objects=rendered.objects,
        rendered_from=wanted.digest,
        revision=revision,
        artifact_revision=before.artifact_revision if same else revision,
        emptied_at=None,
        current=True,
        made=rendered.artifact,
    )


def _keep(before: BundleDetails, revision: str, verdict: Verdict, *, current: bool = False) -> Rendering:
    return Rendering(
        verdict=verdict,
        artifact=before.artifact,
        objects=before.objects,
        rendered_from=before.rendered_from,
        revision=revision,
        artifact_revision=before.artifact_revision,
        emptied_at=before.emptied_at if before.objects == 0 else None,
        current=current,
    )


def _failed(before: BundleDetails, document: Stored, revision: str, error: FleetbusError) -> Rendering:
    keeps = f" (it stays at {before.artifact_revision})" if before.artifact else ""
    message = f"bundle/{document.name} at {revision}: {error.sentence()}{keeps}"
    return _keep(before, revision, Verdict("False", words.REASON_RENDER_FAILED, message))


def _rendered(before: BundleDetails) -> str:
    return words.REASON_RENDERED if before.artifact else words.REASON_SOURCE_NOT_READY
