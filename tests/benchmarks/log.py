"""The log that every contestant reads: made up from a seed, the same to the byte on every machine."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

END: Final = datetime(2026, 11, 1, tzinfo=UTC)
DAYS: Final = 30
ZIPF: Final = 1.1
LATE: Final = 0.02
DUPLICATES: Final = 0.01

_TYPES: Final = {
    "page.viewed": 60,
    "email.opened": 16,
    "email.clicked": 8,
    "email.delivered": 5,
    "content.downloaded": 4,
    "form.submitted": 3,
    "webinar.attended": 2,
    "profile.updated": 2,
}
_PAGES: Final = {"pricing": 10, "product": 30, "proof": 15, "blog": 45}
_BEFORE: Final = timedelta(hours=6)
"""How late a late event is at most."""


class Line(NamedTuple):
    """One record of the log."""

    lead: str
    value: bytes
    """A CloudEvent, structured JSON."""
    arrived_ms: int
    """The record's own time. Never falls."""


def lines(
    count: int, leads: int, *, seed: int = 1, zipf: float = ZIPF, end: datetime = END, span: timedelta = timedelta(days=DAYS)
) -> Iterator[Line]:
    """Yield *count* events of about 300 bytes over the *span* before *end*; lead k comes as often as k^−*zipf*.

    2 % happened up to six hours before they arrive, 1 % are one of the last 200 records once more.
    """
    rnd = random.Random(seed)
    weights = list(itertools.accumulate(k**-zipf for k in range(1, leads + 1)))
    names = [f"lead-{rnd.getrandbits(64):016x}" for _ in range(leads)]
    types, type_weights = list(_TYPES), list(itertools.accumulate(_TYPES.values()))
    pages, page_weights = list(_PAGES), list(itertools.accumulate(_PAGES.values()))
    last: list[tuple[str, bytes]] = []
    begin = end - span
    for n in range(count):
        arrived = begin + span * ((n + 1) / count)
        arrived_ms = int(arrived.timestamp() * 1_000)
        if last and rnd.random() < DUPLICATES:
            yield Line(*rnd.choice(last), arrived_ms)
            continue
        at = arrived - _BEFORE * rnd.random() if rnd.random() < LATE else arrived
        (who,) = rnd.choices(range(leads), cum_weights=weights)
        (kind,) = rnd.choices(types, cum_weights=type_weights)
        (page,) = rnd.choices(pages, cum_weights=page_weights)
        value = _value(kind, names[who], f"{rnd.getrandbits(128):032x}", at, _data(kind, page, who, n, rnd))
        last.append((names[who], value))
        if len(last) > 200:
            del last[0]
        yield Line(names[who], value, arrived_ms)


def _value(kind: str, lead: str, id_: str, at: datetime, data: str) -> bytes:
    time = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return (
        f'{{"specversion":"1.0","id":"{id_}","source":"https://www.example.com/site","type":"{kind}","subject":"{lead}",'
        f'"time":"{time}","data":{{{data}}}}}'
    ).encode()


def _data(kind: str, page: str, who: int, n: int, rnd: random.Random) -> str:
    """Return the members of an event's `data`."""
    match kind:
        case "page.viewed":
            url = f"https://www.example.com/{page}/{n % 40}?utm_source=newsletter"
            return f'"url":"{url}","page_type":"{page}","session_id":"s{who}-{n // 4000}","duration_s":{rnd.randrange(300)}'
        case "profile.updated":
            domain = f"company-{who % 9_000}.example"
            return (
                f'"traits":{{"email":"p{who}@{domain}","role":"head of marketing","country":"FR",'
                f'"company":{{"domain":"{domain}","size":{20 + who % 400}}}}}'
            )
        case "webinar.attended":
            return f'"webinar_id":"webinar-{n // 20_000}","minutes":{rnd.randrange(60)},"share":{rnd.randrange(100) / 100}'
        case "form.submitted":
            return f'"form_id":"form-{n % 7}","fields":{{"topic":"scoring of leads","size":"50-200","page":"/{page}"}}'
        case "content.downloaded":
            return f'"content_id":"guide-{n % 23}","fields":{{"title":"How to score leads, part {n % 9}","page":"/{page}"}}'
        case _:
            url = f"https://www.example.com/{page}/{n % 40}"
            return f'"message_id":"message-{n // 50:08d}","campaign_id":"campaign-{n // 9000}","url":"{url}","cta":"read more"'
