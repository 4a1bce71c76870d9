"""Trace context: read from wherever a producer puts it, and handed on to what its event brings about, no further."""

from __future__ import annotations

import json
from typing import Any

import pytest

from worker.core.batch.plan import plan_events
from worker.core.contract.codec import decode
from worker.core.contract.journal import OwnerMessage, decode_entry, message_output
from worker.core.contract.model import AliasLeft, Event, Headers, Record
from worker.core.contract.trace_context import context
from worker.core.grid.models import parse_grid
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.engine.batch_builder import traced

PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER = b"00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
STATE = b"congo=t61rcWkgMzE"

GRID = """\
grid: trace-test
version: 1
timezone: UTC
fit: {rules: [{id: someone, points: 1, where: {role: {exists: true}}}]}
engagement:
  half_life: 1h
  rules: [{id: page, points: 10, on: page.viewed, intent: true}]
stages:
  mql: {enter: 10, leave: 5}
  sql: {enter: 20, leave: 15, intent_within: 30d, sla: 1h}
"""


def record(number: int, minute: int, headers: Headers = (), lead: str = "ann", **attributes: Any) -> Record:
    """Return a page view of *lead*."""
    event = {
        "specversion": "1.0", "id": str(number), "source": "/test", "type": "page.viewed", "subject": lead,
        "time": f"2026-03-02T{9 + minute // 60:02}:{minute % 60:02}:00Z", "data": {"url": "/"}, **attributes,
    }  # fmt: skip
    return Record("t", 0, number, None, lead.encode(), json.dumps(event).encode(), headers)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (record(1, 0), ()),
        (record(1, 0, (("traceparent", PARENT),)), (("traceparent", PARENT),)),
        (record(1, 0, (("traceparent", PARENT), ("tracestate", STATE))), (("traceparent", PARENT), ("tracestate", STATE))),
        (record(1, 0, traceparent=PARENT.decode()), (("traceparent", PARENT),)),
        (
            record(1, 0, traceparent=PARENT.decode(), tracestate=STATE.decode()),
            (("traceparent", PARENT), ("tracestate", STATE)),
        ),
        (Record("t", 0, 1, None, None, b"{}", (("ce_traceparent", PARENT),)), (("traceparent", PARENT),)),
        # The last hop's goes first, with its own state; the first of two headers counts.
        (record(1, 0, (("traceparent", PARENT),), traceparent=OTHER.decode(), tracestate="a=b"), (("traceparent", PARENT),)),
        (record(1, 0, (("traceparent", PARENT), ("traceparent", OTHER))), (("traceparent", PARENT),)),
        # What is none.
        (record(1, 0, (("traceparent", PARENT.upper()),)), ()),
        (record(1, 0, (("traceparent", PARENT + b"-x"),)), ()),
        (record(1, 0, (("traceparent", b"ff" + PARENT[2:]),)), ()),
        (record(1, 0, (("traceparent", b"00-" + b"0" * 32 + PARENT[35:]),)), ()),
        (record(1, 0, (("traceparent", PARENT[:36] + b"0" * 16 + b"-01"),)), ()),
        (record(1, 0, (("traceparent", b""),)), ()),
        (record(1, 0, traceparent=5), ()),
        (record(1, 0, traceparent="00-é"), ()),
        (record(1, 0, data={"url": '"traceparent"', "traceparent": PARENT.decode()}), ()),
        (Record("t", 0, 1, None, None, b'{"traceparent": ' + b"[" * 100_000), ()),
        (Record("t", 0, 1, None, None, b'\xff "traceparent"'), ()),
        (record(1, 0, (("traceparent", PARENT), ("tracestate", b"a=\n"))), (("traceparent", PARENT),)),
        (record(1, 0, (("traceparent", PARENT), ("tracestate", b"a" * 513))), (("traceparent", PARENT),)),
    ],
)
def test_a_context_is_read_from_wherever_it_is(given: Record, expected: Headers) -> None:
    """Nothing but a valid one is handed on: whoever reads an output's header would trip over anything else."""
    assert context(given) == expected


def test_an_output_has_the_context_of_its_cause_and_of_no_other() -> None:
    """Not that of the lead's other events, and none where time alone moved the lead: whichever event reveals it."""
    scorer = CompiledGrid(parse_grid(GRID, "trace-test"), "/leadpulse/test")
    records = [
        record(1, 0, (("traceparent", PARENT),)),
        record(2, 0, lead="bob"),
        record(3, 0, (("traceparent", OTHER),)),
        record(4, 180, (("traceparent", PARENT),)),  # two hours of decay: it has cooled, and its SLA has run out
        record(5, 180, (("traceparent", OTHER),), lead="bob"),
    ]
    events = [event for one in records if isinstance(event := decode(one), Event)]
    plan = plan_events(scorer, {"ann": None, "bob": None}, events, None)
    outputs = [(one.topic, json.loads(one.value or b"")["subject"], one.headers[1:]) for one in traced(plan, records)]
    assert outputs == [
        ("lead.mql", "ann", (("traceparent", PARENT),)),
        ("lead.mql", "bob", ()),
        ("lead.sql", "ann", (("traceparent", OTHER),)),
        ("lead.cooled", "ann", ()),
        ("lead.sla_breached", "ann", ()),
        ("lead.cooled", "ann", ()),
        ("lead.mql", "ann", (("traceparent", PARENT),)),
        ("lead.cooled", "bob", ()),
        ("lead.mql", "bob", (("traceparent", OTHER),)),
    ]
    assert [one.value for one in traced(plan, records)] == [one.value for one in plan.outputs]


def test_a_message_to_another_owner_takes_it_along() -> None:
    """A visitor's past comes over two journals. Older versions read such a message too: its first header says what it is."""
    made = message_output("journal", 1, AliasLeft("ann", "visitor"), (("traceparent", PARENT),))
    read = Record("journal", 1, 7, 0, made.key, made.value, made.headers)
    assert decode_entry(read) == OwnerMessage(AliasLeft("ann", "visitor"))
    assert context(read) == (("traceparent", PARENT),)
