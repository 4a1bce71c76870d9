"""Made-up B2B traffic: people who discover, come back, compare, ask and fall silent, over simulated days and weeks.

`events` is a pure function of its arguments: the same seed gives the same bytes. Two layers, each with its own
random numbers, so that the disorder asked for changes nothing in what people do:

- `_World` lives the people's lives as a queue of things to happen, in the order of their times;
- `events` makes records of them in the order of *arrival*: some come late, some come twice, and some are no events at all.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from heapq import heappop, heappush
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

import msgspec

from worker.core.contract.model import Headers
from worker.demo.people import (
    COUNTRIES,
    DOWNLOADS,
    PAGES,
    PERSONAS,
    RIVAL,
    SITE,
    Company,
    Persona,
    Phase,
    a_company,
    a_country,
    traits_of,
)
from worker.intake.routes import CONTENT_TYPE, TOPICS, topic_of

Note = Literal["event", "late", "duplicate", "bad"]

START_MS: Final = 1_767_571_200_000
"""2026-01-05T00:00Z, a Monday: where simulated time begins unless asked otherwise."""
SECOND_MS: Final = 1000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
WEEK_MS: Final = 7 * DAY_MS
LATE_BY_MS: Final = 6 * HOUR_MS
"""The most that an event comes late."""
_TYPICALLY_LATE_MS: Final = 90 * MINUTE_MS

_HOT: Final = frozenset({"demo.requested", "quote.requested", "trial.started"})
_OFFICE_HOURS: Final = (range(8, 20), (4, 9, 12, 11, 6, 7, 11, 12, 11, 8, 4, 2))
_EVENING_HOURS: Final = (range(12, 24), (3, 2, 2, 2, 3, 4, 7, 9, 12, 13, 10, 5))


class SimRecord(NamedTuple):
    """One record, as a producer would send it."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Headers
    at_ms: int
    """When it arrives, in simulated time; never before the record that came before it."""
    note: Note
    """What was done to it: nothing, delayed, sent a second time, or made unreadable."""


async def paced(
    records: Iterable[SimRecord],
    *,
    compress: float = 0,
    rate: float = 0,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Any] = asyncio.sleep,
) -> AsyncIterator[SimRecord]:
    """Hand *records* out no faster than asked, letting other tasks run in between.

    *compress*: simulated time passes this many times as fast as real time, from the first record on (86,400: a day a second).
    *rate*: at most this many records a second, evenly. 0 is no limit; with both, the slower one holds. Who falls behind
    catches up without pauses. *now* (seconds) and *sleep* are the process's own.
    """
    began, first_ms = now(), None
    for number, record in enumerate(records):
        first_ms = record.at_ms if first_ms is None else first_ms
        due = began
        if compress:
            due = began + (record.at_ms - first_ms) / 1000 / compress
        if rate:
            due = max(due, began + number / rate)
        wait = due - now()
        if wait > 0.001:  # shorter pauses cost more than they are worth
            await sleep(wait)
        elif number % 100 == 0:
            await sleep(0)
        yield record


def events(
    seed: int,
    leads: int,
    start_ms: int = START_MS,
    *,
    days: float | None = 30,
    limit: int | None = None,
    late: float = 0.0,
    duplicates: float = 0.0,
    bad: float = 0.0,
    keyless: float = 0.0,
    topics: Mapping[str, str] = TOPICS,
) -> Iterator[SimRecord]:
    """Yield the records of *leads* people from *start_ms* on, in the order in which they arrive.

    Ends with the last event of *days* simulated days, or after *limit* records; with neither, never. Shares, each of the events
    that happen: *late* come up to `LATE_BY_MS` after their time; *duplicates* are sent again with the same source and id,
    within moments or hours; with *bad* a record that is no valid event is sent beside (`BAD`); *keyless* records carry no
    key. None of the four changes what people do. *topics* maps families (`event_types.Family`) to topics.

    Raises `ValueError` for a share outside of 0…1 or fewer than one lead.
    """
    if leads < 1:
        raise ValueError(f"leads: {leads}; expected at least 1")
    for name, share in (("late", late), ("duplicates", duplicates), ("bad", bad), ("keyless", keyless)):
        if not 0 <= share <= 1:
            raise ValueError(f"{name}: {share}; expected a share from 0 to 1")
    arrivals = _arrivals(seed, leads, start_ms, days, late, duplicates, bad, keyless, topics)
    yield from arrivals if limit is None else itertools.islice(arrivals, limit)


