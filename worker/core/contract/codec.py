"""Decoding: every Kafka record becomes a `Decoded`, never an exception.

The pydantic models in `schemas` are the contract that producers read. This module accepts the same records, and tests hold
the two equal. `worker.core.contract.event_types` has the fields of each type. `REASONS` lists the codes of `Rejected.reason`.

The usual record costs one typed call of msgspec and one check of each field. If that call fails, `_examine` decodes the record
step by step. It decides whether the record is valid, and words the message if it is not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec

from worker.core.contract.codec_data import data_of
from worker.core.contract.codec_words import (
    MAX_DEPTH,
    MISNAMED,
    TIME,
    Fault,
    expected,
    misnamed,
    parse_fault,
    short,
    shown,
)
from worker.core.contract.envelope import MAX_NAME, Usual
from worker.core.contract.event_fields import DECIMAL, DECIMAL_CHARS, Field
from worker.core.contract.event_types import CUSTOM, DATA_FIELDS, row_of
from worker.core.contract.instants import instant, stand_in
from worker.core.contract.model import Decoded, Event, Record, Rejected, Tombstone, Unknown

MAX_BYTES: Final = 900_000
"""Longest value of an input record, in bytes. Key and headers together may take as much, so that it can be forwarded."""

_LENGTHS_BYTES: Final = 6
"""Bytes that the lengths of a header's name and value take at most. So a million empty headers count too."""

MIN_INTEGER: Final = -(2**63)
MAX_INTEGER: Final = 2**64 - 1
"""Integers outside of this range fit neither other programs' 64-bit numbers nor the packed state."""

REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "empty": "The value has no bytes. (A record without a value, a tombstone, is passed over.)",
        "too_large": f"The value, or key and headers together, are longer than {MAX_BYTES:,} bytes.",
        "not_json": "The value is not one JSON text in UTF-8 (NaN, Infinity and lone surrogates are no JSON).",
        "too_deep": f"Objects or lists are nested more than {MAX_DEPTH} levels deep.",
        "bad_number": "A number is beyond a double's range, or an integer beyond 64 bits.",
        "not_an_object": "The value is JSON, but no object.",
        "bad_envelope": "An attribute of the CloudEvents envelope is missing, wrong or too long.",
        "no_subject": "The envelope does not name the lead: `subject` is missing, empty, too long or no string.",
        "bad_time": (
            "`time` is no RFC 3339 instant with an offset from 1970 to 9998. "
            "Or it is missing, and the record has no Kafka timestamp since 2000."
        ),
        "bad_data": "`data` does not have the fields of its type.",
    }
)
"""The closed set of `Rejected.reason` that `decode` gives, each with its meaning."""


# Classes of values that are valid wherever they stand. Integers, objects and lists are checked one by one.
_NONE: Final = type(None)
_EASY_ANY: Final[frozenset[type]] = frozenset({str, float, bool, _NONE})


def _easy(field: Field) -> frozenset[type]:
    if field.kind is dict:
        return frozenset({_NONE})
    return frozenset({field.kind, _NONE})


class _Spec(NamedTuple):
    """`DATA_FIELDS` of one type, laid out for the hot path."""

    name: str
    easy: dict[str, frozenset[type]]
    fields: Mapping[str, Field]
    required: tuple[str, ...]
    bounded: tuple[tuple[str, float, float], ...]


_IDS: Final = frozenset(name for fields in DATA_FIELDS.values() for name, field in fields.items() if field.or_integer)
"""Fields of ids. Types without such a field may have it too, and rules compare it with the same texts."""

_SPECS: Final[dict[str, _Spec]] = {
    event_type: _Spec(
        event_type,
        {name: _easy(field) for name, field in fields.items()},
        fields,
        tuple(name for name, field in fields.items() if field.required),
        tuple(
            (name, -math.inf if field.minimum is None else field.minimum, math.inf if field.maximum is None else field.maximum)
            for name, field in fields.items()
            if field.minimum is not None or field.maximum is not None
        ),
    )
    for event_type, fields in DATA_FIELDS.items()
}
_CUSTOM_SPEC: Final = _SPECS.pop(CUSTOM)
"""Of every type `custom.NAME`. The row's name alone is no type."""


def _spec_of(event_type: str) -> _Spec | None:
    """Return the fields of a type that has no row of its own."""
    return _CUSTOM_SPEC._replace(name=event_type) if row_of(event_type) == CUSTOM else None


_usual: Final = msgspec.json.Decoder(Usual).decode
_any: Final = msgspec.json.Decoder().decode


_Sent = tuple[tuple[str, bytes | None], ...]
"""Headers as clients return them. A null value is `None`, although the client's types exclude it."""


def beside_value(key: bytes | None, headers: _Sent) -> int:
    """Return the bytes of a record's key and headers. A header has its name in UTF-8, its value and two lengths."""
    found = len(key or b"")
    for name, held in headers:
        found += len(name.encode(errors="surrogatepass")) + len(held or b"") + _LENGTHS_BYTES
    return found


