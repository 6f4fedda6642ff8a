"""Canonical bytes, digests and bounded compression: one function each, for both sides.

Canonical JSON: keys sorted, no blanks, UTF-8, no NaN, integers of at most 64 bits (RFC 8785 but for the
number format, which is orjson's). A digest is always that of the uncompressed canonical bytes, so that a
compressor's version never changes a name.
"""

from __future__ import annotations

import hashlib
import sys
from typing import Any

import orjson

from fleetbus.schemas.errors import MessageMalformed

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAX_JSON_BYTES = 64 * 1024 * 1024


def canonical(value: Any) -> bytes:
    """The one byte form of a JSON value; MessageMalformed for what JSON cannot say."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:
        raise MessageMalformed(f"not a JSON value: {error}") from error


def parse_json(content: bytes) -> Any:
    """JSON from untrusted bytes; MessageMalformed when it is none."""
    if len(content) > MAX_JSON_BYTES:
        raise MessageMalformed(f"{len(content)} bytes are more than {MAX_JSON_BYTES}")
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise MessageMalformed(f"not JSON: {error.msg} at byte {error.pos}") from error


def digest(content: bytes) -> str:
    """sha256 in lower-case hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def compress(content: bytes) -> bytes:
    return zstd.compress(content, 3)


def decompress(content: bytes, limit_bytes: int) -> bytes:
    """The original bytes; MessageMalformed for garbage, for what follows a frame, and beyond the limit."""
    unpacker = zstd.ZstdDecompressor()
    try:
        plain = unpacker.decompress(content, limit_bytes + 1)
    except zstd.ZstdError as error:
        raise MessageMalformed("not a zstd frame") from error
    if len(plain) > limit_bytes:
        raise MessageMalformed(f"larger than {limit_bytes} bytes when unpacked")
    if not unpacker.eof or unpacker.unused_data:
        raise MessageMalformed("a zstd frame that is cut off or followed by something")
    return bytes(plain)
