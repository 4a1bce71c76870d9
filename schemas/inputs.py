"""The events that LeadPulse reads. An optional field may be absent or null; fields not named here are kept for the grid.

The types of `data`'s fields are strict. Each class below is one CloudEvents type; its docstring is what producers read.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, TypeAdapter, WithJsonSchema

from schemas.envelope import CloudEvent, Contract, Filled

Text = str | None
Object = dict[str, Any]
# A whole number stays one, so that its size is seen: as a float, 2^64 would pass for any other number.
Number = Annotated[int | float, WithJsonSchema({"type": "number"})]
AtLeast0 = Annotated[int | float, Field(ge=0), WithJsonSchema({"type": "number", "minimum": 0})]
Share = Annotated[int | float, Field(ge=0, le=1), WithJsonSchema({"type": "number", "minimum": 0, "maximum": 1})]


class InputData(Contract):
    """What any event may carry."""

    machine: bool | None = Field(
        default=None,
        description="True when no person did it (mail privacy proxy, link scanner, bot): scores nothing and is no activity.",
    )


class PageData(InputData):
    """A page view."""

    url: str = Field(description="The page's address, whole or path alone.", examples=["https://www.example.com/pricing"])
    page_type: Text = Field(
        default=None,
        description="What kind of page it is. When absent, the grid's `pages` derive it from the url.",
        examples=["pricing"],
    )
    session_id: Text = Field(default=None, description="The visit: lets a rule count once a visit.")
    duration_s: AtLeast0 | None = Field(default=None, description="Time spent on the page, in seconds.")
    referrer: Text = Field(default=None, description="The address that the lead came from.")
    utm: Object | None = Field(
        default=None, description="Campaign parameters, without the `utm_`.", examples=[{"source": "ads"}]
    )


class EmailData(InputData):
    """A marketing e-mail and what became of it."""

    message_id: str = Field(description="The message sent to this lead: an e-mail opened five times has one id.")
    campaign_id: Text = Field(default=None, description="The campaign that the message belongs to.")
    url: Text = Field(default=None, description="The link that was clicked.")
    cta: Text = Field(default=None, description="The call to action that was clicked.", examples=["book-a-demo"])


class WebinarData(InputData):
    """A webinar and how much of it the lead saw."""

    webinar_id: str = Field(description="The webinar.")
    minutes: AtLeast0 | None = Field(default=None, description="Time attended, in minutes.")
    share: Share | None = Field(default=None, description="Time attended ÷ the webinar's duration.")


class OfferData(InputData):
    """A form, a download or a request."""

    form_id: Text = Field(default=None, description="The form that was submitted.")
    content_id: Text = Field(default=None, description="The content that was asked for.")
    fields: Object | None = Field(default=None, description="What was filled in. Not taken as traits: send `profile.updated`.")


class SocialData(InputData):
    """Something done on a social network."""

    network: Text = Field(default=None, description="The network.", examples=["linkedin"])
    url: Text = Field(default=None, description="The post or link.")


class ProfileData(InputData):
    """Facts learnt about the lead."""

    traits: Object = Field(
        description=(
            "Trait → value. Each trait keeps its last value by event time; `null` removes it. Objects and dotted paths are the "
            'same: `{"company": {"size": 80}}` is `{"company.size": 80}`. At most 64 kB a lead. Any name will do; grids mostly '
            "ask for email, phone, role, seniority, decision_role, country, and company with name, domain, industry, size, "
            "type, country. `email_domain` and `email_kind` are derived from email."
        ),
        examples=[{"email": "ada@acme.example", "role": "CTO", "company": {"domain": "acme.example", "size": 80}}],
    )


class IdentifiedData(InputData):
    """Which visitor the known lead was."""

    anonymous_id: Filled = Field(
        description="The visitor's id. What it did moves into the subject, the known lead; its later events are the lead's."
    )


class CrmData(InputData):
    """What sales did with the lead."""

    reason: Text = Field(default=None, description="Why, in the CRM's words.")
    amount: Number | None = Field(default=None, description="The deal's amount, in the CRM's currency.")
    owner: Text = Field(default=None, description="Who in sales has the lead.")


class ErasedData(InputData):
    """Nothing is needed."""


class InputEvent(CloudEvent):
    """An event that LeadPulse scores."""

    type: str
    data: InputData | None = None


class PageViewed(InputEvent):
    """The lead looked at a page."""

    type: Literal["page.viewed"]
    data: PageData


class EmailDelivered(InputEvent):
    """An e-mail reached the lead's mailbox. Not an activity of the lead."""

    type: Literal["email.delivered"]
    data: EmailData


class EmailOpened(InputEvent):
    """The lead opened an e-mail. Set `data.machine` for the opens of privacy proxies."""

    type: Literal["email.opened"]
    data: EmailData


class EmailClicked(InputEvent):
    """The lead clicked a link in an e-mail. Set `data.machine` for link scanners."""

    type: Literal["email.clicked"]
    data: EmailData


class EmailReplied(InputEvent):
    """The lead answered an e-mail."""

    type: Literal["email.replied"]
    data: EmailData


