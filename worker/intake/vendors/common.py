"""What every vendor's map gives: events, look-ups, and what it passed over. And the rules by which people are named."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from worker.connections.sources import Source
from worker.core.contract.instants import LAST_MS
from worker.intake.inbound import Inbound

MOST_OBJECTS: Final = 10_000
"""Most objects of one body: 1 MB of empty ones would hold the mapper up for half a minute."""
_DIGEST_BYTES: Final = 16
_LONGEST_NUMBER: Final = 40
_MOST_FIELDS: Final = 10_000


class Unmapped(Exception):
    """A webhook that cannot be mapped. The message says what is wrong; the record goes to `lead.inbound.dead`."""


class NewEvent(msgspec.Struct, frozen=True):
    """One event of ours, before it is a CloudEvent."""

    type: str
    subject: str
    id: str
    """The vendor's own id of what happened, or `digest` of what is stable about it. Our type is added behind it."""
    at_ms: int
    data: dict[str, Any] = {}


class Lookup(msgspec.Struct, frozen=True):
    """A question to the vendor's API. Its answer comes back as an `Inbound` of kind `lookup`, with the same `about`.

    Equal look-ups are one: many who join a webinar ask for one list.
    """

    path: str
    """Below the target's `base_url`, with its query, encoded. `lookups.path_at` fills in the target's version."""
    about: dict[str, str]
    """What was asked, in the map's own words, with all that the answer needs to be understood."""
    due_ms: int = 0
    """Not before then; 0: at once."""


class Mapped(msgspec.Struct):
    """What a map made of one request."""

    events: list[NewEvent] = []
    lookups: list[Lookup] = []
    passed_over: Counter[str] = msgspec.field(default_factory=Counter)
    """Kinds of the vendor that say nothing for scoring, each with its number."""
    machines: Counter[str] = msgspec.field(default_factory=Counter)
    """Guesses that a click was a machine's, by their reason."""
    refused: list[str] = []
    """What should have become an event and could not, each with the reason. The record also goes to `lead.inbound.dead`."""


Map = Callable[[Inbound, Source], Mapped]
"""A pure function: the same request gives the same events, with the same ids."""


def json_of(inbound: Inbound) -> Any:
    """Return the body's JSON. Raises `Unmapped`."""
    try:
        return msgspec.json.decode(inbound.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unmapped(f"the body is not JSON: {error}") from error


def objects_of(inbound: Inbound) -> list[dict[str, Any]]:
    """Return the objects of a body that is one object or a list of them. Raises `Unmapped`."""
    held = json_of(inbound)
    found = held if isinstance(held, list) else [held]
    if not all(isinstance(one, dict) for one in found):
        raise Unmapped("the body is no JSON object, and no list of objects")
    if len(found) > MOST_OBJECTS:
        raise Unmapped(f"{len(found):,} objects in one body: no vendor sends more than {MOST_OBJECTS:,}")
    return found


def form_of(inbound: Inbound) -> dict[str, str]:
    """Return the fields of a form, of each name the first one. Raises `Unmapped`."""
    try:
        pairs = parse_qsl(inbound.body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except (UnicodeDecodeError, ValueError) as error:
        raise Unmapped(f"the body is no form: {error}") from error
    return dict(reversed(pairs))


def digest(*parts: object) -> str:
    """Return a stable id for what has none of its own: a hash of *parts*, as texts, in order."""
    held = msgspec.json.encode([str(part) for part in parts])
    return hashlib.blake2b(held, digest_size=_DIGEST_BYTES).hexdigest()


def email_id(address: Any) -> str | None:
    """Return `email:ADDRESS` in lower case, the lead of whom only the address is known; `None` for no address."""
    if not isinstance(address, str) or "@" not in address.strip():
        return None
    return f"email:{address.strip().lower()}"


def person(crm_id: Any, address: Any) -> str | None:
    """Return the lead's id: the CRM's, else by the address; `None` for neither."""
    if isinstance(crm_id, (str, int)) and not isinstance(crm_id, bool) and str(crm_id).strip():
        return str(crm_id).strip()
    return email_id(address)


def seconds_ms(value: Any) -> int | None:
    """Return seconds since 1970, a number or its text, in ms, cut; `None` for anything else and outside of 1970 to 9998."""
    return _scaled(value, 1000)


def millis_ms(value: Any) -> int | None:
    """Return milliseconds since 1970, a number or its text, cut; `None` for anything else."""
    return _scaled(value, 1)


def _scaled(value: Any, factor: int) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        written = str(value).strip()
        at_ms = Decimal(written) * factor  # a decimal, since 1.001 s as a float is less than 1,001 ms
        return int(at_ms) if len(written) <= _LONGEST_NUMBER and 0 <= at_ms < LAST_MS else None
    except (ArithmeticError, ValueError):
        return None


def iso_ms(value: Any) -> int | None:
    """Return an ISO 8601 text in ms, cut. Without an offset it is UTC. The answer is `None` for other texts."""
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value.strip())
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    since = at - datetime(1970, 1, 1, tzinfo=UTC)
    at_ms = since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000
    return at_ms if 0 <= at_ms < LAST_MS else None


def present(**fields: Any) -> dict[str, Any]:
    """Return the fields that say something: neither null nor blank."""
    return {name: value for name, value in fields.items() if value is not None and value != ""}


def text(value: Any) -> str | None:
    """Return a scalar as text without blanks around it; `None` for a blank one and for anything else."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    return str(value).strip() or None


def cloud_event(new: NewEvent, source: str, below: str = "/in/") -> bytes:
    """Return *new* as a structured CloudEvent of the *source* below `/in/`, or below another path."""
    at = datetime.fromtimestamp(new.at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return msgspec.json.encode(
        {
            "specversion": "1.0",
            "id": f"{new.id}:{new.type}",
            "source": f"{below}{source}",
            "type": new.type,
            "subject": new.subject,
            "time": f"{at}.{new.at_ms % 1000:03}Z",
            "data": new.data,
        }
    )


def profile(subject: str, id_: str, at_ms: int, traits: Mapping[str, Any]) -> Iterable[NewEvent]:
    """Return a `profile.updated` with the traits that say something; nothing for none."""
    held = {path: value for path, value in traits.items() if value not in (None, "", [], {})}
    return [NewEvent("profile.updated", subject, id_, at_ms, {"traits": held})] if held else []
