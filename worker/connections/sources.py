"""Sources: the tools whose webhooks LeadPulse takes, with what each needs to be verified and understood."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import jmespath  # type: ignore[import-untyped]
from jmespath.exceptions import JMESPathError  # type: ignore[import-untyped]
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, TypeAdapter, WithJsonSchema

from worker.connections.secret import SecretText
from worker.core.contract.event_types import KNOWN_TYPES
from worker.core.grid import model_base
from worker.core.grid.values import did_you_mean, duration_ms, shown, wrong

DEFAULT_WINDOW_MS: Final = 300_000
MOST_SECRETS: Final = 2
"""The old one and the new one, while a secret is rotated."""


class Model(model_base.Model):
    """Base of all parts of the file."""

    model_config = ConfigDict(arbitrary_types_allowed=True)  # a `Secret` is no type of pydantic's


def _list(raw: Any) -> Any:
    return (raw,) if isinstance(raw, str) else raw


def _most_secrets(secrets: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(secrets) > MOST_SECRETS:
        raise wrong(f"{len(secrets)} secrets: give at most {MOST_SECRETS}, the old one and the new one")
    return secrets


_SECRET_SCHEMA: Final[dict[str, Any]] = TypeAdapter(SecretText).json_schema()
Secrets = Annotated[
    tuple[SecretText, ...],
    BeforeValidator(_list),
    AfterValidator(_most_secrets),
    WithJsonSchema({"anyOf": [_SECRET_SCHEMA, {"type": "array", "items": _SECRET_SCHEMA, "maxItems": MOST_SECRETS}]}),
]
"""One secret, or two while it is rotated: the old one and the new one."""


def _window(raw: Any) -> int | None:
    if raw == "none" or raw is None:
        return None
    try:
        ms = duration_ms(raw)
    except ValueError as error:
        raise wrong(str(error)) from None
    if not ms:
        raise wrong(f"{shown(raw)} is no time at all: write a longer one, as in 5m, or none")
    return ms


_DURATION_SCHEMA: Final = {"type": "string", "pattern": "^([0-9]+[smhdw]|none)$"}
Window = Annotated[int | None, BeforeValidator(_window), WithJsonSchema(_DURATION_SCHEMA)]
"""A duration as in a grid, or `none`."""


def _event_type(name: str) -> str:
    if name not in KNOWN_TYPES and not name.startswith("custom."):
        raise wrong(
            f"unknown event type {name!r}{did_you_mean(name, KNOWN_TYPES)}: write one such as demo.requested or crm.won"
        )
    return name


def _expression(text: str) -> str:
    try:
        jmespath.compile(text)
    except JMESPathError as error:
        raise wrong(f"{text!r} is no JMESPath: {str(error).splitlines()[0]}") from None
    return text


EventTypeName = Annotated[str, AfterValidator(_event_type)]
Expression = Annotated[str, AfterValidator(_expression)]
"""A JMESPath expression."""


_TEXTS_SCHEMA: Final = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}


def _hidden(links: tuple[str, ...]) -> tuple[str, ...]:
    wrong_ones = [link for link in links if not _WEB_PAGE.fullmatch(link)]
    if wrong_ones:
        raise wrong(f"{wrong_ones[0]!r} is no link: write a whole address without query, as in https://www.example.com/unseen")
    return links


_WEB_PAGE: Final = re.compile(r"https?://[^/\s?#]+/[^\s?#]*")
HiddenLinks = Annotated[tuple[str, ...], BeforeValidator(_list), AfterValidator(_hidden), WithJsonSchema(_TEXTS_SCHEMA)]


Categories = Annotated[tuple[str, ...], BeforeValidator(_list), WithJsonSchema(_TEXTS_SCHEMA)]


class Machines(Model):
    """Guesses at clicks that no person made, for vendors that do not flag them. Each is off unless it is here."""

    click_after_delivery: Window = None
    """A click within this time after the delivery is a scanner's, as in 10s."""
    links_within: Window = None
    """Clicks on several links of one message within this time are a scanner's, as in 2s."""
    hidden_links: HiddenLinks = ()
    """Links in your mails that no person sees. A click within a minute of one on such a link is a scanner's."""
    user_agents: bool = False
    """A click whose user agent names a scanner or robot is a machine's."""


class Source(Model):
    """What every source has."""

    secrets: Secrets = ()
    """What the vendor signs with, or the shared secret of a vendor that signs nothing."""
    window: Annotated[Window, Field(json_schema_extra={"default": "5m"})] = DEFAULT_WINDOW_MS
    """How old a signed time may be, as in 5m; `none`: any."""
    traits: dict[str, Expression] = Field(default_factory=dict)
    """Trait → JMESPath in the vendor's record of the person. It replaces the vendor's own map of that trait."""
    erase: bool = False
    """A contact that is deleted at the vendor is erased here."""


class Mailer(Source):
    """A tool that sends mail."""

    machines: Machines = Machines()


class SendGrid(Mailer):
    """Twilio SendGrid: its event webhook, signed."""

    vendor: Literal["sendgrid"]
    groups: Literal["ignore", "unsubscribe"] = "ignore"
    """What an unsubscription from one group of mails is: nothing, or one from all."""


class Brevo(Mailer):
    """Brevo: transactional and marketing webhooks, with a token in `Authorization`."""

    vendor: Literal["brevo"]


class Mailgun(Mailer):
    """Mailgun: webhooks, signed by the account's signing key."""

    vendor: Literal["mailgun"]


class Postmark(Mailer):
    """Postmark: webhooks, with basic authentication."""

    vendor: Literal["postmark"]