def _arrivals(
    seed: int,
    leads: int,
    start_ms: int,
    days: float | None,
    late: float,
    duplicates: float,
    bad: float,
    keyless: float,
    topics: Mapping[str, str],
) -> Iterator[SimRecord]:
    rnd = random.Random(f"{seed}/disorder")
    waiting: list[tuple[int, int, SimRecord]] = []
    numbers = itertools.count()
    end_ms = None if days is None else start_ms + round(days * DAY_MS)

    def arrive(envelope: dict[str, Any], value: bytes, at_ms: int, note: Note) -> None:
        key = None if rnd.random() < keyless else envelope["subject"].encode()
        record = SimRecord(topic_of(envelope["type"], topics), key, value, CONTENT_TYPE, at_ms, note)
        heappush(waiting, (at_ms, next(numbers), record))

    for at_ms, envelope in _World(seed, leads, start_ms).happenings():
        if end_ms is not None and at_ms >= end_ms:
            break
        while waiting and waiting[0][0] < at_ms:
            yield heappop(waiting)[2]
        value = msgspec.json.encode(envelope)
        is_late = rnd.random() < late
        came_ms = at_ms + (_delay(rnd) if is_late else 0)
        arrive(envelope, value, came_ms, "late" if is_late else "event")
        if rnd.random() < duplicates:
            again = rnd.random()
            pause = (
                rnd.randrange(2 * SECOND_MS) if again < 0.5 else rnd.randrange(10 * MINUTE_MS) if again < 0.9 else _delay(rnd)
            )
            arrive(envelope, value, came_ms + pause, "duplicate")
        if rnd.random() < bad:
            spoil = BAD[rnd.choices(tuple(BAD), _BAD_WEIGHTS)[0]]
            arrive(envelope, spoil(dict(envelope)), at_ms, "bad")
    while waiting:
        yield heappop(waiting)[2]


def _delay(rnd: random.Random) -> int:
    return min(LATE_BY_MS, MINUTE_MS + round(rnd.expovariate(1 / _TYPICALLY_LATE_MS)))


# --- records that are no events -----------------------------------------------------------------------------------------------


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
    "no time": lambda e: _with(e, time=...),
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

_BAD_WEIGHTS: Final = tuple(1 if kind in ("too large", "nested deep") else 20 for kind in BAD)


# --- people's lives -----------------------------------------------------------------------------------------------------------


class _Happening(NamedTuple):
    lead: _Lead
    type: str
    subject: str
    source: str
    data: dict[str, Any]


@dataclass(slots=True)
class _Lead:
    number: int
    persona: Persona
    country: str
    ahead_ms: int
    """How far the office clock is ahead of UTC."""
    said: dict[str, Any]
    """Traits that they state themselves."""
    learnt: dict[str, Any]
    """Traits that an enrichment service adds."""
    known: bool
    """Has a lead id; others are visitors."""
    two_devices: bool
    """Once identified, some visits still come under the visitor id."""
    proxy: bool
    """The mail provider opens every mail by itself."""
    scanner: bool
    """The employer's mail gateway follows every link."""
    phase_number: int
    phase_ends_ms: int
    subscribed: bool
    profiled: bool = False
    aliased: bool = False
    in_deal: bool = False
    calm_until_ms: int = 0
    """Until then sales call only when asked."""
    gone: bool = False

    @property
    def id(self) -> str:
        return f"lead-{self.number:06d}"

    @property
    def visitor_id(self) -> str:
        return f"visitor-{self.number:06d}"

    @property
    def phase(self) -> Phase:
        return self.persona.phases[self.phase_number]


