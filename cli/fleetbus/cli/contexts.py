"""Contexts as the command keeps them: through the client, and by name for completion."""

from __future__ import annotations

from collections.abc import Sequence

from fleetbus.cli.words import remember
from fleetbus.client.context import Context, load_context, load_contexts, save_context, use_context
from fleetbus.schemas.errors import SettingsInvalid


def names() -> tuple[Sequence[str], str]:
    """All names, and the current one ('' without)."""
    found = load_contexts()
    listed = [context.name for context in found.contexts]
    remember("contexts", listed)
    return listed, found.current


def use(name: str) -> str:
    """Make `name` the current context; its name. Raises NotFound."""
    use_context(name)
    return name


def save(context: Context) -> bool:
    """Write a context and make it the current one; False when it was there like this."""
    if context in load_contexts().contexts:
        return False
    save_context(context)
    names()
    return True


def user_of(name: str) -> str:
    """Who speaks in the context of this name; '' when there is none."""
    return next((one.user for one in load_contexts().contexts if one.name == name), "")


def spoken_to(name: str) -> str:
    """The name of the context that `name` ('' for the current one) means; '-' when there is none."""
    try:
        return load_context(name).name
    except SettingsInvalid:
        return name or "-"
