"""Writes what is generated from the contract: JSON Schemas, the AsyncAPI document, tables of reasons and errors.

`python -m fleetbus.schemas.generate` writes below docs/; `--check` only says what is stale and ends with 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleetbus.schemas import conditions, documents, errors, events, people, subjects
from fleetbus.schemas.catalogue import CAPABILITIES, KINDS
from fleetbus.schemas.codes import CODES
from fleetbus.schemas.documents import API_VERSION
from fleetbus.schemas.events import CloudEvent
from fleetbus.schemas.limits_page import limits_page
from fleetbus.schemas.permissions_page import permissions_page
from fleetbus.schemas.streams import EVENTS

DOCS = Path(__file__).resolve().parents[3] / "docs"
SCHEMAS_URL = "https://fleetbus.dev/schemas/v1alpha1"
_DRAFT_7 = "http://json-schema.org/draft-07/schema#"
_FLEET = (conditions, documents, events, people)
"""Modules whose reasons and event types belong to no capability."""


def generated() -> dict[str, str]:
    """Every generated file: its path below docs/ and its text."""
    files = {f"schemas/v1alpha1/{kind.lower()}.json": _text(_kind_schema(kind)) for kind in KINDS}
    files["schemas/v1alpha1/all.json"] = _text(_all_kinds())
    files["schemas/v1alpha1/event.json"] = _text(_event_schema())
    files["asyncapi.json"] = _text(asyncapi())
    files["reference/reasons.md"] = reasons_table()
    files["reference/errors.md"] = errors_table()
    files["security/permissions.md"] = permissions_page()
    files["security/limits.md"] = limits_page()
    return files


def event_types() -> dict[str, str]:
    """Every event type, and the capability that it tells of."""
    return {type_: users[0] for type_, users in _named("EVENT_").items()}


def reasons() -> dict[str, tuple[str, ...]]:
    """Every reason of a condition or an event, and the capabilities that use it."""
    return _named("REASON_")


def _named(prefix: str) -> dict[str, tuple[str, ...]]:
    """The constants with a prefix: their values, and the capabilities (or the fleet) in whose modules they are."""
    owners = [
        *((module, module.CAPABILITY) for module in CAPABILITIES),
        *((module, "fleet") for module in _FLEET),
    ]
    found: dict[str, set[str]] = {}
    for module, owner in owners:
        for name, value in vars(module).items():
            if name.startswith(prefix):
                found.setdefault(value, set()).add(owner)
    return {value: tuple(sorted(users)) for value, users in sorted(found.items())}


def failures() -> dict[str, str]:
    """Errors of the tree that end a pass: the reason under which `Reconciled` reports each, and its code."""
    return {
        name: value.code
        for name, value in sorted(vars(errors).items())
        if isinstance(value, type)
        and issubclass(value, (errors.Terminal, errors.Refused))
        and value not in (errors.Terminal, errors.Refused)
    }


def _kind_schema(kind: str) -> dict[str, Any]:
    schema = _draft_7(KINDS[kind].model_json_schema(by_alias=True))
    body = {key: value for key, value in schema.items() if key != "definitions"}
    body["required"] = ["apiVersion", "kind", *(one for one in body.get("required", ()) if one != "kind")]
    return {
        "$schema": _DRAFT_7,
        "$id": f"{SCHEMAS_URL}/{kind.lower()}.json",
        **body,
        "definitions": schema.get("definitions", {}),
    }


def _all_kinds() -> dict[str, Any]:
    """One schema for a file that may hold any kind: the kind decides, so that an error names its field."""
    definitions: dict[str, Any] = {}
    for kind in KINDS:
        schema = _kind_schema(kind)
        definitions |= schema.pop("definitions")
        definitions[kind] = {key: value for key, value in schema.items() if not key.startswith("$")}
    return {
        "$schema": _DRAFT_7,
        "$id": f"{SCHEMAS_URL}/all.json",
        "title": "Any document of Fleetbus",
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "properties": {"apiVersion": {"const": API_VERSION}, "kind": {"enum": list(KINDS)}},
        "allOf": [
            {
                "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
                "then": {"$ref": f"#/definitions/{kind}"},
            }
            for kind in KINDS
        ],
        "definitions": definitions,
    }


def _event_schema() -> dict[str, Any]:
    schema = _draft_7(CloudEvent.model_json_schema(by_alias=True))
    return {"$schema": _DRAFT_7, "$id": f"{SCHEMAS_URL}/event.json", **schema}


def _draft_7(value: Any) -> Any:
    """The same schema in the words of draft 7, which editors read: `definitions`, references to them."""
    if isinstance(value, Mapping):
        return {("definitions" if key == "$defs" else key): _draft_7(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_draft_7(inner) for inner in value]
    if isinstance(value, str) and value.startswith("#/$defs/"):
        return value.replace("#/$defs/", "#/definitions/", 1)
    return value


def asyncapi() -> dict[str, Any]:
    """AsyncAPI 3.0 of the events, from the controller's side: it sends them."""
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for type_, capability in event_types().items():
        word = "".join(part.capitalize() for part in type_.replace("-", ".").split("."))
        tokens = subjects.event(subjects.MAIN, subjects.FLEET, type_).split(".")
        tokens[3:5] = ["{realm}", "{cluster}"]
        channels[word] = {
            "address": ".".join(tokens),
            "title": type_,
            "description": f"Capability {capability}.",
            "messages": {"event": {"$ref": "#/components/messages/event"}},
            "parameters": {
                "realm": {"$ref": "#/components/parameters/realm"},
                "cluster": {"$ref": "#/components/parameters/cluster"},
            },
        }
        operations[f"send{word}"] = {
            "action": "send",
            "channel": {"$ref": f"#/channels/{word}"},
            "messages": [{"$ref": f"#/channels/{word}/messages/event"}],
        }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Fleetbus events",
            "version": "1.0.0",
            "description": (
                "CloudEvents 1.0 in structured JSON on NATS, as the controller sends them: subscribe to "
                f"`{subjects.ALL_EVENTS}` or to one address. The stream {EVENTS.name} keeps them for "
                f"{EVENTS.max_age_s // 86400} days."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/cloudevents+json",
        "channels": channels,
        "operations": operations,
        "components": _components(),
    }


