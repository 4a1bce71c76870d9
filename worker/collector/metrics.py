"""The collector's metrics for Prometheus. Labels come from closed sets: no path, person or address that a sender invents."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from prometheus_client import REGISTRY, CollectorRegistry

from worker.collector.signatures.common import REASONS
from worker.declared import Declared, Group
from worker.intake.vendors.machine_clicks import AGENT, SEVERAL, SOON, TRAPPED

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.9, 1, 2.5, 5)
_AGES = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3_600)

GUESSES: Final = (SOON, SEVERAL, TRAPPED, AGENT)
UNANSWERED: Final = ("full", "timeout", "refused")
"""Why a sender must send again: too many bytes wait, Kafka did not answer in time, or Kafka refused a record."""


class CollectorMetrics:
    """The collector's metrics in one registry."""

    _http = Group("Collector: requests")
    requests = _http.counter(
        "collect_requests",
        "Requests answered, by endpoint (events, segment, inbound, pixel, unsubscribe, other) and status",
        "endpoint",
        "status",
    )
    request_seconds = _http.histogram(
        "collect_request_seconds", "Time from a request's head to its answer", _SECONDS, "endpoint"
    )
    received = _http.counter("collect_webhooks", "Webhooks that Kafka has, by source", "source")
    bad_signatures = _http.counter(
        "collect_bad_signatures",
        f"Webhooks refused with 401, by source and reason ({', '.join(REASONS)}); some vendors never send them again",
        "source",
        "reason",
    )
    old_secrets = _http.counter(
        "collect_webhooks_by_key", "Webhooks by the number of the secret that verified them, for rotations", "source", "number"
    )
    too_large = _http.counter("collect_too_large", "Requests refused with 413, by endpoint", "endpoint")
    unanswered = _http.counter(
        "collect_unanswered", f"Requests whose sender must send again, by reason ({', '.join(UNANSWERED)})", "reason"
    )
    waiting_bytes = _http.gauge("collect_waiting_bytes", "Bytes of requests that wait for Kafka")
    kafka_up = _http.gauge("collect_kafka_up", "1 while Kafka takes records, 0 while senders are asked to come again")
    events = _http.counter("collect_events", "Events that came as events and that Kafka has, by endpoint", "endpoint")
    unknown_types = _http.counter(
        "collect_unknown_types", "Events of types that LeadPulse does not score, by endpoint", "endpoint"
    )

    segment_passed_over = _http.counter(
        "collect_segment_passed_over", "Messages of Segment's protocol that say nothing for scoring or may not be said"
    )
    pixel_dropped = _http.counter(
        "collect_pixel_dropped", "Views and events of the pixel that were not kept, by site and reason", "site", "reason"
    )

    _map = Group("Collector: mapper")
    mapped = _map.counter(
        "collect_mapped_events",
        "Events made of webhooks and committed to Kafka, by source and type (`custom` for all of your own)",
        "source",
        "type",
    )
    repeated = _map.counter(
        "collect_repeated_events", "Events left out because their id was seen in the last 72 hours", "source"
    )
    passed_over = _map.counter("collect_passed_over", "Kinds of webhooks that say nothing for scoring, passed over", "source")
    machines = _map.counter(
        "collect_machine_clicks",
        f"Clicks that are a machine's by a guess ({', '.join(GUESSES)})",
        "source",
        "reason",
    )
    dead = _map.counter(
        "collect_dead_webhooks", "Webhooks that went to lead.inbound.dead, because they cannot be mapped", "source"
    )
    lookups = _map.counter(
        "collect_lookups", "Look-ups at vendors' APIs, by source and result (done, again, failed)", "source", "result"
    )
    map_age_seconds = _map.histogram(
        "collect_map_age_seconds", "Time from a webhook's arrival to the commit of its events, once a batch", _AGES
    )
    map_lag = _map.gauge("collect_map_lag_records", "Webhooks that wait to be mapped, as of the last fetch", "partition")
    memory_up = _map.gauge("collect_memory_up", "1 while Redis remembers the ids that were seen, else 0")

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.registry = registry
        self.described = [one.described for one in vars(CollectorMetrics).values() if isinstance(one, Declared)]
        for attribute, one in vars(CollectorMetrics).items():
            if isinstance(one, Declared):
                vars(self)[attribute] = one.make(registry)
        for reason in UNANSWERED:
            self.unanswered.labels(reason)

    def sources_are(self, sources: Iterable[str]) -> None:
        """Show the rare counters of each source at 0 before their first event, so that Prometheus sees the increase."""
        for source in sources:
            for reason in REASONS:
                self.bad_signatures.labels(source, reason)
            for counter in (self.received, self.repeated, self.passed_over, self.dead):
                counter.labels(source)
