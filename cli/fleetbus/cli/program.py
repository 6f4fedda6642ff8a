"""The command itself: commands by name, each imported when it is run; every way in which one can end.

Nothing here may import pydantic, nats, yaml or a command's module: `--help` reads only this.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, Final

import click

from fleetbus.cli import exit_codes
from fleetbus.cli.failure import print_error, print_unexpected
from fleetbus.cli.invocation import Connect, Invocation, connect_to_fleet
from fleetbus.cli.kind_words import WORDS
from fleetbus.cli.output import Output, standard_output
from fleetbus.runtime.failures import known_leaf
from fleetbus.schemas.errors import FleetbusError, SettingsInvalid

COMMANDS: Final[tuple[tuple[str, tuple[tuple[str, str], ...]], ...]] = (
    (
        "Look",
        (
            ("status", "the fleet in five lines: what is wrong, what moves, what waits for you"),
            ("get", f"{', '.join(words[0] for _, words in WORDS)} as a table"),
            ("describe", "one of them, with what is wrong first"),
            ("explain", "why a bundle is where it is; what a field or an error code means"),
            ("events", "what happened, and what happens"),
            ("audit", "who did what and was refused what: read, verify, export"),
            ("doctor", "check context, bus, controller and fleet, with a fix for each finding"),
        ),
    ),
    (
        "Change",
        (
            ("apply", "write documents from files"),
            ("validate", "check documents in files, offline"),
            ("delete", "delete a document, and what follows from it"),
            ("release", "let a held prune go, by typing its count"),
            ("approve", "what waits for approvals in protected clusters; sign for it"),
            ("sync", "look at a source again now"),
            ("wait", "until a condition holds, or says what is missing"),
            ("command", "orders to one cluster: run, list, cancel"),
        ),
    ),
    (
        "Secrets",
        (("secret", "revoke a binding with proof; share a secret with a group"),),
    ),
    (
        "Fleet",
        (
            ("init", "make a fleet: keys, certificates, configuration, streams, Vault's policies"),
            ("cluster", "let a cluster join, shut it out, let it go"),
            ("operator", "a credential for somebody, with a role"),
            ("approver", "a key for somebody who approves"),
            ("subscriber", "a credential for a team that reads events"),
            ("keys", "whose word the fleet obeys; rotate, restore"),
            ("local", "a whole fleet on this machine"),
            ("context", "which fleet is spoken to: list, use"),
        ),
    ),
    (
        "Help",
        (
            ("help", "topics: exit-codes, environment, formatting"),
            ("completion", "completion for bash, zsh, fish"),
            ("version", "versions of the command and of the controller"),
        ),
    ),
)

ALIASES: Final = {"why": "explain", "reconcile": "sync"}
_MODULES: Final = {"help": "topics", "version": "versions"}
_OUTSIDE: Final = {"local": "fleetbus-local"}
"""Commands of another distribution, found by its entry point in the group `fleetbus.commands`."""

_HELP: Final = {name: text for _, commands in COMMANDS for name, text in commands}


class Commands(click.Group):
    """The commands by name. A module is imported when its command is run, or its own help is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_HELP)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = ALIASES.get(cmd_name, cmd_name)
        if name not in _HELP:
            return None
        return with_common_options(_outside(name) if name in _OUTSIDE else _inside(name))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        wanted = args[0] if args else ""
        if self.get_command(ctx, wanted) is None and not wanted.startswith("-"):
            import difflib

            near = difflib.get_close_matches(wanted, [*_HELP, *ALIASES], n=1)
            guess = f" Did you mean `{near[0]}`?" if near else ""
            raise click.UsageError(f"There is no command `{wanted}`.{guess}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in COMMANDS:
            with formatter.section(title):
                formatter.write_dl(list(commands))


def _inside(name: str) -> click.Command:
    module = importlib.import_module(f"fleetbus.cli.{_MODULES.get(name, name)}")
    command: click.Command = module.command
    return command


def _outside(name: str) -> click.Command:
    from importlib.metadata import entry_points

    for entry in entry_points(group="fleetbus.commands", name=name):
        command: click.Command = entry.load()
        return command
    raise SettingsInvalid(
        f"the command `{name}` is not installed", remedy=f"run `pip install {_OUTSIDE[name]}`"
    )


def _set_context(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value:
        ctx.ensure_object(Invocation).context = value


def with_common_options(command: click.Command) -> click.Command:
    """`command` (and what is below it) with `--context` also after its name."""
    if isinstance(command, click.Group):
        for below in command.commands.values():
            with_common_options(below)
    if isinstance(command, click.Group) and not command.invoke_without_command:
        return command
    if not any(parameter.name == "context" for parameter in command.params):
        command.params.append(
            click.Option(
                ["--context"],
                expose_value=False,
                callback=_set_context,
                metavar="NAME",
                help="Fleet to speak to.",
            )
        )
    return command


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with `fleetbus status`. Every command has --help with examples.",
)
@click.option("--context", metavar="NAME", envvar="FLEETBUS_CONTEXT", help="Fleet to speak to.")
@click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Colours in what is printed.",
)
@click.pass_context
def root(ctx: click.Context, context: str | None, color: str) -> None:
    """Manage a fleet of Kubernetes clusters over NATS."""
    invocation = ctx.ensure_object(Invocation)
    if color != "auto":
        invocation.output = standard_output(color)
    invocation.context = context or invocation.context


def main(
    arguments: Sequence[str], *, output: Output | None = None, connect: Connect = connect_to_fleet
) -> int:
    """Run the command; its exit code. No exception leaves, no traceback is printed."""
    invocation = Invocation(output or standard_output(), _connect=connect)
    try:
        return _invoke(arguments, invocation)
    except click.UsageError as error:
        _print_usage(error, invocation.output)
        return exit_codes.USAGE
    except click.ClickException as error:
        invocation.output.say("error: ", error.format_message())
        return exit_codes.FAILED
    except (click.Abort, KeyboardInterrupt):
        invocation.output.say("Interrupted. What was started in the fleet goes on.")
        return exit_codes.INTERRUPTED
    except BrokenPipeError:
        _forget_output()
        return exit_codes.FAILED
    except (FleetbusError, BaseExceptionGroup) as error:
        known = known_leaf(error)
        if known is None:
            print_unexpected(error, invocation.output)
            return exit_codes.FAILED
        print_error(known, invocation.output)
        return exit_codes.code_of(known)
    # The edge of the program: whatever is left becomes one sentence and a file.
    except Exception as error:
        print_unexpected(error, invocation.output)
        return exit_codes.FAILED


def _invoke(arguments: Sequence[str], invocation: Invocation) -> int:
    result: Any = root.main(list(arguments), prog_name="fleetbus", standalone_mode=False, obj=invocation)
    return result if isinstance(result, int) and not isinstance(result, bool) else exit_codes.DONE


def _print_usage(error: click.UsageError, output: Output) -> None:
    output.say("error: ", error.format_message())
    if error.ctx is not None:
        for line in error.ctx.get_usage().splitlines():
            output.say(line)
        output.say(f"More: {error.ctx.command_path} --help")


def _forget_output() -> None:
    """Nobody reads any more: what is still buffered must not raise at exit."""
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), sys.stdout.fileno())
