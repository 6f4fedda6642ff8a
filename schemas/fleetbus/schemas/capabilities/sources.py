"""Sources: Git repositories, read at a branch, a tag or a commit."""

from __future__ import annotations

import re
from typing import ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from fleetbus.schemas.documents import Document, Duration, Name
from fleetbus.schemas.models import Moment, Received, Written

CAPABILITY = "sources"
ASPECTS: tuple[str, ...] = ()

FETCHED = "Fetched"
CONDITIONS = (FETCHED,)

REASON_FETCHED = "Fetched"
REASON_UNREACHABLE = "SourceUnreachable"
REASON_REVISION_NOT_FOUND = "RevisionNotFound"
REASON_INVALID = "SourceInvalid"
REASON_DELETED = "SourceDeleted"

EVENT_FETCHED = "source.fetched"
EVENT_FAILED = "source.failed"
EVENT_DELETED = "source.deleted"

CLUSTER_EVENTS: frozenset[str] = frozenset()
"""Clusters tell none themselves."""


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
        description="https://, ssh:// or file:// address, or an absolute path on the controller's machine; "
        "the latter two only below the folders that its settings name under `localSources`.",
    )
    ref: GitRef = GitRef()
    credentials: Name | None = Field(
        default=None,
        description="NAME of a credential that the controller has for the address's host: a file NAME@HOST "
        "(NAME@HOST:PORT where the address has a port) in its folder of Git credentials.",
    )

    @field_validator("url")
    @classmethod
    def _no_credential(cls, url: str) -> str:
        """Documents are stored and shown: a password in one would be everybody's. It is not quoted."""
        if re.search(r"[\s\x00-\x1f\x7f]", url):
            raise ValueError("the address has blanks or control characters")
        parts = urlsplit(url)
        if parts.password or (parts.username and parts.scheme == "https"):
            raise ValueError(
                "the address carries a credential: put it into a file in the controller's folder of Git"
                " credentials, name it in `credentials`, and change it, as it has been written down"
            )
        return url


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
    fetched_at: Moment | None = None

    @property
    def revision(self) -> str:
        """`ref@sha1:commit`, as Flux writes it."""
        return f"{self.ref}@sha1:{self.commit}" if self.commit else ""
