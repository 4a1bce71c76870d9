"""Which function verifies which vendor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from worker.collector.signatures import hmacs, shared
from worker.collector.signatures.common import Verify
from worker.collector.signatures.sendgrid import sendgrid

SIGNERS: Final[Mapping[str, Verify]] = {
    "sendgrid": sendgrid,
    "mailgun": hmacs.mailgun,
    "mandrill": hmacs.mandrill,
    "customerio": hmacs.customerio,
    "resend": hmacs.resend,
    "zoom": hmacs.zoom,
    "typeform": hmacs.typeform,
    "calendly": hmacs.calendly,
    "hubspot": hmacs.hubspot,
    "zoho": shared.zoho,
    "segment": hmacs.segment,
    "yousign": hmacs.yousign,
}
"""Vendors that sign by a key. `ses` is signed by certificates (`sns`), and every other vendor has a shared secret."""


def verifier(vendor: str) -> Verify:
    """Return the check of *vendor*'s requests; `ses` has its own."""
    return SIGNERS.get(vendor, shared.shared_secret)
