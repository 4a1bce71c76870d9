"""The words of a refusal: the place in a record, what stands there, and what was expected."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from worker.core.contract.event_fields import Field
from worker.core.contract.model import Headers

Fault = tuple[str, str]
"""(reason, detail) of a `Rejected`."""

MAX_DEPTH: Final = 32
"""Deepest nesting of objects and lists inside `data`, which itself is level 1. Part of the contract, because the parser's own
limit depends on how deep the caller's stack is, and the same record must get the same answer on every replay."""


def parse_fault(err: Exception, value: bytes, where: str) -> Fault:
    """Say why *value* could not be parsed, without repeating it."""
    if isinstance(err, RecursionError):
        return "too_deep", f"{where}: nested beyond what can be parsed; expected at most {MAX_DEPTH} levels"
    if isinstance(err, msgspec.ValidationError):  # the parser has no types to check here: only a number's range is left
        return "bad_number", f"{where}: a number out of range; expected a double or a 64-bit integer"
    try:
        value.decode()
    except UnicodeDecodeError as utf8:
        return "not_json", f"{where}: byte {utf8.start} is not UTF-8 ({utf8.reason}); expected JSON in UTF-8"
    if value.startswith(b"\xef\xbb\xbf"):
        return "not_json", f"{where}: starts with a byte order mark; expected JSON without one"
    return "not_json", f"{where}: {err}; expected one JSON object"


MISNAMED: Final = "header {}: expected ce_specversion, the name that CloudEvents over Kafka give it (`ce-…` is for HTTP)"


def misnamed(headers: Headers) -> str | None:
    """Return the header that tells CloudEvents' binary mode by another name than Kafka's binding gives it."""
    for name, _ in headers:
        if name != "ce_specversion" and name.lower().replace("-", "_") == "ce_specversion":
            return short(name)
    return None


TIME: Final = "RFC 3339 with an offset, from 1970 to 9998, such as 2026-03-05T12:34:56.789Z"


def short(text: str, length: int = 100) -> str:
    """Return *text*, cut to *length* characters."""
    return text if len(text) <= length else text[: length - 1] + "…"


def shown(value: Any) -> str:
    """Name a value for a message: what it is and, when it is short enough to be of use, which."""
    if value is None:
        return "missing or null"
    if isinstance(value, bool):
        return "the boolean true" if value else "the boolean false"
    if isinstance(value, str):
        return f"the string {msgspec.json.encode(short(value)).decode()}" if value else "an empty string"
    if isinstance(value, dict):
        return f"an object with {len(value)} members"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return f"the number {short(repr(value))}"


def expected(field: Field) -> str:
    """Return what a field of `data` must be."""
    if field.decimal:
        return 'a number, or plain decimal text such as "-2.5"'
    if field.kind is float:
        return _expected_number(field)
    if field.kind is str:
        return "a string or an integer" if field.or_integer else "a string"
    return "true or false" if field.kind is bool else "an object"


def _expected_number(field: Field) -> str:
    if field.maximum is not None:
        return f"a number from {field.minimum:g} to {field.maximum:g}"
    return "a number" if field.minimum is None else f"a number of at least {field.minimum:g}"
