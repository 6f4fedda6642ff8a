"""The door for a folder of YAML documents: a file that changes is applied, one that vanishes deletes nothing.

What was applied is remembered by digest in the fleet's status: no term, and no second controller, applies a file
that has not changed, and so undoes what an operator has changed since.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from fleetbus.controller.audit import Author
from fleetbus.controller.desk import Desk
from fleetbus.controller.doors.retiring import refuse_revoked
from fleetbus.controller.doors.validation import validated
from fleetbus.controller.manifests_yaml import load_documents
from fleetbus.controller.views import FLEET_STATUS
from fleetbus.runtime.failures import raised_at
from fleetbus.runtime.foreign_text import cleaned
from fleetbus.schemas.canonical import digest
from fleetbus.schemas.documents import EVENT_FILE_REFUSED, REASON_FILE_REFUSED, Document, Status
from fleetbus.schemas.errors import DocumentInvalid, FleetbusError, Transient
from fleetbus.schemas.events import Happened

POLL_S = 2.0
MOST_BYTES = 4 * 1024 * 1024
MOST_REMEMBERED = 2000
"""Files whose digests are kept, so that the status fits into a message; more are applied again at each term."""
DIGEST_LENGTH = 32
"""Hexadecimal digits: not those of an artifact, which a status would keep from being swept."""
FLEET_UID = "fleet"

Stamp = tuple[int, int]
"""Time of the last change in nanoseconds, and size: what tells that a file was written."""

_log = structlog.get_logger("controller")


@dataclass(frozen=True, slots=True)
class _Found:
    stamp: Stamp
    text: str
    problem: str = ""


async def watch(desk: Desk, folder: Path) -> None:
    """Apply every file once in the fleet's life, and again whenever it changes, until cancelled."""
    seen: dict[str, Stamp] = {}
    refused: dict[str, str] = {}
    applied: dict[str, str] = {}
    while True:
        try:
            changed = await asyncio.to_thread(_changed, folder, dict(seen))
        except OSError as error:
            _log.warning("the folder cannot be read now", reason=type(error).__name__)
            changed = {}
        for name, found in sorted(changed.items()):
            told = digest(found.text.encode())[:DIGEST_LENGTH]
            try:
                sentence = "" if _remembered(desk).get(name) == told else await _apply(desk, name, found)
            except Transient as error:
                _log.warning("a file is applied later", file=name, reason=error.sentence())
                continue
            seen[name] = found.stamp
            if not sentence:
                applied[name] = told
            if sentence and refused.get(name) != sentence:
                await _tell(desk, name, sentence)
            refused[name] = sentence
        await _remember(desk, applied)
        await desk.clock.sleep(desk.clock.jitter(POLL_S, 0.1))


async def _apply(desk: Desk, name: str, found: _Found) -> str:
    """Apply one file, all of it or nothing; why it was refused, or empty. Raises Transient."""
    author = Author(f"directory:{name}", "apply")
    try:
        if found.problem:
            raise DocumentInvalid(found.problem)
        documents = await asyncio.to_thread(_documents, found.text, name)
        applied = await desk.documents.apply(documents, author, permit=partial(refuse_revoked, desk))
    except Transient:
        raise
    except FleetbusError as error:
        await desk.refusals.add(author, "", error)
        return cleaned(error.sentence(), 1024)
    except Exception as error:  # The edge of one file: whatever it holds must not end the term.
        _log.error("a file failed", file=name, error=type(error).__name__, raised_at=raised_at(error))
        return f"the controller failed over it: {type(error).__name__}"
    for one in applied:
        if one.verb != "unchanged":
            _log.info(
                "applied from a file", file=name, document=f"{one.kind.lower()}/{one.name}", verb=one.verb
            )
    return ""


def _documents(text: str, name: str) -> list[Document]:
    return validated(load_documents(text, name))


def _remembered(desk: Desk) -> Mapping[str, str]:
    """File → digest of what was applied of it last, by whichever controller."""
    status = desk.known.status(FLEET_STATUS)
    files = status.details.get("files") if status else None
    return files if isinstance(files, dict) else {}


async def _remember(desk: Desk, applied: dict[str, str]) -> None:
    """Write down what was applied, and forget it in `applied`; what fails now is written the next time."""
    if not applied:
        return
    files = dict(list({**_remembered(desk), **applied}.items())[:MOST_REMEMBERED])

    def amend(status: Status | None) -> Status:
        before = status or Status(kind=FLEET_STATUS[0], name=FLEET_STATUS[1], uid=FLEET_UID)
        return before.model_copy(update={"details": {**before.details, "files": files}})

    try:
        await desk.statuses.amend(FLEET_STATUS, amend)
    except Transient as error:
        _log.warning("applied files are remembered later", reason=error.sentence())
    else:
        applied.clear()


async def _tell(desk: Desk, name: str, sentence: str) -> None:
    _log.warning("a file is refused", file=name, reason=sentence)
    subject = f"directory/{cleaned(name, 200)}"
    if desk.recent.has(subject, EVENT_FILE_REFUSED, sentence):
        return
    happened = Happened(
        type=EVENT_FILE_REFUSED,
        subject=subject,
        reason=REASON_FILE_REFUSED,
        message=sentence,
        severity="Warning",
    )
    try:
        await desk.statuses.add(FLEET_STATUS, FLEET_UID, happened)
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
