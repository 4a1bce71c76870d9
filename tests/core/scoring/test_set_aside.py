"""A grid that is taken back finds what it had counted; all of it is bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.kit.grids import changed
from worker.core.batch.plan import plan_events, plan_tick
from worker.core.contract.model import Event
from worker.core.grid.models import parse_grid
from worker.core.scoring.calendar import DAY_MS
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.set_aside import GRACE_MS, MOST_BYTES, SINCE, set_aside
from worker.core.scoring.state import Count, LeadState, VelocityWindow, pack, unpack

OLD = """\
grid: g
version: 1
engagement:
  rules:
    - {id: page, points: 10, on: page.viewed, once_per: session_id, half_life: 14d}
    - {id: form, points: 5, on: form.submitted}
velocity: [{id: days, on: page.viewed, count: days, within: 7d, steps: {2: 5}}]
exclusions: [{id: gone, on: [email.unsubscribed]}]
stages: {mql: {enter: 25}}
"""
NEW = "grid: g\nversion: 2\nengagement: {rules: [{id: form, points: 6, on: form.submitted}]}\nstages: {mql: {enter: 25}}\n"
T0 = 1_760_000_000_000


def scorer(text: str) -> CompiledGrid:
    """Return the grid *text*, compiled."""
    return CompiledGrid(parse_grid(text, "grid"), "/leadpulse/test")


ONE, TWO = scorer(OLD), scorer(NEW)


def event(number: int, at_ms: int, type_: str = "page.viewed") -> Event:
    """Return an event of the one lead."""
    data = {"url": "/a", "session_id": f"s{number}"} if type_ == "page.viewed" else {"form_id": "f"}
    return Event("ada", type_, at_ms, f"e{number}", "/test", data, False, "t", 0, number)


def fold(by: CompiledGrid, packed: bytes | None, *events: Event) -> tuple[bytes, list[str]]:
    """Return the lead's state after *events*, and the topics of what was published."""
    plan = plan_events(by, {"ada": packed}, events, None)
    return plan.writes[0].state, [output.topic for output in plan.outputs]


def ticked(by: CompiledGrid, packed: bytes, at_ms: int) -> bytes:
    """Return the lead's state after a tick."""
    return plan_tick(by, {"ada": packed}, at_ms, None).writes[0].state


def test_a_grid_that_comes_back_finds_its_past_and_calls_nobody_again() -> None:
    """Old, new, old: the lead that was an MQL is one again without a call, and its score is what it would have been."""
    views = [event(n, T0 + n * DAY_MS) for n in range(3)]
    before, topics = fold(ONE, None, *views)
    assert topics == ["lead.mql"]
    between, _ = fold(TWO, before, event(3, T0 + 3 * DAY_MS, "form.submitted"))
    after = unpack(ticked(ONE, between, T0 + 4 * DAY_MS))
    never_left = unpack(ticked(ONE, fold(ONE, before, event(3, T0 + 3 * DAY_MS, "form.submitted"))[0], T0 + 4 * DAY_MS))
    assert (after.counts, after.velocity, after.exclusions) == (never_left.counts, never_left.velocity, never_left.exclusions)
    assert SINCE not in after.exclusions


def test_a_lead_without_anything_set_aside_is_not_a_byte_larger() -> None:
    """That is nearly every lead."""
    before, _ = fold(ONE, None, event(0, T0))
    same = scorer(changed(OLD, {"version": 2, "engagement.rules.page.points": 11}))
    assert len(ticked(same, before, T0 + 1)) <= len(ticked(ONE, before, T0 + 1))


def test_what_was_set_aside_goes_with_the_first_write_past_its_time() -> None:
    """Thirty days of the lead's clock after the change; a write before it keeps all."""
    before, _ = fold(ONE, None, event(0, T0), event(1, T0 + DAY_MS))
    changed = ticked(TWO, before, T0 + 2 * DAY_MS)
    since = unpack(changed).exclusions[SINCE]
    assert since == T0 + DAY_MS  # the lead's clock when it was judged first
    assert len(unpack(ticked(TWO, changed, since + GRACE_MS - 1)).counts) == 1
    over = unpack(ticked(TWO, changed, since + GRACE_MS))
    assert (over.counts, over.velocity, over.exclusions) == ({}, {}, {})


def test_whole_batches_or_single_events_leave_the_same_bytes() -> None:
    """What is dropped depends on the lead's clock alone."""
    before, _ = fold(ONE, None, event(0, T0))
    later = [event(n, T0 + n * 10 * DAY_MS, "form.submitted") for n in range(1, 6)]
    whole, _ = fold(TWO, before, *later)
    single = before
    for one in later:
        single, _ = fold(TWO, single, one)
    assert single == whole
    assert SINCE not in unpack(whole).exclusions


@given(st.lists(st.tuples(st.integers(1, 2**32), st.integers(0, 64), st.integers(0, T0)), max_size=60), st.integers(0, 40))
def test_all_that_is_set_aside_is_bounded_and_the_latest_stays(counts: list[tuple[int, int, int]], paces: int) -> None:
    """However many grids a lead has been through."""
    state = LeadState(clock_ms=T0)
    state.counts = {key: Count(1, last, 0.1, b"m" * 10 * seen) for key, seen, last in counts}
    state.velocity = {2**33 + n: VelocityWindow(20_000 + n, b"d" * 100) for n in range(paces)}
    all_ = dict(state.counts)
    empty = len(pack(LeadState(clock_ms=T0)))
    set_aside(TWO, state, T0)
    assert len(pack(state)) <= empty + MOST_BYTES + 20
    gone = [count.last_ms for key, count in all_.items() if key not in state.counts]
    if gone and state.counts:
        assert max(gone) <= max(count.last_ms for count in state.counts.values())
    assert (SINCE in state.exclusions) == bool(all_ or paces)
