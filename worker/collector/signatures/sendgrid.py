"""SendGrid signs with its own key, by ECDSA. The source's secret is the public key that SendGrid shows."""

from __future__ import annotations

import binascii
from base64 import b64decode
from functools import lru_cache

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from worker.collector.signatures.common import BadSignature, Key, Signed, hold_time, plain_bytes, whole


@lru_cache(maxsize=64)
def _public_key(text: str) -> EllipticCurvePublicKey | None:
    """Return the key in *text*: base64, with or without the lines of PEM around it."""
    lines = [line.strip() for line in text.splitlines() if not line.startswith("-----")]
    try:
        found = load_der_public_key(b64decode("".join(lines), validate=True))
    except (binascii.Error, ValueError, UnsupportedAlgorithm):
        return None
    return found if isinstance(found, EllipticCurvePublicKey) else None


def sendgrid(request: Signed, key: Key, now_ms: int) -> int:
    """ECDSA with SHA-256 over time and body (`anymail/webhooks/sendgrid.py`). The time is in seconds."""
    given = request.header("x-twilio-email-event-webhook-signature")
    time = request.header("x-twilio-email-event-webhook-timestamp")
    try:
        signature = b64decode(given, validate=True)
    except (binascii.Error, ValueError):
        raise BadSignature("wrong") from None
    number = _first(key.secrets, signature, plain_bytes(time) + request.body)
    hold_time(whole(time) * 1000, now_ms, key.window_ms)
    return number


def _first(keys: tuple[str, ...], signature: bytes, signed: bytes) -> int:
    for number, text in enumerate(keys, 1):
        public = _public_key(text)
        if public is None:
            continue  # `connections test` reports it
        try:
            public.verify(signature, signed, ECDSA(SHA256()))
        except InvalidSignature:
            continue
        return number
    raise BadSignature("wrong")
