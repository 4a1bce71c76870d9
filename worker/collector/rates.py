"""How often a browser may send: limits a minute for each visitor and each address. An address is kept for that minute alone."""

from __future__ import annotations

import ipaddress
from typing import Final

from aiohttp import web

PER_VISITOR: Final = 120
"""Beacons of one visitor in a minute. The pixel sends a few, and a page in a loop sends hundreds."""

PER_ADDRESS: Final = 1_200
"""Beacons of one address in a minute. A company or a mobile carrier may have a single one for thousands of people."""

_MINUTE_MS: Final = 60_000
_MOST_KEPT: Final = 200_000
"""Visitors and addresses counted in one minute, which bounds the memory. Further ones are not limited."""

_BLOCK_BITS: Final = 64
"""An owner of IPv6 addresses has at least so many bits of his own."""


class Rates:
    """Counts beacons by sender in minutes of the clock."""

    def __init__(self, proxies: int | None = None) -> None:
        self._proxies = proxies
        self._minute = 0
        self._counts: dict[int, int] = {}

    def allow(self, request: web.Request, now_ms: int, visitor: str = "") -> bool:
        """Return whether *visitor* may send one more, and so may its address, as far as both are known."""
        minute = now_ms // _MINUTE_MS
        if minute != self._minute:
            self._minute, self._counts = minute, {}
        within = self._is_within("visitor", visitor, PER_VISITOR)
        return self._is_within("address", self._address(request), PER_ADDRESS) and within

    def _is_within(self, kind: str, who: str, most: int) -> bool:
        if not who:
            return True
        key = hash((kind, who))  # salted by the process, so no address is kept
        count = self._counts.get(key, 0) + 1
        if count > 1 or len(self._counts) < _MOST_KEPT:
            self._counts[key] = count
        return count <= most

    def _address(self, request: web.Request) -> str:
        """Return the sender's address; empty if it is not known how many proxies stand between."""
        if self._proxies is None:
            return ""
        if self._proxies == 0:
            return block_of(request.remote or "")
        passed = [one.strip() for header in request.headers.getall("X-Forwarded-For", ()) for one in header.split(",")]
        # Each proxy appends whom it has heard. What stands before that is the sender's own word.
        return block_of(passed[-self._proxies]) if len(passed) >= self._proxies else ""


def block_of(address: str) -> str:
    """Return the address, of IPv6 its block; empty for what is no address."""
    text = address.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:  # some proxies write the port too
        text = text.partition(":")[0]
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is None:
        return str(int(found) >> (128 - _BLOCK_BITS))
    return str(getattr(found, "ipv4_mapped", None) or found)
