"""Artifacts: content named by its digest. A set, a section's content, rendered objects.

Stored compressed below `fleet.v1.artifact.<sha256>`. Above PART_BYTES (compressed) an index lists parts, which
are artifacts themselves; the index carries the whole's digest, so that both names are checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleetbus.schemas.canonical import canonical, compress, decompress, digest, parse_json
from fleetbus.schemas.errors import MessageMalformed

PART_BYTES = 700 * 1024
MAX_BYTES = 40 * 1024 * 1024
"""Unpacked: what objects may be rendered to (32 MiB), and some room. Whoever reads one holds all of it."""
MAX_PARTS = MAX_BYTES // PART_BYTES + 2
"""Also of what does not compress."""
_PLAIN, _INDEX = b"\x00", b"\x01"


@dataclass(frozen=True, slots=True)
class Artifact:
    """Content with its name. Always `digest(content) == name`."""

    name: str
    content: bytes


def artifact(value: Any) -> Artifact:
    content = canonical(value)
    return Artifact(digest(content), content)


def pack(whole: Artifact) -> dict[str, bytes]:
    """The stored values, by name; the whole's name comes last, so that it never stands without its parts."""
    packed = compress(whole.content)
    if len(packed) < PART_BYTES:
        return {whole.name: _PLAIN + packed}
    parts: dict[str, bytes] = {}
    names: list[str] = []
    for start in range(0, len(packed), PART_BYTES):
        piece = packed[start : start + PART_BYTES]
        name = digest(piece)
        names.append(name)
        parts[name] = _PLAIN + piece
    return {**parts, whole.name: _INDEX + canonical({"parts": names, "size": len(whole.content)})}


def parts_of(stored: bytes) -> list[str] | None:
    """The names of the parts when the stored value is an index, None when it holds the content itself."""
    if stored[:1] == _PLAIN:
        return None
    if stored[:1] != _INDEX:
        raise MessageMalformed("an artifact with an unknown first byte")
    index = parse_json(stored[1:])
    names = index.get("parts") if isinstance(index, dict) else None
    if (
        not isinstance(names, list)
        or not all(isinstance(name, str) for name in names)
        or len(names) > MAX_PARTS
    ):
        raise MessageMalformed("an artifact's index without a list of parts")
    return names


def unpack(name: str, stored: bytes, parts: Mapping[str, bytes] | None = None) -> bytes:
    """The content, checked against its name. `parts` by name when `parts_of` lists any."""
    names = parts_of(stored)
    if names is None:
        packed = stored[1:]
    else:
        pieces = []
        for part in names:
            piece = (parts or {}).get(part, b"")[1:]
            if digest(piece) != part:
                raise MessageMalformed(f"part {part[:12]} of artifact {name[:12]} does not have its digest")
            pieces.append(piece)
        packed = b"".join(pieces)
    content = decompress(packed, MAX_BYTES)
    if digest(content) != name:
        raise MessageMalformed(f"artifact {name[:12]} does not have its digest")
    return content
