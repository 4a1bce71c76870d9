"""The data of an event whose envelope is a parsed JSON object."""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import Any, Final

import msgspec

from worker.core.contract.codec_words import Fault, parse_fault, shown

_any: Final = msgspec.json.Decoder().decode


def data_of(envelope: dict[str, Any]) -> dict[str, Any] | Fault:
    """Return the event's data, from `data` or from `data_base64`."""
    return _object(envelope) if envelope.get("data_base64") is None else _from_base64(envelope)


def _object(envelope: dict[str, Any]) -> dict[str, Any] | Fault:
    """Return the event's data; without any, an empty object."""
    data = envelope.get("data")
    if data is None:
        return {}
    return data if isinstance(data, dict) else ("bad_data", f"data: {shown(data)}; expected an object")


def _from_base64(envelope: dict[str, Any]) -> dict[str, Any] | Fault:
    """Return the event's data from `data_base64`, which holds JSON (CloudEvents' JSON format, section 3.1)."""
    encoded, content_type = envelope["data_base64"], envelope.get("datacontenttype")
    if envelope.get("data") is not None:
        return "bad_data", "data_base64: there is `data` beside it; expected one of the two"
    if content_type is not None and not (isinstance(content_type, str) and _is_json(content_type)):
        return "bad_data", f"datacontenttype: {shown(content_type)}; expected application/json where `data_base64` is read"
    try:
        held = b64decode(encoded, validate=True) if isinstance(encoded, str) else None
    except (binascii.Error, ValueError):
        held = None
    if held is None:
        return "bad_data", f"data_base64: {shown(encoded)}; expected JSON in base64"
    try:
        data = _any(held) if held else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        return parse_fault(err, held, "data_base64")
    return _object({"data": data})


def _is_json(content_type: str) -> bool:
    """Whether a media type is JSON: `application/json`, `text/json` or `…+json`, with any parameters."""
    name = content_type.partition(";")[0].strip().lower()
    return name.endswith(("/json", "+json"))
