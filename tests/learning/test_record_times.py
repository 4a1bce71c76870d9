"""When records arrive against the outcome: counted by arrival, not by the time that they state."""

from __future__ import annotations

from typing import Any

import pytest

from worker.core.contract.model import Event
from worker.learning.leak_times import leak_in_times
from worker.learning.record_times import DAY_MS, HOUR_MS, MINUTE_MS, Arrivals, RecordTimes

WON = 100 * DAY_MS


def event(type_: str, at_ms: int, source: str = "/crm", **data: Any) -> Event:
    """An event of a lead."""
    return Event("l", type_, at_ms, f"{type_} {at_ms}", source, data, False, "", 0, 0)


def counted(*records: tuple[str, int, int], closes: str = "crm.won") -> dict[str, Arrivals]:
    """Counts of (type, time, arrival) beside an outcome at `WON`, which comes where its time says."""
    times = RecordTimes()
    for type_, at_ms, arrival_ms in sorted([*records, (closes, WON, WON)], key=lambda record: record[2]):
        if type_.startswith("trait:"):
            times.note(event("profile.updated", at_ms, traits={type_.removeprefix("trait:"): "x"}), arrival_ms)
        else:
            times.note(event(type_, at_ms), arrival_ms)
    return times.counted()


@pytest.mark.parametrize(
    ("before_ms", "at_outcome"), [(DAY_MS, 0), (MINUTE_MS + 1, 0), (MINUTE_MS, 1), (0, 1), (-HOUR_MS, 1), (-40 * DAY_MS, 1)]
)
def test_records_from_a_minute_before_the_win_on_sit_on_it(before_ms: int, at_outcome: int) -> None:
    """However long after it they come."""
    found = counted(("page.viewed", WON - before_ms, WON - before_ms))["event:page.viewed"]
    assert (found.records, found.at_outcome, found.back_dated) == (1, at_outcome, 0)


@pytest.mark.parametrize(("after_ms", "at_outcome"), [(HOUR_MS, 1), (DAY_MS, 1), (DAY_MS + 1, 0)])
def test_records_of_a_lost_lead_sit_on_the_loss_for_a_day(after_ms: int, at_outcome: int) -> None:
    """Later the lead may begin anew."""
    found = counted(("page.viewed", WON + after_ms, WON + after_ms), closes="crm.lost")
    assert found["event:page.viewed"].at_outcome == at_outcome


def test_a_back_dated_trait_is_counted_by_its_arrival_with_its_source() -> None:
    """It states a time before the win, and comes after it. An hour of delay is nothing."""
    found = counted(("trait:band", WON - 50 * DAY_MS, WON + DAY_MS), ("trait:size", WON - HOUR_MS, WON))
    assert found["trait:band"] == Arrivals(1, 1, 0, 1, {"/crm": 1})
    assert found["trait:size"] == Arrivals(1, 1, 0, 0, {})
    assert found["event:profile.updated"].records == 2


def test_records_after_the_handover_are_counted() -> None:
    """Those that hand over are not after it."""
    times = RecordTimes()
    for at_ms, type_ in ((1, "page.viewed"), (2, "crm.accepted"), (3, "page.viewed"), (4, "crm.opportunity")):
        times.note(event(type_, at_ms), at_ms)
    found = times.counted()
    assert [found[f"event:{name}"].after_handover for name in ("page.viewed", "crm.accepted", "crm.opportunity")] == [1, 0, 1]
    times.handed_over(0)
    assert times.counted()["event:page.viewed"].after_handover == 2


def test_a_trait_that_is_taken_away_is_no_record_of_it() -> None:
    """`null` forgets a value."""
    times = RecordTimes()
    times.note(event("profile.updated", 1, traits={"a": None, "b": {"c": 1}}), 1)
    times.unknown("chat.opened", 2)
    assert set(times.counted()) == {"event:profile.updated", "trait:b.c", "event:chat.opened"}


def test_counts_of_several_leads_add_up() -> None:
    """With their sources."""
    total = Arrivals()
    for _ in range(2):
        total.add(Arrivals(3, 2, 1, 1, {"/crm": 1}))
    assert total == Arrivals(6, 4, 2, 2, {"/crm": 2})


@pytest.mark.parametrize(
    ("name", "seen", "verdict", "figure"),
    [
        ("event:contract", Arrivals(100, 95), "refuse", 0.95),
        ("event:contract", Arrivals(100, 50), "refuse", 0.5),
        ("event:contract", Arrivals(100, 31), "ask", 0.31),
        ("event:page.viewed", Arrivals(1_000, 270), None, 0),
        ("event:contract", Arrivals(9, 9), "ask", 1.0),
        ("event:contract", Arrivals(4, 4), None, 0),
        ("trait:result", Arrivals(40, 0, 30), "refuse", 0.75),
        ("event:call", Arrivals(40, 0, 30), "ask", 0.75),
        ("trait:role", Arrivals(40, 0, 19), None, 0),
        ("trait:role", Arrivals(1_000, 20, 0, 20, {"/crm": 15, "/import": 5}), "ask", 0.02),
        ("trait:role", Arrivals(1_000, 9, 0, 9, {"/crm": 9}), None, 0),
    ],
)
def test_verdicts_by_times(name: str, seen: Arrivals, verdict: str | None, figure: float) -> None:
    """Traits after the handover are refused; events after it may be rules, such as a missed appointment."""
    found = leak_in_times(name, seen)
    assert (found and found.verdict) == verdict
    if found is not None:
        assert (found.name, found.figure) == (name, figure)


def test_words_name_the_source_of_back_dated_records() -> None:
    """Whoever runs that source can mend it."""
    found = leak_in_times("trait:band", Arrivals(200, 150, 0, 140, {"/import": 40, "/crm": 100}))
    assert found is not None
    assert found.why == (
        "150 of 200 records (75 %) arrived less than a minute before the outcome, with it, or after it."
        " 140 of 200 came after the outcome, with a time before it. Source: /crm (100), /import (40)."
        " Drop it, or allow it if it is known before the outcome."
    )
