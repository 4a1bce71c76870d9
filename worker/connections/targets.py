"""Targets: the tools that are acted on, and asked for what a webhook leaves out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema, model_validator

from worker.connections.secret import Secret, SecretText, secret_in
from worker.connections.sources import Model
from worker.core.grid.values import shown, wrong

_SECRET_HOSTS: Final = re.compile(
    r"(^|\.)(hooks\.slack\.com|hooks\.zapier\.com|webhook\.office\.com|logic\.azure\.com|api\.powerplatform\.com|make\.com)$"
)
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise wrong(f"{text!r} is no address: write one such as https://api.example.com")
    if parts.password or parts.username:
        raise wrong("a secret must not stand here: put user and password into the environment")
    if _SECRET_HOSTS.search(parts.hostname):
        raise wrong(f'an address at {parts.hostname} is a secret: put it into the environment and write "${{NAME}}"')
    return text.rstrip("/")


Url = Annotated[str, AfterValidator(_url)]
"""An address without a secret in it."""


_SENDER: Final = re.compile(r"\s*(?:\"?([^<>\"]*?)\"?\s*<)?([^<>@\s\",]+@[^<>@\s\",]+)>?\s*")


def sender_of(text: str) -> tuple[str, str]:
    """Return name and address of `Acme, Inc. <hello@example.com>`, or of an address alone. Raises `ValueError`."""
    found = _SENDER.fullmatch(text)
    if found is None or ("<" in text) != (">" in text) or any(ord(each) < 32 for each in text):
        raise wrong(f"{text!r} is no sender: write one such as Acme <hello@example.com>")
    return found[1] or "", found[2]


def _sender(text: str) -> str:
    sender_of(text)
    return text


Sender = Annotated[str, AfterValidator(_sender), Field(alias="from")]
"""A name and an address that mails come from."""


def _url_or_secret(raw: Any) -> str | Secret:
    if isinstance(raw, Secret):
        return raw
    if not isinstance(raw, str):
        raise wrong(f"write an address; got {shown(raw)}")
    return Secret(raw) if "${" in raw or raw.startswith("file:") else _url(raw)


UrlOrSecret = Annotated[str | Secret, PlainValidator(_url_or_secret), WithJsonSchema({"type": "string"})]
"""An address, or a reference to one that is a secret."""


def _mail_server(raw: Any) -> Secret:
    if isinstance(raw, Secret):
        return raw
    if not isinstance(raw, str):
        raise wrong(f"write the address of a mail server, as in smtps://USER:${{PASSWORD}}@HOST; got {shown(raw)}")
    if secret_in(raw) is not None:
        return Secret(raw)
    try:
        parts = urlsplit(raw)
    except ValueError:
        raise wrong(f"{shown(raw)} is no address: write one such as smtps://USER:${{PASSWORD}}@HOST") from None
    if "@" in raw:
        raise wrong('a password must not stand here: put it into the environment, as in "smtps://USER:${NAME}@HOST"')
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
        raise wrong(f"{shown(raw)} is no address of a mail server: write smtps://USER:${{PASSWORD}}@HOST, or smtp://HOST")
    return Secret(raw)


MailServer = Annotated[Secret, PlainValidator(_mail_server), WithJsonSchema({"type": "string"})]
"""The address of a mail server. User and password are a secret. A server without a log-in has none."""


class Target(Model):
    """What every target has."""

    insecure: bool = False
    """`http` to another host than this one is allowed."""

    @model_validator(mode="after")
    def _is_encrypted(self) -> Target:
        for name in ("base_url", "url"):
            value = getattr(self, name, None)
            plain = isinstance(value, str) and value.startswith("http:") and urlsplit(value).hostname not in _LOOPBACK
            if plain and not self.insecure:
                raise wrong(f"{value} is not encrypted: write https, or `insecure: true`", (name,))
        return self


class PeopleTarget(Target):
    """A tool that keeps people."""

    forget: bool = False
    """A lead that is erased here is deleted there too."""


class HubSpotTarget(PeopleTarget):
    """HubSpot's CRM, by a private app's token."""

    kind: Literal["hubspot"]
    token: SecretText
    base_url: Url = "https://api.hubapi.com"
    id_property: str = "leadpulse_id"
    """A contact's property with unique values that holds the lead's id. `hs_object_id`: leads have HubSpot's own ids."""
    version: str = "2026-03"
    """Of the paths: a date, or `v3`."""


