"""`fleetbus local`: the fleet on this machine as a tool of its own, found by the command as a plug-in."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import click

from fleetbus.cli import exit_codes
from fleetbus.cli.failure import state_folder
from fleetbus.cli.invocation import Invocation, pass_invocation
from fleetbus.cli.output import Output
from fleetbus.cli.table import Cell
from fleetbus.local import detached, record
from fleetbus.local.members import DEFAULT, members
from fleetbus.local.shells import command_to_type
from fleetbus.local.supervise import LOG, PROGRESS, READY
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.errors import AlreadyExists, DocumentInvalid, NotFound, SettingsInvalid

_START_TIMEOUT_S = 1200.0
_TAIL_LINES = 20
_WHOLE = ("agents", "bin", "clusters", "demo", "fleet", "logs", "nats", "openbao", "work")
SUPERVISOR_LOCK = "supervisor.lock"
_FILES = (READY, PROGRESS, LOG, record.FILE, SUPERVISOR_LOCK, "kubeconfig", "config.yaml", "members")


def _dir_option(function: Callable[..., int]) -> Callable[..., int]:
    return click.option(
        "--dir",
        "dir_",
        type=click.Path(path_type=Path, file_okay=False),
        default=None,
        help="Where its files are; $XDG_STATE_HOME/fleetbus/local when not given.",
    )(function)


@click.group("local")
def local() -> None:
    """A whole fleet on this machine: NATS, OpenBao, Kubernetes control planes, controller, agents.

    \b
    fleetbus local up --clusters dev-eu,prod-us
    eval "$(fleetbus local env)"
    """


@local.command("up", short_help="start it, and return when it is ready")
@click.option("--clusters", "names", default="", metavar="NAME,…", help=f"Default: {','.join(DEFAULT)}.")
@_dir_option
@pass_invocation
def up(invocation: Invocation, names: str, dir_: Path | None) -> int:
    """
    \b
    fleetbus local up
    fleetbus local up --clusters dev-eu,prod-us

    Start the fleet and return when it is ready. What runs already stays as it is.
    """
    dir = _folder(dir_)
    chosen = _chosen(names, dir)
    return invocation.run_async(_up(invocation.output, dir, chosen, given=bool(names)))


async def _up(output: Output, dir: Path, clusters: tuple[str, ...], *, given: bool) -> int:
    pid = detached.find(dir)
    if pid is not None and (dir / READY).exists():
        running = record.read(dir).clusters
        if given and set(running) != set(clusters):
            raise AlreadyExists(
                f"a fleet of other clusters runs already: {', '.join(running)}",
                where=str(dir),
                remedy="end it with `fleetbus local down`, or name another folder with --dir",
            )
        output.line("The local fleet runs already.")
        return _next(output, dir)
    if pid is None:
        pid = _spawn(dir, clusters)
    output.line(f"Starting {len(clusters)} clusters in {dir}")
    clock = SystemClock()
    began = clock.monotonic_s()
    telling = asyncio.create_task(_tell(output, dir / PROGRESS))
    try:
        await detached.wait_up(pid, dir / READY, dir / LOG, _START_TIMEOUT_S)
        await clock.sleep(0.15)
    finally:
        telling.cancel()
    output.line(f"The fleet is ready after {clock.monotonic_s() - began:.1f} s.")
    return _next(output, dir)


def _spawn(dir: Path, clusters: tuple[str, ...]) -> int:
    """Start a supervisor in a folder without the traces of the last one."""
    dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in (READY, PROGRESS, LOG):
        (dir / name).unlink(missing_ok=True)
    (dir / "members").write_text(",".join(clusters) + "\n")
    argv = [
        sys.executable,
        "-m",
        "fleetbus.local.supervise",
        "--dir",
        str(dir),
        "--clusters",
        ",".join(clusters),
    ]
    return detached.spawn(argv, dir / LOG)


async def _tell(output: Output, file: Path) -> None:
    """Show what the supervisor writes, as it writes it."""
    clock = SystemClock()
    at = 0
    while True:
        added, at = _read_on(file, at)
        for line in added.splitlines():
            output.line("  ", line)
        await clock.sleep(0.1)


def _read_on(file: Path, at: int) -> tuple[str, int]:
    """What was written since `at`, and where it ends; nothing while there is no file."""
    if not file.exists():
        return "", at
    with file.open() as opened:
        opened.seek(at)
        return opened.read(), opened.tell()


def _next(output: Output, dir: Path) -> int:
    option = "" if dir == _folder(None) else f" --dir {shlex.quote(str(dir))}"
    output.line("Next:")
    for command, what in (
        (
            f'eval "$({command_to_type()} local env{option})"',
            "fleetbus, kubectl, nats and bao speak to this fleet",
        ),
        ("fleetbus get clusters", "what there is"),
        ("fleetbus events -f", "what happens"),
        (f"fleetbus local down{option}", "end everything"),
    ):
        output.line("  ", Cell(f"{command:<44}", "command"), "  ", Cell(what, "wait"))
    return exit_codes.DONE


@local.command("down", short_help="end it; nothing is left")
@click.option("--keep", is_flag=True, help="Keep the files: the next `up` is the same fleet again.")
@_dir_option
@pass_invocation
def down(invocation: Invocation, keep: bool, dir_: Path | None) -> int:
    """
    \b
    fleetbus local down
    fleetbus local down --keep

    End the fleet. Without --keep nothing of it is left, its files included.
    """
    dir = _folder(dir_)
    ended = invocation.run_async(detached.end(dir))
    if not keep:
        remove(dir)
    if ended:
        invocation.output.line(
            f"The local fleet has ended; its files are {'kept in ' + str(dir) if keep else 'gone'}."
        )
    else:
        invocation.output.line("No local fleet runs.")
    return exit_codes.DONE


def remove(dir: Path, *, but: str = "") -> None:
    """Only what a fleet has made, as the folder may be anybody's; `but` stays."""
    for name in _WHOLE:
        shutil.rmtree(dir / name, ignore_errors=True)
    for name in set(_FILES) - {but}:
        (dir / name).unlink(missing_ok=True)
    if dir.is_dir() and not any(dir.iterdir()):
        dir.rmdir()


