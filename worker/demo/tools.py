"""The tools of the simulated company: which of its events come as a vendor's webhook, and in which form.

Each tool makes its webhook from one event of ours, as its vendor documents it. `worker.demo.signing` signs it, and the
collector's map turns it back. A mail tool knows its people by their address alone, and the CRM by a number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from worker.demo.agenda import DAY_MS

Event = Mapping[str, Any]
"""A CloudEvent of the simulation, whose subject is an id of the CRM or a visitor's."""

SCANNER: Final = "LinkScanner/2.1 (bot; +https://gateway.example/scanner)"
"""User agent of a mail gateway that follows every link."""

_MAIL_EVENTS: Final = {
    "email.delivered": "delivered", "email.opened": "open", "email.clicked": "click", "email.bounced": "bounce",
    "email.complained": "spamreport", "email.unsubscribed": "unsubscribe",
}  # fmt: skip
_WEBINAR_EVENTS: Final = {
    "webinar.registered": "people.registered", "webinar.attended": "people.attended",
    "webinar.no_show": "people.not_attended", "webinar.replayed": "people.watched_replay",
}  # fmt: skip
STATUSES: Final = {
    "crm.accepted": "ACCEPTED", "crm.rejected": "UNQUALIFIED", "crm.opportunity": "OPEN_DEAL", "crm.won": "WON",
    "crm.lost": "LOST", "crm.no_show": "NO_SHOW",
}  # fmt: skip
"""Event type → lead status in the CRM, which `stages` of the source name."""

PROPERTIES: Final = {
    "email": "email", "role": "jobtitle", "phone": "phone", "country": "country", "seniority": "hs_seniority",
    "decision_role": "hs_buying_role", "company.name": "company", "company.domain": "website",
    "company.industry": "industry", "company.size": "numemployees", "company.type": "company_type",
    "company.country": "company_country",
}  # fmt: skip
"""Trait → property of a contact in the CRM."""

FORMS: Final = {"demo": "demo.requested", "quote": "quote.requested", "trial": "trial.started"}
"""Form → event type, as `forms` of the source names them."""


class Call(NamedTuple):
    """One webhook before it is signed."""

    source: str
    """Name of the source in the connections."""
    vendor: str
    body: bytes
    query: str = ""


class Tools:
    """Turns events into webhooks. It learns the addresses of people from the CRM's events."""

    def __init__(self) -> None:
        self._addresses: dict[str, str] = {}
        """CRM id → e-mail address."""
        self._linked_ms: dict[str, int] = {}
        """CRM id → when the worker knows the address for certain."""

    def learn(self, event: Event) -> None:
        """Remember the address in a `profile.updated`. The worker links it within a moment: a day passes in a second."""
        if event["type"] == "profile.updated" and (address := event["data"]["traits"].get("email")):
            self._addresses[event["subject"]] = address
            self._linked_ms.setdefault(event["subject"], _at_ms(event) + DAY_MS)

    def element_of(self, event: Event) -> tuple[str, Any] | None:
        """Return (tool, what its webhook holds) for an event that one of the tools tells of; `None` for another one."""
        kind, subject = event["type"], event["subject"]
        if not subject.isdecimal():
            return None  # a visitor: no tool knows it
        if kind in STATUSES or kind == "lead.erased" or (kind == "profile.updated" and event["source"] == "/crm"):
            return "crm", _crm(event)
        address = self._addresses.get(subject)
        if address is None:
            return None
        if kind in _MAIL_EVENTS:
            return "mailer", _mailed(event, address)
        if kind in _WEBINAR_EVENTS:
            return "webinars", _webinar(event, address)
        # The address of somebody whom the CRM has just met is not linked yet, and would be a lead of its own.
        linked = self._linked_ms[subject] <= _at_ms(event)
        return ("forms", _form(event, address)) if linked and kind in FORMS.values() else None


def calls_of(tool: str, elements: Sequence[Any]) -> list[Call]:
    """Return the webhooks that bring *elements*: one for a vendor that sends lists, else one for each element."""
    return _CALLS[tool](elements)


def _at_ms(event: Event) -> int:
    return round(datetime.fromisoformat(event["time"]).timestamp() * 1000)


