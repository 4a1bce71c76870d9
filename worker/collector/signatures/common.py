"""What every check of a signature reads and answers: the request in raw bytes, and the number of the secret that fits."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

import msgspec

Reason = Literal["missing", "wrong", "old", "topic"]

REASONS: Final[tuple[Reason, ...]] = ("missing", "wrong", "old", "topic")
"""Why a request is refused: no signature, one that does not fit, a time outside of the window, a topic of somebody else."""


class BadSignature(Exception):
    """A request that the source's secrets do not verify."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


class Unverified(Exception):
    """What verifies the request is out of reach now, such as a certificate of Amazon's. The sender must send again."""


class Signed(msgspec.Struct, frozen=True):
    """A request as it came, before anything is parsed."""

    body: bytes
    headers: Mapping[str, str]
    """By names in lower case."""
    method: str = "POST"
    target: str = "/"
    """Path with its query, as it was asked for."""
    query: Mapping[str, str] = {}
    """The parameters, decoded."""

    def header(self, name: str) -> str:
        """Return a header's value. Raises `BadSignature` if the request has none, or a blank one."""
        found = self.headers.get(name, "").strip()
        if not found:
            raise BadSignature("missing")
        return found


class Key(msgspec.Struct, frozen=True):
    """What a source verifies with."""

    secrets: tuple[str, ...]
    window_ms: int | None = None
    """How far a signed time may be from now; `None`: any."""
    public_url: str = ""
    """Where vendors reach the collector."""
    topics: tuple[str, ...] = ()
    """Topics of Amazon SNS whose messages are taken."""


Verify = Callable[[Signed, Key, int], int]
"""(request, key, now in ms) → the number of the secret that fits, from 1. Raises `BadSignature`."""


def first_that_fits(secrets: Sequence[str], given: bytes, sign: Callable[[bytes], bytes]) -> int:
    """Return the number of the secret by which `sign` gives *given*. Every secret is tried, each in constant time.

    Raises `BadSignature`.
    """
    found = 0
    for number, secret in enumerate(secrets, 1):
        if hmac.compare_digest(sign(secret.encode()), given) and not found:
            found = number
    if not found:
        raise BadSignature("wrong")
    return found


def hold_time(signed_ms: int, now_ms: int, window_ms: int | None) -> None:
    """Raise `BadSignature` if a signed time is outside of the window, in the past or in the future."""
    if window_ms is not None and abs(now_ms - signed_ms) > window_ms:
        raise BadSignature("old")


def whole(text: str) -> int:
    """Return a number of digits alone. Raises `BadSignature` for another text, since a signed number has one form."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 16):
        raise BadSignature("wrong")
    return int(text)


def plain_bytes(text: str) -> bytes:
    """Return a header's text as bytes, so that any character can be compared in constant time."""
    return text.encode(errors="surrogateescape")
