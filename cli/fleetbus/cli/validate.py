"""`fleetbus validate`: check documents in files, offline; as a pre-commit hook and in CI."""

from __future__ import annotations

from collections.abc import Sequence

import click

from fleetbus.cli import exit_codes
from fleetbus.cli.diagnostics import print_diagnostics, summary
from fleetbus.cli.invocation import Invocation, pass_invocation
from fleetbus.cli.output import Output
from fleetbus.cli.table import Cell
from fleetbus.cli.text import counted
from fleetbus.cli.yaml_source import Checked, check


@click.command("validate")
@click.argument("paths", nargs=-1, metavar="[FILE|DIR|-]…")
@click.option("-f", "--filename", "files", multiple=True, help="File, folder, or `-` for standard input.")
@click.option("-R", "--recursive", is_flag=True, help="Folders with what is below them.")
@click.option("-o", "--output", "form", type=click.Choice(["text", "json", "github"]), default="text")
@pass_invocation
def command(
    invocation: Invocation, paths: tuple[str, ...], files: tuple[str, ...], recursive: bool, form: str
) -> int:
    """
    \b
    fleetbus validate fleet/
    fleetbus validate -f bundle.yaml -o github
    """
    checked = read((*files, *paths), recursive=recursive)
    output = invocation.output
    if form == "json" or checked.diagnostics:
        print_diagnostics(checked.diagnostics, output, form)
    if checked.diagnostics:
        _summarise(output, checked, "")
        return exit_codes.FAILED
    if form == "text":
        output.line(
            f"{counted(len(checked.documents), 'document')} in {counted(checked.files, 'file')} ",
            Cell("valid", "good"),
        )
    return exit_codes.DONE


def read(paths: Sequence[str], *, recursive: bool) -> Checked:
    """Check what was named; UsageError when nothing was."""
    if not paths:
        raise click.UsageError("Say which files: -f FILE, -f DIR or -f - for standard input.")
    return check(paths, recursive=recursive)


def refuse(output: Output, checked: Checked) -> int:
    """Print everything that is wrong before anything is sent; the exit code."""
    print_diagnostics(checked.diagnostics, output)
    _summarise(output, checked, "Nothing was applied")
    return exit_codes.FAILED


def _summarise(output: Output, checked: Checked, outcome: str) -> None:
    output.say(summary(checked.diagnostics, len(checked.documents), outcome))
