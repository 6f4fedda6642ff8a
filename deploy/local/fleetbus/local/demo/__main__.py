"""`python -m fleetbus.local.demo`: start a fleet, play the steps, leave it running until Ctrl-C."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
from pathlib import Path

import click

from fleetbus.cli.failure import print_error, print_unexpected, state_folder
from fleetbus.cli.output import Output, standard_output
from fleetbus.cli.table import Cell
from fleetbus.local.command import SUPERVISOR_LOCK, remove
from fleetbus.local.demo.play import play
from fleetbus.local.demo.repository import Repository
from fleetbus.local.demo.scene import Scene
from fleetbus.local.demo.stage import Stage
from fleetbus.local.demo.witness import Witness
from fleetbus.local.detached import supervising
from fleetbus.local.fleet import LocalFleet
from fleetbus.local.members import DEFAULT, members
from fleetbus.local.shells import command_to_type, shell_environment
from fleetbus.local.supervise import publish
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.failures import known_leaf
from fleetbus.runtime.logs import configure
from fleetbus.schemas.errors import FleetbusError
from fleetbus.schemas.subjects import ALL_EVENTS

FAILED = 1
INTERRUPTED = 130
USAGE = 64


@click.command()
@click.option("--exit", "ends", is_flag=True, help="End after the last step; 1 when a step failed.")
@click.option("--clusters", default=",".join(DEFAULT), show_default=True, metavar="NAME,…")
@click.option("--dir", "dir_", type=click.Path(path_type=Path, file_okay=False), help="Keep the files there.")
def demo(ends: bool, clusters: str, dir_: Path | None) -> int:
    """A whole fleet on this machine, and its main job step by step. Ctrl-C ends it, and nothing is left."""
    output = standard_output()
    try:
        names = [one.name for one in members([name.strip() for name in clusters.split(",")])]
    except FleetbusError as error:
        raise click.UsageError(error.sentence()) from error
    configure(SystemClock(), level="error", program="demo")
    dir = dir_ or state_folder() / "demo"
    return asyncio.run(_until_asked(output, dir.absolute(), names, ends=ends))


async def _until_asked(output: Output, dir: Path, names: list[str], *, ends: bool) -> int:
    """The demo, ended by SIGINT and SIGTERM at any point."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, asked.set)
    playing = asyncio.create_task(_play(output, dir, names, ends=ends), name="demo")
    asking = asyncio.create_task(asked.wait(), name="end")
    await asyncio.wait({playing, asking}, return_when=asyncio.FIRST_COMPLETED)
    asking.cancel()
    if not playing.done():
        output.line("")
        output.line("Ending the fleet.")
        playing.cancel()
    await asyncio.wait({playing})
    if playing.cancelled():
        output.line("Nothing is left running.")
        return INTERRUPTED
    error = playing.exception()
    if error is None:
        return playing.result()
    known = known_leaf(error)
    if known is None:
        print_unexpected(error, output)
    else:
        print_error(known, output)
    return FAILED


async def _play(output: Output, dir: Path, names: list[str], *, ends: bool) -> int:
    clock = SystemClock()
    began = clock.monotonic_s()
    output.line(Cell("Fleetbus demo", "name"), f": {len(names)} clusters on this machine, files in {dir}")
    failures: list[str] = []
    try:
        async with supervising(dir):
            remove(dir, but=SUPERVISOR_LOCK)
            await _with_fleet(output, dir, names, failures, began, ends=ends)
    except asyncio.CancelledError:
        if not failures:
            remove(dir)
        raise
    if failures:
        output.line(f"The files of this run, its logs among them, are in {dir}.")
        return FAILED
    remove(dir)
    return 0


async def _with_fleet(
    output: Output, dir: Path, names: list[str], failures: list[str], began: float, *, ends: bool
) -> None:
    """Start the fleet and play; what failed goes into `failures`."""
    clock = SystemClock()
    async with LocalFleet(dir, names, progress=lambda line: output.line("  ", line)) as fleet:
        publishing = asyncio.create_task(publish(fleet), name="publish")
        try:
            output.line(
                "  ", output.mark("good"), f" the fleet is ready after {clock.monotonic_s() - began:.1f} s"
            )
            stage = Stage(output, lambda: shell_environment(fleet.shell_variables()), dir / "demo", failures)
            repository = Repository(dir / "demo" / "repository")
            await repository.create()
            async with fleet.connect() as client, Witness(fleet.connect) as witness:
                await play(Scene(fleet, client, stage, repository, witness, dir / "demo"))
            _print_verdict(output, stage, clock.monotonic_s() - began)
            if not ends:
                _print_next(output, dir, names)
                await publishing
        finally:
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)


def _print_verdict(output: Output, stage: Stage, took_s: float) -> None:
    output.line("")
    if stage.failures:
        output.line(
            output.mark("bad"), Cell(f" {len(stage.failures)} steps failed", "bad"), f" after {took_s:.0f} s"
        )
        for failure in stage.failures:
            output.line("  ", failure)
    else:
        output.line(output.mark("good"), f" All of it worked, in {took_s:.0f} s.")


def _print_next(output: Output, dir: Path, names: list[str]) -> None:
    output.line("")
    output.line("The fleet is still running. In another terminal:")
    for command in (
        f'eval "$({command_to_type()} local env --dir {shlex.quote(str(dir))})"',
        "fleetbus status",
        "fleetbus events -f",
        "fleetbus describe bundle/shop",
        f"kubectl --context {names[-1]} --namespace shop get all",
        f"nats sub '{ALL_EVENTS}'",
    ):
        output.line("  ", Cell(command, "command"))
    output.line("Ctrl-C ends everything.")


def main() -> int:
    """Entry point; the exit code."""
    try:
        code = demo.main(standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.UsageError as error:
        print(f"error: {error.format_message()}", file=sys.stderr)
        return USAGE
    except click.ClickException as error:
        print(f"error: {error.format_message()}", file=sys.stderr)
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
