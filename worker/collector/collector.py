"""What every endpoint of a collector uses: connections with their secrets, the promise, metrics and a clock."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from worker.collector.metrics import CollectorMetrics
from worker.collector.promise import Promise
from worker.collector.rates import Rates
from worker.collector.signatures.common import Key
from worker.collector.signatures.sns import Certificates, Fetch
from worker.collector.source_news import News
from worker.connections.models import Connections
from worker.connections.sources import Ses, Source

RETRY_AFTER_S: Final = "5"
"""What a sender is told with 429."""


def now_ms() -> int:
    """Return this machine's time in ms."""
    return time.time_ns() // 1_000_000


@dataclass
class Collector:
    """One collector. Endpoints hold nothing of their own."""

    connections: Connections
    environment: Mapping[str, str]
    """Where the secrets are."""
    promise: Promise
    metrics: CollectorMetrics
    fetch: Fetch
    """Asks an address of Amazon's."""
    inbound_topic: str = "lead.inbound"
    now_ms: Callable[[], int] = now_ms
    news: News = field(default_factory=News)
    checked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the topics were seen at the start."""
    draining: bool = False
    proxies: int | None = None
    """How many proxies stand before the collector and name the sender's address; `None` if nobody has said so."""

    def __post_init__(self) -> None:
        found = self.connections
        self.rates = Rates(self.proxies)
        self.certificates = Certificates(self.fetch)
        self.keys = {name: self._key(source) for name, source in found.sources.items()}
        self.tokens = tuple(token.resolve(self.environment) for token in found.tokens)
        self.write_keys = {
            site.write_key.resolve(self.environment): name for name, site in found.sites.items() if site.write_key is not None
        }
        self.identify = {
            name: tuple(secret.resolve(self.environment) for secret in site.identify) for name, site in found.sites.items()
        }
        self.metrics.sources_are(found.sources)

    @property
    def ready(self) -> bool:
        """Whether a balancer may send requests. It stays true while Kafka is away: a balancer must not answer for us."""
        return self.checked.is_set() and not self.draining

    def _key(self, source: Source) -> Key:
        return Key(
            tuple(secret.resolve(self.environment) for secret in source.secrets),
            source.window,
            self.connections.public_url or "",
            source.topic_arns if isinstance(source, Ses) else (),
        )

    def has_token(self, authorization: str) -> bool:
        """Return whether an `Authorization` header has one of the bearer tokens."""
        scheme, _, given = authorization.strip().partition(" ")
        return scheme.lower() == "bearer" and is_one_of(given.strip(), self.tokens)


def is_one_of(given: str, secrets: Sequence[str]) -> bool:
    """Return whether *given* is one of *secrets*. Each is compared in constant time."""
    held = given.encode(errors="surrogateescape")
    fits = [hmac.compare_digest(held, secret.encode()) for secret in secrets]  # all of them, whichever fits
    return any(fits)
