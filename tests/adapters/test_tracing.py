"""What producers send as trace context reaches OpenTelemetry: it must harm nobody."""

from __future__ import annotations

import logging
import threading

import pytest

from tests.kit.waits import HANG_S
from worker.adapters.tracing import Spans
from worker.app import create_app
from worker.core.contract.journal import Cut
from worker.core.contract.model import Output
from worker.errors import SettingsError
from worker.ports import OutboxEntry
from worker.settings import Settings

PARENT = ("traceparent", b"00-11111111111111111111111111111111-2222222222222222-01")


@pytest.mark.parametrize("state", [b"!" * 512, b"=" * 512, b"," * 512, b"a = b", b"a=1,a=1", b"a=" + b"b" * 510])
def test_a_strange_tracestate_is_not_repeated_in_the_log(
    state: bytes, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one line for each output that carries it, and the spans are told all the same."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")  # nothing is sent
    spans = Spans(Settings.model_validate({}))
    outputs = (Output("lead.mql", b"k", b"v", (PARENT, ("tracestate", state))),)
    with caplog.at_level(logging.WARNING):
        spans.applied(0, OutboxEntry(Cut(1, {}, "g", "w", 1), outputs), 1, 0.0, {})
        spans.sent(0, OutboxEntry(Cut(1, {}, "g", "w", 1), outputs), 0.0)
    spans.close()
    assert caplog.records == []


def test_closing_waits_for_no_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is away, or takes spans and never answers, must not keep the worker from ending in time."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    spans = Spans(Settings.model_validate({}))
    answer, gave_up = threading.Event(), threading.Event()

    def last_spans() -> None:
        if not answer.wait(HANG_S):
            gave_up.set()

    monkeypatch.setattr(spans._provider, "shutdown", last_spans)
    spans.close()
    assert not gave_up.is_set(), "the worker would have waited for the collector"
    answer.set()


def test_a_variable_that_opentelemetry_refuses_is_a_mistake_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line, as every other; its own check of the queue raises a bare `ValueError`."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
    with pytest.raises(SettingsError, match=r"OTEL_.*max_queue_size"):
        create_app(Settings.load({"LEADPULSE_TRACES": "true"}))
