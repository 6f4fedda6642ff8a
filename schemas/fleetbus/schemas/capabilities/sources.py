"""Sources: Git repositories, read at a branch, a tag or a commit."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from fleetbus.schemas.documents import Document, Duration, Name
from fleetbus.schemas.models import Received, Written

CAPABILITY = "sources"

FETCHED = "Fetched"

REASON_FETCHED = "Fetched"
REASON_UNREACHABLE = "SourceUnreachable"
REASON_REVISION_NOT_FOUND = "RevisionNotFound"
REASON_INVALID = "SourceInvalid"
REASON_PROGRESSING = "FetchPending"
REASON_DELETED = "SourceDeleted"

EVENT_FETCHED = "source.fetched"
EVENT_FAILED = "source.failed"
EVENT_DELETED = "source.deleted"


class GitRef(Written):
    """Exactly one of branch, tag, commit. Without any: the branch that the repository's HEAD names."""

    branch: str = ""
    tag: str = ""
    commit: str = Field(default="", pattern=r"^([0-9a-f]{40})?$")

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [name for name in ("branch", "tag", "commit") if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"only one of branch, tag, commit may be given, not {' and '.join(given)}")
        return self


class Git(Written):
    url: str = Field(
        pattern=r"^(https://|ssh://|file://|/)",
        description="https://, ssh:// or file:// address, or an absolute path on the controller's machine.",
    )
    ref: GitRef = GitRef()
    credentials: Name | None = Field(
        default=None, description="Name of a file in the controller's folder of Git credentials."
    )


class SourceSpec(Written):
    git: Git
    interval: Duration = "1m"


class Source(Document):
    short_names: ClassVar[tuple[str, ...]] = ("src",)
    plural: ClassVar[str] = "sources"

    kind: Literal["Source"] = "Source"
    spec: SourceSpec


class SourceDetails(Received):
    """Status details: the last good revision, which stays when fetching fails."""

    ref: str = ""
    commit: str = ""
    author: str = ""
    subject: str = ""
    fetched_at: datetime | None = None

    @property
    def revision(self) -> str:
        """`ref@sha1:commit`, as Flux writes it."""
        return f"{self.ref}@sha1:{self.commit}" if self.commit else ""
