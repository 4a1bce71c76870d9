"""How metrics are declared once, with the words of `docs/metrics.md`, and made for each registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

M = TypeVar("M", Counter, Gauge, Histogram)


class Described(NamedTuple):
    """One metric, as `docs/metrics.md` lists it."""

    group: str
    name: str
    """As Prometheus shows it: a counter with `_total`, a histogram without its suffixes."""
    kind: str
    labels: tuple[str, ...]
    text: str


class Declared(Generic[M]):
    """A metric that each `Metrics` makes for its own registry, and finds in its own dictionary from then on."""

    def __init__(self, described: Described, make: Callable[[CollectorRegistry], M]) -> None:
        self.described = described
        self.make: Callable[[CollectorRegistry], M] = make

    def __get__(self, instance: object, owner: type) -> M:
        raise AttributeError(self.described.name)  # of the class alone: an instance has its own


class Group:
    """A chapter of `docs/metrics.md`, and how its metrics are declared."""

    def __init__(self, title: str) -> None:
        self._title = title

    def counter(self, name: str, text: str, *labels: str) -> Declared[Counter]:
        """Declare a counter; Prometheus shows it with `_total`."""
        described = Described(self._title, f"leadpulse_{name}_total", "counter", labels, text)
        return Declared(described, lambda registry: Counter(f"leadpulse_{name}", text, labels, registry=registry))

    def gauge(self, name: str, text: str, *labels: str) -> Declared[Gauge]:
        """Declare a gauge."""
        described = Described(self._title, f"leadpulse_{name}", "gauge", labels, text)
        return Declared(described, lambda registry: Gauge(f"leadpulse_{name}", text, labels, registry=registry))

    def histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Declared[Histogram]:
        """Declare a histogram."""
        described = Described(self._title, f"leadpulse_{name}", "histogram", labels, text)
        return Declared(
            described, lambda registry: Histogram(f"leadpulse_{name}", text, labels, registry=registry, buckets=buckets)
        )
