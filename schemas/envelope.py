"""The CloudEvents 1.0 envelope that all events share, and the limits of every JSON value in them.

Kafka carries it in two ways, as in the CloudEvents Kafka protocol binding:

- **structured**: the value is the whole envelope in JSON, `data` included. The header is
  `content-type: application/cloudevents+json`. It may be left out if there is no `ce_specversion` header either.
- **binary**: the attributes are headers `ce_specversion`, `ce_id`, `ce_source`, `ce_type`, `ce_subject`, `ce_time` in UTF-8.
  The value is `data` alone in JSON; an empty or null value means no data. `content-type` is `application/json`.

A record without a value and without these headers is a tombstone. It is counted and skipped.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

MAX_BYTES = 900_000
"""Longest value of an input record, in bytes."""

MAX_DEPTH = 32
"""Deepest nesting of objects and lists inside `data`, which itself is level 1."""

_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
_YEARS = "(19[7-9][0-9]|[2-8][0-9]{3}|9[0-8][0-9]{2}|99[0-8][0-9]|999[0-8])"
_TIME_OF_SCHEMAS = _TIME.replace("[0-9]{4}", _YEARS, 1)
_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
_END = datetime(9999, 1, 1, tzinfo=UTC)


def _rfc3339(text: str) -> str:
    if not re.fullmatch(_TIME, text):  # Python reads more forms than RFC 3339 has
        raise ValueError("expected RFC 3339 with an offset, such as 2026-03-05T12:34:56.789Z")
    # Differences, because an instant near the ends of the calendar may have no date in UTC.
    since = datetime.fromisoformat(text.upper()) - _FIRST
    if not timedelta(0) <= since < _END - _FIRST:
        raise ValueError("expected an instant from 1970 to 9998")
    return text


Instant = Annotated[
    str,
    AfterValidator(_rfc3339),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": _TIME_OF_SCHEMAS}),
]
"""RFC 3339 with an offset (`Z` or `+01:00`), from 1970 to 9998. Rounded down to whole milliseconds. No leap second."""

TIME_MEANING = (
    "Time of the event: RFC 3339 with an offset, from 1970 to 9998, rounded down to whole milliseconds. A time more "
    "than 5 minutes after the record's Kafka timestamp is replaced by that timestamp. If the timestamp is before 2000 "
    "or later than the fetch, the time of the fetch replaces it."
)

Name = Annotated[str, Field(min_length=1, max_length=16_384)]
"""A string that outputs repeat: not empty, and short enough for them."""


class Contract(BaseModel):
    """Base of all models: strict types (neither `"12"` nor `true` is a number). Unknown fields are allowed."""

    model_config = ConfigDict(
        strict=True,
        extra="allow",
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )


def check_json(value: Any, where: str, level: int = 1) -> None:
    """Raise `ValueError` if *value* holds NaN, an infinity, an integer beyond 64 bits, or too deep nesting."""
    if isinstance(value, dict | list):
        if level > MAX_DEPTH:
            raise ValueError(f"{where}: nested too deep; expected at most {MAX_DEPTH} levels")
        for inner in value.values() if isinstance(value, dict) else value:
            check_json(inner, where, level + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where}: NaN and infinities are no JSON, and a number must be within a double's range")
    elif isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**64:
        raise ValueError(f"{where}: an integer beyond 64 bits; expected one from -2^63 to 2^64-1, or a string")


class CloudEvent(Contract):
    """A CloudEvent 1.0 about one lead. Unknown attributes are allowed and ignored."""

    specversion: Literal["1.0"] = Field(description="Version of the CloudEvents specification.")
    id: Name = Field(description="Unique within `source`. The same (source, id) sent again counts once, so retries are safe.")
    source: Name = Field(
        description="The system that produced the event, as a URI reference.", examples=["/web/www.example.com"]
    )
    subject: Name = Field(
        description="The lead's id: a CRM or user id when known, else the visitor's id. Also the best Kafka key.",
        examples=["lead-48213"],
    )

    @model_validator(mode="after")
    def _is_plain_json(self) -> Self:
        for name, value in self.model_dump(by_alias=True).items():
            check_json(value, name)
        return self

    def to_json(self) -> bytes:
        """Return the structured CloudEvent, as a Kafka value. Fields without a value are left out."""
        return self.model_dump_json(by_alias=True, exclude_unset=True).encode()
