"""Amazon SNS signs with a certificate that it names by address. Only addresses of SNS itself are ever asked."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlsplit

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.x509 import load_pem_x509_certificate

from worker.collector.signatures.common import BadSignature, Key, Signed, Unverified

_HOST: Final = re.compile(r"sns\.[a-z0-9-]{3,40}\.amazonaws\.com(\.cn)?")
_CERTIFICATE: Final = re.compile(r"/SimpleNotificationService-[A-Za-z0-9]{1,100}\.pem")
_MOST_CERTIFICATES: Final = 20

_NOTIFICATION: Final = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
_SUBSCRIPTION: Final = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
_FIELDS: Final = {
    "Notification": _NOTIFICATION,
    "SubscriptionConfirmation": _SUBSCRIPTION,
    "UnsubscribeConfirmation": _SUBSCRIPTION,
}
"""What is signed of each type, in this order. A notification without `Subject` is signed without it."""

_decode: Final = msgspec.json.Decoder(dict[str, object]).decode

Fetch = Callable[[str], Awaitable[bytes]]
"""Return what an address of Amazon holds. Raises `OSError`."""


def is_amazon(address: str) -> bool:
    """Return whether *address* is one of SNS itself, by https and without a port or a user."""
    try:
        parts = urlsplit(address)
        return parts.scheme == "https" and bool(_HOST.fullmatch(parts.netloc))
    except ValueError:
        return False


def message_of(request: Signed) -> dict[str, str]:
    """Return the fields of an SNS message that are text. Raises `BadSignature` for another body."""
    try:
        found = _decode(request.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadSignature("missing") from None
    return {name: held for name, held in found.items() if isinstance(held, str)}


class Certificates:
    """Amazon's certificates by address, each asked for once."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._keys: dict[str, RSAPublicKey] = {}

    async def key_of(self, address: str) -> RSAPublicKey:
        """Return the public key at *address*. Raises `BadSignature` for an address that is not Amazon's, and `Unverified`."""
        if not (is_amazon(address) and _CERTIFICATE.fullmatch(urlsplit(address).path) and not urlsplit(address).query):
            raise BadSignature("wrong")
        if address not in self._keys:
            try:
                public = load_pem_x509_certificate(await self._fetch(address)).public_key()
            except OSError as error:
                raise Unverified(f"Amazon's certificate cannot be fetched: {error}") from error
            except ValueError:
                raise BadSignature("wrong") from None
            if not isinstance(public, RSAPublicKey):
                raise BadSignature("wrong")
            if len(self._keys) >= _MOST_CERTIFICATES:
                self._keys.clear()
            self._keys[address] = public
        return self._keys[address]


async def sns(request: Signed, key: Key, certificates: Certificates) -> int:
    """Return 1 for a message that Amazon signed, of one of the source's topics. Raises `BadSignature` and `Unverified`.

    No window holds its time: SNS sends a message again with the time of the first attempt.
    """
    held = message_of(request)
    if held.get("TopicArn") not in key.topics:
        raise BadSignature("topic")  # before anything is fetched: any AWS account can sign
    fields = _FIELDS.get(held.get("Type", ""))
    algorithm = {"1": SHA1(), "2": SHA256()}.get(held.get("SignatureVersion", ""))
    if fields is None or algorithm is None or "Signature" not in held:
        raise BadSignature("missing")
    if missing := [name for name in fields if name not in held and name != "Subject"]:
        raise BadSignature("missing") from KeyError(*missing)
    signed = "".join(f"{name}\n{held[name]}\n" for name in fields if name in held).encode(errors="surrogatepass")
    public = await certificates.key_of(held.get("SigningCertURL", ""))
    try:
        public.verify(b64decode(held["Signature"], validate=True), signed, PKCS1v15(), algorithm)
    except (InvalidSignature, binascii.Error, ValueError):
        raise BadSignature("wrong") from None
    return 1
