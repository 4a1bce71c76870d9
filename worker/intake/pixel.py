"""What the pixel sends as events of ours. A browser names no lead by itself: its subject is always its visitor.

The browser's clock is not trusted. An event happened as long before its arrival as before its sending, by the browser's clock.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from worker.core.contract.codec import decode
from worker.core.contract.model import Record, Rejected
from worker.intake.access_log import utm_of
from worker.intake.vendors.common import NewEvent, cloud_event, email_id

FROM_A_BROWSER: Final = ("page.", "form.", "content.", "demo.", "trial.", "quote.", "social.")
"""First words of the types that a browser may send; a site's own custom types besides."""
MOST_EVENTS: Final = 50
MOST_AGE_MS: Final = 7 * 86_400_000
"""Oldest event taken: a browser keeps its queue no longer."""

_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_SECRET: Final = re.compile(r"mail|token|secret|passw|pwd|signature|^sig$|api_?key|auth|session|^code$|^lp$", re.IGNORECASE)
_FORMS: Final = ("form.", "content.", "demo.", "trial.", "quote.")


class Sent(msgspec.Struct):
    """One event of the pixel, as it comes."""

    id: str
    type: str
    at: float = 0
    """Milliseconds since 1970, by the browser's clock."""
    data: dict[str, Any] = {}


class Beacon(msgspec.Struct):
    """What the pixel posts."""

    sent: float = 0
    """When it was sent, by the same clock."""
    consent: bool = False
    visitor: str = ""
    """Random id that a browser without a cookie proposes for itself."""
    events: list[Any] = []
    """Each a `Sent`, or counted as bad data."""
    identify: str = ""
    """A token that names the visitor."""
    traits: dict[str, Any] = {}
    """Facts about the lead that the token names."""
    forget: bool = False
    """Consent was taken back: the cookie goes."""


_decode: Final = msgspec.json.Decoder(Beacon).decode


def beacon_of(body: bytes) -> Beacon:
    """Return what *body* holds. Raises `ValueError` for anything else."""
    try:
        beacon = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"no beacon of the pixel: {error}") from error
    if len(beacon.events) > MOST_EVENTS:
        raise ValueError(f"{len(beacon.events)} events: at most {MOST_EVENTS} at once")
    return beacon


def is_visitor(text: str) -> bool:
    """Return whether *text* is a visitor's id as the collector makes them."""
    return _UUID.fullmatch(text) is not None


def events_of(
    beacon: Beacon, visitor: str, custom: Sequence[str], now_ms: int, *, machine: bool
) -> tuple[list[NewEvent], Counter[str]]:
    """Return the events of *beacon* for *visitor*, and how many were dropped, by reason."""
    events: list[NewEvent] = []
    dropped: Counter[str] = Counter()
    good = sent_of(beacon)
    if bad := len(beacon.events) - len(good):
        dropped["data"] = bad
    for one in good:
        if not one.type.startswith(FROM_A_BROWSER) and one.type not in custom:
            dropped["type"] += 1
            continue
        if not is_visitor(one.id):
            dropped["id"] += 1
            continue
        age_ms = max(0.0, beacon.sent - one.at) if beacon.sent and one.at else 0.0
        if age_ms > MOST_AGE_MS:
            dropped["age"] += 1
            continue
        data = _clean(one.data)
        if machine:
            data["machine"] = True
        made = NewEvent(one.type, f"visitor:{visitor}", one.id, now_ms - int(age_ms), data)
        if isinstance(decode(Record("", 0, 0, now_ms, None, cloud_event(made, "", "/lp/"))), Rejected):
            dropped["data"] += 1
            continue
        events.append(made)
    return events, dropped


def sent_of(beacon: Beacon) -> list[Sent]:
    """Return the events of *beacon* that can be read: a bad one costs the others nothing."""
    found = []
    for one in beacon.events:
        with contextlib.suppress(msgspec.ValidationError):
            found.append(msgspec.convert(one, Sent))
    return found


def address_of(beacon: Beacon) -> str | None:
    """Return `email:ADDRESS` of an address that was typed into a form; `None` for none."""
    for one in sent_of(beacon):
        if one.type.startswith(_FORMS):
            fields = one.data.get("fields")
            held = fields.get("email") if isinstance(fields, dict) else None
            if found := email_id(one.data.get("email") or held):
                return found
    return None


def linked(lead: str, visitor: str, id_: str, at_ms: int) -> NewEvent:
    """Return the event that says who the visitor is."""
    return NewEvent("lead.identified", lead, id_, at_ms, {"anonymous_id": f"visitor:{visitor}"})


def _clean(data: dict[str, Any]) -> dict[str, Any]:
    held = dict(data)
    for name in ("url", "referrer"):
        if isinstance(held.get(name), str):
            held[name] = clean_url(held[name])
    if isinstance(held.get("url"), str) and "utm" not in held and (utm := utm_of(held["url"])):
        held["utm"] = utm
    held.pop("machine", None)  # a browser's word on itself
    return held


def clean_url(url: str) -> str:
    """Return *url* without addresses and secrets in its query, and without its fragment, but for a route (`#/…`)."""
    try:
        parts = urlsplit(url)
        pairs = parse_qsl(parts.query, keep_blank_values=True, max_num_fields=200)
    except ValueError:
        return url.partition("?")[0].partition("#")[0]
    kept = [(name, value) for name, value in pairs if not _SECRET.search(name) and "@" not in value and "%40" not in value]
    query = parts.query if kept == pairs else urlencode(kept)
    netloc = parts.netloc.rpartition("@")[2]
    fragment = parts.fragment.partition("?")[0] if parts.fragment.startswith(("/", "!/")) else ""
    return urlunsplit((parts.scheme, netloc, parts.path, query, fragment))
