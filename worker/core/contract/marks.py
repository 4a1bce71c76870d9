"""What stands for a lead's id where the id itself must not be, or would take too much room."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

SHOWN_DIGITS: Final = 12
"""Hexadecimal digits of a mark in logs: 48 bits, so that two of ten million leads share one with odds of 1 in 6."""


def lead_mark(lead: str) -> int:
    """Return the mark of the id *lead*: the first 64 bits of its SHA-256. The same on every machine, without a key."""
    return int.from_bytes(sha256(lead.encode(errors="surrogatepass")).digest()[:8], "big")


def shown_mark(lead: str) -> str:
    """Return the mark of the id *lead* for logs and errors; `leadpulse explain --mark` finds the lead by it."""
    return f"{lead_mark(lead):016x}"[:SHOWN_DIGITS]
