"""Vendors that sign with a shared key: HMAC over some concatenation of the request's raw bytes.

The form of each is that of the vendor's documents or of published code, which each function names.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from worker.collector.signatures.common import BadSignature, Key, Signed, first_that_fits, hold_time, plain_bytes, whole
from worker.collector.signatures.shared import shared_secret
from worker.intake.forms import form_fields, is_form

_MILLISECONDS_FROM: Final = 100_000_000_000
"""Seconds reach this number in the year 5138, and milliseconds reached it in 1973."""


def _hex(signed: bytes, algorithm: Any = hashlib.sha256) -> Callable[[bytes], bytes]:
    return lambda secret: hmac.digest(secret, signed, algorithm).hex().encode()


def _base64(signed: bytes, algorithm: Any = hashlib.sha256) -> Callable[[bytes], bytes]:
    return lambda secret: b64encode(hmac.digest(secret, signed, algorithm))


def _after(prefix: str, text: str) -> bytes:
    if not text.startswith(prefix):
        raise BadSignature("wrong")
    return plain_bytes(text[len(prefix) :])


_HUBSPOT_DECODED: Final = {
    "%3A": ":", "%2F": "/", "%3F": "?", "%40": "@", "%21": "!", "%24": "$", "%27": "'", "%28": "(", "%29": ")", "%2A": "*",
    "%2C": ",", "%3B": ";",
}  # fmt: skip
"""What HubSpot decodes in the address before it signs it (its page "Validating requests")."""


def hubspot(request: Signed, key: Key, now_ms: int) -> int:
    """HubSpot's version 3: base64 over method, public address, body and time in ms (`hubspot/utils/signature.py`)."""
    given, time = request.header("x-hubspot-signature-v3"), request.header("x-hubspot-request-timestamp")
    address = key.public_url + request.target
    for written, meant in _HUBSPOT_DECODED.items():
        address = address.replace(written, meant).replace(written.lower(), meant)
    signed = request.method.encode() + plain_bytes(address) + request.body + plain_bytes(time)
    number = first_that_fits(key.secrets, plain_bytes(given), _base64(signed))
    hold_time(whole(time), now_ms, key.window_ms)
    return number


def zoom(request: Signed, key: Key, now_ms: int) -> int:
    """Zoom: `v0=` and hex over `v0:TIME:BODY` (`zoom/webhook-sample`)."""
    given, time = request.header("x-zm-signature"), request.header("x-zm-request-timestamp")
    number = first_that_fits(key.secrets, _after("v0=", given), _hex(b"v0:" + plain_bytes(time) + b":" + request.body))
    at = whole(time)
    hold_time(at if at >= _MILLISECONDS_FROM else at * 1000, now_ms, key.window_ms)
    return number


def typeform(request: Signed, key: Key, now_ms: int) -> int:
    """Typeform: `sha256=` and base64 over the body. It signs no time."""
    return first_that_fits(key.secrets, _after("sha256=", request.header("typeform-signature")), _base64(request.body))


def calendly(request: Signed, key: Key, now_ms: int) -> int:
    """Calendly: `t=TIME,v1=HEX` over `TIME.BODY`, the time in seconds."""
    parts = dict(part.strip().partition("=")[::2] for part in request.header("calendly-webhook-signature").split(","))
    time, given = parts.get("t", ""), parts.get("v1", "")
    number = first_that_fits(key.secrets, plain_bytes(given), _hex(plain_bytes(time) + b"." + request.body))
    hold_time(whole(time) * 1000, now_ms, key.window_ms)
    return number


def yousign(request: Signed, key: Key, now_ms: int) -> int:
    """Yousign: `sha256=` and hex over the body. It signs no time."""
    return first_that_fits(key.secrets, _after("sha256=", request.header("x-yousign-signature-256")), _hex(request.body))


def customerio(request: Signed, key: Key, now_ms: int) -> int:
    """Customer.io: hex over `v0:TIME:BODY`, the time in seconds."""
    given, time = request.header("x-cio-signature"), request.header("x-cio-timestamp")
    number = first_that_fits(key.secrets, plain_bytes(given), _hex(b"v0:" + plain_bytes(time) + b":" + request.body))
    hold_time(whole(time) * 1000, now_ms, key.window_ms)
    return number


def resend(request: Signed, key: Key, now_ms: int) -> int:
    """Resend: Standard Webhooks. Base64 over `ID.TIME.BODY`, by the bytes of the secret behind `whsec_`."""
    name, time = request.header("svix-id"), request.header("svix-timestamp")
    signed = b".".join((plain_bytes(name), plain_bytes(time), request.body))
    given = [part[3:] for part in request.header("svix-signature").split() if part.startswith("v1,")]

    def sign(secret: bytes) -> bytes:
        try:
            return _base64(signed)(b64decode(secret.removeprefix(b"whsec_"), validate=True))
        except binascii.Error:
            return b""  # a secret that is none; `connections test` reports it

    for one in given[:4]:
        try:
            number = first_that_fits(key.secrets, plain_bytes(one), sign) if one else 0
        except BadSignature:
            continue
        if number:
            hold_time(whole(time) * 1000, now_ms, key.window_ms)
            return number
    raise BadSignature("wrong")


class _MailgunPart(msgspec.Struct):
    timestamp: str
    token: str
    signature: str


class _Mailgun(msgspec.Struct):
    signature: _MailgunPart


_mailgun: Final = msgspec.json.Decoder(_Mailgun, strict=False).decode


def mailgun(request: Signed, key: Key, now_ms: int) -> int:
    """Mailgun: hex over time and token, both in the body. It signs nothing else of the body (`anymail/webhooks/mailgun.py`).

    A route hands mails on as a form, with the three beside its other fields.
    """
    content_type = request.headers.get("content-type", "")
    try:
        if is_form(content_type):
            held = msgspec.convert(form_fields(request.body, content_type), _MailgunPart)
        else:
            held = _mailgun(request.body).signature
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise BadSignature("missing") from None
    signed = plain_bytes(held.timestamp + held.token)
    return first_that_fits(key.secrets, plain_bytes(held.signature), _hex(signed))


def mandrill(request: Signed, key: Key, now_ms: int) -> int:
    """Mandrill: base64 of HMAC-SHA1 over the public address and the sorted form fields (`anymail/webhooks/mandrill.py`)."""
    given = request.header("x-mandrill-signature")
    try:
        fields = dict(parse_qsl(request.body.decode(), keep_blank_values=True, max_num_fields=100))
    except ValueError:
        raise BadSignature("wrong") from None
    signed = key.public_url + request.target + "".join(name + fields[name] for name in sorted(fields))
    return first_that_fits(key.secrets, plain_bytes(given), _base64(plain_bytes(signed), hashlib.sha1))


_raw_list: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


def segment(request: Signed, key: Key, now_ms: int) -> int:
    """Segment: hex of HMAC-SHA1 over the body. Of a batch it signs the first event alone.

    RudderStack and Jitsu sign nothing, so a request without a signature must have the shared secret.
    """
    if "x-signature" not in request.headers:
        return shared_secret(request, key, now_ms)
    signed = request.body
    if request.body.lstrip()[:1] == b"[":
        try:
            signed = bytes(_raw_list(request.body)[0])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, IndexError):
            raise BadSignature("wrong") from None
    return first_that_fits(key.secrets, plain_bytes(request.header("x-signature")), _hex(signed, hashlib.sha1))
