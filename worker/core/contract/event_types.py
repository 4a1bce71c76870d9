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


class Field(NamedTuple):
    """What one field of `data` must be. `null` is the same as absent."""

    kind: type[str] | type[float] | type[bool] | type[dict[str, Any]]
    """`float` takes integers too, but no boolean."""
    description: str
    """For producers."""
    required: bool = False
    minimum: int | None = None
    maximum: int | None = None
    """Bounds of a number, inclusive."""
    or_integer: bool = False
    """An integer is taken as its text."""
    examples: tuple[Any, ...] = ()
    decimal: bool = False
    """Of a number: plain decimal text (`DECIMAL`) and blank text, which is a missing value, are taken too."""


DECIMAL: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
"""A number written as text, after trimming."""
DECIMAL_CHARS: Final = 32
"""Longest text that is read as a number, after trimming."""


class DataModel(NamedTuple):
    """The fields that `data` has, for one or more types. Other fields are kept for the grid."""

    name: str
    """Of the model in JSON Schema and AsyncAPI."""
    meaning: str
    fields: Mapping[str, Field]


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


MACHINE: Final = Field(
    bool,
    "True when no person did it (mail privacy proxy, link scanner, bot): scores nothing and is no activity.",
)
"""Every type has this field of `data`."""

_PAGE: Final = DataModel(
    "PageData",
    "A page view.",
    {
        "url": Field(
            str, "The page's address, whole or path alone.", required=True, examples=("https://www.example.com/pricing",)
        ),
        "page_type": Field(
            str, "What kind of page it is. When absent, the grid's `pages` derive it from the url.", examples=("pricing",)
        ),
        "session_id": Field(str, "The visit: lets a rule count once a visit.", or_integer=True),
        "duration_s": Field(float, "Time spent on the page, in seconds.", minimum=0),
        "referrer": Field(str, "The address that the lead came from."),
        "utm": Field(dict, "Campaign parameters, without the `utm_`.", examples=({"source": "ads"},)),
    },
)
_EMAIL: Final = DataModel(
    "EmailData",
    "A marketing e-mail and what became of it.",
    {
        "message_id": Field(
            str, "The message sent to this lead: an e-mail opened five times has one id.", required=True, or_integer=True
        ),
        "campaign_id": Field(str, "The campaign that the message belongs to.", or_integer=True),
        "url": Field(str, "The link that was clicked."),
        "cta": Field(str, "The call to action that was clicked.", examples=("book-a-demo",)),
    },
)
_WEBINAR: Final = DataModel(
    "WebinarData",
    "A webinar and how much of it the lead saw.",
    {
        "webinar_id": Field(str, "The webinar.", required=True, or_integer=True),
        "minutes": Field(float, "Time attended, in minutes.", minimum=0),
        "share": Field(float, "Time attended ÷ the webinar's duration.", minimum=0, maximum=1),
    },
)
_OFFER: Final = DataModel(
    "OfferData",
    "A form, a download or a request.",
    {
        "form_id": Field(str, "The form that was submitted.", or_integer=True),
        "content_id": Field(str, "The content that was asked for.", or_integer=True),
        "fields": Field(dict, "What was filled in. Not taken as traits: send `profile.updated`."),
    },
)
_SOCIAL: Final = DataModel(
    "SocialData",
    "Something done on a social network.",
    {"network": Field(str, "The network.", examples=("linkedin",)), "url": Field(str, "The post or link.")},
)
TRAITS: Final = (
    "email", "phone", "role", "seniority", "decision_role", "country", "company.name", "company.domain", "company.industry",
    "company.size", "company.type", "company.country",
)  # fmt: skip
"""Traits that grids mostly ask for. Any other name will do."""

DERIVED_TRAITS: Final = ("email_domain", "email_kind")
"""Traits that follow from `email`."""

