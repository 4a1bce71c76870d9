"""Who the simulated people are: personas with their phases, companies, names, pages.

Figures are chosen, not measured. They give a population on which a grid can be tried: most people never buy, and a few are
worth a call. Some look worth it without being it: students, competitors, scrapers. Domains are under `.example`, which has no
owners. Addresses at free mail services carry the lead's number. Nothing is ever sent to any of them.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

SITE: Final = "https://www.acme.example"

PAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "home": ("/",),
    "blog": tuple(f"/blog/{slug}" for slug in (
        "lead-scoring-explained", "decay-or-forget", "why-mql-is-not-enough", "sales-and-marketing-agree", "fit-and-engagement",
        "the-cost-of-a-late-call", "streaming-for-marketers", "ten-forms-that-work", "what-bots-do-to-your-scores",
    )),
    "product": ("/product/scoring", "/product/journeys", "/product/integrations", "/product/reports", "/features"),
    "pricing": ("/pricing", "/pricing/enterprise", "/tarifs"),
    "docs": tuple(f"/docs/{slug}" for slug in ("start", "events", "grid", "api", "kafka", "security")),
    "customers": ("/customers", "/customers/nordvik", "/customers/talmont", "/case-studies/logistics"),
    "compare": ("/compare/spreadsheets", "/compare/batch-scoring"),
    "security": ("/security", "/legal/dpa"),
    "careers": ("/careers", "/careers/data-engineer"),
    "webinars": ("/webinars",),
    "demo": ("/demo", "/contact"),
}  # fmt: skip
"""Kind of page → paths."""

DOWNLOADS: Final = ("guide-lead-scoring", "checklist-gdpr", "roi-calculator", "benchmark-b2b", "integration-handbook")
_INDUSTRIES: Final = ("software", "logistics", "manufacturing", "retail", "finance", "healthcare", "education", "consulting")
_STEMS: Final = (
    "nordvik", "talmont", "brightwell", "ostara", "kestrel", "meridian", "alpenglow", "lumen", "cobalt", "harbour", "quillon",
    "sorrel", "tamarind", "vantage", "wexford", "zephyr", "arbour", "bellwether", "cinder", "dovetail",
)  # fmt: skip
_ENDINGS: Final = ("labs", "group", "systems", "logistics", "partners", "works", "digital", "industries", "health", "retail")
_FIRST: Final = (
    "anna", "ben", "chloe", "david", "elena", "farid", "greta", "hugo", "ines", "jonas", "karim", "lea", "marc", "nadia",
    "olga", "paul", "quentin", "rosa", "samir", "tessa", "ulrich", "vera", "willem", "yann", "zoe",
)  # fmt: skip
_LAST: Final = (
    "martin", "dubois", "keller", "janssen", "moreau", "schmid", "peeters", "lambert", "novak", "rossi", "garcia", "weber",
    "laurent", "maes", "favre", "simon", "okafor", "singh", "olsen", "brunner",
)  # fmt: skip
_FREE_MAIL: Final = ("gmail.com", "yahoo.fr", "outlook.com", "gmx.de", "hotmail.com")
_DISPOSABLE_MAIL: Final = ("mailinator.com", "yopmail.com", "guerrillamail.com")

_PRIVATE_MAIL: Final = {"student": (0.95, 0.05), "competitor": (0.3, 0.1), "reader": (0.35, 0.02)}
"""Persona → share whose address is not their employer's, share of throw-away ones."""

COUNTRIES: Final[Mapping[str, tuple[int, int]]] = {
    "FR": (34, 60), "BE": (12, 60), "CH": (10, 60), "DE": (12, 60), "NL": (6, 60), "GB": (8, 0), "US": (8, -300),
    "CA": (4, -300), "NO": (2, 60), "IN": (4, 330),
}  # fmt: skip
"""Country → (weight, minutes its office clock is ahead of UTC in winter)."""

