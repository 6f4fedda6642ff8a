"""Texts within the bounds of what is reported. Pure."""

from __future__ import annotations

from fleetbus.schemas.conditions import MAX_MESSAGE_BYTES


def cut(text: str, limit_bytes: int = MAX_MESSAGE_BYTES) -> str:
    """At most so many bytes of UTF-8, whole characters, an ellipsis where something is missing."""
    raw = text.encode()
    if len(raw) <= limit_bytes:
        return text
    return raw[: limit_bytes - 3].decode(errors="ignore") + "…"
