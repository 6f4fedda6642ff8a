"""Text for a terminal: cleaned of what a terminal obeys, measured as it is seen, times and ages in words.

Strings on the bus are written by clusters; a compromised one must not reach an operator's terminal with an
escape code, nor turn a line round with a bidirectional override. `clean` is the one place that sees to it.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime

NONE = "<none>"
UNKNOWN = "<unknown>"

_LOGIN = re.compile(r"(?<=://)[^/@\s]*:[^/@\s]*(?=@)|(?<=https://)[^/@\s]+(?=@)")

# C0 and DEL, C1, Arabic letter mark, left-to-right and right-to-left marks, line and paragraph separators,
# bidirectional embeddings, overrides and isolates, the byte order mark, and lone surrogates.
_DANGEROUS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def clean(text: str) -> str:
    """`text` in one line that no terminal obeys: blanks for line breaks, visible escapes for the rest."""
    return _DANGEROUS.sub(_visible, text)


def _visible(found: re.Match[str]) -> str:
    character = found.group()
    if character in "\n\t\u2028\u2029":
        return " "
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def escape_json(text: str) -> str:
    """JSON text with the same characters escaped as JSON escapes them; what it says stays the same."""
    return _DANGEROUS.sub(lambda found: found.group() if found.group() == "\n" else _json(found), text)


def _json(found: re.Match[str]) -> str:
    return f"\\u{ord(found.group()):04x}"


def is_clean(text: str) -> bool:
    """Whether nothing but line breaks would be escaped."""
    return _DANGEROUS.search(text.replace("\n", "")) is None


def width(text: str) -> int:
    """How many columns a terminal needs for `text`."""
    if text.isascii():
        return len(text)
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def wrap(text: str, columns: int) -> list[str]:
    """`text` in lines of at most `columns` columns, broken at blanks where there are any."""
    lines: list[str] = []
    line = ""
    for word in text.split(" "):
        while width(word) > columns:
            room = columns - width(line) - 1 if line else columns
            cut = max(1, room) if room > columns // 3 or not line else 0
            if cut:
                lines.append(f"{line} {word[:cut]}" if line else word[:cut])
                line, word = "", word[cut:]
            else:
                lines.append(line)
                line = ""
        candidate = f"{line} {word}" if line else word
        if width(candidate) <= columns:
            line = candidate
        else:
            lines.append(line)
            line = word
    return [*lines, line] if line or not lines else lines


def parse_time(text: object) -> datetime | None:
    """The aware time in RFC 3339; None for nothing and for anything else."""
    if not isinstance(text, str) or not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def rfc3339(at: datetime) -> str:
    """UTC, to the second, as pipes get it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_ms(at: datetime) -> str:
    """UTC, to the millisecond: where the order within a second counts."""
    utc = at.astimezone(UTC)
    return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03d}Z"


def clock_time(at: datetime) -> str:
    """The local time of day, as a terminal gets it."""
    return at.astimezone().strftime("%H:%M:%S")


def duration(seconds: float) -> str:
    """How long, in one or two units: `45s`, `1m12s`, `34m`, `7h12m`, `41d`."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    minutes, rest_s = divmod(whole, 60)
    if minutes < 10:
        return f"{minutes}m{rest_s}s" if rest_s else f"{minutes}m"
    if minutes < 60:
        return f"{minutes}m"
    hours, rest_minutes = divmod(minutes, 60)
    if hours < 10:
        return f"{hours}h{rest_minutes}m" if rest_minutes else f"{hours}h"
    return f"{hours}h" if hours < 48 else f"{hours // 24}d"


def age(since: object, now: datetime) -> str:
    """How long ago an RFC 3339 time was; `<unknown>` when there is none."""
    at = parse_time(since)
    return duration((now - at).total_seconds()) if at else UNKNOWN


def short_revision(revision: str) -> str:
    """`v4.13.0@sha1:4be81d0`: a commit in a table has seven digits."""
    return re.sub(r"(@sha1:[0-9a-f]{7})[0-9a-f]+$", r"\1", revision)


def counted(number: int, noun: str, plural: str = "") -> str:
    """`1 cluster`, `2 clusters`."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def without_login(text: str) -> str:
    """`text` with stars for the password, or the token, that an address in it carries; as long as it was."""
    return _LOGIN.sub(lambda found: "*" * len(found[0]), text)
