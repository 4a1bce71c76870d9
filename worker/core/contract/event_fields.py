"""The fields that the data of events has, by kind of event: what each must be, and what it means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple


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


MACHINE: Final = Field(
    bool,
    "True when no person did it (mail privacy proxy, link scanner, bot): scores nothing and is no activity.",
)
"""Every type has this field of `data`."""

PAGE: Final = DataModel(
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
EMAIL: Final = DataModel(
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
WEBINAR: Final = DataModel(
    "WebinarData",
    "A webinar and how much of it the lead saw.",
    {
        "webinar_id": Field(str, "The webinar.", required=True, or_integer=True),
        "minutes": Field(float, "Time attended, in minutes.", minimum=0),
        "share": Field(float, "Time attended ÷ the webinar's duration.", minimum=0, maximum=1),
    },
)
OFFER: Final = DataModel(
    "OfferData",
    "A form, a download or a request.",
    {
        "form_id": Field(str, "The form that was submitted.", or_integer=True),
        "content_id": Field(str, "The content that was asked for.", or_integer=True),
        "fields": Field(dict, "What was filled in. Not taken as traits: send `profile.updated`."),
    },
)
SOCIAL: Final = DataModel(
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

PROFILE: Final = DataModel(
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
IDENTIFIED: Final = DataModel(
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
CRM: Final = DataModel(
    "CrmData",
    "What sales did with the lead.",
    {
        "reason": Field(str, "Why, in the CRM's words."),
        "amount": Field(float, "The deal's amount, in the CRM's currency."),
        "owner": Field(str, "Who in sales has the lead."),
    },
)
ERASED: Final = DataModel("ErasedData", "Nothing is needed.", {})
SUBSCRIBED: Final = DataModel(
    "SubscribedData",
    "A subscription to e-mails.",
    {
        "message_id": Field(str, "The message in which the lead subscribed.", or_integer=True),
        "list": Field(str, "The list of receivers.", examples=("newsletter",)),
    },
)
ADJUSTED: Final = DataModel(
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
CUSTOM: Final = DataModel("CustomData", "Whatever your own rules ask for.", {})
