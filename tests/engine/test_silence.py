"""What is announced of an import of history, and what is not."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.kit.grids import a_grid
from tests.kit.oracle_values import instant as parsed
from tests.kit.oracle_values import rfc3339
from tests.kit.stories import DAY, HOUR, START, an_event
from worker.adapters.memory import MemoryStore
from worker.core.contract.model import Output, Record
from worker.core.grid.models import parse_grid
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.engine.batch_builder import BatchBuilder, BatchResult, BatchStart
from worker.errors import SettingsError
from worker.queries import doctor
from worker.settings import Settings

GRID = a_grid(
    engagement="{rules: [{id: demo, points: 60, on: demo.requested}, {id: page, points: 20, on: page.viewed}]}",
    stages="{mql: {enter: 20}, sql: {enter: 60, sla: 4h}}",
    phases="{interest: 20}",
)
LINES = [
    an_event("old", 1, START, "demo.requested", {}),  # its SLA ends after the import's last instant
    an_event("gone", 2, START, "page.viewed", {"url": "/"}),
    an_event("gone", 3, START + HOUR, "lead.erased", {}),
    an_event("old", 4, START + DAY, "page.viewed", {"url": "/"}),
    an_event("new", 5, START + DAY, "demo.requested", {}),
    an_event("new", 6, START + 2 * DAY, "page.viewed", {"url": "/"}),
]
LIVE = rfc3339(START + 2 * HOUR)


async def built(**settings: str) -> BatchResult:
    """Fold the lines as one batch under *settings*."""
    given = Settings.load(
        {"LEADPULSE_PARTITIONS": "1"} | {f"LEADPULSE_{name.upper()}": held for name, held in settings.items()}
    )
    compiled, store = CompiledGrid(parse_grid(GRID, "g.yaml"), given.source), MemoryStore()
    builder = BatchBuilder(given, compiled, 0, lambda leads, _, most: store.load(leads, most=most), asyncio.Lock())
    records = [
        Record("lead.events.web", 0, n, 5, line["subject"].encode(), json.dumps(line).encode()) for n, line in enumerate(LINES)
    ]
    return await builder.events(records, BatchStart(1, {"lead.events.web": len(LINES)}, None))


def told(result: BatchResult) -> list[tuple[str, str, str]]:
    """Return topic, type and id of each output."""
    return [(output.topic, *_named(output)) for output in result.batch.entry.outputs]


def _named(output: Output) -> tuple[Any, Any]:
    event = json.loads(output.value or b"")
    return event["type"], event["id"]


ANNOUNCED = [
    ("lead.erased", "lead.erased", "gone:3"),
    ("lead.mql", "lead.mql", "new:1"),
    ("lead.sql", "lead.sql", "new:2"),
    ("lead.phase", "lead.phase", "new:3"),
    ("lead.sla_breached", "lead.sla_breached", "new:4"),
]
OLD = [("lead.mql", "old:1"), ("lead.sql", "old:2"), ("lead.phase", "old:3")]
GONE = [("lead.mql", "gone:1"), ("lead.phase", "gone:2")]


async def test_what_was_before_goes_to_nothing_and_what_comes_after_is_announced() -> None:
    """The breach of a `lead.sql` of the past comes after the instant, and is silent; an erasure of the past is not."""
    result = await built(silent_before=LIVE)
    assert told(result) == ANNOUNCED
    assert [move.type for move in result.moves] == [type_ for _, type_, _ in ANNOUNCED]


async def test_with_a_topic_of_its_own_nothing_is_missing() -> None:
    """Each output as it would have been, under `lead.history`."""
    result = await built(silent_before=LIVE, output_topics="lead.history=past,lead.sql=calls")
    assert [one for one in told(result) if one[0] != "past"] == [
        ("calls" if topic == "lead.sql" else topic, *rest) for topic, *rest in ANNOUNCED
    ]
    past = [(type_, id_) for topic, type_, id_ in told(result) if topic == "past"]
    assert past == [*OLD, *GONE, ("lead.sla_breached", "old:4")]
    everything = {one[1:] for one in told(await built())}
    assert everything == {one[1:] for one in told(result)}


async def test_states_are_the_same_silent_or_not() -> None:
    """The instant decides what is sent, and nothing about a lead. So it may change between two batches."""
    assert (await built()).batch.writes == (await built(silent_before=LIVE)).batch.writes


def test_the_topic_of_the_past_is_an_output_where_it_is_set() -> None:
    """`topics create` makes it, and `doctor` checks it; without a route there is none."""
    assert "lead.history" not in Settings.load({}).outputs
    routed = Settings.load({"LEADPULSE_OUTPUT_TOPICS": "lead.history=past"})
    assert "past" in routed.outputs
    assert "past" in routed.outputs_but(["lead.mql"])


@pytest.mark.parametrize("text", ["yesterday", "2026-12-01", "2026-12-01T00:00:00"])
def test_an_instant_without_an_offset_is_refused(text: str) -> None:
    """Whose midnight it is must be said."""
    with pytest.raises(SettingsError, match="RFC 3339"):
        Settings.load({"LEADPULSE_SILENT_BEFORE": text})


@pytest.mark.parametrize(("instant", "levels"), [("", []), ("2026-01-01T00:00:00Z", []), ("2026-01-01T00:00:01Z", ["warning"])])
def test_doctor_warns_of_an_instant_in_the_future(instant: str, levels: list[str]) -> None:
    """Forgotten after an import, it would keep sales waiting in silence."""
    settings = Settings.load({"LEADPULSE_SILENT_BEFORE": instant})
    found = list(doctor._silence(settings, parsed("2026-01-01T00:00:00Z")))
    assert [finding.level for finding in found] == levels
