"""Identify tokens: a server's signed word on who a visitor is. `v1.PAYLOAD.SIG`, each part in base64url without padding."""

from __future__ import annotations

import binascii
import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Final

import msgspec

MOST_AHEAD_S: Final = 30 * 86_400
"""A token that ends later is refused: a forwarded mail must not name people for years."""


class _Payload(msgspec.Struct):
    sub: str
    exp: int
    site: str


_decode: Final = msgspec.json.Decoder(_Payload).decode


def token_of(lead: str, site: str, ends_s: int, secret: str) -> str:
    """Return a token that names the visitor of *site* as *lead* until *ends_s* (seconds since 1970)."""
    signed = f"v1.{_text(msgspec.json.encode(_Payload(lead, ends_s, site)))}"
    return f"{signed}.{_text(_signature(signed, secret))}"


def lead_of(token: str, site: str, secrets: Sequence[str], now_s: float) -> str | None:
    """Return the lead that *token* names on *site*; `None` if it is forged, over, too long-lived or for another site."""
    signed, _, signature = token.rpartition(".")
    version, _, payload = signed.partition(".")
    if version != "v1" or len(token) > 4_096:
        return None
    given = _bytes(signature)
    fits = [hmac.compare_digest(_signature(signed, secret), given or b"") for secret in secrets]
    if given is None or not any(fits):
        return None
    held = _bytes(payload)
    try:
        found = _decode(held or b"")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    in_time = now_s < found.exp <= now_s + MOST_AHEAD_S
    return found.sub if found.sub and found.site == site and in_time else None


def _signature(signed: str, secret: str) -> bytes:
    return hmac.digest(secret.encode(), signed.encode(), hashlib.sha256)


def _text(held: bytes) -> str:
    return urlsafe_b64encode(held).decode().rstrip("=")


def _bytes(text: str) -> bytes | None:
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return None