class SalesforceTarget(PeopleTarget):
    """Salesforce, by OAuth client credentials on My Domain."""

    kind: Literal["salesforce"]
    base_url: Url
    client_id: SecretText
    client_secret: SecretText
    version: str = "v66.0"
    object: Literal["Lead", "Contact"] = "Lead"
    id_field: str = "LeadPulse_Id__c"
    """An external id that holds the lead's id."""


class ZohoTarget(PeopleTarget):
    """Zoho CRM, by a refresh token, at the account's data centre."""

    kind: Literal["zoho"]
    client_id: SecretText
    client_secret: SecretText
    refresh_token: SecretText
    base_url: Url = "https://www.zohoapis.com"
    accounts_url: Url = "https://accounts.zoho.com"
    object: Literal["Leads", "Contacts"] = "Leads"
    id_field: str = ""
    """A field without duplicates that holds the lead's id; empty: the address alone counts. `id`: leads have Zoho's own ids."""
    workflows: bool = False
    """Our writes start the account's workflows."""


class PipedriveTarget(PeopleTarget):
    """Pipedrive, by an API token."""

    kind: Literal["pipedrive"]
    token: SecretText
    base_url: Url = "https://api.pipedrive.com"
    id_field: Literal["", "id"] = ""
    """`id`: leads have the ids of Pipedrive's persons. Empty: persons are found by their addresses."""


class ActiveCampaignTarget(PeopleTarget):
    """ActiveCampaign, by the account's key."""

    kind: Literal["activecampaign"]
    token: SecretText
    base_url: Url


class BrevoTarget(PeopleTarget):
    """Brevo: contacts, and mail by its API."""

    kind: Literal["brevo"]
    token: SecretText
    base_url: Url = "https://api.brevo.com"
    sender: Annotated[Annotated[str, AfterValidator(_sender)] | None, Field(alias="from")] = None


class SmtpTarget(Target):
    """A mail server."""

    kind: Literal["smtp"]
    url: MailServer
    """`smtps://USER:${PASSWORD}@HOST`, or `smtp://…` with STARTTLS. `smtp://HOST` has no log-in."""
    sender: Sender


class YousignTarget(Target):
    """Yousign v3: contracts to sign."""

    kind: Literal["yousign"]
    token: SecretText
    base_url: Url = "https://api.yousign.app/v3"


class SlackTarget(Target):
    """An incoming webhook of Slack. Its address is a secret."""

    kind: Literal["slack"]
    url: SecretText


class TeamsTarget(Target):
    """A workflow of Microsoft Teams. Its address is a secret."""

    kind: Literal["teams"]
    url: SecretText


class WebhookTarget(Target):
    """Any receiver of Standard Webhooks: Zapier, Make, n8n, Plezi through them, or your own."""

    kind: Literal["webhook"]
    url: UrlOrSecret
    secret: SecretText


class ZoomTarget(Target):
    """Zoom's API, asked for reports of webinars (server-to-server OAuth)."""

    kind: Literal["zoom"]
    account_id: SecretText
    client_id: SecretText
    client_secret: SecretText
    base_url: Url = "https://api.zoom.us/v2"
    token_url: Url = "https://zoom.us/oauth/token"


class GoToTarget(Target):
    """GoTo Webinar's API, asked for the attendance of sessions."""

    kind: Literal["goto"]
    client_id: SecretText
    client_secret: SecretText
    refresh_token: SecretText
    base_url: Url = "https://api.getgo.com"
    token_url: Url = "https://authentication.logmeininc.com/oauth/token"


AnyTarget = Annotated[
    HubSpotTarget | SalesforceTarget | ZohoTarget | PipedriveTarget | ActiveCampaignTarget | BrevoTarget | SmtpTarget
    | YousignTarget | SlackTarget | TeamsTarget | WebhookTarget | ZoomTarget | GoToTarget,
    Field(discriminator="kind"),
]  # fmt: skip

KINDS: Final[Mapping[str, type[Target]]] = {
    "hubspot": HubSpotTarget, "salesforce": SalesforceTarget, "zoho": ZohoTarget, "pipedrive": PipedriveTarget,
    "activecampaign": ActiveCampaignTarget, "brevo": BrevoTarget, "smtp": SmtpTarget, "yousign": YousignTarget,
    "slack": SlackTarget, "teams": TeamsTarget, "webhook": WebhookTarget, "zoom": ZoomTarget, "goto": GoToTarget,
}  # fmt: skip
"""By the name in `kind`."""