@local.command("status", short_help="each process with its port and its log")
@_dir_option
@pass_invocation
def status(invocation: Invocation, dir_: Path | None) -> int:
    """
    \b
    fleetbus local status

    Each process of the fleet with its port and its log. Ends with 1 when one of them is not alive.
    """
    dir = _folder(dir_)
    found = _running(dir)
    rows = [
        [
            Cell(one.name),
            Cell(str(one.pid)),
            Cell("Running", "good") if one.alive else Cell("Ended", "bad"),
            Cell(str(one.port) if one.port else "<none>"),
            Cell(one.log),
        ]
        for one in found.processes
    ]
    invocation.output.table(["NAME", "PID", "STATE", "PORT", "LOG"], rows)
    return exit_codes.DONE if all(one.alive for one in found.processes) else exit_codes.FAILED


@local.command("env", short_help="variables for fleetbus, kubectl, nats and bao")
@click.option("--shell", type=click.Choice(["sh", "fish"]), default="sh", show_default=True)
@_dir_option
@pass_invocation
def env(invocation: Invocation, shell: str, dir_: Path | None) -> int:
    """
    \b
    eval "$(fleetbus local env)"
    fleetbus local env --shell fish | source

    Variables with which fleetbus, kubectl, nats and bao speak to this fleet. They hold the owner's token of Vault.
    """
    dir = _folder(dir_)
    for key, value in environment(dir).items():
        if key == "PATH":
            value, addition = "", shlex.quote(value)
            line = f"set -gx PATH {addition} $PATH" if shell == "fish" else f'export PATH={addition}:"$PATH"'
        else:
            line = (
                f"set -gx {key} {shlex.quote(value)}"
                if shell == "fish"
                else f"export {key}={shlex.quote(value)}"
            )
        invocation.output.line(line)
    return exit_codes.DONE


