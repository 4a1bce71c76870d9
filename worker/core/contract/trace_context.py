"""W3C trace context: an output carries the context of the record that caused it, unchanged.

Nothing is added to it. So the same records make the same outputs, with or without tracing, and when they are folded again.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from worker.core.contract.model import Headers, Output, Record

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"

_TRACEPARENT: Final = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}").fullmatch
_TRACESTATE: Final = re.compile(rb"[\x20-\x7e]{1,512}").fullmatch


class _Extension(msgspec.Struct):
    """The CloudEvents extension in a structured event."""

    traceparent: str
    tracestate: str | None = None


_extension: Final = msgspec.json.Decoder(_Extension).decode


def context(record: Record) -> Headers:
    """Return the trace context of *record*, as headers for its outputs. It is empty where *record* has no valid context.

    Kafka's header `traceparent` is of the last hop and comes first. The CloudEvents extension comes next.
    It is the header `ce_traceparent` in binary mode, else an attribute of the event.
    """
    found = dict(reversed(record.headers))
    for prefix in ("", "ce_"):
        parent = found.get(prefix + TRACEPARENT)
        if parent is not None:
            return _headers(parent, found.get(prefix + TRACESTATE))
    if not record.value or b'"traceparent"' not in record.value:
        return ()
    try:
        extension = _extension(record.value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()
    return _headers(extension.traceparent.encode(), None if extension.tracestate is None else extension.tracestate.encode())


def carried(output: Output) -> Headers:
    """Return the trace context that *output* carries; nothing where it has none, or, in a dead letter, no valid one."""
    found = dict(reversed(output.headers))
    return _headers(found.get(TRACEPARENT, b""), found.get(TRACESTATE))


def _headers(parent: bytes, state: bytes | None) -> Headers:
    if _TRACEPARENT(parent) is None:
        return ()
    if not state or _TRACESTATE(state) is None:
        return ((TRACEPARENT, parent),)
    return ((TRACEPARENT, parent), (TRACESTATE, state))
