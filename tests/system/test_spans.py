"""Spans of a real worker, by OTLP, at a collector in this process."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse

from ops.dev.services import HOST, free_port
from tests.kit.shell import ROOT, environment, leadpulse
from tests.kit.site import MakeSite
from tests.kit.traced import PARENT, traced
from tests.kit.traffic import Sent, traffic
from tests.kit.waits import HANG_S, until
from tests.kit.workers import Worker
from worker.core.contract.model import Headers


class Live(Worker):
    """The worker as it is deployed."""

    program = ("worker.cli", "run")


class Collector:
    """Takes what is sent to /v1/traces and keeps it."""

    def __init__(self) -> None:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.take(self.path, body)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.spans: list[Any] = []
        self.resources: list[dict[str, str]] = []
        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self.address = f"http://{HOST}:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self, path: str, body: bytes) -> None:
        """Keep the spans of one request."""
        assert path == "/v1/traces"
        for told in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append({one.key: one.value.string_value for one in told.resource.attributes})
            for scope in told.scope_spans:
                self.spans += scope.spans

    def close(self) -> None:
        """Answer nobody any more."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """Return one that workers of this test send to."""
    made = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.address)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    yield made
    made.close()


def _told(span: Any) -> dict[str, Any]:
    """Return the attributes of *span*."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}


async def test_each_output_is_in_its_events_trace_and_each_batch_is_a_span(make_site: MakeSite, collector: Collector) -> None:
    """Once scored and once sent, as children of the event's own span, where that one is sampled; nothing names a lead.

    Traces change nothing in what is published: the verdict compares outputs and headers with what the core makes.
    """
    site = await make_site(partitions=2, metrics_port=0)
    contexts: dict[str, Headers] = {}
    bad = [
        Sent(site.web, 0, b"{", b"k", (("traceparent", PARENT),)),
        Sent(site.web, 0, b"{", b"k", (("traceparent", b"\xff"), ("tracestate", b"\xff" * 1_000))),
    ]
    sent = [*traced(site, traffic(5, 60, 1_200), contexts, seed=5), *bad]
    await site.send(sent)
    worker = Live(site, "", {"traces": True, "max_batch": 100})
    site.workers.append(worker)
    await site.settled()
    verdict = await site.verdict()
    dead = site.settings.output_topic("lead.dead")
    expected: Counter[tuple[str, str]] = Counter()
    for output in await site.outputs():
        for name, value in output.headers:
            if name == "traceparent" and value.endswith(b"-01"):
                expected[output.topic, value[3:52].decode()] += 1
    assert expected[dead, PARENT[3:52].decode()] == 1
    assert expected.total() > 30
    await until(lambda: sum(span.name.startswith("send") for span in collector.spans) >= expected.total(), "the last spans")
    await worker.stop()
    spans = [(span.name.partition(" "), span) for span in collector.spans]
    found = {
        verb: Counter(
            (topic, f"{span.trace_id.hex()}-{span.parent_span_id.hex()}") for (said, _, topic), span in spans if said == verb
        )
        for verb in ("score", "reject", "send")
    }
    assert found["score"] + found["reject"] == expected
    assert found["send"] == expected
    assert {topic for topic, _ in found["reject"]} == {dead}
    batches = [span for span in collector.spans if span.name == "process batch"]
    assert not any(span.parent_span_id for span in batches)
    passed_on = verdict.strays + verdict.passed_on.total()
    assert sum(_told(span)["messaging.batch.message_count"] for span in batches) == len(sent) + passed_on
    linked = {(link.trace_id, link.span_id) for span in batches for link in span.links}
    assert linked == {(span.trace_id, span.span_id) for (verb, _, _), span in spans if verb in ("score", "reject")}
    assert all(0 < span.end_time_unix_nano - span.start_time_unix_nano < 60e9 for span in collector.spans)
    assert "lead-" not in str([(span.name, _told(span)) for span in collector.spans])
    assert collector.resources[0]["service.name"] == "leadpulse"
    assert collector.resources[0]["service.namespace"] == site.settings.namespace


async def test_a_collector_that_is_away_holds_nobody_up(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events are scored, outputs sent, and the worker drains as ever; `adapters/test_tracing.py` has the last moment."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{HOST}:{free_port()}")
    site = await make_site(partitions=2, metrics_port=0)
    await site.send(traced(site, traffic(6, 60, 800), {}, seed=6))
    worker = Live(site, "", {"traces": True})
    site.workers.append(worker)
    await site.settled()
    await worker.stop()
    assert "drained" in worker.said()
    await site.verdict()


def test_without_the_setting_nothing_that_traces_is_even_imported() -> None:
    """Off costs nothing: no module (redis-py takes OpenTelemetry's metrics where it finds them), no thread, no queue."""
    program = (
        "import sys, threading; from worker.app import create_app; from worker.settings import Settings;"
        " app = create_app(Settings.load({})); assert app.spans is None;"
        " ours = {'worker.adapters.tracing', 'opentelemetry.sdk.trace', 'opentelemetry.exporter'};"
        " print(sorted(ours & set(sys.modules)), threading.active_count())"
    )
    done = subprocess.run([sys.executable, "-c", program], env=environment(), capture_output=True, text=True, timeout=HANG_S)
    assert done.stdout == "[] 1\n", done.stdout + done.stderr


def test_the_setting_without_the_package_is_refused(tmp_path: Path) -> None:
    """In one line that says what to install: spans that silently do not come are worse."""
    package = tmp_path / "opentelemetry"
    package.mkdir()
    (package / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'opentelemetry'\")\n")
    done = leadpulse("run", env={"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "LEADPULSE_TRACES": "true"})
    assert done.returncode == 2
    assert "pip install 'leadpulse[otel]'" in done.stderr
