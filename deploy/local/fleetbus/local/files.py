"""Small files of local servers, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(file: Path, content: bytes | str, *, secret: bool = False) -> Path:
    """Replace `file` in one step; a reader sees the old or the new bytes. `secret` files get mode 0600."""
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f".{file.name}.new")
    raw = content.encode() if isinstance(content, str) else content
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600 if secret else 0o644)
    with os.fdopen(descriptor, "wb") as output:
        output.write(raw)
    beside.replace(file)
    return file
