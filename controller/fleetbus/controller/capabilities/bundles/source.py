"""What a bundle reads of its Source: its last good revision, and what is wrong with it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from fleetbus.controller.capabilities.bundles.standing import Verdict
from fleetbus.controller.ports import View
from fleetbus.schemas.capabilities import bundles as words
from fleetbus.schemas.capabilities.sources import (
    FETCHED,
    REASON_UNREACHABLE,
    Git,
    SourceDetails,
    SourceSpec,
)
from fleetbus.schemas.conditions import find


@dataclass(frozen=True, slots=True)
class Read:
    """`git` and `details` are None as long as there is no revision to render."""

    verdict: Verdict
    git: Git | None = None
    details: SourceDetails | None = None


def read_source(name: str, view: View) -> Read:
    key = ("Source", name)
    document, status = view.documents.get(key), view.statuses.get(key)
    if document is None or document.deleting is not None:
        remedy = f"apply a Source named {name}, or name another in spec.source"
        return Read(Verdict("False", words.REASON_SOURCE_MISSING, f"there is no source/{name}; {remedy}"))
    if status is None or status.uid != document.uid or status.observed_generation < document.generation:
        return _waiting(f"source/{name} is being read")
    fetched = find(status.conditions, FETCHED)
    details = SourceDetails.from_json(status.details)
    git = SourceSpec.model_validate(document.spec).git
    if not details.commit:
        if fetched is not None and fetched.status == "False":
            return Read(Verdict("False", words.REASON_SOURCE_NOT_READY, fetched.message))
        return _waiting(f"source/{name} is being read")
    if fetched is None or fetched.status == "True":
        return Read(Verdict("True", words.REASON_SOURCE_READY, details.revision), git, details)
    # An unreachable repository comes back by itself; what it held last goes on meanwhile.
    if fetched.reason == REASON_UNREACHABLE:
        return Read(Verdict("Unknown", words.REASON_SOURCE_NOT_READY, fetched.message), git, details)
    return Read(Verdict("False", words.REASON_SOURCE_NOT_READY, fetched.message), git, details)


def _waiting(message: str) -> Read:
    return Read(Verdict("Unknown", words.REASON_SOURCE_NOT_READY, message))
