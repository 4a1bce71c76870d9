"""A Kafka record as a row of an archive, and back.

A CloudEvent comes back with the same attributes and data, and the same instant. Only spaces, the order of attributes, and
digits of `time` beyond milliseconds are not kept. Any other value comes back byte for byte.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

import msgspec

from worker.core.contract.codec import is_binary
from worker.core.contract.instants import instant
from worker.core.contract.journal import KIND
from worker.core.contract.model import Headers, Record
from worker.core.scoring.calendar import rfc3339

_EVENT_KINDS: Final = (b"stray", b"alias")
"""Records of the journal that hold an event as it came."""


class Columns(NamedTuple):
    """What a record's value and headers are in columns."""

    type: str | None = None
    source: str | None = None
    id: str | None = None
    subject: str | None = None
    time_ms: int | None = None
    data: str | None = None
    attributes: str | None = None
    value: bytes | None = None


class _Usual(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """The envelope as nearly every producer sends it, its data as text."""

    specversion: Literal["1.0"]
    id: str
    source: str
    type: str
    subject: str | None = None
    time: str | None = None
    data: msgspec.Raw = msgspec.Raw()
    datacontenttype: str | None = None
    dataschema: str | None = None
    partitionkey: str | None = None
    sequence: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None


_RARER: Final = ("datacontenttype", "dataschema", "partitionkey", "sequence", "traceparent", "tracestate")
_ATTRIBUTES: Final = ("type", "source", "id", "subject", "time")
_usual: Final = msgspec.json.Decoder(_Usual).decode
_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_any: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.encode

_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)


def columns_of(record: Record) -> Columns:
    """Return what *record* is in columns. Raises nothing, whatever the bytes."""
    value, headers = record.value, record.headers
    if headers and headers[0][0] == KIND and headers[0][1] not in _EVENT_KINDS:
        return Columns(type=None if value is None else headers[0][1].decode(errors="replace"), value=value)
    if headers and is_binary(record):
        return _binary(value, headers)
    if not value:
        return Columns(value=value)
    try:
        usual = _usual(value)
        time_ms = None if usual.time is None else instant(usual.time)
        if time_ms is None and usual.time is not None:
            return _rare(value)
        data = bytes(usual.data).decode() or None
    except _UNREADABLE:
        return _rare(value)
    rarer = {name: found for name in _RARER if (found := getattr(usual, name)) is not None}
    attributes = _encode(rarer).decode() if rarer else None
    return Columns(usual.type, usual.source, usual.id, usual.subject, time_ms, data, attributes)


def _rare(value: bytes) -> Columns:
    """Return the columns of a value that is no usual envelope. It is kept whole unless it is a CloudEvent."""
    try:
        held = _object(value)
        type_, source, id_, subject, time = (_text(held.pop(name, None)) for name in _ATTRIBUTES)
        version, data = _text(held.pop("specversion", None)), held.pop("data", None)
        time_ms = None if time is None else instant(time)
        named = Columns(type_, source, id_, subject, time_ms)
        if version != "1.0" or None in (named.type, named.source, named.id) or (time is not None and time_ms is None):
            return named._replace(value=value)
        return named._replace(
            data=None if data is None else bytes(data).decode(),
            attributes=_encode(held).decode() if held else None,
        )
    except _UNREADABLE:
        return Columns(value=value)


def _text(raw: msgspec.Raw | None) -> str | None:
    """Return the text that *raw* is; `None` for null and for nothing. Raises for anything else."""
    return None if raw is None else msgspec.json.decode(raw, type=str | None)


def _binary(value: bytes | None, headers: Headers) -> Columns:
    """Return the columns of a record whose attributes are in its headers."""
    try:
        held = {name[3:]: header.decode() for name, header in headers if name.startswith("ce_") and header}
        if value:
            _any(value)
        data = value.decode() if value else None
        time = held.get("time")
        time_ms = None if time is None else instant(time)
        named = Columns(held.get("type"), held.get("source"), held.get("id"), held.get("subject"), time_ms)
    except _UNREADABLE:
        return Columns(value=value)
    whole = held.get("specversion") == "1.0" and None not in (named.type, named.source, named.id)
    if not whole or (time is not None and time_ms is None):
        return named._replace(value=value or b"")
    return named._replace(data=data)


def value_of(columns: Columns) -> bytes | None:
    """Return the value of a record: a CloudEvent as structured JSON, or the bytes as they came."""
    if columns.value is not None or columns.type is None:
        return columns.value
    parts = [
        b'{"specversion":"1.0","id":', _encode(columns.id), b',"source":', _encode(columns.source),
        b',"type":', _encode(columns.type),
    ]  # fmt: skip
    if columns.subject is not None:
        parts += (b',"subject":', _encode(columns.subject))
    if columns.time_ms is not None:
        parts += (b',"time":"', rfc3339(columns.time_ms).encode(), b'"')
    if columns.data is not None:
        parts += (b',"data":', columns.data.encode())
    if columns.attributes is not None:
        parts += (b",", columns.attributes.encode()[1:-1])
    parts.append(b"}")
    return b"".join(parts)


def headers_of(headers: Headers, columns: Columns) -> Headers:
    """Return the headers that go with `value_of`: an event of binary mode is structured by then."""
    if columns.value is not None or not any(name == "ce_specversion" for name, _ in headers):
        return headers
    return tuple(one for one in headers if not one[0].startswith("ce_") and one[0].lower() != "content-type")


def from_row(row: dict[str, Any]) -> Columns:
    """Return the columns in a *row* of an archive."""
    return Columns(*(row[name] for name in Columns._fields))