def environment(dir: Path) -> dict[str, str]:
    """The variables, with the owner's token read from its file; PATH is what comes before the user's."""
    found = dict(_running(dir).environment)
    token = Path(found.pop("VAULT_TOKEN_FILE"))
    return found | {"VAULT_TOKEN": token.read_text().strip()}


@local.command("logs", short_help="what a process has written")
@click.argument("name", required=False, default="")
@click.option("-f", "--follow", is_flag=True, help="Go on as lines come.")
@click.option("-n", "--lines", type=click.IntRange(0), default=_TAIL_LINES, show_default=True)
@_dir_option
@pass_invocation
def logs(invocation: Invocation, name: str, follow: bool, lines: int, dir_: Path | None) -> int:
    """
    \b
    fleetbus local logs controller -f
    fleetbus local logs

    The last lines of one process's log, or of all; also of a fleet that did not start.
    """
    dir = _folder(dir_)
    files = _logs(dir)
    if name and name not in files:
        import difflib

        near = difflib.get_close_matches(name, list(files), n=1)
        known = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(sorted(files))}"
        raise NotFound(f"there is no log of `{name}`", where=str(dir), remedy=known)
    shown = {name: files[name]} if name else files
    if not shown:
        raise NotFound("there are no logs", where=str(dir), remedy="start a fleet with `fleetbus local up`")
    ends = {one: _print_tail(invocation.output, one if not name else "", shown[one], lines) for one in shown}
    if follow:
        invocation.run_async(_follow(invocation.output, shown, ends, named=bool(name)))
    return exit_codes.DONE


def _logs(dir: Path) -> dict[str, Path]:
    found = {file.stem: file for file in sorted((dir / "logs").glob("*.log"))}
    if (dir / LOG).exists():
        found["supervisor"] = dir / LOG
    return found


def _print_tail(output: Output, name: str, file: Path, lines: int) -> int:
    raw = file.read_bytes()
    for line in raw.decode(errors="replace").splitlines()[-lines:] if lines else []:
        output.line(Cell(f"{name}: " if name else "", "name"), line)
    return len(raw)


async def _follow(output: Output, files: dict[str, Path], ends: dict[str, int], *, named: bool) -> None:
    clock = SystemClock()
    rest = dict.fromkeys(files, b"")
    while True:
        for name, file in files.items():
            with file.open("rb") as opened:
                opened.seek(min(ends[name], file.stat().st_size))
                added = opened.read()
                ends[name] = opened.tell()
            *whole, rest[name] = (rest[name] + added).split(b"\n")
            for line in whole:
                output.line(Cell("" if named else f"{name}: ", "name"), line.decode(errors="replace"))
        await clock.sleep(0.2)


def _running(dir: Path) -> record.Record:
    if detached.find(dir) is None:
        raise NotFound(f"no local fleet runs in {dir}", remedy="start one with `fleetbus local up`")
    if not (dir / READY).exists():
        raise NotFound(
            f"the local fleet in {dir} is still starting", remedy="run `fleetbus local up` to see it"
        )
    return record.read(dir)


def _folder(given: Path | None) -> Path:
    return (given or state_folder() / "local").absolute()


def _chosen(names: str, dir: Path) -> tuple[str, ...]:
    """The clusters that were asked for; of a kept fleet those that it has; else the default. 64 for no name."""
    kept = dir / "members"
    if not names and kept.exists():
        return tuple(kept.read_text().strip().split(","))
    try:
        found = members([name.strip() for name in names.split(",")] if names else DEFAULT)
    except (DocumentInvalid, SettingsInvalid) as error:
        raise click.UsageError(error.sentence()) from error
    return tuple(one.name for one in found)
