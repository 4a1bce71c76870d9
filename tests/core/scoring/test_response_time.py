"""By when sales must respond, against a walk through every minute of the clock on the wall."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.examples import examples
from tests.kit.grids import a_grid
from tests.kit.oracle_ladder import respond_by
from tests.kit.oracle_values import instant, rfc3339
from tests.kit.stories import DAY, HOUR
from worker.core.contract.instants import LAST_MS
from worker.core.grid.models import parse_grid
from worker.core.scoring.compiled_grid import CompiledGrid

WORKDAYS = {"days": "mon-fri", "from": "09:00", "to": "18:00", "off": ["2026-12-25", "2027-01-01"]}


def ours(sla: Any, zone: str, at: int) -> int:
    """Return the core's answer."""
    grid = a_grid(timezone=zone, stages={"sql": {"enter": 1, "sla": sla}})
    response_time = CompiledGrid(parse_grid(grid, "sla.yaml"), "/test").response_time
    assert response_time is not None
    return response_time.ends_ms(at)


def until(handed_over: str, within: str = "4h", hours: Mapping[str, Any] | None = None) -> str:
    """Return the response time of a lead as text, without milliseconds."""
    sla = {"within": within, "hours": hours or WORKDAYS}
    return rfc3339(ours(sla, "Europe/Paris", instant(handed_over)))[:19] + "Z"


def test_the_time_runs_while_they_are_open() -> None:
    """A Wednesday in March; Paris is an hour ahead of UTC."""
    assert until("2026-03-04T08:00:00Z") == "2026-03-04T12:00:00Z"
    assert until("2026-03-04T15:30:00Z") == "2026-03-05T10:30:00Z", "an hour and a half today, the rest from 9 tomorrow"
    assert until("2026-03-06T16:59:59Z", "1h") == "2026-03-09T08:59:59Z", "over the weekend"


def test_the_closing_instant_is_in_time() -> None:
    """Four hours from 14:00 end at 18:00 sharp, and not at the next opening."""
    assert until("2026-03-04T13:00:00Z") == "2026-03-04T17:00:00Z"
    assert until("2026-03-04T13:00:01Z") == "2026-03-05T08:00:01Z"


def test_a_handover_while_closed_counts_from_the_next_opening() -> None:
    """At night, at the closing instant, on a Saturday, on a holiday."""
    assert until("2026-03-04T03:00:00Z") == "2026-03-04T12:00:00Z"
    assert until("2026-03-04T17:00:00Z") == "2026-03-05T12:00:00Z"
    assert until("2026-03-07T10:00:00Z") == "2026-03-09T12:00:00Z"
    assert until("2026-12-25T10:00:00Z") == "2026-12-28T12:00:00Z"
    assert until("2026-12-31T16:00:00Z", "2h") == "2027-01-04T09:00:00Z"


def test_a_day_is_24_open_hours() -> None:
    """Nine hours a day from Monday on: two whole days, and six hours of Wednesday."""
    assert until("2026-03-02T08:00:00Z", "1d") == "2026-03-04T14:00:00Z"


def test_elapsed_time_counts_where_the_clock_changes() -> None:
    """The night of 29 March has 23 hours in Paris, that of 25 October has 25."""
    whole = {"days": "mon-sun", "from": "00:00", "to": "24:00"}
    assert until("2026-03-28T23:00:00Z", "1d", whole) == "2026-03-29T23:00:00Z"
    assert until("2026-10-24T22:00:00Z", "1d", whole) == "2026-10-25T22:00:00Z"
    night = {"days": "mon-sun", "from": "01:00", "to": "04:00", "off": []}
    assert until("2026-03-28T23:00:00Z", "2h", night) == "2026-03-29T02:00:00Z", "there is no hour from 2 to 3"
    assert until("2026-10-24T22:00:00Z", "4h", night) == "2026-10-25T03:00:00Z", "that hour comes twice"


def test_a_lone_duration_is_wall_time() -> None:
    """So is a mapping without hours."""
    at = instant("2026-03-07T10:00:00Z")
    assert ours("4h", "Europe/Paris", at) == ours({"within": "4h"}, "Europe/Paris", at) == at + 4 * HOUR


@pytest.mark.parametrize("sla", ["36500d", {"within": "30d", "hours": WORKDAYS | {"off": []}}])
def test_the_last_days_of_the_calendar_have_a_response_time(sla: Any) -> None:
    """A date in the year 9998 must not stop a partition: no later instant has four digits of a year."""
    rfc3339(ours(sla, "Europe/Paris", LAST_MS - 1))


TIMES = [f"{hour:02}:{minute:02}" for hour in range(24) for minute in (0, 1, 30, 59)]
ZONES = ["UTC", "Europe/Paris", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Santiago", "Africa/Cairo"]
CHANGES = ["2026-03-08", "2026-03-29", "2026-04-05", "2026-09-05", "2026-10-04", "2026-10-24", "2026-11-01", "2026-12-24"]
"""Days, or days before, on which some of these zones change their clocks, at midnight as well; and a holiday."""


@st.composite
def open_hours(draw: st.DrawFn) -> dict[str, Any]:
    """Any hours, often about the time at which clocks change."""
    one, other = sorted(draw(st.sets(st.sampled_from([*TIMES, "24:00"]), min_size=2, max_size=2)))
    days = draw(st.sampled_from(["mon-sun", "mon-fri", "sat-mon", ["tue", "sat-sun"], "sun"]))
    off = draw(st.lists(st.sampled_from(CHANGES), max_size=2, unique=True))
    return {"days": days, "from": one, "to": other, "off": off}


@examples(200)
@given(
    open_hours(),
    st.sampled_from(["1s", "61s", "15m", "90m", "4h", "10h", "1d"]),
    st.sampled_from(ZONES),
    st.sampled_from(CHANGES),
    st.one_of(st.sampled_from([0, 1, HOUR - 1, HOUR]), st.integers(-DAY, 2 * DAY)),
)
def test_a_walk_through_every_minute_says_the_same(
    hours: dict[str, Any], within: str, zone: str, day: str, offset: int
) -> None:
    """Whatever the hours, the zone and the instant, to the millisecond."""
    open_a_week = 7 * (int(hours["to"][:2]) * 60 + int(hours["to"][3:]) - int(hours["from"][:2]) * 60 - int(hours["from"][3:]))
    if open_a_week < 300:
        within = "61s"  # the walk is slow
    sla = {"within": within, "hours": hours}
    at = instant(f"{day}T00:00:00Z") + offset
    assert rfc3339(ours(sla, zone, at)) == rfc3339(respond_by(sla, zone, at) or 0)
