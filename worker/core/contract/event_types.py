"""The types of events that LeadPulse reads, in one table.

A new type is a new row. All other lists of types derive from this table.
They are in the codec, packed states, the grid's models and lints, routes, settings and metrics.
`make docs` writes those in JSON Schema, AsyncAPI and `docs/grid.md`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

from worker.core.contract import event_fields as fields
from worker.core.contract.event_fields import MACHINE, DataModel, Field

Family = Literal["web", "email", "webinar", "profile", "crm"]
"""Types of one family share a default topic, `lead.events.FAMILY`. All types with the same first word are of one family."""


class EventType(NamedTuple):
    """A type of events that LeadPulse reads."""

    name: str
    number: int
    """Packed states name the type by this number. It never changes, and a new type takes the next one."""
    data: DataModel
    family: Family
    meaning: str
    """For producers."""
    example: Mapping[str, Any] | None
    """An example of `data`; `None`: the type needs none."""
    activity: bool = False
    """The lead did it. Inactivity counts from the latest such event."""


INPUTS: Final[tuple[EventType, ...]] = (
    EventType(
        "page.viewed",
        0,
        fields.PAGE,
        "web",
        "The lead looked at a page.",
        {
            "url": "https://www.example.com/pricing",
            "page_type": "pricing",
            "session_id": "s-9f31",
            "duration_s": 42.5,
            "referrer": "https://www.google.com/",
            "utm": {"source": "newsletter", "campaign": "spring"},
        },
        activity=True,
    ),
    EventType(
        "email.delivered",
        1,
        fields.EMAIL,
        "email",
        "An e-mail reached the lead's mailbox. Not an activity of the lead.",
        {"message_id": "m-771", "campaign_id": "spring"},
    ),
    EventType(
        "email.opened",
        2,
        fields.EMAIL,
        "email",
        "The lead opened an e-mail. Set `data.machine` for the opens of privacy proxies.",
        {"message_id": "m-771", "campaign_id": "spring", "machine": True},
        activity=True,
    ),
    EventType(
        "email.clicked",
        3,
        fields.EMAIL,
        "email",
        "The lead clicked a link in an e-mail. Set `data.machine` for link scanners.",
        {"message_id": "m-771", "campaign_id": "spring", "url": "https://www.example.com/demo", "cta": "book-a-demo"},
        activity=True,
    ),
    EventType(
        "email.replied", 4, fields.EMAIL, "email", "The lead answered an e-mail.", {"message_id": "m-771"}, activity=True
    ),
    EventType("email.bounced", 5, fields.EMAIL, "email", "An e-mail came back.", {"message_id": "m-771"}),
    EventType("email.unsubscribed", 6, fields.EMAIL, "email", "The lead wants no more e-mails.", {"message_id": "m-771"}),
    EventType("email.complained", 7, fields.EMAIL, "email", "The lead marked an e-mail as spam.", {"message_id": "m-771"}),
    EventType(
        "webinar.registered",
        8,
        fields.WEBINAR,
        "webinar",
        "The lead signed up for a webinar.",
        {"webinar_id": "w-12"},
        activity=True,
    ),
    EventType(
        "webinar.attended",
        9,
        fields.WEBINAR,
        "webinar",
        "The lead attended a webinar.",
        {"webinar_id": "w-12", "minutes": 38, "share": 0.84},
        activity=True,
    ),
    EventType(
        "webinar.no_show",
        10,
        fields.WEBINAR,
        "webinar",
        "The lead signed up for a webinar and did not come. Not an activity of the lead.",
        {"webinar_id": "w-12"},
    ),
    EventType(
        "webinar.replayed",
        11,
        fields.WEBINAR,
        "webinar",
        "The lead watched a webinar's recording.",
        {"webinar_id": "w-12", "minutes": 10},
        activity=True,
    ),
    EventType(
        "form.submitted",
        12,
        fields.OFFER,
        "web",
        "The lead filled a form in.",
        {"form_id": "contact-us", "fields": {"message": "Do you ship to Belgium?"}},
        activity=True,
    ),
    EventType(
        "content.downloaded",
        13,
        fields.OFFER,
        "web",
        "The lead downloaded a white paper, a case study or the like.",
        {"content_id": "white-paper-7", "form_id": "download"},
        activity=True,
    ),
    EventType(
        "demo.requested", 14, fields.OFFER, "web", "The lead asked for a demonstration.", {"form_id": "demo"}, activity=True
    ),
    EventType("trial.started", 15, fields.OFFER, "web", "The lead began a trial.", None, activity=True),
    EventType(
        "quote.requested",
        16,
        fields.OFFER,
        "web",
        "The lead asked for a price.",
        {"form_id": "quote", "fields": {"seats": 120}},
        activity=True,
    ),
    EventType(
        "social.shared",
        17,
        fields.SOCIAL,
        "web",
        "The lead shared a post.",
        {"network": "linkedin", "url": "https://www.linkedin.com/posts/example"},
        activity=True,
    ),
    EventType(
        "social.clicked",
        18,
        fields.SOCIAL,
        "web",
        "The lead clicked a post.",
        {"network": "linkedin", "url": "https://www.linkedin.com/posts/example"},
        activity=True,
    ),
    EventType(
        "social.followed", 19, fields.SOCIAL, "web", "The lead followed an account.", {"network": "linkedin"}, activity=True
    ),
    EventType(
        "profile.updated",
        20,
        fields.PROFILE,
        "profile",
        "Something was learnt about the lead.",
        {
            "traits": {
                "email": "ada@acme.example",
                "role": "CTO",
                "country": "FR",
                "phone": None,
                "company": {"name": "Acme", "domain": "acme.example", "size": 80},
            }
        },
    ),
    EventType(
        "lead.identified",
        21,
        fields.IDENTIFIED,
        "profile",
        "A visitor turned out to be the subject, a known lead.",
        {"anonymous_id": "v-5f0c"},
    ),
    EventType(
        "crm.accepted",
        22,
        fields.CRM,
        "crm",
        "Sales took the lead over. Moves no stage; answers the service level of `lead.sql`.",
        {"owner": "grace"},
    ),
    EventType(
        "crm.rejected",
        23,
        fields.CRM,
        "crm",
        "Sales sent the lead back: it is a contact again, and rests for the grid's `quiet`.",
        {"reason": "no budget", "owner": "grace"},
    ),
    EventType("crm.opportunity", 24, fields.CRM, "crm", "Sales opened an opportunity.", {"amount": 24000, "owner": "grace"}),
    EventType("crm.won", 25, fields.CRM, "crm", "The lead became a client.", {"amount": 22500.5}),
    EventType(
        "crm.lost",
        26,
        fields.CRM,
        "crm",
        "The opportunity was lost: the lead is a contact again, and rests for the grid's `quiet`.",
        {"reason": "chose a competitor"},
    ),
    EventType(
        "crm.no_show",
        27,
        fields.CRM,
        "crm",
        "The lead did not come to the meeting with sales. Moves no stage.",
        {"owner": "grace"},
    ),
    EventType(
        "lead.erased",
        28,
        fields.ERASED,
        "profile",
        (
            "Erase everything held about the subject, and keep it erased: events up to this instant are dropped, "
            "now and on replay."
        ),
        None,
    ),
    EventType(
        "email.subscribed",
        29,
        fields.SUBSCRIBED,
        "email",
        "The lead wants e-mails (again).",
        {"list": "newsletter"},
        activity=True,
    ),
    EventType(
        "score.adjusted",
        30,
        fields.ADJUSTED,
        "crm",
        "A person adds points to a lead or takes some away. Not an activity of the lead.",
        {"points": 15, "reason": "met the board at the fair", "by": "grace"},
    ),
    EventType(
        "custom",
        31,
        fields.CUSTOM,
        "web",
        (
            "An event of your own, `custom.NAME`: a trade show, a call, a step in your product. "
            "NAME has 1 to 64 characters of a-z, 0-9, `_` and `.`."
        ),
        {"booth": "B12", "minutes": 20},
        activity=True,
    ),
)
"""Each type stands once. Those with the same fields stand together."""

CUSTOM: Final = "custom"
"""The row of all types `custom.NAME`. They share its number, and stand as one type in metrics."""

_CUSTOM_NAME: Final = re.compile(r"custom\.[a-z0-9_.]{1,64}")
_CUSTOM_BELOW: Final = re.compile(r"custom(?:\.[a-z0-9_.]{1,64})?\.\*")

DATA_FIELDS: Final[Mapping[str, Mapping[str, Field]]] = MappingProxyType(
    {row.name: MappingProxyType({**row.data.fields, "machine": MACHINE}) for row in INPUTS}
)
"""Row → field of `data` → what it must be."""

KNOWN_TYPES: Final[frozenset[str]] = frozenset(DATA_FIELDS) - {CUSTOM}
"""The types that have a row of their own. LeadPulse also scores `custom.NAME`; any other type is `Unknown`."""


def row_of(event_type: str) -> str | None:
    """Return the name of the row that describes *event_type*; `None` for a type that LeadPulse does not know."""
    if event_type in KNOWN_TYPES:
        return event_type
    return CUSTOM if _CUSTOM_NAME.fullmatch(event_type) else None


def is_custom_in_grid(name: str) -> bool:
    """Return whether a grid may name types of one's own so: `custom.call`, or `custom.call.*` for all below it."""
    return _CUSTOM_NAME.fullmatch(name) is not None or _CUSTOM_BELOW.fullmatch(name) is not None


