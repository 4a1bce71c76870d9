"""What is erased, or idle for too long, is gone: from every id's state, whatever was on its way at the time."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.examples import examples
from tests.kit.grids import changed, compiled, parsed
from tests.kit.owners import GRID, HOUR, START, Owners, an_event, known_as
from worker.core.batch.plan import plan_events, plan_tick
from worker.core.contract.codec import decode
from worker.core.contract.model import Event, Record
from worker.core.insight.replay import Replay, replay_lines
from worker.core.scoring.state import pack, unpack

IDS = ("visitor-alpha", "visitor-bravo", "lead-charlie", "lead-delta")
DAY = 24 * HOUR


@examples(400)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=6),
    st.lists(st.integers(0, 3), max_size=6),
    st.integers(0, 3),
    st.data(),
)
def test_an_erasure_leaves_no_byte_of_an_id_but_its_mark(
    ties: list[tuple[int, int]], seen: list[int], gone: int, data: st.DataObject
) -> None:
    """Whoever was said to be whom, and whatever was on its way: no other id's state knows it, and no time or rank is kept."""
    lines = [an_event(n, IDS[who], n) for n, who in enumerate(seen)]
    for n, (lead, visitor) in enumerate(ties, start=100):
        lines.insert(data.draw(st.integers(0, len(lines))), known_as(n, IDS[lead], IDS[visitor], 10))
    owners = Owners()
    for line in lines:
        owners.say(line)
        owners.let_some_arrive(data)
    owners.say(an_event(200, IDS[gone], 20, "lead.erased"))
    owners.let_the_rest_arrive(data)
    erased = {output["subject"] for output in owners.outputs if output["type"] == "lead.erased"}
    assert IDS[gone] in erased
    for name in erased:
        state = unpack(owners.states[name] or b"")
        assert (state.alive, state.erased_ms, state.links) == (False, START + 20 * HOUR, None)
        assert owners.writes[name].due_ms is owners.writes[name].rank is None
        assert owners.who_know(name) == []
        assert name.encode() not in (owners.states[name] or b"")
    for number, name in enumerate(erased, start=300):
        owners.say(an_event(number, name, 19))
    owners.let_all_arrive()
    assert owners.alive().keys().isdisjoint(erased), "earlier events stay dropped"


KEEPS = compiled(changed(GRID, {"retention": "30d"}), "/leadpulse/replay")


def test_a_lead_that_is_idle_for_too_long_is_removed_by_time() -> None:
    """Not before the very instant; one that never was published leaves nothing, not even a key."""
    first = plan_events(KEEPS, {"L": None}, [owned(an_event(1, "L", 0))], None).writes[0]
    assert first.due_ms is not None
    assert first.due_ms <= START + 30 * DAY
    early = plan_tick(KEEPS, {"L": first.state}, START + 30 * DAY - 1, None)
    assert (early.removed, early.writes[0].due_ms) == (0, START + 30 * DAY)
    late = plan_tick(KEEPS, {"L": early.writes[0].state}, START + 30 * DAY, None)
    assert (late.removed, late.writes[0].state, late.writes[0].due_ms, late.writes[0].rank) == (1, b"", None, None)


def test_a_removed_lead_gives_no_id_twice_and_stays_erased() -> None:
    """Of a lead that was published its number stays, of an erased one the mark: 28 bytes."""
    lines = [an_event(0, "L", -5, "lead.erased"), *(an_event(n, "L", n) for n in range(1, 6))]
    lines += [{"tick": "2027-01-01T00:00:00Z"}, an_event(20, "L", 9_000), an_event(21, "L", -6)]
    lines += [an_event(n, "L", 9_001) for n in range(22, 26)]
    told = replay_lines([json.dumps(line) for line in lines], KEEPS.grid)
    assert told.counts.removed == 1
    assert told.counts.erased == 1
    ids = [event["id"] for event in told.events]
    assert len(ids) == len(set(ids)) > 3
    [lead] = told.leads
    assert {reason["id"]: reason["points"] for reason in lead["reasons"] if reason["kind"] == "rule"}["view"] == 5.0


@pytest.mark.parametrize("stage", ["mql", "excluded", "opportunity"])
def test_who_is_at_a_threshold_or_excluded_stays(stage: str) -> None:
    """An unsubscribed lead that is forgotten would be called again."""
    lines = [an_event(n, "L", 0) for n in range(8)]
    grid = KEEPS.grid
    if stage == "mql":
        grid = parsed(changed(GRID, {"engagement.rules.view.points": 9, "inactivity.points": 0, "retention": "30d"}))
    else:
        kind = {"excluded": "email.complained", "opportunity": "crm.opportunity"}[stage]
        lines.append(an_event(9, "L", 0, kind, message_id="m") if stage == "excluded" else an_event(9, "L", 0, kind))
    lines.append({"tick": "2028-01-01T00:00:00Z"})
    told = replay_lines([json.dumps(line) for line in lines], grid)
    assert told.counts.removed == 0
    assert [lead["lead_id"] for lead in told.leads] == ["L"]


def test_aliases_of_a_removed_lead_begin_anew() -> None:
    """They would else go on to a lead that no longer lists them, which no erasure would reach."""
    lines = [an_event(1, "L", 0), an_event(2, "v", 0), known_as(3, "L", "v", 1), {"tick": "2027-01-01T00:00:00Z"}]
    run = Replay(KEEPS.grid)
    for line in lines:
        run.line(json.dumps(line).encode())
    run.finish()
    assert run.counts.removed == 1
    for name in ("L", "v"):
        state = unpack(run.state_of(name) or b"")
        assert (state.alive, state.links, len(pack(state))) == (False, None, 27)
    again = [*lines, an_event(9, "v", 9_000)]
    assert [lead["lead_id"] for lead in replay_lines([json.dumps(x) for x in again], KEEPS.grid).leads] == ["v"]


@examples(200)
@given(st.lists(st.integers(0, 40 * 24), min_size=1, max_size=8), st.lists(st.integers(0, 80 * 24), max_size=6), st.booleans())
def test_the_moment_of_a_tick_does_not_change_who_is_removed(gaps: list[int], ticks: list[int], known: bool) -> None:
    """A lead that comes back begins anew, whether a tick had removed it or its own next event shows that it was to be."""
    at, events = 0, []
    for number, gap in enumerate(gaps):
        at += gap
        events.append((at, an_event(number, "L", at)))
    if known:
        events.append((at, an_event(99, "L", at, "profile.updated", traits={"role": "cto"})))
    plain = replay_lines([json.dumps(line) for _, line in events], KEEPS.grid, START + (at + 1) * HOUR)
    ticked = sorted(
        [*events, *((hour, {"tick": an_event(0, "L", hour)["time"]}) for hour in ticks if hour < at)], key=lambda x: x[0]
    )
    often = replay_lines([json.dumps(line) for _, line in ticked], KEEPS.grid, START + (at + 1) * HOUR)
    assert often.counts.removed == plain.counts.removed
    assert often.leads == plain.leads
    assert [event["id"] for event in often.events] == [event["id"] for event in plain.events]


def owned(line: dict[str, object]) -> Event:
    """Return a line as its event."""
    found = decode(Record("events", 0, 0, None, None, json.dumps(line).encode()))
    assert isinstance(found, Event)
    return found
