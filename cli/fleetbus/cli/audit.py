"""`fleetbus audit`: who did what, and was refused what; verified, and exported off the bus."""

from __future__ import annotations

from contextlib import aclosing
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleetbus.cli import exit_codes
from fleetbus.cli.audit_file import Appended, end_of, read_lines
from fleetbus.cli.audit_lines import TITLES, WIDE_TITLES, Stored, cells, stored, summary, verdict
from fleetbus.cli.durations import since as parse_since
from fleetbus.cli.invocation import Invocation, pass_invocation
from fleetbus.cli.known_keys import KnownKeys, kept_keys, known_keys
from fleetbus.cli.output import Output
from fleetbus.cli.references import kind_of_word
from fleetbus.cli.table import Cell
from fleetbus.cli.text import NONE, counted
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.audit import ORIGIN, Link, Walk, ended, exported, parse_link, passed, step
from fleetbus.schemas.errors import MessageMalformed, SettingsInvalid

if TYPE_CHECKING:
    from fleetbus.client import Fleet

FORMS = ("table", "wide", "json", "yaml", "name")
_DEFAULT_SINCE = timedelta(hours=24)
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group("audit", invoke_without_command=True)
@click.option("--since", default="", metavar="24h|TIME", help="From when on. [default: 24h; with -w: now]")
@click.option("--actor", default="", metavar="NAME", help="Only what this operator asked for.")
@click.option("--object", "target", default="", metavar="TYPE/NAME", help="Only what this one was about.")
@click.option("--action", default="", help="`apply`, `delete`, `command-run`.")
@click.option("-w", "--watch", is_flag=True, help="Go on with what comes.")
@click.option("-o", "--output", "form", type=click.Choice(FORMS), default="table", show_default=True)
@click.pass_context
def command(
    ctx: click.Context, since: str, actor: str, target: str, action: str, watch: bool, form: str
) -> int:
    """
    \b
    fleetbus audit --since 7d --actor ana
    fleetbus audit --object bundle/ingress -o wide
    fleetbus audit verify
    fleetbus audit export --to audit.jsonl
    """
    if ctx.invoked_subcommand is not None:
        return exit_codes.DONE
    invocation = ctx.ensure_object(Invocation)
    now = SystemClock().now()
    start = _start(since, now, watch)
    shown = Lines(invocation.output, form, streamed=watch)
    invocation.output.note(f"records since {start.astimezone():%d %b %Y %H:%M}; they are kept for ever")

    async def read(fleet: Fleet) -> None:
        pages = fleet.audit(since=start, actor=actor, action=action, object=_object(target), follow=watch)
        async with aclosing(pages):
            async for page in pages:
                shown.add([stored(row) for row in page.rows])

    invocation.run(read)
    shown.end()
    return exit_codes.DONE


def _start(since: str, now: datetime, watch: bool) -> datetime:
    if not since:
        return now if watch else now - _DEFAULT_SINCE
    start = parse_since(since, now)
    if not isinstance(start, datetime):
        raise click.UsageError(f"--since `{since}`: write a duration or a time in RFC 3339.")
    return start


def _object(target: str) -> str:
    """As records name it; commands have no kind."""
    word, slash, name = target.partition("/")
    if not target or word == "command":
        return target
    if not slash or not name:
        raise click.UsageError(f"`{target}` must be TYPE/NAME, such as bundle/ingress.")
    return f"{kind_of_word(word).lower()}/{name}"


class Lines:
    """Records as they are asked for. `streamed`: each as it comes."""

    def __init__(self, output: Output, form: str, *, streamed: bool) -> None:
        self._output = output
        self._form = form
        self._streamed = streamed
        self._begun = False
        self._kept: list[Stored] = []

    def add(self, found: list[Stored]) -> None:
        self._kept += found
        if self._streamed and self._kept:
            self._print()

    def end(self) -> None:
        if not self._begun:
            self._print()

    def _print(self) -> None:
        kept, self._kept = self._kept, []
        output, begun, self._begun = self._output, self._begun, True
        if self._form == "name":
            for one in kept:
                output.line(one.name)
        elif self._form in ("json", "yaml") and self._streamed:
            for one in kept:
                output.json_line(one.as_json())
        elif self._form in ("json", "yaml"):
            output.structured({"kind": "List", "items": [one.as_json() for one in kept]}, self._form)
        elif kept:
            wide = self._form == "wide"
            titles: tuple[str, ...] = () if begun else WIDE_TITLES if wide else TITLES
            output.table(titles, [cells(one, wide=wide) for one in kept], wrapped=not wide)
        else:
            output.note("No records.")


