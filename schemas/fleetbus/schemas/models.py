"""The two shapes of every model: what operators write is strict, what comes off the bus is lenient.

Field names are camelCase on the wire and snake_case in code.
"""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from fleetbus.schemas.canonical import canonical, parse_json
from fleetbus.schemas.errors import MessageMalformed


class Written(BaseModel):
    """Written by an operator: an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    def as_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Received(BaseModel):
    """Read off the bus: an unknown field is ignored, so that old and new versions can talk."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True)

    def as_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def to_bytes(self) -> bytes:
        """Canonical bytes."""
        return canonical(self.as_json())

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Inverse of `to_bytes`; MessageMalformed names the first wrong field and never quotes a value."""
        return cls.from_json(parse_json(content))

    @classmethod
    def from_json(cls, value: Any) -> Self:
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise MessageMalformed(f"not a {cls.__name__}: {place or 'the whole'}: {first['msg']}") from error
