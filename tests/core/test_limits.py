"""What hostile or unlucky records may cost, and what a crash may change."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from worker.core.codec import MAX_BYTES, MAX_NAME, decode
from worker.core.grid import parse_grid
from worker.core.model import Event, Record, Rejected
from worker.core.plan import plan_events, plan_tick
from worker.core.scorer import Scorer
from worker.core.where import MATCHED_CHARS, compile_where, parse_where

DAY = 86_400_000


def record(*, key: bytes | None = None, headers: tuple[tuple[str, bytes], ...] = (), **changes: Any) -> Record:
    """Return a valid event's record, with *changes* to its envelope."""
    event = {
        "specversion": "1.0",
        "id": "1",
        "source": "/s",
        "type": "demo.requested",
        "subject": "L",
        "time": "2026-01-01T00:00:00Z",
    } | changes
    return Record("t", 0, 0, None, key, json.dumps(event).encode(), headers)


def named(name: str, chars: int) -> Record:
    """Return a record whose attribute *name* has so many characters."""
    changes: dict[str, Any] = {name: "é" * chars}
    return record(**changes)


@pytest.mark.parametrize(("name", "reason"), [("id", "bad_envelope"), ("source", "bad_envelope"), ("subject", "no_subject")])
def test_names_that_would_not_fit_into_an_output_are_rejected(name: str, reason: str) -> None:
    """Outputs repeat them, escaped: one record must not make an output that no broker takes."""
    assert isinstance(decode(named(name, MAX_NAME)), Event)
    rejected = decode(named(name, MAX_NAME + 1))
    assert isinstance(rejected, Rejected)
    assert (rejected.reason, f"{MAX_NAME:,}" in rejected.detail) == (reason, True)


def test_a_header_that_names_an_event_is_held_to_the_same_length() -> None:
    """Binary mode takes the same attributes from headers."""
    names = {"specversion": b"1.0", "id": b"\1" * (MAX_NAME + 1), "source": b"/s", "type": b"demo.requested", "subject": b"L"}
    headers = tuple((f"ce_{name}", value) for name, value in names.items())
    rejected = decode(Record("t", 0, 0, None, None, None, (*headers, ("ce_time", b"2026-01-01T00:00:00Z"))))
    assert isinstance(rejected, Rejected)
    assert rejected.reason == "bad_envelope"


def test_key_and_headers_count_towards_a_records_size() -> None:
    """A record that cannot be forwarded to its owner must not be tried for ever."""
    for bad in (record(key=b"k" * (MAX_BYTES + 1)), record(headers=(("h", b"v" * MAX_BYTES),))):
        rejected = decode(bad)
        assert isinstance(rejected, Rejected)
        assert rejected.reason == "too_large"
    assert isinstance(decode(record(key=b"k" * 800_000)), Event)


def test_an_event_of_the_first_millisecond_is_no_erased_one() -> None:
    """0 stands for 'never erased'."""
    plan = plan_events(SCORER, {"L": None}, [Event("L", "demo.requested", 0, "1", "/s", {}, False, "t", 0, 0)], None)
    assert (plan.erased, len(plan.writes)) == (0, 1)


def test_matches_looks_at_the_beginning_of_a_long_text() -> None:
    """A pattern that begins with .* takes the square of the text's length in steps."""
    asks = compile_where(parse_where({"url": {"matches": ".*(pricing|tarifs)"}}), flat=False)
    assert asks({"url": "/" * (MATCHED_CHARS - 7) + "pricing"})
    began = time.perf_counter()
    assert not asks({"url": "/" * 800_000 + "pricing"})
    assert time.perf_counter() - began < 5


GRID = """
grid: limits
version: 1
engagement: {half_life: 1d, rules: [{id: demo, points: 10, on: demo.requested}, {id: view, points: 6, on: page.viewed}]}
stages: {mql: {enter: 10, leave: 8}}
"""
SCORER = Scorer(parse_grid(GRID, "limits.yaml"), "/test")


def test_a_crash_between_two_slices_of_a_tick_turns_no_lead_back_in_time() -> None:
    """A lead that the first slice judged is at the tick, though the partition's clock moves with the last slice only.

    The next owner may read events between the slices, which the tick had left waiting behind it.
    """
    first = plan_events(SCORER, {"L": None}, [Event("L", "demo.requested", DAY, "1", "/s", {}, False, "t", 0, 0)], None)
    sliced = plan_tick(SCORER, {"L": first.writes[0].state}, 3 * DAY, None)
    assert [output.topic for output in (*first.outputs, *sliced.outputs)] == ["lead.mql", "lead.cooled"]
    older = Event("L", "page.viewed", DAY + DAY // 10, "2", "/s", {"url": "/"}, False, "t", 0, 1)
    after = plan_events(SCORER, {"L": sliced.writes[0].state}, [older], None)
    assert after.outputs == []
    assert after.late == 1
