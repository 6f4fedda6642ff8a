"""Dangerous acts ask for the name; without a terminal they need `--yes`."""

from __future__ import annotations

import sys

import click

from fleetbus.cli.invocation import Invocation


def confirm(invocation: Invocation, consequence: str, word: str, *, yes: bool) -> None:
    """Goes on when `word` is typed or `yes` was given.

    Raises UsageError without a terminal, Abort when something else is typed.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{consequence} Without a terminal this needs --yes.")
    from fleetbus.cli.contexts import spoken_to

    invocation.output.say(f"context {spoken_to(invocation.context)}: {consequence}")
    typed = click.prompt(
        f"Type {word} to go on", err=True, prompt_suffix=": ", default="", show_default=False
    )
    if typed != word:
        invocation.output.say("That is not it. Nothing was done.")
        raise click.exceptions.Exit(1)