def customs_of(on: Iterable[str]) -> tuple[str, ...] | None:
    """Return the types of one's own in a grid's list of types; `None` where it has none."""
    return tuple(name for name in on if name.startswith(f"{CUSTOM}.")) or None


def named(on: Iterable[str], event_type: str) -> bool:
    """Return whether a grid's list of types *on* names *event_type*, which may itself be a name with `.*`."""
    return any(name == event_type or (name.endswith(".*") and event_type.startswith(name[:-1])) for name in on)


TYPE_NUMBERS: Final[Mapping[str, int]] = MappingProxyType({row.name: row.number for row in INPUTS})
"""Input type → its number in packed states."""

TYPE_NAMES: Final[Mapping[int, str]] = MappingProxyType({row.number: row.name for row in INPUTS})
"""And back."""

ACTIVITIES: Final = tuple(row.name for row in INPUTS if row.activity and row.name in KNOWN_TYPES)
"""Types of what a lead does by itself, as opposed to what is done to it (a delivery) or said about it (a CRM move).

Every type `custom.NAME` is one beside them.
"""

FAMILIES: Final[Mapping[str, Family]] = MappingProxyType({row.name.partition(".")[0]: row.family for row in INPUTS})
"""First word of a type → its family."""

INPUT_TOPICS: Final[Mapping[Family, str]] = MappingProxyType(
    {family: f"lead.events.{family}" for family in dict.fromkeys(FAMILIES.values())}
)
"""Family → its default topic."""