_ROLES: Final[tuple[tuple[int, str, str, str], ...]] = (
    (6, "Chief Marketing Officer", "c_level", "decision_maker"),
    (4, "Chief Executive Officer", "c_level", "decision_maker"),
    (8, "VP Sales", "vp", "decision_maker"),
    (14, "Head of Marketing", "director", "decision_maker"),
    (16, "Marketing Operations Manager", "manager", "influencer"),
    (14, "Sales Operations Manager", "manager", "influencer"),
    (20, "Marketing Specialist", "individual", "user"),
    (18, "Data Engineer", "individual", "influencer"),
)


class Phase(NamedTuple):
    """How a prospect behaves for some weeks."""

    days: tuple[float, float]
    """Shortest and longest duration."""
    visits: float
    """Sessions a week."""
    pages: tuple[int, int]
    """Fewest and most pages of a session."""
    reads: Mapping[str, float]
    """Kind of page → weight."""
    opens: float = 0.0
    """Share of the mails that are opened by hand."""
    clicks: float = 0.0
    """Share of the opened ones that are clicked."""
    webinars: float = 0.0
    """Share of the webinars that they register for."""
    acts: Mapping[str, float] = {}
    """Type of a form's event → share of the sessions that end with it."""


class Persona(NamedTuple):
    """A kind of person (or machine): phases that follow each other and begin again after the last one."""

    name: str
    weight: int
    """Out of 100."""
    known: float
    """Share that the CRM knows by a lead id from the first day; the others begin as visitors."""
    phases: tuple[Phase, ...]
    accepted: float = 0.3
    """Share of the hot requests that sales accept."""
    wins: float = 0.1
    """Share of the opportunities that are won."""
    evenings: bool = False
    """Comes after work and at weekends."""
    machine: bool = False
    """A crawler that identifies itself. Its events are marked."""

    @property
    def quick(self) -> bool:
        """Reads pages faster than people do, and sends no form."""
        return self.machine or self.name == "scraper"


PERSONAS: Final = (
    Persona("champion", 7, 0.4, (
        Phase((7, 25), 1.3, (2, 5), {"blog": 5, "product": 2, "customers": 1, "home": 1}, 0.5, 0.25, 0.25,
              {"content.downloaded": 0.1, "form.submitted": 0.08}),
        Phase((7, 18), 3.0, (3, 7), {"product": 4, "docs": 3, "pricing": 1.5, "customers": 2, "security": 1}, 0.6, 0.35, 0.6,
              {"content.downloaded": 0.15, "trial.started": 0.07, "form.submitted": 0.08}),
        Phase((4, 10), 6.0, (4, 9), {"pricing": 4, "compare": 2, "security": 2, "product": 2, "customers": 1, "demo": 1},
              0.7, 0.4, 0.5, {"demo.requested": 0.22, "quote.requested": 0.12, "trial.started": 0.08}),
        Phase((10, 30), 0.8, (1, 4), {"docs": 3, "pricing": 1, "home": 1}, 0.4, 0.1),
        Phase((60, 120), 0.1, (1, 2), {"blog": 1, "home": 1}, 0.2, 0.02),
    ), accepted=0.75, wins=0.4),
    Persona("researcher", 17, 0.5, (
        Phase((20, 60), 1.4, (2, 6), {"blog": 4, "docs": 3, "product": 3, "customers": 1, "pricing": 0.5}, 0.45, 0.2, 0.35,
              {"content.downloaded": 0.12, "form.submitted": 0.04, "demo.requested": 0.006}),
        Phase((20, 60), 0.3, (1, 3), {"blog": 3, "product": 1}, 0.3, 0.1, 0.1),
    )),
    Persona("reader", 26, 1.0, (Phase((60, 200), 0.25, (1, 3), {"blog": 6, "webinars": 1}, 0.55, 0.18, 0.08),)),
    Persona("student", 9, 0.3, (
        Phase((10, 40), 2.2, (3, 10), {"docs": 5, "blog": 4, "careers": 2, "product": 1}, 0.3, 0.15, 0.2,
              {"content.downloaded": 0.25, "trial.started": 0.04}),
        Phase((30, 90), 0.1, (1, 2), {"careers": 1, "blog": 1}, 0.1),
    ), accepted=0.02, wins=0.0, evenings=True),
    Persona("competitor", 3, 0.5, (
        Phase((60, 200), 1.2, (3, 8), {"pricing": 4, "product": 3, "compare": 2, "customers": 2}, 0.6, 0.3, 0.3,
              {"demo.requested": 0.02, "content.downloaded": 0.05}),
    ), accepted=0.0, wins=0.0),
    Persona("dormant", 18, 0.8, (
        Phase((3, 7), 4.0, (2, 6), {"product": 3, "pricing": 1, "blog": 2, "customers": 1}, 0.5, 0.3, 0.3,
              {"content.downloaded": 0.2, "demo.requested": 0.02}),
        Phase((40, 90), 0.0, (1, 1), {"home": 1}, 0.04, 0.01),
    )),
    Persona("passer-by", 16, 0.0, (Phase((100, 300), 0.08, (1, 3), {"blog": 5, "home": 2, "product": 1}),), evenings=True),
    Persona("crawler", 2, 0.0, (Phase((100, 300), 5.0, (5, 20), dict.fromkeys(PAGES, 1.0)),), machine=True),
    Persona("scraper", 2, 0.0, (
        Phase((1, 2), 3.0, (40, 90), dict.fromkeys(PAGES, 1.0)),
        Phase((20, 60), 0.0, (1, 1), {"home": 1}),
    )),
)  # fmt: skip


