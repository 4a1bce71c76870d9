"""Two histories that become one."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.core.contract.model import Event
from worker.core.grid.models import parse_grid
from worker.core.identity.merge import merge
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.fold import add, id_mark, judge_traits, with_traits
from worker.core.scoring.score import read, reasons
from worker.core.scoring.state import LeadState, pack, unpack
from worker.core.scoring.traits import unpack_traits

GRID = """
grid: merging
version: 1
timezone: Europe/Paris
fit: {rules: [{id: cto, points: 3, where: {role: cto}}]}
engagement:
  half_life: 10d
  rules:
    - {id: view, points: 1, on: page.viewed}
    - {id: session, points: 1, on: page.viewed, once_per: session_id}
    - {id: day, points: 1, on: page.viewed, once_per: day, half_life: none}
    - {id: ever, points: 1, on: page.viewed, once_per: lead}
    - {id: fresh, points: 1, on: page.viewed, expires_after: 1d, half_life: none}
    - {id: weight, points: 1, on: page.viewed, weigh: {path: worth, min: -2, max: 3}}
    - {id: weights, points: 1, on: page.viewed, once_per: session_id, weigh: {path: worth, min: -2, max: 3}}
    - {id: line, points: 1, on: page.viewed, decay: {linear: 9d}}
    - {id: lines, points: 1, on: page.viewed, once_per: session_id, weigh: {path: worth, min: -2, max: 3}, decay: {linear: 9d}}
    - {id: window, points: 1, on: page.viewed, once_per: [day, session_id], decay: {window: 3d}, group: best}
    - {id: heavy, points: 2, on: page.viewed, once_per: lead, weigh: {path: worth, min: 0, max: 1}, group: best}
groups: {best: {best: true}}
velocity:
  - {id: depth, on: page.viewed, count: depth, within: 4d, steps: {1: 1, 2: 2, 3: 3, 4: 4, 8: 8}}
  - {id: days, on: page.viewed, count: days, within: 7d, steps: {1: 1, 2: 2, 3: 3, 4: 4, 5: 5}}
  - {id: rise, on: page.viewed, count: rise, within: 3d, steps: {1: 1, 2: 2, 3: 3}}
  - {id: events, on: page.viewed, count: events, within: 4d, steps: {1: 1, 2: 2, 3: 3, 4: 4, 8: 8}}
  - {id: sessions, on: page.viewed, count: sessions, within: 4d, steps: {1: 1, 2: 2, 3: 3, 4: 4, 8: 8}}
inactivity: {after: 1d, every: 1d, points: -1}
exclusions: [{id: complained, on: email.complained}, {id: lifted, on: email.complained, until: page.viewed}]
stages: {}
"""
SCORER = CompiledGrid(parse_grid(GRID, "merging.yaml"), "/test")
START = 1_774_400_000_000
HOUR = 3_600_000

happenings = st.lists(
    st.tuples(
        # Months before, too: instants that far apart are written in another way.
        st.one_of(st.integers(0, 240), st.integers(0, 240), st.integers(-1_400, -900)),
        st.sampled_from(["page.viewed"] * 5 + ["profile.updated", "email.complained"]),
        st.integers(0, 4),
        st.booleans(),
    ),
    max_size=30,
)


def event(number: int, hours: int, kind: str, choice: int) -> Event:
    """Return an event; *choice* is its session, or the role it tells."""
    data = (
        {"traits": {"role": ["cto", "ceo", None][choice % 3]}}
        if kind == "profile.updated"
        else {"url": "/", "session_id": choice, "worth": number % 7 - 3}
    )
    return Event("L", kind, START + hours * HOUR, f"id-{number:03}", "/s", data, False, "t", 0, number)


def folded(events: list[Event]) -> LeadState:
    """Return the sums of *events*, whoever's they are."""
    state = LeadState(grid=SCORER.tag)
    for one in events:
        if one.type == "profile.updated":
            state.traits = with_traits(state, one)[1]
        add(SCORER, state, one, id_mark(one), one.at_ms)
    judge_traits(SCORER, state)
    return state


@given(happenings)
@example([(-1_300, "page.viewed", 0, False), (200, "page.viewed", 1, True)])
def test_merging_two_states_equals_folding_both_logs(happened: list[tuple[int, str, int, bool]]) -> None:
    """Points of a visitor are neither lost nor doubled when a form tells who it was, whichever of the two came first."""
    events = [event(number, *what[:3]) for number, what in enumerate(happened)]
    lead = folded([one for one, what in zip(events, happened, strict=True) if what[3]])
    visitor = folded([one for one, what in zip(events, happened, strict=True) if not what[3]])
    whole = folded(events)
    merge(SCORER, lead, unpack(pack(visitor)))
    at_ms = START + 250 * HOUR
    assert [(r.kind, r.id, r.count, r.last_at) for r in reasons(SCORER, lead, at_ms)] == [
        (r.kind, r.id, r.count, r.last_at) for r in reasons(SCORER, whole, at_ms)
    ]
    for when in (max(lead.clock_ms, START), at_ms):
        one, other = read(SCORER, lead, when), read(SCORER, whole, when)
        assert (one.score, one.fit, one.engagement) == pytest.approx((other.score, other.fit, other.engagement), abs=1e-9)
    assert {key: (c.n, c.last_ms, c.seen) for key, c in lead.counts.items()} == {
        key: (c.n, c.last_ms, c.seen) for key, c in whole.counts.items()
    }
    assert unpack_traits(lead.traits) == unpack_traits(whole.traits)
    assert (lead.exclusions, lead.active_ms, lead.clock_ms) == (whole.exclusions, whole.active_ms, whole.clock_ms)
    assert lead.recent == whole.recent
