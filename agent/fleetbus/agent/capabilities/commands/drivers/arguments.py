"""Checking a command's arguments against their model. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from fleetbus.schemas.models import Written

Model = TypeVar("Model", bound=Written)


def parsed(model: type[Model], arguments: Mapping[str, Any]) -> Model | str:
    """The arguments, or one sentence that names the first wrong field and quotes no value."""
    try:
        return model.model_validate(dict(arguments))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        known = ", ".join(f.alias or name for name, f in model.model_fields.items())
        if first["type"] == "extra_forbidden":
            return f"arguments.{field}: there is no such argument; there are {known}"
        if first["type"] == "missing":
            return f"arguments.{field}: it must be given"
        return f"arguments.{field}: {first['msg']}"
