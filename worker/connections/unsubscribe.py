"""Links by which a person takes no more mail: `PUBLIC_URL/lp/unsubscribe/TOKEN`.

A token is the lead and the mail, encrypted (AES-SIV, RFC 5297). No address can be read from it, and none can be made without
the secret. It does not expire.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from worker.connections.models import Connections
from worker.connections.secret import Secret
from worker.connections.targets import BrevoTarget, SmtpTarget, Target
from worker.errors import ConnectionsError

_PATH: Final = "/lp/unsubscribe/"
_KEY_BYTES: Final = 64
_MOST: Final = 4_096
"""Longest token that is read."""


class Unsubscription(NamedTuple):
    """Who takes no more mail, and by which mail."""

    lead_id: str
    mail: str
    """The act that sent it."""


def address(connections: Connections, target: Target, environment: Mapping[str, str], lead_id: str, mail: str) -> str:
    """Return the address by which a lead unsubscribes; empty without `public_url`, and at targets without mails."""
    own = _secret_of(target)
    if connections.public_url is None or own is None:
        return ""
    try:
        key = _key((connections.unsubscribe[0] if connections.unsubscribe else own).resolve(environment))
    except ConnectionsError:
        return ""  # the target's own log-in reports it
    return f"{connections.public_url}{_PATH}{made(key, lead_id, mail)}"


def keys(connections: Connections, environment: Mapping[str, str]) -> list[bytes]:
    """Return the keys of all links that may be about. A secret that is not in *environment* is passed over."""
    found = []
    for secret in (*connections.unsubscribe, *_secrets_of(connections)):
        try:
            found.append(_key(secret.resolve(environment)))
        except ConnectionsError:
            continue
    return found


def made(key: bytes, lead_id: str, mail: str) -> str:
    """Return the token of a lead and a mail, the same each time."""
    held = msgspec.msgpack.encode((lead_id, mail))
    return base64.urlsafe_b64encode(AESSIV(key).encrypt(held, None)).rstrip(b"=").decode()


def opened(found: Sequence[bytes], token: str) -> Unsubscription | None:
    """Return what *token* holds, by the first of *found* that fits; `None` where none does."""
    if len(token) > _MOST or not token.isascii():
        return None
    try:
        held = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        return None
    for key in found:
        try:
            return Unsubscription(*msgspec.msgpack.decode(AESSIV(key).decrypt(held, None), type=tuple[str, str]))
        except (InvalidTag, ValueError):
            continue
    return None


def _key(secret: str) -> bytes:
    return HKDF(SHA256(), _KEY_BYTES, salt=None, info=b"leadpulse unsubscribe").derive(secret.encode())


def _secrets_of(connections: Connections) -> Iterator[Secret]:
    for target in connections.targets.values():
        secret = _secret_of(target)
        if secret is not None:
            yield secret


def _secret_of(target: Target) -> Secret | None:
    """Return the secret of a target of mails, whose links it makes where the file has no `unsubscribe`."""
    match target:
        case SmtpTarget():
            return target.url
        case BrevoTarget():
            return target.token
        case _:
            return None
