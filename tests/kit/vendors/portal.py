"""A HubSpot portal of many contacts that enforces HubSpot's published limits, and remembers how each lead was written.

Guide "API usage guidelines": an app has 100 requests within ten seconds (Free and Starter), and 429 for all others.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from tests.kit.vendors.base import Behaviour, Reply, Request
from tests.kit.vendors.hubspot import HubSpot, error

INTERVAL_S: Final = 10.0
SEQUENCE: Final = "leadpulse_sequence"
"""The property in which a state has its output's sequence."""

_UPSERT: Final = "/contacts/batch/upsert"
_ANY: Final = re.compile("")
_OVER: Final = error(
    429, "RATE_LIMITS", "You have reached your ten_secondly_rolling limit.", policyName="TEN_SECONDLY_ROLLING"
)  # fmt: skip


def mishaps(every: int, *, limited: bool = False) -> Callable[[], Behaviour | None]:
    """Let one of *every* batches go wrong: refused, done without an answer, or, with *limited*, over the limit of others."""
    kinds = [
        Behaviour("POST", _ANY, error(503, "SERVICE_UNAVAILABLE", "try again")),
        Behaviour("POST", _ANY, Reply(502, b"<html>bad gateway</html>"), effect=True),
        Behaviour("POST", _ANY, effect=True, lost=True),
    ]
    kinds += [Behaviour("POST", _ANY, _OVER._replace(headers={"Retry-After": "1"}))] if limited else []
    count, wrong = itertools.count(1), itertools.cycle(kinds)
    return lambda: next(wrong) if next(count) % every == 0 else None


@dataclass
class Portal(HubSpot):
    """A portal with HubSpot's limits."""

    most: int = 100
    """Requests within ten seconds."""
    admitted: list[float] = field(default_factory=list)
    """When each request came that was not over the limit, as `time.monotonic()`."""
    over: int = 0
    """Requests over the limit."""
    backwards: list[tuple[str, int, int]] = field(default_factory=list)
    """Lead, sequence, and the older one that was written over it."""
    writes: Counter[str] = field(default_factory=Counter)
    """Lead → how often its state was written."""
    lag_s: float = 0.0
    """For how long an answer is under way, after its effect."""
    mishap: Callable[[], Behaviour | None] = lambda: None
    """How the next batch goes wrong, if it does."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._recent: deque[float] = deque()
        self._holders: dict[tuple[str, str], str] = {}
        self.properties |= {SEQUENCE: {"type": "number"}, "leadpulse_seats": {"type": "number"}}

    def seed(self, properties: dict[str, str]) -> str:
        """Make a contact that was there before."""
        id_ = str(next(self._ids))
        self.contacts[id_] = {}
        self._keep(id_, properties)
        return id_

    def contact_with(self, name: str, value: str) -> str | None:
        """Return the id of the contact whose property *name* is *value*, without looking at all of them."""
        id_ = self._holders.get((name, value))
        return id_ if id_ is not None and self.contacts.get(id_, {}).get(name) == value else None

    def _keep(self, id_: str, properties: dict[str, str]) -> None:
        held = self.contacts[id_]
        if SEQUENCE in properties:
            lead = properties.get("leadpulse_id") or held.get("leadpulse_id", id_)
            before, now = int(held.get(SEQUENCE) or 0), int(properties[SEQUENCE])
            if now < before:
                self.backwards.append((lead, before, now))
            self.writes[lead] += 1
        super()._keep(id_, properties)
        for name, value in properties.items():
            if self.properties[name].get("hasUniqueValue"):
                self._holders[name, value] = id_

    def headers(self) -> dict[str, str]:
        """Return the limit's headers, as of now."""
        self.limits = (self.most, max(0, self.most - len(self._recent)))
        return super().headers()

    def behaviour_of(self, method: str, path: str) -> Behaviour | None:
        """Refuse what is over the limit. A batch may go wrong as `mishap` says."""
        now = time.monotonic()
        while self._recent and self._recent[0] <= now - INTERVAL_S:
            self._recent.popleft()
        if len(self._recent) >= self.most:
            self.over += 1
            return Behaviour(method, _ANY, _OVER)
        self._recent.append(now)
        self.admitted.append(now)
        wrong = super().behaviour_of(method, path)
        return wrong if wrong is not None or not path.endswith(_UPSERT) else self.mishap()

    async def go_down(self) -> None:
        """Listen no more."""
        self.port = int(self._server.port or 0)
        await self.__aexit__(None, None, None)

    async def come_back(self) -> None:
        """Listen again, where it did before."""
        await self.__aenter__()

    async def _serve(self, raw: web.Request) -> web.StreamResponse:
        answer = await super()._serve(raw)
        await asyncio.sleep(self.lag_s)
        return answer

    def busiest(self) -> int:
        """Return the most requests that came within any ten seconds."""
        came, first, most = self.admitted, 0, 0
        for last, at in enumerate(came):
            while came[first] <= at - INTERVAL_S:
                first += 1
            most = max(most, last - first + 1)
        return most

    def newest(self) -> dict[str, tuple[int, str]]:
        """Return each lead's sequence and score, as its contact has them."""
        return {
            held["leadpulse_id"]: (int(held[SEQUENCE]), held["leadpulse_score"])
            for held in self.contacts.values()
            if SEQUENCE in held
        }

    def batches(self) -> list[Request]:
        """Return the batches that came."""
        return self.asked("POST", _UPSERT)