class _World:
    """The people, and what is going to happen to them, soonest first."""

    def __init__(self, seed: int, leads: int, start_ms: int) -> None:
        self._rnd = random.Random(f"{seed}/people")
        self._now_ms = start_ms
        self._numbers = itertools.count()
        self._agenda: list[tuple[int, int, _Happening | Callable[[], None]]] = []
        companies = [a_company(self._rnd, number) for number in range(max(2, leads // 4))]
        self._leads = [self._born(number, companies) for number in range(leads)]
        for lead in self._leads:
            self._plan_visit(lead)
        monday_ms = start_ms - (start_ms - 4 * DAY_MS) % WEEK_MS  # 1970-01-05 was a Monday
        tuesday_ms = monday_ms + DAY_MS + 8 * HOUR_MS
        self._later(tuesday_ms if tuesday_ms >= start_ms else tuesday_ms + WEEK_MS, partial(self._newsletter, 1))

    def happenings(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (instant, CloudEvent) in the order of time, without an end."""
        rnd = self._rnd
        while True:
            self._now_ms, _, what = heappop(self._agenda)
            if not isinstance(what, _Happening):
                what()
            elif not what.lead.gone:
                what.lead.gone = what.type == "lead.erased"
                yield (
                    self._now_ms,
                    {
                        "specversion": "1.0",
                        "id": str(UUID(int=rnd.getrandbits(128), version=4)),
                        "source": what.source,
                        "type": what.type,
                        "subject": what.subject,
                        "time": _rfc3339(self._now_ms),
                        "data": what.data,
                    },
                )

    def _born(self, number: int, companies: list[Company]) -> _Lead:
        rnd = self._rnd
        persona = rnd.choices(PERSONAS, [persona.weight for persona in PERSONAS])[0]
        company = RIVAL if persona.name == "competitor" and rnd.random() < 0.6 else rnd.choice(companies)
        country = company.country if rnd.random() < 0.85 else a_country(rnd)
        said, learnt = traits_of(rnd, persona, number, company, country)
        phase_number = rnd.randrange(len(persona.phases)) if rnd.random() < 0.5 else 0
        known = rnd.random() < persona.known
        return _Lead(
            number,
            persona,
            country,
            COUNTRIES[country][1] * MINUTE_MS,
            said,
            learnt,
            known,
            two_devices=rnd.random() < 0.3,
            proxy=rnd.random() < 0.35,
            scanner=rnd.random() < 0.12,
            phase_number=phase_number,
            # In the middle of the phase already, or those who begin would all decide in the same week.
            phase_ends_ms=self._now_ms + round(rnd.uniform(0.1, 1) * rnd.uniform(*persona.phases[phase_number].days) * DAY_MS),
            subscribed=known,
        )

    # What is put on the agenda ------------------------------------------------------------------------------------------------

    def _later(self, at_ms: int, what: _Happening | Callable[[], None]) -> None:
        heappush(self._agenda, (max(at_ms, self._now_ms), next(self._numbers), what))

    def _say(
        self, lead: _Lead, at_ms: int, kind: str, source: str, data: dict[str, Any], *, machine: bool = False, subject: str = ""
    ) -> None:
        """Put an event on the agenda; before the first one of somebody whom the CRM knows, what it knows."""
        if lead.known and not lead.profiled:
            lead.profiled = True
            traits = lead.said | lead.learnt
            self._later(at_ms - 5 * SECOND_MS, _Happening(lead, "profile.updated", lead.id, "/crm", {"traits": traits}))
        if machine:
            data["machine"] = True
        self._later(at_ms, _Happening(lead, kind, subject or (lead.id if lead.known else lead.visitor_id), source, data))

    def _awake(self, lead: _Lead, at_ms: int) -> int:
        """Return an instant at or after *at_ms* at which somebody like *lead* sits at a screen, on that day if possible."""
        if lead.persona.machine:
            return at_ms
        rnd = self._rnd
        hours, weights = _EVENING_HOURS if lead.persona.evenings else _OFFICE_HOURS
        midnight_ms = at_ms - (at_ms + lead.ahead_ms) % DAY_MS
        weekday = (midnight_ms + lead.ahead_ms) // DAY_MS + 3
        if not lead.persona.evenings and weekday % 7 >= 5 and rnd.random() < 0.85:
            midnight_ms += (7 - weekday % 7) * DAY_MS
        chosen_ms = midnight_ms + rnd.choices(hours, weights)[0] * HOUR_MS + rnd.randrange(HOUR_MS)
        return chosen_ms if chosen_ms >= self._now_ms else chosen_ms + DAY_MS

    def _in_office(self, at_ms: int) -> int:
        """Return *at_ms*, or the next morning at which sales (at UTC+1, Monday to Friday, 8 to 18) can act."""
        ahead_ms = HOUR_MS
        midnight_ms = at_ms - (at_ms + ahead_ms) % DAY_MS
        if at_ms >= midnight_ms + 18 * HOUR_MS:
            midnight_ms += DAY_MS
        weekday = ((midnight_ms + ahead_ms) // DAY_MS + 3) % 7
        if weekday >= 5:
            midnight_ms += (7 - weekday) * DAY_MS
        opens_ms = midnight_ms + 8 * HOUR_MS
        return at_ms if at_ms >= opens_ms else opens_ms + self._rnd.randrange(2 * HOUR_MS)

    def _minutes(self, typical: float, spread: float = 0.9) -> int:
        """Return a delay in ms: half are shorter than *typical* minutes, a few are many times longer."""
        return round(typical * self._rnd.lognormvariate(0, spread) * MINUTE_MS)

    def _days(self, least: float, most: float) -> int:
        return round(self._rnd.uniform(least, most) * DAY_MS)

    # Visits -------------------------------------------------------------------------------------------------------------------

    def _plan_visit(self, lead: _Lead) -> None:
        """Put the next visit on the agenda, or the next phase where that comes first."""
        visits = lead.phase.visits
        at_ms = self._now_ms + round(self._rnd.expovariate(visits / 7) * DAY_MS) if visits else lead.phase_ends_ms
        if at_ms >= lead.phase_ends_ms:
            self._later(lead.phase_ends_ms, partial(self._next_phase, lead))
        else:
            self._later(self._awake(lead, at_ms), partial(self._come_by, lead))

    def _next_phase(self, lead: _Lead) -> None:
        lead.phase_number = (lead.phase_number + 1) % len(lead.persona.phases)
        lead.phase_ends_ms = self._now_ms + self._days(*lead.phase.days)
        self._plan_visit(lead)

    def _come_by(self, lead: _Lead) -> None:
        if not lead.gone:
            self._visit(lead)
            self._plan_visit(lead)

    def _come_from(self, lead: _Lead, campaign: str) -> None:
        if not lead.gone:
            self._visit(lead, campaign)

    def _visit(self, lead: _Lead, campaign: str | None = None) -> None:
        """One session, from now on: pages, and what it ends with. *campaign*: it began with a click in that mail."""
        rnd, phase, at_ms = self._rnd, lead.phase, self._now_ms
        session_id = f"s-{rnd.getrandbits(48):012x}"
        subject = lead.visitor_id if lead.aliased and lead.two_devices and rnd.random() < 0.4 else ""
        quick = lead.persona.machine or lead.persona.name == "scraper"
        kinds = rnd.choices(tuple(phase.reads), tuple(phase.reads.values()), k=rnd.randint(*phase.pages))
        url = SITE
        for number, kind in enumerate(kinds):
            url = SITE + rnd.choice(PAGES[kind])
            stay_ms = rnd.randint(300, 3000) if quick else round(min(1800, 2 + rnd.lognormvariate(3.6, 0.9)) * SECOND_MS)
            data = {"url": url, "session_id": session_id, "duration_s": stay_ms / 1000}
            if number == 0 and campaign:
                data["utm"] = {"source": "newsletter", "medium": "email", "campaign": campaign}
            elif number == 0 and not quick and rnd.random() < 0.6:
                data["referrer"] = rnd.choice(
                    ("https://search.example/", "https://social.example/", "https://news.example/item")
                )
            self._say(lead, at_ms, "page.viewed", SITE, data, machine=lead.persona.machine, subject=subject)
            at_ms += stay_ms
        if quick:
            return
        for kind, share in phase.acts.items():
            if rnd.random() < share and not (lead.in_deal and kind in _HOT):
                at_ms += rnd.randint(8, 90) * SECOND_MS
                self._act(lead, at_ms, kind)
        if lead.known and "pricing" in kinds and phase.visits >= 3 and at_ms >= lead.calm_until_ms and rnd.random() < 0.6:
            self._sales(lead, at_ms)  # who comes often and looks at prices is called without having asked
        chance = rnd.random()
        if chance < 0.03:
            kind = "social.clicked" if chance < 0.015 else "social.shared" if chance < 0.025 else "social.followed"
            self._say(lead, at_ms, kind, "/social", {"network": rnd.choice(("linkedin", "mastodon")), "url": url})
        elif chance < 0.04:
            self._say(lead, at_ms, "chat.opened", SITE, {"session_id": session_id})  # a type that the worker does not know
        elif chance < 0.045 and lead.known:
            self._say(lead, at_ms, "profile.updated", "/crm", {"traits": {"phone": None}})

    def _act(self, lead: _Lead, at_ms: int, kind: str) -> None:
        """Send a form of this kind; a visitor is known from then on."""
        rnd = self._rnd
        newcomer = not lead.known
        if newcomer:
            lead.known = lead.profiled = lead.aliased = True
        data: dict[str, Any] = {"form_id": kind.partition(".")[0], "fields": {"email": lead.said["email"]}}
        if kind == "content.downloaded":
            data = {"form_id": "library", "content_id": rnd.choice(DOWNLOADS)}
        elif kind == "form.submitted":
            data["form_id"] = rnd.choice(("newsletter", "contact"))
        self._say(lead, at_ms, kind, SITE, data)
        if newcomer:
            self._say(lead, at_ms + 400, "lead.identified", SITE, {"anonymous_id": lead.visitor_id})
            self._say(lead, at_ms + 900, "profile.updated", SITE, {"traits": lead.said})
            if lead.learnt:
                self._say(lead, at_ms + self._minutes(300), "profile.updated", "/enrichment", {"traits": lead.learnt})
        if kind == "form.submitted" or rnd.random() < 0.5:
            lead.subscribed = True
        if kind == "content.downloaded" and rnd.random() < 0.7:
            for number, wait_ms in enumerate((DAY_MS, 3 * DAY_MS, 7 * DAY_MS), start=1):
                name = f"nurture-{data['content_id']}-{number}"
                self._later(self._awake(lead, at_ms + wait_ms), partial(self._mail, lead, name))
        if kind in _HOT:
            self._sales(lead, at_ms)

    # Sales --------------------------------------------------------------------------------------------------------------------

    def _sales(self, lead: _Lead, at_ms: int) -> None:
        """What the CRM says of somebody hot: mostly an answer within hours, sometimes none; then a deal, or not."""
        rnd, persona = self._rnd, lead.persona
        lead.calm_until_ms = at_ms + 10 * DAY_MS
        if lead.in_deal or rnd.random() < 0.1:
            return
        owner = f"sales-{rnd.randint(1, 6)}"
        at_ms = self._in_office(at_ms + self._minutes(100))
        if rnd.random() >= persona.accepted:
            reason = (
                persona.name
                if persona.name in ("student", "competitor")
                else rnd.choice(("no budget", "no project", "too small"))
            )
            self._say(lead, at_ms, "crm.rejected", "/crm", {"reason": reason, "owner": owner})
            return
        lead.in_deal = True
        self._say(lead, at_ms, "crm.accepted", "/crm", {"owner": owner})
        at_ms = self._in_office(at_ms + self._days(1, 5))
        if rnd.random() < 0.12:
            self._say(lead, at_ms, "crm.no_show", "/crm", {"owner": owner})
            at_ms = self._in_office(at_ms + self._days(2, 6))
        if rnd.random() < 0.6:
            amount = round(rnd.lognormvariate(9.2, 0.7), -2)
            self._say(lead, at_ms, "crm.opportunity", "/crm", {"amount": amount, "owner": owner})
            at_ms = self._in_office(at_ms + self._days(10, 40))
            if rnd.random() < persona.wins:
                self._say(lead, at_ms, "crm.won", "/crm", {"amount": amount, "owner": owner})
            elif rnd.random() < 0.7:
                self._say(lead, at_ms, "crm.lost", "/crm", {"reason": rnd.choice(("price", "timing", "rival")), "owner": owner})

        self._later(at_ms, partial(setattr, lead, "in_deal", False))

    # Mails and webinars -------------------------------------------------------------------------------------------------------

    def _newsletter(self, number: int) -> None:
        """Send this week's mail to everybody who takes it; every second one invites to the next week's webinar."""
        webinar = (f"webinar-{number // 2:03d}", self._now_ms + 9 * DAY_MS + 6 * HOUR_MS) if number % 2 == 0 else None
        for lead in self._leads:
            if lead.known and lead.subscribed and not lead.gone:
                self._later(
                    self._now_ms + self._rnd.randrange(20 * MINUTE_MS),
                    partial(self._mail, lead, f"newsletter-{number:03d}", webinar),
                )
        self._later(self._now_ms + WEEK_MS, partial(self._newsletter, number + 1))

    def _mail(self, lead: _Lead, campaign: str, webinar: tuple[str, int] | None = None) -> None:
        """Deliver one mail now; machines look at it at once, people hours later."""
        if lead.gone or not lead.subscribed:
            return
        rnd, now_ms, phase = self._rnd, self._now_ms, lead.phase
        about = {"message_id": f"{campaign}.{lead.number:06d}", "campaign_id": campaign}
        if rnd.random() < 0.008:
            lead.subscribed = False
            self._say(lead, now_ms, "email.bounced", "/mail", {**about})
            return
        self._say(lead, now_ms, "email.delivered", "/mail", {**about})
        cta, path = rnd.choices((("read", "/blog"), ("demo", "/demo"), ("pricing", "/pricing")), (8, 1, 1))[0]
        if webinar:
            cta, path = "register", "/webinars"
        link = {"url": SITE + path, "cta": cta}
        if lead.proxy:
            self._say(lead, now_ms + rnd.randint(5, 900) * SECOND_MS, "email.opened", "/mail", {**about}, machine=True)
        if lead.scanner:
            for _ in range(rnd.randint(1, 3)):
                self._say(lead, now_ms + rnd.randint(1, 30) * SECOND_MS, "email.clicked", "/mail", about | link, machine=True)
        if rnd.random() >= phase.opens:
            return
        opened_ms = self._awake(lead, now_ms + self._minutes(60))
        self._say(lead, opened_ms, "email.opened", "/mail", {**about})
        acts_ms = opened_ms + rnd.randint(4, 60) * SECOND_MS
        chance = rnd.random()
        if chance < 0.005:
            lead.subscribed = False
            kind = "email.complained" if chance < 0.001 else "email.unsubscribed"
            self._say(lead, acts_ms, kind, "/mail", {**about})
            if rnd.random() < 0.15:
                self._say(lead, acts_ms + self._days(0.5, 3), "lead.erased", "/crm", {})
        elif chance < 0.02 and phase.visits >= 3:
            self._say(lead, acts_ms + self._minutes(5), "email.replied", "/mail", {**about})
        elif rnd.random() < phase.clicks:
            self._say(lead, acts_ms, "email.clicked", "/mail", about | link)
            self._later(acts_ms + SECOND_MS, partial(self._come_from, lead, campaign))
        if webinar and rnd.random() < phase.webinars:
            self._webinar(lead, acts_ms + rnd.randint(60, 600) * SECOND_MS, *webinar)

    def _webinar(self, lead: _Lead, registers_ms: int, webinar_id: str, starts_ms: int) -> None:
        rnd = self._rnd
        if registers_ms >= starts_ms:
            return
        self._say(lead, registers_ms, "webinar.registered", "/webinars", {"webinar_id": webinar_id})
        if rnd.random() < 0.45:
            minutes = max(1, round(60 * min(1.0, rnd.betavariate(3, 1.2))))
            seen = {"webinar_id": webinar_id, "minutes": minutes, "share": minutes / 60}
            self._say(lead, starts_ms + minutes * MINUTE_MS + rnd.randrange(MINUTE_MS), "webinar.attended", "/webinars", seen)
            return
        self._say(lead, starts_ms + 65 * MINUTE_MS, "webinar.no_show", "/webinars", {"webinar_id": webinar_id})
        if rnd.random() < 0.25:
            minutes = rnd.randint(5, 60)
            seen = {"webinar_id": webinar_id, "minutes": minutes, "share": minutes / 60}
            self._say(lead, self._awake(lead, starts_ms + self._days(1, 5)), "webinar.replayed", "/webinars", seen)


def _rfc3339(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
