"""Two histories that become one."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.core.strategies import Case, cases
from worker.core.codec import decode
from worker.core.fold import add, id_mark, is_duplicate, judge_traits, with_traits
from worker.core.grid import parse_grid
from worker.core.merge import merge
from worker.core.model import Event, Record
from worker.core.score import read, reasons
from worker.core.scorer import Scorer
from worker.core.state import LeadState, pack, unpack, unpack_list
from worker.core.traits import unpack_traits


def folded(scorer: Scorer, events: list[Event]) -> LeadState:
    """Return the sums of *events*, whoever's they are."""
    state = LeadState(grid=scorer.tag)
    for event in events:
        event_mark = id_mark(event)
        if is_duplicate(state, event_mark):
            continue
        if event.type == "profile.updated":
            state.traits = with_traits(state, event)
        add(scorer, state, event, event_mark)
    judge_traits(scorer, state)
    return state


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(cases(ticks=False, repeats=False, erasures=False), st.randoms(use_true_random=False))
def test_merging_two_states_equals_folding_both_logs(case: Case, rnd: random.Random) -> None:
    """Points of a visitor are neither lost nor doubled when a form tells who it was, whichever of the two came first."""
    scorer = Scorer(parse_grid(case.grid, "made-up.yaml"), "/test")
    events: dict[str, Event] = {}
    for line in case.lines:
        decoded = decode(Record("t", 0, 0, None, None, json.dumps(line).encode())) if "tick" not in line else None
        if isinstance(decoded, Event) and decoded.type != "lead.erased":
            events.setdefault(decoded.id, decoded)
    both = [(event, rnd.random() < 0.5) for event in events.values()]
    lead = folded(scorer, [event for event, is_lead in both if is_lead])
    visitor = folded(scorer, [event for event, is_lead in both if not is_lead])
    whole = folded(scorer, list(events.values()))
    if any(len(count.seen) == 64 * 12 for count in (*whole.counts.values(), *lead.counts.values(), *visitor.counts.values())):
        return  # past the stated memory the order of arrival matters
    merge(scorer, lead, unpack(pack(visitor)))
    assert read(scorer, lead, case.at_ms)[:3] == pytest.approx(read(scorer, whole, case.at_ms)[:3], abs=1e-6)
    assert [r.id for r in reasons(scorer, lead, case.at_ms)] == [r.id for r in reasons(scorer, whole, case.at_ms)]
    assert unpack_traits(lead.traits) == unpack_traits(whole.traits)
    assert (lead.paces, lead.bars, lead.active, lead.clock) == (whole.paces, whole.bars, whole.active, whole.clock)
    assert unpack_list(lead.recent) == unpack_list(whole.recent)
