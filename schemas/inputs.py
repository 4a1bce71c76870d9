"""The events that LeadPulse reads, as pydantic models made of the table in `worker.core.contract.event_types`.

The types of `data`'s fields are strict. An optional field may be absent or null. Fields not named here are kept for the grid.
"""

from __future__ import annotations

import base64
import functools
import operator
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import msgspec
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, WithJsonSchema, create_model, model_validator

from schemas.envelope import TIME_MEANING, CloudEvent, Contract, Instant
from worker.core.contract import event_fields, event_types


class InputData(Contract):
    """Fields that any event may have."""

    machine: bool | None = Field(default=None, description=event_fields.MACHINE.description)


class InputEvent(CloudEvent):
    """An event that LeadPulse scores."""

    type: str
    time: Instant | None = Field(
        default=None,
        description=f"{TIME_MEANING} Without it the record's Kafka timestamp stands in. Lines of a file need it.",
        examples=["2026-03-05T12:34:56.789Z"],
    )
    data: InputData | None = None
    data_base64: str | None = Field(
        default=None,
        description="`data` as JSON in base64. It is read where `datacontenttype` is JSON or absent, and `data` is absent.",
    )

    @model_validator(mode="before")
    @classmethod
    def _read_base64(cls, event: Any) -> Any:
        if not isinstance(event, Mapping) or event.get("data_base64") is None:
            return event
        encoded, content_type = event["data_base64"], event.get("datacontenttype")
        if event.get("data") is not None:
            raise ValueError("there is `data` beside `data_base64`; expected one of the two")
        if not isinstance(encoded, str):
            raise ValueError("expected `data_base64` as a string")  # noqa: TRY004  # pydantic reports no TypeError
        json_type = isinstance(content_type, str) and re.fullmatch(r"(?i)\s*[^;]*[/+]json\s*(;.*)?", content_type, re.DOTALL)
        if content_type is not None and not json_type:
            raise ValueError("expected datacontenttype application/json where `data_base64` is read")
        held = base64.b64decode(encoded, validate=True)
        return {name: value for name, value in event.items() if name != "data_base64"} | {
            "data": msgspec.json.decode(held) if held else None
        }


def class_name(event_type: str) -> str:
    """Return the name of a type's model: `email.opened` is `EmailOpened`."""
    return "".join(map(str.capitalize, re.split("[._]", event_type)))


def _decimal(text: str) -> str:
    trimmed = text.strip()
    if trimmed and (len(trimmed) > event_fields.DECIMAL_CHARS or not event_fields.DECIMAL.fullmatch(trimmed)):
        raise ValueError("expected plain decimal text, such as -2.5")
    return text


_Decimal = Annotated[
    str, AfterValidator(_decimal), WithJsonSchema({"type": "string", "pattern": r"^\s*(-?[0-9]+(\.[0-9]+)?)?\s*$"})
]


def _custom_type(text: str) -> str:
    if event_types.row_of(text) != event_types.CUSTOM:
        raise ValueError("expected custom. and 1 to 64 of a-z, 0-9, _ and dots")
    return text


_CustomType = Annotated[
    str, AfterValidator(_custom_type), WithJsonSchema({"type": "string", "pattern": r"^custom\.[a-z0-9_.]{1,64}$"})
]


def _annotation(field: event_fields.Field) -> Any:
    """Return the strict type of a field that is there."""
    if field.or_integer:
        return str | int
    if field.kind is not float:
        return dict[str, Any] if field.kind is dict else field.kind
    bounds = {"minimum": field.minimum, "maximum": field.maximum}
    schema = {"type": "number"} | {name: bound for name, bound in bounds.items() if bound is not None}
    # A whole number stays one, so that its size is seen: as a float, 2^64 would pass for any other number.
    number = Annotated[int | float, Field(ge=field.minimum, le=field.maximum), WithJsonSchema(schema)]
    return number | _Decimal if field.decimal else number


def _data_model(data: event_fields.DataModel) -> type[InputData]:
    fields: dict[str, Any] = {}
    for name, field in data.fields.items():
        about: dict[str, Any] = {"description": field.description, "examples": list(field.examples) or None}
        if field.required:
            fields[name] = (_annotation(field), Field(**about))
        else:
            fields[name] = (_annotation(field) | None, Field(default=None, **about))
    return create_model(data.name, __base__=InputData, __module__=__name__, __doc__=data.meaning, **fields)


_DATA = {row.data.name: _data_model(row.data) for row in event_types.INPUTS}


def _model(row: event_types.EventType) -> type[InputEvent]:
    data: Any = _DATA[row.data.name]
    needed = any(field.required for field in row.data.fields.values())
    type_: Any = _CustomType if row.name == event_types.CUSTOM else Literal[row.name]
    fields: dict[str, Any] = {"type": (type_, ...), "data": data if needed else (data | None, None)}
    return create_model(class_name(row.name), __base__=InputEvent, __module__=__name__, __doc__=row.meaning, **fields)


INPUTS: dict[str, type[InputEvent]] = {row.name: _model(row) for row in event_types.INPUTS}
"""Row of the table → model. The row `custom` is that of all types `custom.NAME`."""


def adapter(models: Iterable[type[Any]]) -> TypeAdapter[Any]:
    """Return an adapter that reads an event of any of *models*, by its `type`."""
    either: Any = functools.reduce(operator.or_, models)
    return TypeAdapter(Annotated[either, Field(discriminator="type")])


_adapter: TypeAdapter[InputEvent] = adapter(model for name, model in INPUTS.items() if name != event_types.CUSTOM)
_custom: TypeAdapter[InputEvent] = TypeAdapter(INPUTS[event_types.CUSTOM])


def read_input(value: bytes | str) -> InputEvent:
    """Return the event in *value*, a structured CloudEvent. Raises `pydantic.ValidationError`, also for an unknown type."""
    try:
        return _custom.validate_json(value)
    except ValidationError as err:
        if any(error["loc"] == ("type",) for error in err.errors()):
            return _adapter.validate_json(value)
        raise