_PROFILE: Final = DataModel(
    "ProfileData",
    "Facts learnt about the lead.",
    {
        "traits": Field(
            dict,
            (
                "Trait → value. Each trait keeps its last value by event time; `null` removes it. Objects and dotted paths are "
                'the same: `{"company": {"size": 80}}` is `{"company.size": 80}`. At most 64 kB a lead. A value may be a list '
                "of at most 64 texts, numbers and booleans; another list is refused alone. A blank text is a missing value. "
                "`email` and `company.domain` are kept in one form, whatever their case and alphabet. Any name will do; "
                "grids mostly ask for email, phone, role, seniority, decision_role, country, and company with name, domain, "
                "industry, size, type, country. `email_domain` and `email_kind` are derived from email."
            ),
            required=True,
            examples=({"email": "ada@acme.example", "role": "CTO", "company": {"domain": "acme.example", "size": 80}},),
        )
    },
)
_IDENTIFIED: Final = DataModel(
    "IdentifiedData",
    "Which visitor the known lead was.",
    {
        "anonymous_id": Field(
            str,
            "The visitor's id. What it did moves into the subject, the known lead; its later events are the lead's. "
            "A blank id names no visitor.",
            required=True,
        )
    },
)
_CRM: Final = DataModel(
    "CrmData",
    "What sales did with the lead.",
    {
        "reason": Field(str, "Why, in the CRM's words."),
        "amount": Field(float, "The deal's amount, in the CRM's currency."),
        "owner": Field(str, "Who in sales has the lead."),
    },
)
_ERASED: Final = DataModel("ErasedData", "Nothing is needed.", {})
_SUBSCRIBED: Final = DataModel(
    "SubscribedData",
    "A subscription to e-mails.",
    {
        "message_id": Field(str, "The message in which the lead subscribed.", or_integer=True),
        "list": Field(str, "The list of receivers.", examples=("newsletter",)),
    },
)
_ADJUSTED: Final = DataModel(
    "AdjustedData",
    "A person's word on a lead. It counts where a rule on `score.adjusted` weighs `points`.",
    {
        "points": Field(
            float,
            'Points to add, below 0 to take away: a number, or plain decimal text as in "-2.5".',
            required=True,
            decimal=True,
            examples=(15,),
        ),
        "reason": Field(str, "Why."),
        "by": Field(str, "Who says so."),
    },
)
_CUSTOM: Final = DataModel("CustomData", "Whatever your own rules ask for.", {})

