"""Webhooks of every vendor, with what they become: one person or two a vendor, so that each score tells of one vendor."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from tests.kit.signing import SIGN, SIGNS_ITS_BODY, Amazon, Request, SendGridKey

ARN: Final = "arn:aws:sns:eu-west-1:123456789012:mail"
SECRET: Final = "s3cret-of-the-vendor"
MINUTE_MS: Final = 60_000


def secret_of(vendor: str, secret: str = SECRET) -> str:
    """Return the secret in the form that the vendor gives."""
    return "whsec_" + base64.b64encode(secret.encode()).decode() if vendor == "resend" else secret


class Case(NamedTuple):
    """Bodies that are sent, and the events that they become."""

    bodies: tuple[bytes, ...]
    becomes: Mapping[str, tuple[str, ...]]
    """Lead → the types of its events."""
    settings: str = ""
    """Of the source, in YAML, beside its vendor and its secrets."""
    headers: Mapping[str, str] = {}


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _text(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")


def cases(now_ms: int) -> dict[str, Case]:
    """Return the case of each vendor, with events of the hours before *now_ms*."""
    return _mail(now_ms - 5 * MINUTE_MS) | _people(now_ms - 6 * 60 * MINUTE_MS)


def _mail(at_ms: int) -> dict[str, Case]:
    at_s, at = at_ms // 1000, _text(at_ms)
    sendgrid = {"email": "sendgrid@v.example", "timestamp": at_s, "sg_message_id": "m1.filter"}
    brevo = {"event": "opened", "email": "Brevo@v.example", "message-id": "<m2@x>", "ts_epoch": at_ms, "id": 9, "ts": at_s}
    mailgun = {
        "event": "clicked",
        "id": "i",
        "timestamp": at_s + 0.153999,
        "recipient": "mailgun@v.example",
        "url": "https://x.example/a",
        "message": {"headers": {"message-id": "m3"}},
    }
    postmark = {"RecordType": "Open", "MessageID": "m4", "Recipient": "postmark@v.example", "ReceivedAt": at}
    mandrill = {"event": "click", "_id": "m5", "ts": at_s, "url": "https://x.example/a", "msg": {"email": "mandrill@v.example"}}
    mailchimp = {
        "type": "subscribe",
        "fired_at": datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S"),
        "data[id]": "8a25ff1d98",
        "data[list_id]": "l",
        "data[email]": "mailchimp@v.example",
        "data[merges][FNAME]": "Maya",
    }
    customerio = {
        "event_id": "c1",
        "object_type": "email",
        "metric": "opened",
        "timestamp": at_s,
        "data": {
            "customer_id": "cio-7",
            "identifiers": {"id": "cio-7"},
            "delivery_id": "m6",
            "recipient": "customerio@v.example",
        },
    }
    resend = {
        "created_at": at,
        "type": "email.opened",
        "data": {"created_at": at, "email_id": "m7", "from": "a@b.example", "to": ["Resend <resend@v.example>"]},
    }
    opened = {"eventType": "Open", "mail": {"messageId": "m8", "destination": ["ses@v.example"]}, "open": {"timestamp": at}}
    return {
        "sendgrid": Case(
            (
                _json([sendgrid | {"event": "open", "sg_event_id": "e1"}, sendgrid | {"event": "click", "sg_event_id": "e2"}])
                + b"\r\n",
            ),
            {"email:sendgrid@v.example": ("email.opened", "email.clicked")},
        ),
        "brevo": Case((_json(brevo),), {"email:brevo@v.example": ("email.opened",)}),
        "mailgun": Case((_json(mailgun),), {"email:mailgun@v.example": ("email.clicked",)}),
        "postmark": Case((_json(postmark),), {"email:postmark@v.example": ("email.opened",)}),
        "ses": Case((_json(opened),), {"email:ses@v.example": ("email.opened",)}, f', topic_arns: ["{ARN}"]'),
        "mandrill": Case((_json([mandrill]),), {"email:mandrill@v.example": ("email.clicked",)}),
        "mailchimp": Case(
            (urlencode(mailchimp).encode(),), {"email:mailchimp@v.example": ("email.subscribed", "profile.updated")}
        ),
        "customerio": Case((_json(customerio),), {"cio-7": ("email.opened", "profile.updated")}),
        "resend": Case((_json(resend),), {"email:resend@v.example": ("email.opened",)}),
    }


def _people(at_ms: int) -> dict[str, Case]:
    at = _text(at_ms)
    return _webinars(at_ms) | {
        "typeform": Case(
            (
                _json(
                    {
                        "event_type": "form_response",
                        "form_response": {
                            "form_id": "f1",
                            "token": "t1",
                            "submitted_at": at,
                            "answers": [{"type": "email", "email": "typeform@v.example", "field": {"id": "1", "ref": "mail"}}],
                        },
                    }
                ),
            ),
            {"email:typeform@v.example": ("demo.requested", "profile.updated")},
            ", forms: {f1: demo.requested}",
        ),
        "calendly": Case(
            (
                _json(
                    {
                        "event": "invitee.created",
                        "created_at": at,
                        "payload": {
                            "uri": "https://api.calendly.com/scheduled_events/A/invitees/B",
                            "email": "calendly@v.example",
                            "created_at": at,
                            "old_invitee": None,
                            "scheduled_event": {"event_type": "https://api.calendly.com/event_types/DEMO30"},
                        },
                    }
                ),
            ),
            {"email:calendly@v.example": ("demo.requested", "profile.updated")},
        ),
        "segment": Case(
            (
                _json(
                    {
                        "type": "track",
                        "event": "Demo Requested",
                        "userId": "segment-1",
                        "messageId": "s1",
                        "timestamp": at,
                        "properties": {"form_id": "f"},
                    }
                ),
            ),
            {"segment-1": ("demo.requested",)},
        ),
        "yousign": Case(
            (
                _json(
                    {
                        "event_id": "y1",
                        "event_name": "signature_request.done",
                        "event_time": str(at_ms // 1000),
                        "data": {"signature_request": {"id": "b2", "status": "done", "external_id": "yousign-1%3A7"}},
                    }
                ),
            ),
            {"yousign-1": ("crm.won",)},
            ", events: {signature_request.done: crm.won}",
        ),
        "json": Case(
            (_json({"kind": "deal_paid", "id": 17, "at": at, "contact": {"email": "json@v.example"}, "amount": 3}),),
            {"email:json@v.example": ("custom.deal_paid",)},
            ", map: {type: \"join('', ['custom.', kind])\", id: id, time: at, email: contact.email}",
        ),
        **_crms(at_ms),
    }


def _webinars(at_ms: int) -> dict[str, Case]:
    at, end = _text(at_ms), _text(at_ms + 60 * MINUTE_MS)
    registered = {"id": "9", "registrant": {"id": "R", "email": "zoom@v.example", "status": "approved"}}
    ended = {"id": "9", "uuid": "/abc//d==", "start_time": at, "end_time": end, "duration": 60}
    livestorm = {
        "email": "livestorm@v.example",
        "created_at": at_ms // 1000,
        "updated_at": at_ms // 1000,
        "registrant_detail": {
            "event_id": "e",
            "session_id": "s",
            "created_at": at_ms // 1000,
            "attended": True,
            "attendance_rate": 84.5,
            "attendance_duration": 2280,
        },
    }
    goto = {"webinarKey": 8471289347212345678, "webinarCreatorKey": 300000000000384444, "email": "goto@v.example"}
    return {
        "zoom": Case(
            (
                _json({"event": "webinar.registration_created", "event_ts": at_ms, "payload": {"object": registered}}),
                _json({"event": "webinar.ended", "event_ts": at_ms + 60 * MINUTE_MS, "payload": {"object": ended}}),
            ),
            {
                "email:zoom@v.example": ("webinar.registered", "profile.updated", "webinar.attended"),
                "email:absent@v.example": ("webinar.no_show",),
            },
            ", api: zoom",
        ),
        "livestorm": Case(
            (_json({"data": {"id": "b1", "type": "people", "attributes": livestorm}}),),
            {"email:livestorm@v.example": ("webinar.attended",)},
        ),
        "goto": Case(
            (
                _json(
                    goto
                    | {
                        "eventName": "registrant.added",
                        "eventKey": "g1",
                        "status": "Approved",
                        "registrantKey": 5671289347212345678,
                        "registrationDate": at,
                        "timestamp": at,
                    }
                ),
                _json(
                    goto
                    | {
                        "eventName": "registrant.joined",
                        "sessionKey": 9071289347212345678,
                        "recurrenceType": "single_session",
                        "joinTime": at_ms,
                    }
                ),
            ),
            {
                "email:goto@v.example": ("webinar.registered", "profile.updated", "webinar.attended"),
                "email:away@v.example": ("webinar.no_show",),
            },
            ", api: goto",
        ),
    }


def _crms(at_ms: int) -> dict[str, Case]:
    at = _text(at_ms)
    return {
        "hubspot": Case(
            (
                _json(
                    [
                        {
                            "eventId": 100,
                            "subscriptionId": 25,
                            "appId": 1160452,
                            "occurredAt": at_ms,
                            "objectId": 77,
                            "subscriptionType": "deal.propertyChange",
                            "changeSource": "CRM_UI",
                            "propertyName": "dealstage",
                            "propertyValue": "closedwon",
                        }
                    ]
                ),
            ),
            {"hubspot-201": ("crm.won",)},
            ", api: hubspot, stages: {closedwon: crm.won}",
        ),
        "pipedrive": Case(
            (
                _json(
                    {
                        "meta": {
                            "action": "change",
                            "entity": "deal",
                            "entity_id": "1",
                            "timestamp": at,
                            "correlation_id": "c",
                        },
                        "data": {"id": 1, "status": "won", "stage_id": 5, "value": 2000, "owner_id": 7, "person_id": 12},
                        "previous": {"status": "open"},
                    }
                ),
            ),
            {"12": ("crm.won",)},
            ", stages: {won: crm.won}",
        ),
        "zoho": Case(
            (_json({"server_time": at_ms, "module": "Leads", "operation": "insert", "ids": ["5725767000003000010"]}),),
            {"5725767000003000010": ("crm.rejected", "profile.updated")},
            ", api: zoho, stages: {Junk Lead: crm.rejected}",
        ),
        "salesforce": Case(
            (
                _json(
                    {
                        "type": "Opportunity",
                        "Id": "0065w000023STAmAAO",
                        "StageName": "Closed Won",
                        "Amount": 45000,
                        "LastModifiedDate": at,
                        "LastStageChangeDate": at,
                    }
                ),
            ),
            {"0035w000035gg9GAAQ": ("crm.won",)},
            ", api: salesforce, stages: {Closed Won: crm.won}",
        ),
        "activecampaign": Case(
            (
                urlencode(
                    {
                        "type": "click",
                        "date_time": at,
                        "initiated_from": "admin",
                        "contact[id]": "3",
                        "contact[email]": "activecampaign@v.example",
                        "campaign[id]": "7",
                        "campaign[message][id]": "9",
                        "link[url]": "https://x.example/a",
                    }
                ).encode(),
            ),
            {"3": ("email.clicked", "profile.updated")},
        ),
    }


_SIGNED_WITHIN: Final = {"mailgun": b"c0ffee", "ses": b"ses@v"}
"""Vendors that sign a part of the body, with something that stands there."""


class Signers:
    """Sends the cases as their vendors do."""

    def __init__(self) -> None:
        self.sendgrid = SendGridKey()
        self.amazon = Amazon()

    def sign(self, vendor: str, at_ms: int, body: bytes, secret: str = SECRET) -> Request:
        """Return the request of *vendor* to its source of the same name."""
        if vendor == "sendgrid":
            return self.sendgrid.sign(at_ms, body)
        if vendor == "ses":
            return Request(self.amazon.sign(TopicArn=ARN, Message=body.decode()), {"Content-Type": "text/plain"})
        if vendor == "zoho":
            return Request(_json({"token": secret, **json.loads(body)}), {"Content-Type": "application/json"})
        sign: Callable[..., Request] = SIGN[vendor]
        return sign(secret_of(vendor, secret), at_ms, f"/in/{vendor}", body)

    def sign_wrong(self, vendor: str, at_ms: int, body: bytes) -> Request:
        """Return that request with one byte changed, in the body where the vendor signs it, else in the token or the secret."""
        if vendor in _SIGNED_WITHIN:
            request, part = self.sign(vendor, at_ms, body), _SIGNED_WITHIN[vendor]
            assert part in request.body
            return request._replace(body=request.body.replace(part, part[:-1] + b"x", 1))
        if vendor not in SIGNS_ITS_BODY | {"sendgrid"}:
            return self.sign(vendor, at_ms, body, SECRET[:-1] + "R")
        request = self.sign(vendor, at_ms, body)
        place = max(n for n, byte in enumerate(request.body) if chr(byte).isdigit())
        return request._replace(body=request.body[:place] + _other_digit(request.body[place]) + request.body[place + 1 :])


def _other_digit(digit: int) -> bytes:
    return b"1" if digit == ord("0") else b"0"
