"""Vendors that sign nothing: a shared secret in `Authorization`, in `?key=`, or in the body where the vendor puts it there."""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import Final

import msgspec

from worker.collector.signatures.common import BadSignature, Key, Signed, first_that_fits, plain_bytes


def shared_secret(request: Signed, key: Key, now_ms: int) -> int:
    """Return the number of the secret that came: as a bearer token, as the password of basic, or as `?key=`."""
    given = _in_header(request.headers.get("authorization", "")) or request.query.get("key", "")
    if not given:
        raise BadSignature("missing")
    return first_that_fits(key.secrets, plain_bytes(given), bytes)


def _in_header(text: str) -> str:
    scheme, _, held = text.strip().partition(" ")
    if scheme.lower() == "bearer":
        return held.strip()
    if scheme.lower() == "basic":
        try:
            return b64decode(held.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, ValueError):
            raise BadSignature("wrong") from None
    return ""


class _Zoho(msgspec.Struct):
    token: str


_zoho: Final = msgspec.json.Decoder(_Zoho).decode


def zoho(request: Signed, key: Key, now_ms: int) -> int:
    """Zoho: the channel's `token` in the body, or else the shared secret."""
    try:
        given = _zoho(request.body).token
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return shared_secret(request, key, now_ms)
    return first_that_fits(key.secrets, plain_bytes(given), bytes)
