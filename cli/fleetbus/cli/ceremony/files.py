"""Files of a fleet's folder: written whole or not at all, and only when they change."""

from __future__ import annotations

import os
from pathlib import Path

from fleetbus.schemas.errors import SettingsInvalid


def write_whole(file: Path, content: bytes | str, *, secret: bool = False) -> bool:
    """Replace `file` in one step, mode 0600 when `secret`; False when it had this content already."""
    raw = content.encode() if isinstance(content, str) else content
    try:
        if file.is_file() and file.read_bytes() == raw:
            if secret:
                file.chmod(0o600)
            return False
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = file.with_name(f".{file.name}.new")
        beside.unlink(missing_ok=True)
        mode = 0o600 if secret else 0o644
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as output:
            output.write(raw)
            output.flush()
            os.fsync(output.fileno())
        beside.replace(file)
    except OSError as error:
        raise SettingsInvalid(f"cannot be written: {error.strerror}", where=str(file)) from error
    return True


def is_private(file: Path) -> bool:
    """Whether it is its owner's alone."""
    return not file.stat().st_mode & 0o077


def read_text(file: Path) -> str:
    """Raises SettingsInvalid; what is in the file is never quoted."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsInvalid("cannot be read", where=str(file)) from error
