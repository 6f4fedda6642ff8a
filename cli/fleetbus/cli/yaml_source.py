"""Documents out of files: read, checked against the contract, all errors of all files found at once."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fleetbus.cli.diagnostics import Diagnostic
from fleetbus.cli.findings import UNKNOWN_FIELD, Finding, findings
from fleetbus.cli.yaml_nodes import Parsed, Spot, Trouble, parse
from fleetbus.schemas.catalogue import KINDS
from fleetbus.schemas.documents import API_VERSION
from fleetbus.schemas.errors import SettingsInvalid

STANDARD_INPUT = "-"
MAX_FILE_BYTES = 16 * 1024 * 1024
_SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class Written:
    """One valid document, and where it was read."""

    document: dict[str, Any]
    file: str
    line: int

    @property
    def kind(self) -> str:
        return str(self.document["kind"])

    @property
    def name(self) -> str:
        return str(self.document["metadata"]["name"])


@dataclass(slots=True)
class Checked:
    """Everything that was read: what is valid, and what is wrong."""

    documents: list[Written] = field(default_factory=list)
    diagnostics: list[Diagnostic] = field(default_factory=list)
    files: int = 0


def check(paths: Sequence[str], *, recursive: bool = False) -> Checked:
    """Read and check files, folders and `-`. Raises SettingsInvalid for what cannot be read."""
    checked = Checked()
    for name, text in _texts(paths, recursive):
        checked.files += 1
        check_text(text, name, checked)
    return checked


def check_text(text: str, file: str, checked: Checked) -> None:
    """Check one text of YAML documents, into `checked`."""
    lines = text.splitlines()
    for parsed in parse(text):
        if isinstance(parsed, Trouble):
            checked.diagnostics.append(
                _diagnostic(Finding(parsed.code, parsed.message), parsed.spot, file, lines)
            )
            continue
        found = list(_wrong(parsed, file, lines))
        document = parsed.value
        if not found:
            found = list(_twice(document, parsed, file, lines, checked.documents))
        if found:
            checked.diagnostics += sorted(found, key=lambda one: (one.line, one.column))
        else:
            checked.documents.append(Written(document, file, parsed.spot(("kind",)).line))


def _wrong(parsed: Parsed, file: str, lines: list[str]) -> Iterator[Diagnostic]:
    document = parsed.value
    if not isinstance(document, dict):
        finding = Finding("FB1009", "this is no document: it has no fields", help="write apiVersion, kind, …")
        yield _diagnostic(finding, parsed.spot(()), file, lines)
        return
    kind = document.get("kind")
    model = KINDS.get(kind) if isinstance(kind, str) else None
    if model is None:
        yield _diagnostic(_unknown_kind(kind), parsed.spot(("kind",)), file, lines)
        return
    try:
        model.model_validate(document)
    except ValidationError as error:
        for finding in findings(error, model, document):
            spot = parsed.spot(finding.path, key=finding.at_key)
            context = finding.code == UNKNOWN_FIELD and len(finding.path) > 1
            above = parsed.spot(finding.path[:-1], key=True).line if context else spot.line
            yield _diagnostic(finding, spot, file, lines, above=above)


def _unknown_kind(kind: object) -> Finding:
    if kind is None:
        message, guess = "missing field `kind`", ""
    else:
        near = difflib.get_close_matches(str(kind), KINDS, n=1)
        message = f"`{str(kind)[:80]}` is not a kind of {API_VERSION}"
        guess = f"did you mean `{near[0]}`? " if near else ""
    return Finding("FB1007", message, ("kind",), help=f"{guess}one of {', '.join(KINDS)}")


def _twice(
    document: dict[str, Any], parsed: Parsed, file: str, lines: list[str], before: Iterable[Written]
) -> Iterator[Diagnostic]:
    kind, name = document["kind"], document["metadata"]["name"]
    for one in before:
        if (one.kind, one.name) == (kind, name):
            finding = Finding(
                "FB1006",
                f"{kind} {name} stands twice, first in {one.file}:{one.line}",
                help="remove one of them",
            )
            yield _diagnostic(finding, parsed.spot(("metadata", "name")), file, lines)
            return


def _diagnostic(
    finding: Finding, spot: Spot, file: str, lines: list[str], *, above: int | None = None
) -> Diagnostic:
    """`above`: the line from which on it is shown, at most two lines before the marked one."""
    first = min(spot.line, max(1, spot.line - 2, above or spot.line))
    return Diagnostic(
        code=finding.code,
        message=finding.message,
        file=file,
        line=spot.line,
        column=spot.column,
        length=spot.length,
        lines=tuple((n, lines[n - 1]) for n in range(first, spot.line + 1) if n <= len(lines)),
        label=finding.label,
        help=finding.help,
        note=finding.note,
        more=finding.more,
    )


def _texts(paths: Sequence[str], recursive: bool) -> Iterator[tuple[str, str]]:
    for path in paths:
        if path == STANDARD_INPUT:
            yield "standard input", sys.stdin.read(MAX_FILE_BYTES)
            continue
        for file in _files(Path(path), recursive):
            yield str(file), _text(file)


def _files(path: Path, recursive: bool) -> list[Path]:
    if not path.is_dir():
        return [path]
    inside = path.rglob("*") if recursive else path.iterdir()
    found = sorted(one for one in inside if one.suffix in _SUFFIXES and one.is_file())
    if not found:
        raise SettingsInvalid("no .yaml, .yml or .json file in this folder", where=str(path))
    return found


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise SettingsInvalid(f"larger than {MAX_FILE_BYTES >> 20} MiB", where=str(file))
        return file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise SettingsInvalid("there is no such file", where=str(file)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsInvalid("it cannot be read as UTF-8 text", where=str(file)) from error
