"""Requests signed as each vendor signs them, written from the vendors' documents and not from the code that verifies."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlencode

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

PUBLIC_URL = "https://in.example.com"


class Request(NamedTuple):
    """A request of a vendor."""

    body: bytes
    headers: dict[str, str]
    query: str = ""


def _hmac(secret: str, text: bytes, algorithm: str = "sha256") -> bytes:
    return hmac.new(secret.encode(), text, algorithm).digest()


def hubspot(secret: str, at_ms: int, path: str, body: bytes = b'[{"eventId":1}]') -> Request:
    """HubSpot, version 3."""
    text = f"POST{PUBLIC_URL}{path}".encode() + body + str(at_ms).encode()
    signature = base64.b64encode(_hmac(secret, text)).decode()
    return Request(body, {"X-HubSpot-Signature-v3": signature, "X-HubSpot-Request-Timestamp": str(at_ms)})


def zoom(secret: str, at_ms: int, path: str, body: bytes = b'{"event":"webinar.ended"}') -> Request:
    """Zoom."""
    at = str(at_ms // 1000)
    signature = _hmac(secret, b"v0:" + at.encode() + b":" + body).hex()
    return Request(body, {"x-zm-signature": f"v0={signature}", "x-zm-request-timestamp": at})


def typeform(secret: str, at_ms: int, path: str, body: bytes = b'{"event_type":"form_response"}') -> Request:
    """Typeform."""
    return Request(body, {"Typeform-Signature": "sha256=" + base64.b64encode(_hmac(secret, body)).decode()})


def calendly(secret: str, at_ms: int, path: str, body: bytes = b'{"event":"invitee.created"}') -> Request:
    """Calendly."""
    at = str(at_ms // 1000)
    return Request(body, {"Calendly-Webhook-Signature": f"t={at},v1={_hmac(secret, f'{at}.'.encode() + body).hex()}"})


def yousign(secret: str, at_ms: int, path: str, body: bytes = b'{"event_name":"signer.done"}') -> Request:
    """Yousign."""
    return Request(body, {"X-Yousign-Signature-256": "sha256=" + _hmac(secret, body).hex()})


def customerio(secret: str, at_ms: int, path: str, body: bytes = b'{"metric":"opened"}') -> Request:
    """Customer.io."""
    at = str(at_ms // 1000)
    return Request(body, {"X-CIO-Signature": _hmac(secret, f"v0:{at}:".encode() + body).hex(), "X-CIO-Timestamp": at})


def resend(secret: str, at_ms: int, path: str, body: bytes = b'{"type":"email.opened"}') -> Request:
    """Resend, by Svix: the secret is `whsec_` and base64."""
    at = str(at_ms // 1000)
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signature = base64.b64encode(hmac.new(key, f"msg_1.{at}.".encode() + body, "sha256").digest()).decode()
    return Request(body, {"svix-id": "msg_1", "svix-timestamp": at, "svix-signature": f"v1,AAAA v1,{signature}"})


def mailgun(secret: str, at_ms: int, path: str, body: bytes = b'{"event":"opened"}') -> Request:
    """Mailgun: the signature stands in the body, over time and token."""
    at, token = str(at_ms // 1000), "c0ffee" * 8
    signed = {"timestamp": at, "token": token, "signature": _hmac(secret, (at + token).encode()).hex()}
    return Request(json.dumps({"signature": signed, "event-data": json.loads(body)}).encode(), {})


def mandrill(secret: str, at_ms: int, path: str, body: bytes = b'[{"event":"open","_id":"1"}]') -> Request:
    """Mandrill: a form, signed with the public address before it."""
    text = f"{PUBLIC_URL}{path}mandrill_events{body.decode()}".encode()
    headers = {
        "X-Mandrill-Signature": base64.b64encode(_hmac(secret, text, "sha1")).decode(),
        "Content-Type": "application/x-www-form-urlencoded",
    }
    return Request(urlencode({"mandrill_events": body.decode()}).encode(), headers)


def segment(secret: str, at_ms: int, path: str, body: bytes = b'{"type":"track"}') -> Request:
    """Segment's webhook destination."""
    return Request(body, {"X-Signature": _hmac(secret, body, "sha1").hex()})


