"""The packed state gives back what was packed, whatever a lead can be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.core.contract.event_types import TYPE_NAMES
from worker.core.grid.models import parse_grid
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.once_per import aged, mark, remember
from worker.core.scoring.packing import close
from worker.core.scoring.state import (
    STAGES,
    Count,
    IdentityLinks,
    LeadState,
    Phase,
    VelocityWindow,
    pack,
    pack_moves,
    unpack,
)
from worker.core.scoring.traits import Write, pack_traits, unpack_traits

CLOCK_END = 2**48
EVEN = 2**32

clocks = st.one_of(st.integers(0, CLOCK_END - 1), st.sampled_from([0, 1, 2, EVEN - 1, EVEN, EVEN + 1, CLOCK_END - 1]))
addresses = st.sampled_from(["ada@acme.example", "ada@b@acme.example", "@acme.example", "acme.example", "é@", "@", "", None, 7])
domains = st.sampled_from(["acme.example", "example", "ACME.example", "", None, 7])


@st.composite
def states(draw: st.DrawFn) -> LeadState:
    """Any state: no deed is after the lead's clock, an output may be (a tick's instant), and 0 stands for never."""
    clock = draw(clocks)
    outputs = st.one_of(st.integers(0, CLOCK_END), st.sampled_from([0, clock, clock + 1, clock + 2]))
    instants = st.one_of(st.integers(0, clock), st.sampled_from([0, clock, max(0, clock - 1), min(1, clock)]))
    counts = {}
    for key in draw(st.sets(st.integers(0, 2**64 - 1), max_size=3)):
        count = Count(draw(st.integers(0, 9)), 0, draw(st.sampled_from([0, 1, 0.5, 1e-300])))
        for at_ms in draw(st.lists(instants, max_size=4)):
            later = max(count.last_ms, at_ms)
            count.seen, count.last_ms = aged(count.seen, count.last_ms, later) if count.seen else b"", later
            count.seen = remember(count.seen, count.last_ms, mark(str(at_ms)), at_ms)
        counts[key] = count
    types, labels = st.integers(0, len(TYPE_NAMES) - 1), st.sampled_from(["", "/", "/é", "/pricing"])
    moves = draw(st.lists(st.tuples(st.integers(0, len(STAGES) - 1), instants), max_size=4))
    traits = {
        path: Write(draw(instants), draw(st.sampled_from(["e1", "e2"])), value)
        for path, value in (("email", draw(addresses)), ("company.domain", draw(domains)))
        if draw(st.booleans())
    }
    return LeadState(
        stage=draw(st.integers(0, len(STAGES) - 1)),
        clock_ms=clock,
        active_ms=draw(instants),
        erased_ms=draw(instants),
        fit=draw(st.sampled_from([0.0, 40.0, -12.5, 1e15])),
        due_ms=draw(st.one_of(st.none(), st.integers(0, CLOCK_END), st.sampled_from([clock, clock + 1]))),
        crm_ms=draw(instants),
        closed_ms=draw(instants),
        mql_at_ms=draw(outputs),
        sql_at_ms=draw(outputs),
        respond_by_ms=draw(st.integers(0, CLOCK_END)),
        ids=b"".join(mark(str(n)) for n in range(draw(st.integers(0, 3)))),
        counts=counts,
        velocity={7: VelocityWindow(20_000, b"\x03")} if draw(st.booleans()) else {},
        exclusions={8: draw(instants)} if draw(st.booleans()) else {},
        traits=pack_traits(traits),
        recent=close(draw(st.lists(st.tuples(instants, types, labels), max_size=25))),
        history=pack_moves(moves),
        links=IdentityLinks(aliases=("visitor",)) if draw(st.booleans()) else None,
        phase=draw(st.sampled_from([None, None, Phase(2**32 - 1, "decision"), Phase(7)])),
    )


@given(states())
def test_what_was_packed_comes_back(state: LeadState) -> None:
    """Field by field; and packing leaves the state itself as it was."""
    packed = pack(state)
    assert pack(state) == packed
    back = unpack(packed)
    assert back == state
    assert (type(back.fit), pack(back)) == (float, packed)


@given(addresses, domains, st.booleans())
def test_an_address_is_read_back_whatever_the_company(address: object, domain: object, together: bool) -> None:
    """Its domain may lie with the company alone: in one event with it, or in another."""
    traits = {"email": Write(1, "e1", address), "company.domain": Write(1 if together else 2, "e1", domain)}
    assert unpack_traits(pack_traits(traits)) == traits


def test_keys_of_32_bits_are_known_by_the_low_bits_of_todays() -> None:
    """What an older version counted stays counted; what the grid does not count is left where it is, to be dropped."""
    scorer = CompiledGrid(parse_grid(RULES, "rules.yaml"), "/test")
    (rule,), (velocity,), (exclusion,) = scorer.readers, scorer.velocity_rules, scorer.exclusion_keys
    assert all(2**32 <= key < 2**64 for key in (rule, velocity, exclusion, scorer.tag))
    state = LeadState(
        counts={rule % 2**32: Count(n=3), 7: Count(n=1)},
        velocity={velocity % 2**32: VelocityWindow(5)},
        exclusions={exclusion % 2**32: 9},
    )
    for _ in range(2):
        scorer.recognise(state)
        assert state.counts == {rule: Count(n=3), 7: Count(n=1)}
        assert (state.velocity, state.exclusions) == ({velocity: VelocityWindow(5)}, {exclusion: 9})


RULES = """
grid: rules
version: 1
engagement: {half_life: 6h, rules: [{id: view, points: 1, on: page.viewed}]}
velocity: [{id: days, on: page.viewed, count: days, within: 7d, steps: {1: 1}}]
exclusions: [{id: complained, on: email.complained}]
"""
