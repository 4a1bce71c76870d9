"""Leads of which the outcome is known: a few days of visits, mails and forms, and then silence.

Silence makes the odds exact: no later act changes what the signals say. Figures are chosen, not measured.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from worker.core.scoring.calendar import rfc3339
from worker.demo.agenda import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from worker.demo.people import DOWNLOADS, PAGES, PERSONAS, RIVAL, SITE, Company, a_country, traits_of

Envelope = dict[str, Any]
"""A CloudEvent."""


class Act(NamedTuple):
    """Something that leads do, in the order in which interest grows."""

    name: str
    mean: float
    """How often, on average."""
    of_interest: float
    """How much interest moves it. Below 0: the interested do it less."""
    type: str
    source: str
    data: Callable[[random.Random], dict[str, Any]]


def _page(kind: str) -> Callable[[random.Random], dict[str, Any]]:
    paths = PAGES[kind]
    return lambda rnd: {
        "url": SITE + rnd.choice(paths),
        "duration_s": round(min(1800.0, 2 + rnd.lognormvariate(3.6, 0.9)), 1),
    }


def _mail(cta: str | None = None) -> Callable[[random.Random], dict[str, Any]]:
    def data(rnd: random.Random) -> dict[str, Any]:
        about: dict[str, Any] = {
            "message_id": f"m-{rnd.getrandbits(40):010x}",
            "campaign_id": f"newsletter-{rnd.randrange(40):03d}",
        }
        return about if cta is None else about | {"url": f"{SITE}/{cta}", "cta": cta}

    return data


def _webinar(rnd: random.Random) -> dict[str, Any]:
    return {"webinar_id": f"webinar-{rnd.randrange(30):03d}"}


def _attended(rnd: random.Random) -> dict[str, Any]:
    minutes = max(1, round(60 * min(1.0, rnd.betavariate(3, 1.2))))
    return _webinar(rnd) | {"minutes": minutes, "share": minutes / 60}


def _form(form_id: str) -> Callable[[random.Random], dict[str, Any]]:
    return lambda rnd: {"form_id": form_id}


def _download(rnd: random.Random) -> dict[str, Any]:
    return {"form_id": "library", "content_id": rnd.choice(DOWNLOADS)}


ACTS: Final = (
    Act("home", 0.7, 0.3, "page.viewed", SITE, _page("home")),
    Act("blog", 1.6, 0.2, "page.viewed", SITE, _page("blog")),
    Act("careers", 0.15, -0.8, "page.viewed", SITE, _page("careers")),
    Act("open", 1.0, 0.5, "email.opened", "/mail", _mail()),
    Act("click", 0.3, 0.7, "email.clicked", "/mail", _mail("read")),
    Act("follow", 0.04, 0.5, "social.followed", "/social", lambda rnd: {"network": rnd.choice(("linkedin", "mastodon"))}),
    Act("share", 0.04, 0.5, "social.shared", "/social", lambda rnd: {"url": SITE + rnd.choice(PAGES["blog"])}),
    Act("docs", 0.6, 0.5, "page.viewed", SITE, _page("docs")),
    Act("product", 0.9, 0.8, "page.viewed", SITE, _page("product")),
    Act("customers", 0.4, 0.8, "page.viewed", SITE, _page("customers")),
    Act("download", 0.25, 0.7, "content.downloaded", SITE, _download),
    Act("register", 0.12, 0.7, "webinar.registered", "/webinars", _webinar),
    Act("attend", 0.08, 0.8, "webinar.attended", "/webinars", _attended),
    Act("miss", 0.04, -0.3, "webinar.no_show", "/webinars", _webinar),
    Act("replay", 0.04, 0.6, "webinar.replayed", "/webinars", _webinar),
    Act("form", 0.15, 0.5, "form.submitted", SITE, _form("contact")),
    Act("call-to-action", 0.06, 1.0, "email.clicked", "/mail", _mail("demo")),
    Act("reply", 0.05, 0.9, "email.replied", "/mail", _mail()),
    Act("pricing", 0.3, 1.0, "page.viewed", SITE, _page("pricing")),
    Act("trial", 0.04, 1.0, "trial.started", SITE, _form("trial")),
    Act("quote", 0.02, 1.0, "quote.requested", SITE, _form("quote")),
    Act("demo", 0.03, 1.0, "demo.requested", SITE, _form("demo")),
)  # fmt: skip
COPIED: Final = ("pricing", "demo")
COPIED_SHARE: Final = 0.9
_MOST: Final = 12
"""No act more often than this."""
_HUMANS: Final = [persona for persona in PERSONAS if not persona.quick]


class Life(NamedTuple):
    """What one lead does."""

    id: str
    events: list[Envelope]
    """In the order of time; the first one is the profile."""
    times: list[int]
    last_ms: int


def live(rnd: random.Random, number: int, enters_ms: int, interest: float, copies: int, companies: Sequence[Company]) -> Life:
    """Let lead *number* live, from *enters_ms* on.

    *interest* from 0 to 1: how much one hidden interest drives all acts together. *copies*: custom events that follow the acts
    of `COPIED`, nine times in ten.
    """
    lead, hidden = f"lead-{number:06d}", rnd.gauss(0, 1)
    envelopes = [_envelope(rnd, lead, enters_ms, "profile.updated", "/crm", {"traits": _traits(rnd, number, companies)})]
    times = [enters_ms]
    done = [act for act in ACTS for _ in range(_often(rnd, act, interest * hidden))]
    at_ms, session_id, left = enters_ms + 5 * SECOND_MS, _session(rnd), _days(rnd)
    for place, act in enumerate(done):
        if left and rnd.random() < left / (len(done) - place):
            at_ms, session_id, left = _next_day(rnd, at_ms), _session(rnd), left - 1
        data = act.data(rnd) | ({"session_id": session_id} if act.type == "page.viewed" else {})
        for kind, what in ((act.type, data), *_copied(rnd, act, copies)):
            envelopes.append(_envelope(rnd, lead, at_ms, kind, act.source, what))
            times.append(at_ms)
            at_ms += rnd.randint(8, 240) * SECOND_MS
    return Life(lead, envelopes, times, times[-1])


def _often(rnd: random.Random, act: Act, interest: float) -> int:
    """Return a Poisson number, drawn by the gaps between acts (Knuth)."""
    limit, product, count = math.exp(-act.mean * math.exp(act.of_interest * interest)), rnd.random(), 0
    while product > limit and count < _MOST:
        product *= rnd.random()
        count += 1
    return count


def _days(rnd: random.Random) -> int:
    """Return on how many further days the lead comes back: none, one or two."""
    return rnd.choices((0, 1, 2), (60, 28, 12))[0]


def _next_day(rnd: random.Random, at_ms: int) -> int:
    midnight_ms = at_ms - at_ms % DAY_MS
    return midnight_ms + rnd.randint(1, 2) * DAY_MS + rnd.randint(7, 17) * HOUR_MS + rnd.randrange(60) * MINUTE_MS


def _copied(rnd: random.Random, act: Act, copies: int) -> list[tuple[str, dict[str, Any]]]:
    if act.name not in COPIED:
        return []
    return [(f"custom.copy.{copy}", {}) for copy in range(1, copies + 1) if rnd.random() < COPIED_SHARE]


def _traits(rnd: random.Random, number: int, companies: Sequence[Company]) -> dict[str, Any]:
    persona = rnd.choices(_HUMANS, [persona.weight for persona in _HUMANS])[0]
    company = RIVAL if persona.name == "competitor" and rnd.random() < 0.6 else rnd.choice(companies)
    stated, enriched = traits_of(rnd, persona, number, company, company.country if rnd.random() < 0.85 else a_country(rnd))
    return stated | (enriched if rnd.random() < 0.8 else {})


def _session(rnd: random.Random) -> str:
    return f"s-{rnd.getrandbits(48):012x}"


def _envelope(rnd: random.Random, lead: str, at_ms: int, kind: str, source: str, data: Mapping[str, Any]) -> Envelope:
    return {
        "specversion": "1.0",
        "id": str(UUID(int=rnd.getrandbits(128), version=4)),
        "source": source,
        "type": kind,
        "subject": lead,
        "time": rfc3339(at_ms),
        "data": dict(data),
    }


def envelope_of(
    rnd: random.Random, lead: str, at_ms: int, kind: str, data: Mapping[str, Any], source: str = "/crm"
) -> Envelope:
    """Return an event that the CRM reports of *lead*."""
    return _envelope(rnd, lead, at_ms, kind, source, data)