INPUTS: Final[tuple[EventType, ...]] = (
    EventType(
        "page.viewed",
        0,
        _PAGE,
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
        _EMAIL,
        "email",
        "An e-mail reached the lead's mailbox. Not an activity of the lead.",
        {"message_id": "m-771", "campaign_id": "spring"},
    ),
    EventType(
        "email.opened",
        2,
        _EMAIL,
        "email",
        "The lead opened an e-mail. Set `data.machine` for the opens of privacy proxies.",
        {"message_id": "m-771", "campaign_id": "spring", "machine": True},
        activity=True,
    ),
    EventType(
        "email.clicked",
        3,
        _EMAIL,
        "email",
        "The lead clicked a link in an e-mail. Set `data.machine` for link scanners.",
        {"message_id": "m-771", "campaign_id": "spring", "url": "https://www.example.com/demo", "cta": "book-a-demo"},
        activity=True,
    ),
    EventType("email.replied", 4, _EMAIL, "email", "The lead answered an e-mail.", {"message_id": "m-771"}, activity=True),
    EventType("email.bounced", 5, _EMAIL, "email", "An e-mail came back.", {"message_id": "m-771"}),
    EventType("email.unsubscribed", 6, _EMAIL, "email", "The lead wants no more e-mails.", {"message_id": "m-771"}),
    EventType("email.complained", 7, _EMAIL, "email", "The lead marked an e-mail as spam.", {"message_id": "m-771"}),
    EventType(
        "webinar.registered", 8, _WEBINAR, "webinar", "The lead signed up for a webinar.", {"webinar_id": "w-12"}, activity=True
    ),
    EventType(
        "webinar.attended",
        9,
        _WEBINAR,
        "webinar",
        "The lead attended a webinar.",
        {"webinar_id": "w-12", "minutes": 38, "share": 0.84},
        activity=True,
    ),
    EventType(
        "webinar.no_show",
        10,
        _WEBINAR,
        "webinar",
        "The lead signed up for a webinar and did not come. Not an activity of the lead.",
        {"webinar_id": "w-12"},
    ),
    EventType(
        "webinar.replayed",
        11,
        _WEBINAR,
        "webinar",
        "The lead watched a webinar's recording.",
        {"webinar_id": "w-12", "minutes": 10},
        activity=True,
    ),
    EventType(
        "form.submitted",
        12,
        _OFFER,
        "web",
        "The lead filled a form in.",
        {"form_id": "contact-us", "fields": {"message": "Do you ship to Belgium?"}},
        activity=True,
    ),
    EventType(
        "content.downloaded",
        13,
        _OFFER,
        "web",
        "The lead downloaded a white paper, a case study or the like.",
        {"content_id": "white-paper-7", "form_id": "download"},
        activity=True,
    ),
    EventType("demo.requested", 14, _OFFER, "web", "The lead asked for a demonstration.", {"form_id": "demo"}, activity=True),
    EventType("trial.started", 15, _OFFER, "web", "The lead began a trial.", None, activity=True),
    EventType(
        "quote.requested",
        16,
        _OFFER,
        "web",
        "The lead asked for a price.",
        {"form_id": "quote", "fields": {"seats": 120}},
        activity=True,
    ),
    EventType(
        "social.shared",
        17,
        _SOCIAL,
        "web",
        "The lead shared a post.",
        {"network": "linkedin", "url": "https://www.linkedin.com/posts/example"},
        activity=True,
    ),
    EventType(
        "social.clicked",
        18,
        _SOCIAL,
        "web",
        "The lead clicked a post.",
        {"network": "linkedin", "url": "https://www.linkedin.com/posts/example"},
        activity=True,
    ),
    EventType("social.followed", 19, _SOCIAL, "web", "The lead followed an account.", {"network": "linkedin"}, activity=True),
    EventType(
        "profile.updated",
        20,
        _PROFILE,
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
        _IDENTIFIED,
        "profile",
        "A visitor turned out to be the subject, a known lead.",
        {"anonymous_id": "v-5f0c"},
    ),
    EventType(
        "crm.accepted",
        22,
        _CRM,
        "crm",
        "Sales took the lead over. Moves no stage; answers the service level of `lead.sql`.",
        {"owner": "grace"},
    ),
    EventType(
        "crm.rejected",
        23,
        _CRM,
        "crm",
        "Sales sent the lead back: it is a contact again, and rests for the grid's `quiet`.",
        {"reason": "no budget", "owner": "grace"},
    ),
    EventType("crm.opportunity", 24, _CRM, "crm", "Sales opened an opportunity.", {"amount": 24000, "owner": "grace"}),
    EventType("crm.won", 25, _CRM, "crm", "The lead became a client.", {"amount": 22500.5}),
    EventType(
        "crm.lost",
        26,
        _CRM,
        "crm",
        "The opportunity was lost: the lead is a contact again, and rests for the grid's `quiet`.",
        {"reason": "chose a competitor"},
    ),
    EventType(
        "crm.no_show", 27, _CRM, "crm", "The lead did not come to the meeting with sales. Moves no stage.", {"owner": "grace"}
    ),
    EventType(
        "lead.erased",
        28,
        _ERASED,
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
        _SUBSCRIBED,
        "email",
        "The lead wants e-mails (again).",
        {"list": "newsletter"},
        activity=True,
    ),
    EventType(
        "score.adjusted",
        30,
        _ADJUSTED,
        "crm",
        "A person adds points to a lead or takes some away. Not an activity of the lead.",
        {"points": 15, "reason": "met the board at the fair", "by": "grace"},
    ),
    EventType(
        "custom",
        31,
        _CUSTOM,
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