class Ses(Mailer):
    """Amazon SES by SNS, signed with Amazon's certificates."""

    vendor: Literal["ses"]
    topic_arns: Annotated[tuple[str, ...], BeforeValidator(_list), Field(min_length=1), WithJsonSchema(_TEXTS_SCHEMA)]
    """Topics whose messages are taken: any AWS account can sign."""


class Mandrill(Mailer):
    """Mailchimp Transactional (Mandrill), signed over `public_url`."""

    vendor: Literal["mandrill"]


class Mailchimp(Source):
    """Mailchimp audiences: subscribed, unsubscribed, profile. Mailchimp sends no opens or clicks."""

    vendor: Literal["mailchimp"]


class CustomerIo(Mailer):
    """Customer.io reporting webhooks, signed."""

    vendor: Literal["customerio"]


class Resend(Mailer):
    """Resend, signed by Standard Webhooks (Svix)."""

    vendor: Literal["resend"]


class Zoom(Source):
    """Zoom webinars, signed. Attendance comes from the report after the end, through `api`."""

    vendor: Literal["zoom"]
    api: str | None = None
    """The target that answers look-ups; without it, nobody attends."""


class Livestorm(Source):
    """Livestorm, with a shared secret in the address."""

    vendor: Literal["livestorm"]


class GoTo(Source):
    """GoTo Webinar, with a shared secret in the address. Attendance comes from the report after the end."""

    vendor: Literal["goto"]
    api: str | None = None
    """The target that answers look-ups; without it, nobody attends."""


class Typeform(Source):
    """Typeform, signed."""

    vendor: Literal["typeform"]
    forms: dict[str, EventTypeName] = Field(default_factory=dict)
    """Form's id → event type; other forms are `form.submitted`."""


class Calendly(Source):
    """Calendly, signed: an appointment is a `demo.requested`, a missed one a `crm.no_show`."""

    vendor: Literal["calendly"]


Stages = Annotated[dict[str, EventTypeName], Field(default_factory=dict)]


class Crm(Source):
    """A tool that sales work with."""

    stages: Stages
    """Stage of a deal, as the vendor names it → event type, such as crm.won."""
    api: str | None = None
    """The target that answers look-ups, such as whose deal it is."""


class HubSpot(Crm):
    """HubSpot app webhooks, signed over `public_url`."""

    vendor: Literal["hubspot"]


class Pipedrive(Crm):
    """Pipedrive webhooks v2, with basic authentication."""

    vendor: Literal["pipedrive"]


class Zoho(Crm):
    """Zoho CRM notifications, with the channel's token in the body."""

    vendor: Literal["zoho"]


class Salesforce(Crm):
    """Salesforce outbound messages, or a flow's call, with a shared secret."""

    vendor: Literal["salesforce"]


class ActiveCampaign(Crm):
    """ActiveCampaign webhooks, with a shared secret in the address."""

    vendor: Literal["activecampaign"]


class Segment(Source):
    """Segment's webhook destination, and what speaks its protocol (RudderStack, Jitsu)."""

    vendor: Literal["segment"]
    events: dict[str, EventTypeName] = Field(default_factory=dict)
    """Name of a `track` call → event type. Other names are counted and passed over."""
    consent_categories: Categories = ()
    """Categories of consent, by their ids, that a message needs where it has preferences; absent: all that it names."""


class Yousign(Source):
    """Yousign webhooks, signed: a contract that was signed or declined."""

    vendor: Literal["yousign"]
    events: dict[str, EventTypeName] = Field(default_factory=dict)
    """Yousign's event → type, such as `signature_request.done: crm.won`. Without it, nothing is scored."""


class JsonMap(Model):
    """An event's parts, each a JMESPath expression in the body (or in each element of `each`)."""

    each: Expression | None = None
    """The list of events in the body; absent: the body is one event."""
    type: Expression
    """The event's type."""
    id: Expression
    """What is unique to the event and stays so when it is sent again."""
    time: Expression | None = None
    """RFC 3339 or seconds or milliseconds since 1970; absent: when it was received."""
    subject: Expression | None = None
    """The lead's id at the vendor or in the CRM."""
    email: Expression | None = None
    """The person's address: `email:ADDRESS` is the lead where there is no `subject`."""
    data: Expression | None = None
    """The event's data, an object."""


class Json(Source):
    """Any other tool that posts JSON: each part of an event is a JMESPath expression."""

    vendor: Literal["json"]
    map: JsonMap


AnySource = Annotated[
    SendGrid | Brevo | Mailgun | Postmark | Ses | Mandrill | Mailchimp | CustomerIo | Resend | Zoom | Livestorm | GoTo
    | Typeform | Calendly | HubSpot | Pipedrive | Zoho | Salesforce | ActiveCampaign | Segment | Yousign | Json,
    Field(discriminator="vendor"),
]  # fmt: skip

VENDORS: Final[Mapping[str, type[Source]]] = {
    "sendgrid": SendGrid, "brevo": Brevo, "mailgun": Mailgun, "postmark": Postmark, "ses": Ses, "mandrill": Mandrill,
    "mailchimp": Mailchimp, "customerio": CustomerIo, "resend": Resend, "zoom": Zoom, "livestorm": Livestorm, "goto": GoTo,
    "typeform": Typeform, "calendly": Calendly, "hubspot": HubSpot, "pipedrive": Pipedrive, "zoho": Zoho,
    "salesforce": Salesforce, "activecampaign": ActiveCampaign, "segment": Segment, "yousign": Yousign, "json": Json,
}  # fmt: skip
"""By the name in `vendor`."""

NEEDS_PUBLIC_URL: Final = frozenset({"hubspot", "mandrill"})
"""Vendors that sign the address which they call."""