def decode(record: Record, fetched_ms: int | None = None) -> Decoded:
    """Return what *record*, fetched at *fetched_ms*, holds. Raises nothing, whatever the bytes.

    Structured CloudEvents are read from the value. A record is in binary mode if it has a `ce_specversion` header and no
    content type `application/cloudevents…`. Then the attributes are in `ce_*` headers, and the value is `data`.

    `Event.at_ms` is the envelope's `time`, floored to milliseconds and held to the record's timestamp and to the time of the
    fetch (`instant`). Where an event has no `time`, the record's timestamp stands in.
    """
    # Complexity over 15: every record passes here, and each step in a function of its own would cost a call.
    topic, partition, offset, timestamp_ms, key, value, headers = record
    if value is not None and len(value) > MAX_BYTES:
        return Rejected(record, "too_large", f"value: {len(value):,} bytes; expected at most {MAX_BYTES:,}")
    beside = beside_value(key, headers) if headers else len(key or b"")
    if beside > MAX_BYTES:
        return Rejected(record, "too_large", f"key and headers: {beside:,} bytes; expected at most {MAX_BYTES:,}")
    if headers and is_binary(record):
        return _examine_binary(record, fetched_ms)
    if not value:
        return _without_value(record)
    try:
        usual = _usual(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _examine(record, value, fetched_ms)
    spec = _SPECS.get(usual.type) or _spec_of(usual.type)
    time = usual.time
    at_ms = stand_in(timestamp_ms, fetched_ms) if time is None else instant(time, timestamp_ms, fetched_ms)
    if spec is None or at_ms is None:
        return _examine(record, value, fetched_ms)
    data = usual.data
    if data is None:
        data = {}
    fault = _data_fault(spec, data)
    if fault is not None:
        return Rejected(record, *fault)
    return Event(
        usual.subject,
        spec.name,
        at_ms,
        usual.id,
        usual.source,
        data,
        data.get("machine") is True,
        topic,
        partition,
        offset,
    )


# --- step by step -----------------------------------------------------------------------------------------------------


def _examine(record: Record, value: bytes, fetched_ms: int | None) -> Decoded:
    """Decode a structured record step by step. The result is that of `decode` wherever the typed call succeeds."""
    try:
        envelope = _any(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        return Rejected(record, *parse_fault(err, value, "value"))
    if not isinstance(envelope, dict):
        return Rejected(record, "not_an_object", f"value: {shown(envelope)}; expected one CloudEvent, a JSON object")
    if "specversion" not in envelope and (name := misnamed(record.headers)):
        return Rejected(record, "bad_envelope", MISNAMED.format(name))
    return _examine_event(record, envelope, fetched_ms)


def _without_value(record: Record) -> Decoded:
    """Decode a structured record that has no value, or one of no bytes."""
    if name := misnamed(record.headers):
        return Rejected(record, "bad_envelope", MISNAMED.format(name))
    if record.value is None:
        return Tombstone()
    return Rejected(record, "empty", "value: no bytes; expected a CloudEvent in JSON")


def is_binary(record: Record) -> bool:
    """Whether *record* is in CloudEvents' binary mode for Kafka."""
    headers: _Sent = record.headers
    for marker, _ in headers:
        if marker == "ce_specversion":
            return not any(
                header and name.lower() == "content-type" and header.lower().startswith(b"application/cloudevents")
                for name, header in headers
            )
    return False


def _examine_binary(record: Record, fetched_ms: int | None) -> Decoded:
    """Decode a record whose attributes are in its headers."""
    envelope: dict[str, Any] = {}
    headers: _Sent = record.headers
    for name, header in headers:
        attribute = _CE_HEADERS.get(name)
        if attribute is None or not header:
            continue
        try:
            envelope[attribute] = header.decode()
        except UnicodeDecodeError:
            reason = {"subject": "no_subject", "time": "bad_time"}.get(attribute, "bad_envelope")
            return Rejected(record, reason, f"header {name}: bytes that are not UTF-8; expected a string")
    return _examine_event(record, envelope, fetched_ms, record.value)


_CE_HEADERS: Final = {f"ce_{name}": name for name in ("specversion", "id", "source", "type", "subject", "time")}


def _examine_event(record: Record, envelope: dict[str, Any], fetched_ms: int | None, binary: bytes | None = None) -> Decoded:
    """Check a parsed envelope: its attributes, then its type, then its data. With *binary* the data is not parsed yet.

    The type comes first there because an unknown one may carry any format.
    """
    fault = _envelope_fault(envelope)
    if fault is not None:
        return Rejected(record, *fault)
    time = envelope.get("time")
    if time is None:
        at_ms = stand_in(record.timestamp_ms, fetched_ms)
    else:
        at_ms = instant(time, record.timestamp_ms, fetched_ms) if isinstance(time, str) else None
    if at_ms is None:
        stamp = "" if time is not None else ", or a record with a Kafka timestamp since 2000 to stand in"
        return Rejected(record, "bad_time", f"time: {shown(time)}; expected {TIME}{stamp}")
    spec = _SPECS.get(envelope["type"]) or _spec_of(envelope["type"])
    if binary and spec is not None:
        try:
            envelope["data"] = _any(binary)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
            return Rejected(record, *parse_fault(err, binary, "value (`data` in binary mode)"))
    fault = _values_fault(envelope, spec)
    if fault is not None:
        return Rejected(record, *fault)
    if spec is None:
        return Unknown(envelope["type"], envelope["subject"])
    data = data_of(envelope)
    if isinstance(data, tuple):
        return Rejected(record, *data)
    fault = _data_fault(spec, data)
    if fault is not None:
        return Rejected(record, *fault)
    return Event(
        envelope["subject"],
        spec.name,
        at_ms,
        envelope["id"],
        envelope["source"],
        data,
        data.get("machine") is True,
        record.topic,
        record.partition,
        record.offset,
    )


def _values_fault(envelope: dict[str, Any], spec: _Spec | None) -> Fault | None:
    """Check the values of the attributes, and of data that will not be compared with the fields of its type."""
    data = envelope.get("data")
    for name, value in envelope.items():
        if value.__class__ not in _EASY_ANY and (spec is None or value is not data or not isinstance(data, dict)):
            fault = _value_fault(value, 1)
            if fault is not None:
                return fault[0], f"{short(name)}: {fault[1]}"
    return None


def _envelope_fault(envelope: Mapping[str, Any]) -> Fault | None:
    """Check the attributes, except for `time`."""
    version = envelope.get("specversion")
    if version != "1.0":
        return "bad_envelope", f'specversion: {shown(version)}; expected the string "1.0" (a CloudEvent)'
    for name in ("id", "source", "type"):
        value = envelope.get(name)
        if not isinstance(value, str) or not value:
            return "bad_envelope", f"{name}: {shown(value)}; expected a string that is not empty"
        if len(value) > MAX_NAME and name != "type":
            return "bad_envelope", f"{name}: {len(value):,} characters; expected at most {MAX_NAME:,}"
    subject = envelope.get("subject")
    if not isinstance(subject, str) or not subject:
        return "no_subject", f"subject: {shown(subject)}; expected the lead's id, a string that is not empty"
    if len(subject) > MAX_NAME:
        return "no_subject", f"subject: {len(subject):,} characters; expected at most {MAX_NAME:,}"
    return None


def _data_fault(spec: _Spec, data: dict[str, Any]) -> Fault | None:
    """Compare *data* with the fields of its type. Ids that are integers become their text."""
    easy = spec.easy.get
    for name, value in data.items():
        if value.__class__ not in easy(name, _EASY_ANY):
            field = spec.fields.get(name)
            if field is not None and not _fits(field, value):
                return "bad_data", _unfit(name, value, field)
            fault = _value_fault(value, 2)
            if fault is not None:
                return fault[0], f"data.{short(name)}: {fault[1]}"
            if value.__class__ is int and name in _IDS:
                data[name] = str(value)
    for name in spec.required:
        if data.get(name) is None:
            return "bad_data", f"{_unfit(name, None, spec.fields[name])} ({spec.name} needs it)"
    for name, minimum, maximum in spec.bounded:
        number = data.get(name)
        if number is not None and not minimum <= number <= maximum:
            return "bad_data", _unfit(name, number, spec.fields[name])
    return None


def _fits(field: Field, value: Any) -> bool:
    """Whether *value*, which is not null, is of the kind that *field* asks for."""
    kind = value.__class__
    if kind is int:
        return field.kind is float or field.or_integer
    if field.decimal and kind is str:
        text = value.strip()
        return not text or (len(text) <= DECIMAL_CHARS and DECIMAL.fullmatch(text) is not None)
    return kind is field.kind


def _unfit(name: str, value: Any, field: Field) -> str:
    return f"data.{name}: {shown(value)}; expected {expected(field)}"


def _value_fault(value: Any, level: int) -> Fault | None:
    """Look for integers beyond 64 bits and for containers below `MAX_DEPTH`. A container *value* would be at *level*."""
    kind = value.__class__
    if kind is int:
        if not MIN_INTEGER <= value <= MAX_INTEGER:
            return "bad_number", "an integer beyond 64 bits; expected one from -2^63 to 2^64-1, or a string"
        return None
    if kind is not dict and kind is not list:
        return None
    if level > MAX_DEPTH:
        return "too_deep", f"objects or lists nested too deep; expected at most {MAX_DEPTH} levels"
    for inner in value.values() if kind is dict else value:
        if inner.__class__ not in _EASY_ANY:
            fault = _value_fault(inner, level + 1)
            if fault is not None:
                return fault
    return None