def _mailed(event: Event, address: str) -> dict[str, Any]:
    data, kind = event["data"], event["type"]
    machine = data.get("machine") is True
    made = {
        "event": _MAIL_EVENTS[kind],
        "email": address,
        "timestamp": _at_ms(event) / 1000,
        "sg_event_id": event["id"],
        "sg_message_id": f"{data['message_id'].replace('.', '-')}.filterdrecv-demo",
        "category": [data["campaign_id"]],
    }
    if kind == "email.opened" and machine:
        made["sg_machine_open"] = True
    if kind == "email.clicked":
        made |= {"url": data["url"], "useragent": SCANNER if machine else "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"}
    return made


def _mailer(elements: Sequence[Any]) -> list[Call]:
    body = b"[" + b",\r\n".join(msgspec.json.encode(one) for one in elements) + b"]\r\n"  # SendGrid ends events so
    return [Call("mailer", "sendgrid", body)]


def _webinar(event: Event, address: str) -> tuple[str, dict[str, Any]]:
    data, at_s = event["data"], _at_ms(event) / 1000
    detail = {"event_id": data["webinar_id"], "session_id": f"{data['webinar_id']}-1", "created_at": at_s, "updated_at": at_s}
    if event["type"] == "webinar.attended":
        detail |= {"attended": True, "attendance_duration": data["minutes"] * 60, "attendance_rate": data["share"] * 100}
    person = {"email": address, "created_at": at_s, "updated_at": at_s, "registrant_detail": detail}
    return _WEBINAR_EVENTS[event["type"]], {"data": {"id": event["id"], "type": "people", "attributes": person}}


def _webinars(elements: Sequence[Any]) -> list[Call]:
    return [Call("webinars", "livestorm", msgspec.json.encode(body), f"event={kind}") for kind, body in elements]


def _crm(event: Event) -> list[dict[str, Any]]:
    kind, shared = event["type"], {"objectId": int(event["subject"]), "occurredAt": _at_ms(event), "appId": 7, "portalId": 1}
    shared["eventId"] = UUID(event["id"]).int % 2**53
    if kind == "lead.erased":
        return [shared | {"subscriptionId": 1, "subscriptionType": "contact.privacyDeletion"}]
    changed = {"hs_lead_status": STATUSES[kind]} if kind in STATUSES else _properties(event["data"]["traits"])
    change = shared | {"subscriptionId": 2, "subscriptionType": "contact.propertyChange", "changeSource": "CRM_UI"}
    return [change | {"propertyName": name, "propertyValue": value} for name, value in changed.items()]


def _properties(traits: Mapping[str, Any]) -> dict[str, str]:
    flat = {
        path: value
        for name, held in traits.items()
        for path, value in ([(f"{name}.{n}", v) for n, v in held.items()] if isinstance(held, dict) else [(name, held)])
    }
    return {PROPERTIES[path]: "" if value is None else str(value) for path, value in flat.items()}


def _contacts(elements: Sequence[Any]) -> list[Call]:
    changes = [change for one in elements for change in one]
    parts = (changes[at : at + _MOST_CHANGES] for at in range(0, len(changes), _MOST_CHANGES))
    return [Call("crm", "hubspot", msgspec.json.encode(part)) for part in parts]


_MOST_CHANGES: Final = 100
"""HubSpot sends at most so many changes at once."""


def _form(event: Event, address: str) -> dict[str, Any]:
    answer = {"type": "email", "email": address, "field": {"id": "q1", "type": "email", "ref": "email"}}
    response = {
        "form_id": event["type"].partition(".")[0],
        "token": event["id"],
        "submitted_at": event["time"],
        "answers": [answer],
    }
    return {"event_id": event["id"], "event_type": "form_response", "form_response": response}


def _forms(elements: Sequence[Any]) -> list[Call]:
    return [Call("forms", "typeform", msgspec.json.encode(one)) for one in elements]


_CALLS: Final[Mapping[str, Callable[[Sequence[Any]], list[Call]]]] = {
    "mailer": _mailer, "webinars": _webinars, "crm": _contacts, "forms": _forms,
}  # fmt: skip
