"""Records that are no valid events: how each kind is made from a good one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from worker.demo.people import SITE


def _with(envelope: dict[str, Any], **attributes: Any) -> bytes:
    """Return *envelope* with other attributes; `...` leaves one out."""
    return msgspec.json.encode({name: value for name, value in (envelope | attributes).items() if value is not ...})


def _with_data(envelope: dict[str, Any], **data: Any) -> bytes:
    """Return a page view with this data and a valid url."""
    return _with(envelope, type="page.viewed", data={"url": SITE + "/", **data})


def _literal(envelope: dict[str, Any], text: bytes) -> bytes:
    """Return a page view with *text* where JSON has a value."""
    return _with_data(envelope, duration_s="@").replace(b'"@"', text)


BAD: Final[Mapping[str, Callable[[dict[str, Any]], bytes]]] = {
    "empty value": lambda e: b"",
    "cut off": lambda e: msgspec.json.encode(e)[: len(msgspec.json.encode(e)) * 2 // 3],
    "not JSON": lambda e: b"<event id='" + e["id"].encode() + b"'/>",
    "not UTF-8": lambda e: _with_data(e, referrer="@").replace(b"@", b"caf\xe9"),
    "a list": lambda e: msgspec.json.encode([e]),
    "no subject": lambda e: _with(e, subject=...),
    "empty subject": lambda e: _with(e, subject=""),
    "no such time": lambda e: _with(e, time="yesterday"),
    "time without offset": lambda e: _with(e, time=e["time"].rstrip("Z")),
    "no such date": lambda e: _with(e, time="2026-02-31T12:00:00Z"),
    "old version": lambda e: _with(e, specversion="0.3"),
    "no id": lambda e: _with(e, id=...),
    "no url": lambda e: _with(e, type="page.viewed", data={"page_type": "pricing"}),
    "url is a number": lambda e: _with_data(e, url=12),
    "number is a text": lambda e: _with_data(e, duration_s="12"),
    "machine is a text": lambda e: _with_data(e, machine="yes"),
    "share over one": lambda e: _with(e, type="webinar.attended", data={"webinar_id": "w", "share": 1.7}),
    "traits are a list": lambda e: _with(e, type="profile.updated", data={"traits": ["email"]}),
    "data is a text": lambda e: _with(e, type="page.viewed", data="url=/"),
    "NaN": lambda e: _literal(e, b"NaN"),
    "beyond a double": lambda e: _literal(e, b"1e999"),
    "beyond 64 bits": lambda e: _literal(e, b"1" + b"0" * 40),
    "lone surrogate": lambda e: _with_data(e, referrer="@").replace(b"@", b"\\ud800"),
    "nested deep": lambda e: _literal(e, b"[" * 2000 + b"]" * 2000),
    "too large": lambda e: _with_data(e, referrer="x" * 950_000),
}
"""Kind of bad record → how it is made from a good one. The worker refuses every one of them."""

BAD_WEIGHTS: Final = tuple(1 if kind in ("too large", "nested deep") else 20 for kind in BAD)
"""How often each kind is made."""