def zoho(secret: str, at_ms: int, path: str, body: bytes = b"") -> Request:
    """Zoho: the channel's token in the body."""
    return Request(json.dumps({"token": secret, "module": "Deals", "ids": ["1"]}).encode(), {})


def bearer(secret: str, at_ms: int, path: str, body: bytes = b'{"event":"opened"}') -> Request:
    """A shared secret as a bearer token."""
    return Request(body, {"Authorization": f"Bearer {secret}"})


def basic(secret: str, at_ms: int, path: str, body: bytes = b'{"event":"opened"}') -> Request:
    """A shared secret as the password of basic authentication."""
    return Request(body, {"Authorization": "Basic " + base64.b64encode(f"user:{secret}".encode()).decode()})


def in_query(secret: str, at_ms: int, path: str, body: bytes = b"type=subscribe&x=1") -> Request:
    """A shared secret in the address."""
    return Request(body, {"Content-Type": "application/x-www-form-urlencoded"}, urlencode({"key": secret}))


class SendGridKey:
    """A key pair of SendGrid's."""

    def __init__(self) -> None:
        self._private = ec.generate_private_key(ec.SECP256R1())
        public = self._private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.public = base64.b64encode(public).decode()

    def sign(self, at_ms: int, body: bytes) -> Request:
        """Return *body* as SendGrid sends it."""
        at = str(at_ms // 1000)
        signature = self._private.sign(at.encode() + body, ec.ECDSA(hashes.SHA256()))
        headers = {
            "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode(),
            "X-Twilio-Email-Event-Webhook-Timestamp": at,
            "Content-Type": "application/json",
        }
        return Request(body, headers)


class Amazon:
    """A certificate as SNS has one."""

    address = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem"

    def __init__(self) -> None:
        self._private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
        day = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
        made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(self._private.public_key())
        made = made.serial_number(1).not_valid_before(day).not_valid_after(day + dt.timedelta(days=3650))
        self.certificate = made.sign(self._private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def sign(self, version: str = "2", **fields: str) -> bytes:
        """Return a message of SNS in JSON, signed by *version* of its scheme."""
        held = {"Type": "Notification", "MessageId": "m-1", "Timestamp": "2026-02-02T02:40:00.000Z", **fields}
        names = (
            ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
            if held["Type"] == "Notification"
            else ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
        )
        text = "".join(f"{name}\n{held[name]}\n" for name in names if name in held)
        algorithm: hashes.HashAlgorithm = hashes.SHA1() if version == "1" else hashes.SHA256()
        signature = self._private.sign(text.encode(), padding.PKCS1v15(), algorithm)
        held |= {"SignatureVersion": version, "Signature": base64.b64encode(signature).decode()}
        held.setdefault("SigningCertURL", self.address)
        return json.dumps(held).encode()


Sign = Callable[[str, int, str], Request]
"""(secret, time in ms, path) → a request."""

SIGN: dict[str, Sign] = {
    "mailgun": mailgun, "mandrill": mandrill, "customerio": customerio, "resend": resend, "zoom": zoom, "typeform": typeform,
    "calendly": calendly, "hubspot": hubspot, "yousign": yousign, "segment": segment, "zoho": zoho,
    "brevo": bearer, "postmark": basic, "mailchimp": in_query, "livestorm": in_query, "goto": in_query, "pipedrive": basic,
    "salesforce": bearer, "activecampaign": in_query, "json": bearer,
}  # fmt: skip
"""By vendor; SendGrid and Amazon SES have keys of their own."""

SIGNS_ITS_BODY = frozenset(
    {"mandrill", "customerio", "resend", "zoom", "typeform", "calendly", "hubspot", "yousign", "segment"}
)
SIGNS_A_TIME = frozenset({"customerio", "resend", "zoom", "calendly", "hubspot"})


def sha(text: bytes) -> str:
    """Return a digest, to compare bodies by."""
    return hashlib.sha256(text).hexdigest()
