"""What hostile or unlucky records may cost, and what a crash may change."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.examples import examples
from tests.kit.waits import effort
from worker.core.batch.plan import plan_events, plan_tick
from worker.core.contract.codec import MAX_BYTES, decode
from worker.core.contract.dead_letter import dead_letter
from worker.core.contract.envelope import MAX_NAME
from worker.core.contract.model import Event, Record, Rejected
from worker.core.grid.conditions import parse_where
from worker.core.grid.models import parse_grid
from worker.core.grid.predicates import MATCHED_CHARS, compile_where
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.once_per import entries
from worker.core.scoring.set_aside import set_aside
from worker.core.scoring.state import Count, most_bytes, pack, unpack, unpack_moves

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
    for bad in (
        record(key=b"k" * (MAX_BYTES + 1)),
        record(headers=(("h", b"v" * MAX_BYTES),)),
        record(headers=(("\U0001f4a5" * (MAX_BYTES // 4), b""),)),
        record(headers=(("", b""),) * (MAX_BYTES // 6 + 1)),
    ):
        rejected = decode(bad)
        assert isinstance(rejected, Rejected)
        assert rejected.reason == "too_large"
        letter = dead_letter("lead.dead", rejected)
        assert (letter.key, len(letter.headers)) == (None, 7)
    assert isinstance(decode(record(key=b"k" * 800_000)), Event)


def test_an_event_of_the_first_millisecond_is_no_erased_one() -> None:
    """0 stands for 'never erased'."""
    plan = plan_events(SCORER, {"L": None}, [Event("L", "demo.requested", 0, "1", "/s", {}, False, "t", 0, 0)], None)
    assert (plan.erased, len(plan.writes)) == (0, 1)


def test_matches_looks_at_the_beginning_of_a_long_text() -> None:
    """A pattern that begins with .* takes the square of the text's length in steps."""
    asks = compile_where(parse_where({"url": {"matches": ".*(pricing|tarifs)"}}), flat=False)
    assert asks({"url": "/" * (MATCHED_CHARS - 7) + "pricing"})
    assert effort(lambda: asks({"url": "/" * 800_000 + "pricing"})) < 250
    assert not asks({"url": "/" * 800_000 + "pricing"})


GRID = """
grid: limits
version: 1
engagement: {half_life: 1d, rules: [{id: demo, points: 10, on: demo.requested}, {id: view, points: 6, on: page.viewed}]}
stages: {mql: {enter: 10, leave: 8}}
"""
SCORER = CompiledGrid(parse_grid(GRID, "limits.yaml"), "/test")


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


EVERY_KIND = """
grid: hostile
version: 1
engagement:
  half_life: 7d
  rules:
    - {id: event, points: 1, on: page.viewed}
    - {id: value, points: 1, on: page.viewed, once_per: session_id}
    - {id: other, points: 1, on: page.viewed, once_per: url}
    - {id: day, points: 1, on: page.viewed, once_per: day}
velocity:
  - {id: days, on: page.viewed, count: days, within: 45d, steps: {1: 1}}
  - {id: events, on: page.viewed, count: events, within: 45d, steps: {1: 1}}
  - {id: sessions, on: page.viewed, count: sessions, within: 7d, steps: {1: 1}}
exclusions: [{id: gone, on: email.unsubscribed}]
stages: {mql: {enter: 1, leave: 1}}
"""
HOSTILE = CompiledGrid(parse_grid(EVERY_KIND, "hostile.yaml"), "/test")
BOUND = most_bytes(4, 3, 1)