@command.command("verify", short_help="walk the chain: numbers, digests, signatures")
@click.option("--file", type=_FILE, help="An export instead of the fleet: nothing is asked on the bus.")
@click.option("--key", "keys", multiple=True, metavar="NKEY", help="A controller's public key that may sign.")
@click.option("--anchor", default="", metavar="NUMBER:DIGEST", help="A record that was seen before.")
@click.option("-o", "--output", "form", type=click.Choice(["text", "json"]), default="text")
@pass_invocation
def verify(invocation: Invocation, file: Path | None, keys: tuple[str, ...], anchor: str, form: str) -> int:
    """
    \b
    fleetbus audit verify
    fleetbus audit verify --anchor 412:9f2c…
    fleetbus audit verify --file audit.jsonl --key UD…

    Ends with 1 when something is wrong. Without --key the context's keys count, and what it lacks is
    taken from the controller, which is said.
    """
    seen = parse_link(anchor) if anchor else None
    if file is not None:
        known = KnownKeys(keys) if keys else kept_keys(invocation.context)
        if not known.present:
            raise SettingsInvalid("no controller's key is known", remedy="give it with --key")
        walk, newest = _walk_file(file, known, seen)
        return _report(invocation.output, walk, "", known.ever, str(newest or ""), form)

    async def walk_fleet(fleet: Fleet) -> int:
        known = KnownKeys(keys) if keys else await known_keys(fleet, invocation.context)
        walk, newest, name = Walk(), "", ""
        async with aclosing(fleet.audit()) as pages:
            async for page in pages:
                newest, name = page.newest, page.fleet
                known = known if known.present else _named(invocation.output, page.keys)
                for row in page.rows:
                    one = stored(row)
                    with_one = step(walk, one.subject, one.envelope, known.present, page.fleet, known.former)
                    walk = passed(with_one, seen)
        walk = ended(walk, _later(parse_link(newest) if newest else None, seen))
        return _report(invocation.output, walk, name, known.ever, newest, form)

    return invocation.run(walk_fleet)


def _named(output: Output, keys: tuple[str, ...]) -> KnownKeys:
    output.say("The keys are those that the controller names; --key takes those that you know.")
    return KnownKeys(keys[:1], keys[1:])


def _walk_file(file: Path, keys: KnownKeys, seen: Link | None) -> tuple[Walk, Link | None]:
    walk, newest = Walk(last=None), seen
    for subject, envelope, told in read_lines(file):
        walk = passed(step(walk, subject, envelope, keys.present, former=keys.former), seen)
        newest = _later(told, newest)
    return ended(walk, newest), newest


def _later(one: Link | None, other: Link | None) -> Link | None:
    return max((link for link in (one, other) if link), key=lambda link: link.number, default=None)


def _report(output: Output, walk: Walk, fleet: str, keys: tuple[str, ...], newest: str, form: str) -> int:
    code = exit_codes.FAILED if walk.wrong else exit_codes.DONE
    if form == "json":
        output.json(verdict(walk, fleet, keys, newest))
        return code
    for one in walk.findings:
        output.line(output.mark("bad"), f" record {one.number}: {one.message}")
    if walk.wrong > len(walk.findings):
        output.line(f"and {walk.wrong - len(walk.findings)} more")
    if walk.unsigned:
        changes = counted(walk.unsigned, "change")
        output.line(
            f"{changes} in an operator's name that the operator did not sign: only the controller says so"
        )
    result = Cell(f"{walk.wrong} wrong", "bad") if walk.wrong else Cell("nothing is wrong", "good")
    output.line(f"audit chain: {summary(walk)}, ", result)
    output.line(f"newest {newest or NONE}")
    return code


@command.command("export", short_help="records as JSON lines, each of which proves itself")
@click.option("--after", type=click.IntRange(min=0), default=None, metavar="NUMBER", help="Only later ones.")
@click.option("--to", "file", type=_FILE, help="Append to this file, after its last record.")
@pass_invocation
def export(invocation: Invocation, after: int | None, file: Path | None) -> int:
    """
    \b
    fleetbus audit export --to audit.jsonl
    fleetbus audit export --after 412 | logger

    What was exported cannot be taken back: with --to, records that do not continue the file end it with 1.
    """
    if file is not None and after is not None:
        raise click.UsageError("--to knows itself where the file ends; leave --after out.")
    begin = end_of(file) if file is not None else None
    number = begin.number if begin else after or 0
    out = Appended(file) if file is not None else None
    try:
        return invocation.run(lambda fleet: _export(fleet, invocation.output, begin, number, out))
    finally:
        if out is not None:
            out.close()


async def _export(fleet: Fleet, output: Output, begin: Link | None, after: int, out: Appended | None) -> int:
    """Line by line, until one does not continue what was there before. Signatures are `verify`'s to judge."""
    walk, newest = Walk(last=begin or (None if after else ORIGIN)), ""
    async with aclosing(fleet.audit(after=after)) as pages:
        async for page in pages:
            newest = page.newest
            for row in page.rows:
                one = stored(row)
                walk = step(walk, one.subject, one.envelope, None)
                _refuse(walk)
                line = exported(one.subject, one.envelope, parse_link(newest))
                output.json_line(line) if out is None else out.add(line)
    _refuse(_shrunk(walk, newest))
    output.say(f"{summary(walk)} exported; newest {newest or NONE}")
    return exit_codes.DONE


def _shrunk(walk: Walk, newest: str) -> Walk:
    """The walk, with a finding when the fleet's chain ends before the file does."""
    end = parse_link(newest) if newest else None
    if end is not None and walk.last is not None and end.number < walk.last.number and not walk.records:
        return walk.found(end.number, f"the chain ends there, but the file has record {walk.last.number}")
    return ended(walk, end)


def _refuse(walk: Walk) -> None:
    """Raises MessageMalformed when the walk has found something."""
    for one in walk.findings:
        raise MessageMalformed(
            f"record {one.number}: {one.message}",
            where="audit chain",
            remedy="keep what was exported as it is, and look with `fleetbus audit verify`",
        )
