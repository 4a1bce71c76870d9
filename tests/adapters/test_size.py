"""What a lead takes in a real Redis, all keys together."""

from __future__ import annotations

import pytest

from tests.benchmarks.bench_memory import bytes_in_redis, write
from tests.benchmarks.typical import EVENTS, RULES, leads, scorer, written
from tests.kit.services import Redis, needed
from worker.core.scoring.state import unpack

LEADS = 40


@pytest.mark.parametrize(("listpack_value", "median", "most"), [("4096", 2_048, 2_304), ("64", 2_048, 2_304)])
async def test_a_lead_of_50_events_over_10_rules_stays_small(listpack_value: str, median: int, most: int) -> None:
    """Bytes by `MEMORY USAGE`, traits and last events included: under 2 KB, some a step of the allocator above."""
    judge = scorer()
    writes = []
    for lead, events in leads(LEADS):
        writes.append(written(judge, lead, events))
        state = unpack(writes[-1].state)
        assert len(events) == EVENTS
        assert {rule.id for key in state.counts for rule in judge.readers[key]} == RULES
        assert len(state.recent) == 1 + 3 * 20
    with needed(lambda: Redis({"hash-max-listpack-value": listpack_value}, keep=False)) as server:
        await write(server.url, writes)
        found = sorted(sum(bytes_in_redis(server.port, one.lead, LEADS)) for one in writes)
    assert found[LEADS // 2] <= median, found
    assert found[-1] <= most, found
