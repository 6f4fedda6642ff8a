"""Files that hold something secret must be their owner's alone."""

from __future__ import annotations

import stat
from pathlib import Path

from fleetbus.schemas.bus_proxy import DIRECT, has_login, parse_proxy
from fleetbus.schemas.errors import SettingsInvalid


def check_private(file: Path, what: str) -> None:
    """That nobody but its owner may do anything with it. Raises SettingsInvalid, OSError."""
    if stat.S_IMODE(file.stat().st_mode) & 0o077:
        raise SettingsInvalid(f"others may read this {what}", where=str(file), remedy=f"chmod 600 {file}")


def check_proxy(setting: str, file: Path, name: str) -> None:
    """A proxy as a file sets it: a URL, or `direct`; with a login only in a private file.

    Raises SettingsInvalid without quoting it, OSError.
    """
    if not setting or setting == DIRECT:
        return
    try:
        parse_proxy(setting)
    except SettingsInvalid as error:
        raise SettingsInvalid(f"{name}: {error.message}", where=str(file), remedy=error.remedy) from error
    if has_login(setting):
        check_private(file, f"file, which holds the login of a proxy ({name})")
