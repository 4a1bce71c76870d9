"""OpenTelemetry: spans of batches and of what they send out, by OTLP. Imported only where `LEADPULSE_TRACES` is set."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from worker.core.contract.model import Output
from worker.core.contract.trace_context import carried
from worker.ports import OutboxEntry
from worker.settings import Settings

_CLOSE_WITHIN_S: Final = 1.0
"""Time limit for the last spans. A collector that is down must not delay the end of the worker."""

_NO_PARENT: Final = Context()
_extract: Final = TraceContextTextMapPropagator().extract


class Spans:
    """A `Tracer` that queues spans, and sends them from a thread of its own. Spans that do not fit the queue are dropped.

    OpenTelemetry's own variables set the target and the sampling (`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_SAMPLER`, …).
    No span names a lead.
    """

    def __init__(self, settings: Settings) -> None:
        ours = {"service.name": "leadpulse", "service.namespace": settings.namespace, "service.version": version("leadpulse")}
        # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence.
        resource = Resource.create(ours).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("leadpulse")
        # For each output it warns of a `tracestate` that it drops. Any producer could flood the log with that.
        logging.getLogger("opentelemetry.trace.span").setLevel(logging.ERROR)
        self._group = settings.group
        self._internal = settings.internal_topic
        self._dead = settings.output_topic("lead.dead")

    def applied(self, partition: int, entry: OutboxEntry, records: int, began_s: float, steps: Mapping[str, float]) -> None:
        """Record a batch as a span.

        Each output with a trace context also gets a span in the trace of its cause. The batch's span links to it.
        """
        end = time.time_ns()
        start = end - int((time.perf_counter() - began_s) * 1e9)
        about: dict[str, str | int | float] = {
            "messaging.system": "kafka",
            "messaging.consumer.group.name": self._group,
            "messaging.operation.type": "process",
            "messaging.destination.partition.id": str(partition),
            "leadpulse.batch": entry.cut.batch,
        }
        links = []
        for output, context in self._with_context(entry):
            verb = "reject" if output.topic == self._dead else "score"
            span = self._tracer.start_span(f"{verb} {output.topic}", context, attributes=about, start_time=start)
            span.end(end)
            if span.get_span_context().trace_flags.sampled:
                links.append(Link(span.get_span_context()))
        whole = about | {"messaging.batch.message_count": records, "leadpulse.outputs": len(entry.outputs)}
        whole |= {f"leadpulse.seconds.{step}": seconds for step, seconds in steps.items()}
        self._tracer.start_span("process batch", _NO_PARENT, SpanKind.CONSUMER, whole, links, start).end(end)

    def sent(self, partition: int, entry: OutboxEntry, since_s: float) -> None:
        """Record that a batch's outputs are committed: a span in the trace of its cause for each output with a context."""
        end = time.time_ns()
        start = end - int((time.monotonic() - since_s) * 1e9)
        for output, context in self._with_context(entry):
            about: dict[str, str | int | float] = {
                "messaging.system": "kafka",
                "messaging.operation.type": "send",
                "messaging.destination.name": output.topic,
                "leadpulse.partition": partition,
                "leadpulse.batch": entry.cut.batch,
            }
            self._tracer.start_span(f"send {output.topic}", context, SpanKind.PRODUCER, about, start_time=start).end(end)

    def close(self) -> None:
        """Send the queued spans. Blocks for a second at most."""
        last = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        last.start()
        last.join(_CLOSE_WITHIN_S)

    def _with_context(self, entry: OutboxEntry) -> Iterator[tuple[Output, Context]]:
        """Yield the outputs that leave LeadPulse, each with the trace context that it carries."""
        for output in entry.outputs:
            if output.topic == self._internal or not output.headers:
                continue
            found = carried(output)
            if found:
                yield output, _extract({name: value.decode("ascii") for name, value in found}, Context())