class Company(NamedTuple):
    """The employer of a prospect."""

    name: str
    domain: str
    industry: str
    size: int
    type: str
    country: str


def a_company(rnd: random.Random, number: int) -> Company:
    """Return a company; *number* makes its domain its own."""
    stem, ending = rnd.choice(_STEMS), rnd.choice(_ENDINGS)
    return Company(
        f"{stem} {ending}".title(),
        f"{stem}-{ending}-{number}.example",
        rnd.choice(_INDUSTRIES),
        max(1, min(200_000, round(rnd.lognormvariate(4.6, 1.6)))),  # half have fewer than a hundred people
        rnd.choices(("B2B SaaS", "B2B services", "B2B industry", "B2C retail", "public"), (30, 30, 15, 15, 10))[0],
        a_country(rnd),
    )


RIVAL: Final = Company("Rival", "rival.example", "software", 180, "B2B SaaS", "FR")


def a_country(rnd: random.Random) -> str:
    """Return a country code, neighbours more often."""
    return rnd.choices(tuple(COUNTRIES), [weight for weight, _ in COUNTRIES.values()])[0]


def traits_of(
    rnd: random.Random, persona: Persona, number: int, company: Company, country: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the traits that a prospect states in a form, and those that an enrichment service adds the day after."""
    first, last = rnd.choice(_FIRST), rnd.choice(_LAST)
    _, role, seniority, decides = rnd.choices(_ROLES, [weight for weight, *_ in _ROLES])[0]
    kind = rnd.random()
    free, disposable = _PRIVATE_MAIL.get(persona.name, (0.12, 0.01))
    if kind < disposable:
        domain = rnd.choice(_DISPOSABLE_MAIL)
    elif kind < free:
        domain = rnd.choice(_FREE_MAIL)
    else:
        domain = company.domain
    stated: dict[str, Any] = {"email": f"{first}.{last}.{number:06d}@{domain}", "country": country}
    if persona.name == "student":
        return stated | {"role": "Student", "seniority": "student"}, {}
    stated["role"] = role
    if rnd.random() < 0.3:
        stated["phone"] = f"+33 1 99 00 {rnd.randrange(100):02d} {rnd.randrange(100):02d}"  # a range kept for fiction
    return stated, {"seniority": seniority, "decision_role": decides, "company": company._asdict()}
