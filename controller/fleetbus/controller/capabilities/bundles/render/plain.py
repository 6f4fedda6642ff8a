"""A folder of plain YAML and JSON: every file below it, by name, without those whose name begins with a dot."""

from __future__ import annotations

from fleetbus.controller.capabilities.bundles.canonical import Found
from fleetbus.controller.manifests_yaml import load_marked
from fleetbus.controller.repository import Files, Link
from fleetbus.schemas.errors import ObjectInvalid

SUFFIXES = (".yaml", ".yml", ".json")
KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")


def read_manifests(files: Files, path: str) -> list[Found]:
    """The mappings in the files, in the order of their names.

    Raises ObjectInvalid: what is no YAML, a link (leaving it out would prune what is behind it), and a
    kustomization further down, whose meaning a plain folder would miss.
    """
    found: list[Found] = []
    for name in sorted(files):
        if any(part.startswith(".") for part in name.split("/")):
            continue
        place = f"{path}/{name}" if path else name
        short = name.rsplit("/", 1)[-1]
        content = files[name]
        if isinstance(content, Link):
            if short.endswith(SUFFIXES) or "." not in short:
                raise ObjectInvalid(
                    "it is a symbolic link, which a plain folder does not follow",
                    where=place,
                    remedy="put the file itself here, or make the folder a kustomization",
                )
            continue
        if short in KUSTOMIZATIONS:
            raise ObjectInvalid(
                "there is a kustomization below a plain folder",
                where=place,
                remedy=f"set spec.path to `{place.rpartition('/')[0]}`, or add a kustomization.yaml above it",
            )
        if short.endswith(SUFFIXES):
            found += [
                Found(marked.value, marked.where) for marked in load_marked(_text(content, place), place)
            ]
    return found


def _text(content: bytes, place: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ObjectInvalid("the file is not UTF-8", where=place) from error
