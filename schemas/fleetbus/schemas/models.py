"""The two shapes of every model: what operators write is strict, what comes off the bus is lenient.

Field names are camelCase on the wire and snake_case in code.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from fleetbus.schemas.canonical import canonical, parse_json
from fleetbus.schemas.errors import MessageMalformed

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)


def _within_reason(at: datetime) -> datetime:
    if not _EARLIEST <= at < _LATEST:
        raise ValueError("a time before 1970 or after 2199")
    return at


Moment = Annotated[AwareDatetime, AfterValidator(_within_reason)]
"""A time with its offset, far enough from what `datetime` can hold that whoever reads it may add and compare."""

Count = Annotated[int, Field(ge=0, le=2**53)]
"""How many, as somebody else reports it: fit to be added to others', and to be written as JSON again."""


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


def wrong_fields(error: ValidationError) -> tuple[str, ...]:
    """Each wrong field with what is wrong with it, such as `spec.path: unknown field`; no value is quoted."""
    found = []
    for one in error.errors(include_url=False, include_input=False):
        place = ".".join(str(part) for part in one["loc"])
        unknown = one["type"] == "extra_forbidden"
        message = "unknown field" if unknown else one["msg"].removeprefix("Value error, ")
        found.append(f"{place}: {message}" if place else message)
    return tuple(found)
