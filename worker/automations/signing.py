"""What the program adds to a target's request: its address, what logs us in, and signatures. The preview shows the same."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from worker.automations.requests import Http, Misconfigured
from worker.connections.log_in import log_in
from worker.connections.secret import Secret
from worker.connections.targets import SlackTarget, Target, TeamsTarget, WebhookTarget

_PREFIX: Final = "whsec_"
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class Keys(NamedTuple):
    """Where secrets come from, or what is shown in their place."""

    secret: Callable[[Secret], str]
    url: Callable[[Secret], str]
    """Of an address that is a secret."""
    token: str = ""
    """Of OAuth, where the target has one."""
    timestamp: str = ""
    """Seconds since 1970. Empty: timestamp and signature are shown as placeholders."""


SHOWN: Final = Keys(lambda _: "<secret>", lambda _: "<url>", "<secret>")
"""For the preview."""


class Signed(NamedTuple):
    """A request as it is sent."""

    url: str
    headers: Mapping[str, str]


def signed(target: Target, request: Http, keys: Keys) -> Signed:
    """Return address and headers of *request* to *target*. Raises `Misconfigured` for an address that cannot be used."""
    return Signed(_base(target, keys) + request.path, {**request.headers, **_log_in(target, request, keys)})


def _base(target: Target, keys: Keys) -> str:
    match target:
        case SlackTarget() | TeamsTarget():
            return _checked(keys.url(target.url), target)
        case WebhookTarget():
            return _checked(keys.url(target.url), target) if isinstance(target.url, Secret) else target.url
        case _:
            return str(getattr(target, "base_url"))  # noqa: B009 (each kind that is asked over HTTP has one)


def _checked(url: str, target: Target) -> str:
    """Return an address that was a secret, if it is encrypted. One that is no secret is checked with the file."""
    if url == SHOWN.url(Secret("")):
        return url
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return url
    if parts.scheme == "http" and parts.hostname and (target.insecure or parts.hostname in _LOOPBACK):
        return url
    raise Misconfigured("its address, which is a secret, is not https://…: correct it, or write `insecure: true`")


def _log_in(target: Target, request: Http, keys: Keys) -> dict[str, str]:
    if isinstance(target, WebhookTarget):
        return _standard(request, keys.secret(target.secret), keys.timestamp)
    return log_in(target, keys.secret, keys.token)


def _standard(request: Http, secret: str, timestamp: str) -> dict[str, str]:
    """Return the headers of Standard Webhooks: `v1,` and base64 of HMAC-SHA256 over `id.timestamp.body`."""
    if not timestamp:
        return {"webhook-timestamp": "<timestamp>", "webhook-signature": "<signature>"}
    said = b".".join((request.headers["webhook-id"].encode(), timestamp.encode(), request.body or b""))
    digest = hmac.digest(_key(secret), said, hashlib.sha256)
    return {"webhook-timestamp": timestamp, "webhook-signature": f"v1,{base64.b64encode(digest).decode()}"}


def _key(secret: str) -> bytes:
    """Return the key: `whsec_` and base64, as the libraries of Standard Webhooks write it, or the text itself."""
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        return secret.encode()