def _components() -> dict[str, Any]:
    """The one message of every channel, and what stands in the addresses."""
    payload = {"schemaFormat": "application/schema+json;version=draft-07", "schema": _inline(_event_schema())}
    return {
        "messages": {
            "event": {
                "name": "event",
                "title": "Something happened",
                "contentType": "application/cloudevents+json",
                "payload": payload,
            }
        },
        "parameters": {
            "realm": {"description": "Realm of the cluster.", "default": subjects.MAIN},
            "cluster": {"description": f"Name of the cluster; `{subjects.FLEET}` for the whole fleet."},
        },
    }


def _inline(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if not key.startswith("$")}


def reasons_table() -> str:
    """Markdown: the reasons of conditions and events."""
    rows = [f"| `{reason}` | {', '.join(users)} |" for reason, users in reasons().items()]
    failed = [f"| `{reason}` | {code} |" for reason, code in failures().items()]
    types = [f"| `{type_}` | {capability} |" for type_, capability in event_types().items()]
    return "\n".join(
        [
            "# Reasons and event types",
            "",
            "Generated by `make generate`. A condition's reason is one word; its message says the rest.",
            "",
            "| Reason | Capability |",
            "| --- | --- |",
            *rows,
            "",
            "When a pass of the controller fails for good, `Reconciled` is False with the error as its reason.",
            "",
            "| Reason | Code |",
            "| --- | --- |",
            *failed,
            "",
            "Events are CloudEvents of type `dev.fleetbus.<type>.v1`.",
            "",
            "| Type | Capability |",
            "| --- | --- |",
            *types,
            "",
        ]
    )


def errors_table() -> str:
    """Markdown: the error codes, with the classes of the tree that carry them."""
    classes: dict[str, list[str]] = {}
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, errors.FleetbusError) and "code" in vars(value):
            classes.setdefault(value.code, []).append(name)
    rows = [
        f"| {one.code} | {one.title} | {', '.join(classes.get(one.code, ())) or '-'} "
        f"| {one.meaning} | {one.remedy} |"
        for one in CODES
    ]
    return "\n".join(
        [
            "# Error codes",
            "",
            "Generated by `make generate`. `fleetbus explain FBnnnn` prints the same.",
            "",
            "| Code | Title | Error | What it means | What to do |",
            "| --- | --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )


def stale(docs: Path) -> list[str]:
    """The generated files below `docs` that are missing or differ."""
    return [name for name, text in generated().items() if _read(docs / name) != text]


def _read(file: Path) -> str | None:
    return file.read_text(encoding="utf-8") if file.is_file() else None


def _text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; 1 when something is stale")
    parser.add_argument("--docs", type=Path, default=DOCS, help="the folder docs/")
    chosen = parser.parse_args()
    if chosen.check:
        found = stale(chosen.docs)
        for name in found:
            print(f"docs/{name} is stale: run `make generate`", file=sys.stderr)
        return 1 if found else 0
    for name, text in generated().items():
        file = chosen.docs / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
