"""Sources as they are shown."""

from __future__ import annotations

from fleetbus.cli import view
from fleetbus.cli.columns import AGE, START, Column, Seen, detail, from_spec
from fleetbus.cli.kinds import Shown
from fleetbus.cli.output import Output, heading
from fleetbus.cli.text import age, short_revision


def _source_revision(seen: Seen) -> str:
    details = seen.details
    ref, commit = details.get("ref"), details.get("commit")
    return short_revision(f"{ref}@sha1:{commit}") if commit else ""


def _url(seen: Seen) -> str:
    return str(view.inner(view.spec(seen.document), "git").get("url", ""))


def _describe(output: Output, seen: Seen) -> None:
    git = view.inner(view.spec(seen.document), "git")
    chosen = " ".join(f"{key} {value}" for key, value in view.inner(git, "ref").items() if value) or "HEAD"
    heading(output, "Repository", f"git {git.get('url', '')}  {chosen}")
    details = seen.details
    if details.get("commit"):
        commit = str(details["commit"])
        shown = commit if output.plain else commit[:7]
        heading(
            output,
            "Revision",
            f'{shown} "{details.get("subject", "")}" by {details.get("author", "")},'
            f" fetched {age(details.get('fetchedAt'), seen.now)} ago",
        )


SHOWN = Shown(
    columns=(
        *START,
        Column("REVISION", _source_revision),
        Column("URL", _url),
        AGE,
        Column("INTERVAL", from_spec("interval"), wide=True),
        Column("AUTHOR", detail("author"), wide=True),
    ),
    describe=_describe,
)
