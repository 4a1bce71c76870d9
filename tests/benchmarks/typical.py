"""The lead by which size is judged: 50 events in 30 days that match 10 rules of `saas-b2b.yaml`, traits included."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from importlib.resources import files
from typing import Any, Final
from uuid import UUID

from worker.core.batch.plan import plan_events
from worker.core.contract.model import Event, LeadWrite
from worker.core.grid.models import parse_grid
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.demo.agenda import DAY_MS, START_MS
from worker.demo.people import DOWNLOADS, PAGES, PERSONAS, SITE, a_company, traits_of

EVENTS: Final = 50
RULES: Final = frozenset(
    {"demo", "pricing-page", "product-page", "proof-page", "reads-on", "download"}
    | {"webinar-registered", "webinar-attended", "email-open", "email-click"}
)
_MAILS: Final = 6
_VISITS: Final = 8
_VIEWS: Final = 32


def scorer() -> CompiledGrid:
    """Return the grid by which these leads are scored. Addresses are not linked, because no owner of one answers here."""
    grid = parse_grid(files("grids").joinpath("saas-b2b.yaml").read_text(), "saas-b2b.yaml")
    return CompiledGrid(grid.model_copy(update={"identity": None}), "/leadpulse/default")


def leads(count: int) -> Iterator[tuple[str, list[Event]]]:
    """Yield so many leads with their events, oldest first; pages, links, mails and traits are the simulator's."""
    for number in range(count):
        rnd = random.Random(f"typical/{number}")
        name = str(UUID(int=rnd.getrandbits(128), version=4))
        yield name, _events(rnd, name, number)


def written(scorer: CompiledGrid, lead: str, events: list[Event]) -> LeadWrite:
    """Return what is stored of a lead after these events, each a batch of its own."""
    writes: list[LeadWrite] = []
    for event in events:
        writes += plan_events(scorer, {lead: writes[-1].state if writes else None}, [event], None).writes
    return writes[-1]


def _events(rnd: random.Random, lead: str, number: int) -> list[Event]:
    said, learnt = traits_of(rnd, PERSONAS[0], number, a_company(rnd, number), "FR")
    company = {name: learnt["company"][name] for name in ("name", "domain", "industry", "size")}
    traits = {
        "email": said["email"],
        "role": said["role"],
        "country": "FR",
        "seniority": learnt["seniority"],
        "company": company,
    }
    told: list[tuple[int, str, str, dict[str, Any]]] = [(0, "profile.updated", "/crm", {"traits": traits})]

    def tell(at_ms: int, type_: str, source: str, **data: Any) -> None:
        told.append((at_ms, type_, source, data))

    begins = sorted(rnd.randrange(DAY_MS, 30 * DAY_MS) for _ in range(_VISITS))
    sessions = [f"s-{rnd.getrandbits(48):012x}" for _ in begins]
    # The first four see to it that the rules about pages are all matched; the others wander.
    wandering = [kind for kind in PAGES if kind != "careers"]
    kinds = ["pricing", "product", "customers", "product", *rnd.choices(wandering, k=_VIEWS - 4)]
    for view, kind in enumerate(kinds):
        visit = view % _VISITS
        at_ms = begins[visit] + view * 40_000 + rnd.randrange(40_000)
        stay = 180.0 if view == 0 else rnd.randrange(2_000, 100_000) / 1000
        tell(at_ms, "page.viewed", SITE, url=SITE + rnd.choice(PAGES[kind]), session_id=sessions[visit], duration_s=stay)
    for mail in range(_MAILS):
        about = {"message_id": f"newsletter-{mail:03d}.{number:06d}", "campaign_id": f"newsletter-{mail:03d}"}
        sent_ms = (1 + 4 * mail) * DAY_MS + rnd.randrange(1_200_000)
        tell(sent_ms, "email.delivered", "/mail", **about)
        if mail % 2 == 0:
            tell(sent_ms + 3_600_000, "email.opened", "/mail", **about)
            tell(sent_ms + 3_630_000, "email.clicked", "/mail", **about, url=SITE + "/blog", cta="read")
    webinar = {"webinar_id": "webinar-001"}
    tell(9 * DAY_MS + rnd.randrange(DAY_MS), "webinar.registered", "/webinars", **webinar)
    tell(15 * DAY_MS + rnd.randrange(DAY_MS), "webinar.attended", "/webinars", **webinar, minutes=40, share=40 / 60)
    for content in rnd.sample(DOWNLOADS, 2):
        tell(rnd.randrange(5 * DAY_MS, 30 * DAY_MS), "content.downloaded", SITE, form_id="library", content_id=content)
    tell(28 * DAY_MS + rnd.randrange(DAY_MS), "demo.requested", SITE, form_id="demo", fields={"email": said["email"]})
    told.sort(key=lambda one: one[0])
    numbers = itertools.count()
    return [
        Event(lead, type_, START_MS + at_ms, str(UUID(int=rnd.getrandbits(128), version=4)), source, data, False, "t", 0, n)
        for n, (at_ms, type_, source, data) in zip(numbers, told, strict=False)
    ]