def test_no_lead_grows_past_the_bound_whatever_it_does() -> None:
    """Every memory full, of the longest there is: what Redis needs is the number of leads times a bound, whoever sends."""
    far = 253_370_764_800_000 - 90 * DAY
    wide = "\U0001f600" * 60
    said: list[tuple[int, str, dict[str, Any]]] = [(far, "email.unsubscribed", {"message_id": "m"})]
    said += [(far, "lead.identified", {"anonymous_id": f"{n:04}{'x' * 4_091}"}) for n in range(4)]
    said += [(far, "profile.updated", {"traits": {f"{n:04}": "x" * 993 for n in range(65)}})]
    said += [(0, "page.viewed", {"url": "/first", "session_id": "first"})]
    for _ in range(15):
        # In and out of the exclusion by stages that the CRM sets, until the moves are full.
        said += [(far, "crm.opportunity", {}), (far, "crm.rejected", {})]
    for number in range(1_600):
        at = far + number // 16 * DAY + 1_000 + number
        said.append((at, "page.viewed", {"url": f"/{number}", "session_id": f"{number}", "cta": f"{number}{wide}"}))
    events = [Event("L", kind, at, f"id-{n}", "/s", data, False, "t", 0, n) for n, (at, kind, data) in enumerate(said)]
    plan = plan_events(HOSTILE, {"L": None}, events, None)
    assert plan.refused == []
    [write] = plan.writes
    state = unpack(write.state)
    assert (len(state.ids), len(unpack_moves(state.history))) == (64 * 6, 20)
    assert [len(entries(count.seen, count.last_ms)) for count in state.counts.values()] == [0, 64, 64, 64]
    assert len(bytes(state.traits)) > 64_000
    assert state.links is not None
    assert len(state.links.awaiting) == 4
    # What a change of the grid sets aside comes to it.
    state.counts |= {key: Count(2**32, far, 0.1, b"m" * 641) for key in range(40)}
    set_aside(HOSTILE, state, state.clock_ms)
    # Close to it, too: a bound that is far off helps nobody to plan.
    assert 0.9 * BOUND < len(pack(state)) <= BOUND


WORDED = """
grid: worded
version: 1
engagement:
  rules:
    - {id: line, points: 1, on: page.viewed, once_per: url, weigh: {path: worth, min: -9, max: 9}, decay: {linear: 9d}}
    - {id: two, points: 1, on: page.viewed, once_per: [url, x], weigh: {path: worth, min: 0, max: 9}, decay: {window: 9d}}
    - {id: sum, points: 1, on: page.viewed, once_per: url, weigh: {path: worth, min: 0, max: 9}, half_life: 9d}
    - {id: events, points: 1, on: page.viewed, decay: {linear: 9d}}
velocity: [{id: deep, on: page.viewed, count: depth, within: 7d, steps: {1: 1}}]
exclusions: [{id: gone, on: email.unsubscribed, until: page.viewed}]
"""


def test_weights_lines_depth_and_until_stay_under_their_bound() -> None:
    """64 occurrences a rule, 16 sessions a day, two instants an exclusion."""
    scorer = CompiledGrid(parse_grid(WORDED, "worded.yaml"), "/test")
    far = 253_370_764_800_000 - 90 * DAY
    events = [Event("L", "email.unsubscribed", far, "out", "/s", {"message_id": "m"}, False, "t", 0, 0)]
    for n in range(896):
        data = {"url": f"/{n}", "session_id": f"{n}", "worth": n / 7 % 9, "x": 1}
        events.append(Event("L", "page.viewed", far + n // 16 * DAY + n, str(n), "/s", data, False, "t", 0, n))
    [write] = plan_events(scorer, {"L": None}, events, None).writes
    state = unpack(write.state)
    assert [len(count.seen) for count in state.counts.values()] == [64 * 20, 64 * 20, 64 * 20, 64 * 6]
    assert [len(window.days) for window in state.velocity.values()] == [7 * (1 + 16 * 7)]
    empty = most_bytes(0, 0, 0)
    bound = most_bytes(4, 1, 1, apart=4, depths=1, lifted=1) - empty
    worded = sum(len(pack_one(one)) for one in (state.counts, state.velocity, state.exclusions))
    assert 0.7 * bound < worded <= bound


def pack_one(part: object) -> bytes:
    """Return a part of a state as it is packed."""
    return msgspec.msgpack.encode(part)


@examples(60)
@given(
    st.lists(
        st.tuples(st.integers(0, 253_370_764_800_000), st.sampled_from(["\U0001f600", "a", "\0", ""]), st.integers(0, 200)),
        max_size=150,
    )
)
def test_random_histories_stay_under_the_bound(happened: list[tuple[int, str, int]]) -> None:
    """Instants from the first to the last, labels of any length and bytes."""
    events = [
        Event("L", "page.viewed", at, str(n), "/s", {"url": "/" + char * size, "session_id": str(size)}, False, "t", 0, n)
        for n, (at, char, size) in enumerate(happened)
    ]
    for write in plan_events(HOSTILE, {"L": None}, events, None).writes:
        assert len(write.state) <= BOUND - 65_536
        assert unpack(write.state).version > 0
