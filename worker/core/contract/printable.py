"""Text from elsewhere, made fit for a terminal and a line of a log."""

from __future__ import annotations


def plain(text: str) -> str:
    """Return *text* with escapes for what is not printable: neither an event nor a grid may give orders to a terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
