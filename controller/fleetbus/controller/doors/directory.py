"""The door for a folder of YAML documents: a file that changes is applied, one that vanishes deletes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from fleetbus.controller.desk import Desk
from fleetbus.controller.doors.validation import validated
from fleetbus.controller.manifests_yaml import load_documents
from fleetbus.controller.store import Author
from fleetbus.controller.text import clean
from fleetbus.controller.views import FLEET_STATUS
from fleetbus.schemas.errors import DocumentInvalid, FleetbusError, Transient
from fleetbus.schemas.events import Happened

POLL_S = 2.0
MOST_BYTES = 4 * 1024 * 1024
EVENT_REFUSED = "documents.file-refused"
REASON_REFUSED = "FileRefused"

Stamp = tuple[int, int]
"""Time of the last change in nanoseconds, and size: what tells that a file was written."""

_log = structlog.get_logger("controller")


@dataclass(frozen=True, slots=True)
class _Found:
    stamp: Stamp
    text: str
    problem: str = ""


async def watch(desk: Desk, folder: Path) -> None:
    """Apply every file once, and again whenever it changes, until cancelled."""
    seen: dict[str, Stamp] = {}
    refused: dict[str, str] = {}
    while True:
        changed = await asyncio.to_thread(_changed, folder, dict(seen))
        for name, found in sorted(changed.items()):
            try:
                sentence = await _apply(desk, name, found)
            except Transient as error:
                _log.warning("a file is applied later", file=name, reason=error.sentence())
                continue
            seen[name] = found.stamp
            if sentence and refused.get(name) != sentence:
                await _tell(desk, name, sentence)
            refused[name] = sentence
        await desk.clock.sleep(desk.clock.jitter(POLL_S, 0.1))


async def _apply(desk: Desk, name: str, found: _Found) -> str:
    """Apply one file, all of it or nothing; why it was refused, or empty. Raises Transient."""
    try:
        if found.problem:
            raise DocumentInvalid(found.problem)
        documents = validated(load_documents(found.text, name))
        applied = await desk.documents.apply(documents, Author(f"directory:{name}", "apply"))
    except Transient:
        raise
    except FleetbusError as error:
        return clean(error.sentence(), 1024)
    for one in applied:
        if one.verb != "unchanged":
            _log.info(
                "applied from a file", file=name, document=f"{one.kind.lower()}/{one.name}", verb=one.verb
            )
    return ""


async def _tell(desk: Desk, name: str, sentence: str) -> None:
    _log.warning("a file is refused", file=name, reason=sentence)
    subject = f"directory/{clean(name, 200)}"
    if desk.recent.has(subject, EVENT_REFUSED, sentence):
        return
    happened = Happened(
        type=EVENT_REFUSED, subject=subject, reason=REASON_REFUSED, message=sentence, severity="Warning"
    )
    try:
        await desk.statuses.add(FLEET_STATUS, "fleet", happened)
    except Transient as error:
        _log.warning("an event is lost", subject=subject, reason=error.sentence())


def _changed(folder: Path, seen: Mapping[str, Stamp]) -> dict[str, _Found]:
    """Files that are new or written since, by their path in the folder. Runs in a thread."""
    found: dict[str, _Found] = {}
    for path in sorted([*folder.rglob("*.yaml"), *folder.rglob("*.yml")]):
        name = path.relative_to(folder).as_posix()
        try:
            stat = path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size)
            if seen.get(name) == stamp or not path.is_file():
                continue
            if stat.st_size > MOST_BYTES:
                found[name] = _Found(stamp, "", f"the file is larger than {MOST_BYTES} bytes")
            else:
                found[name] = _Found(stamp, path.read_text(encoding="utf-8"))
        except UnicodeDecodeError:
            found[name] = _Found(stamp, "", "the file is not UTF-8 text")
        except OSError as error:
            _log.debug("a file cannot be read now", file=name, reason=type(error).__name__)
    return found