class EmailBounced(InputEvent):
    """An e-mail came back."""

    type: Literal["email.bounced"]
    data: EmailData


class EmailUnsubscribed(InputEvent):
    """The lead wants no more e-mails."""

    type: Literal["email.unsubscribed"]
    data: EmailData


class EmailComplained(InputEvent):
    """The lead marked an e-mail as spam."""

    type: Literal["email.complained"]
    data: EmailData


class WebinarRegistered(InputEvent):
    """The lead signed up for a webinar."""

    type: Literal["webinar.registered"]
    data: WebinarData


class WebinarAttended(InputEvent):
    """The lead attended a webinar."""

    type: Literal["webinar.attended"]
    data: WebinarData


class WebinarNoShow(InputEvent):
    """The lead signed up for a webinar and did not come. Not an activity of the lead."""

    type: Literal["webinar.no_show"]
    data: WebinarData


class WebinarReplayed(InputEvent):
    """The lead watched a webinar's recording."""

    type: Literal["webinar.replayed"]
    data: WebinarData


class FormSubmitted(InputEvent):
    """The lead filled a form in."""

    type: Literal["form.submitted"]
    data: OfferData | None = None


class ContentDownloaded(InputEvent):
    """The lead downloaded a white paper, a case study or the like."""

    type: Literal["content.downloaded"]
    data: OfferData | None = None


class DemoRequested(InputEvent):
    """The lead asked for a demonstration."""

    type: Literal["demo.requested"]
    data: OfferData | None = None


class TrialStarted(InputEvent):
    """The lead began a trial."""

    type: Literal["trial.started"]
    data: OfferData | None = None


class QuoteRequested(InputEvent):
    """The lead asked for a price."""

    type: Literal["quote.requested"]
    data: OfferData | None = None


class SocialShared(InputEvent):
    """The lead shared a post."""

    type: Literal["social.shared"]
    data: SocialData | None = None


class SocialClicked(InputEvent):
    """The lead clicked a post."""

    type: Literal["social.clicked"]
    data: SocialData | None = None


class SocialFollowed(InputEvent):
    """The lead followed an account."""

    type: Literal["social.followed"]
    data: SocialData | None = None


class ProfileUpdated(InputEvent):
    """Something was learnt about the lead."""

    type: Literal["profile.updated"]
    data: ProfileData


class LeadIdentified(InputEvent):
    """A visitor turned out to be the subject, a known lead."""

    type: Literal["lead.identified"]
    data: IdentifiedData


class CrmAccepted(InputEvent):
    """Sales took the lead over. Moves no stage; answers the service level of `lead.sql`."""

    type: Literal["crm.accepted"]
    data: CrmData | None = None


class CrmRejected(InputEvent):
    """Sales sent the lead back: it is a contact again, and rests for the grid's `quiet`."""

    type: Literal["crm.rejected"]
    data: CrmData | None = None


class CrmOpportunity(InputEvent):
    """Sales opened an opportunity."""

    type: Literal["crm.opportunity"]
    data: CrmData | None = None


class CrmWon(InputEvent):
    """The lead became a client."""

    type: Literal["crm.won"]
    data: CrmData | None = None


class CrmLost(InputEvent):
    """The opportunity was lost: the lead is a contact again, and rests for the grid's `quiet`."""

    type: Literal["crm.lost"]
    data: CrmData | None = None


class CrmNoShow(InputEvent):
    """The lead did not come to the meeting with sales. Moves no stage."""

    type: Literal["crm.no_show"]
    data: CrmData | None = None


class LeadErased(InputEvent):
    """Erase everything held about the subject, and keep it erased: events up to this instant are dropped, now and on replay."""

    type: Literal["lead.erased"]
    data: ErasedData | None = None


Input = Annotated[
    PageViewed
    | EmailDelivered
    | EmailOpened
    | EmailClicked
    | EmailReplied
    | EmailBounced
    | EmailUnsubscribed
    | EmailComplained
    | WebinarRegistered
    | WebinarAttended
    | WebinarNoShow
    | WebinarReplayed
    | FormSubmitted
    | ContentDownloaded
    | DemoRequested
    | TrialStarted
    | QuoteRequested
    | SocialShared
    | SocialClicked
    | SocialFollowed
    | ProfileUpdated
    | LeadIdentified
    | CrmAccepted
    | CrmRejected
    | CrmOpportunity
    | CrmWon
    | CrmLost
    | CrmNoShow
    | LeadErased,
    Field(discriminator="type"),
]
"""Any event of a type that LeadPulse knows."""


def type_of(model: type[CloudEvent]) -> str:
    """Return the CloudEvents type that *model* is for."""
    (name,) = get_args(model.model_fields["type"].annotation)
    return str(name)


INPUTS: dict[str, type[InputEvent]] = {type_of(model): model for model in get_args(get_args(Input)[0])}
"""CloudEvents type → model."""

_adapter: TypeAdapter[InputEvent] = TypeAdapter(Input)


def read_input(value: bytes | str) -> InputEvent:
    """Return the event in *value*, a structured CloudEvent. Raises `pydantic.ValidationError`; so does a type not known."""
    return _adapter.validate_json(value)
