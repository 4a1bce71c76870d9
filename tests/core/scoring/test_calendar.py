"""Calendar days in a time zone, with the days that are not 24 hours long."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.scoring.calendar import Calendar, rfc3339

HOUR_MS = 3_600_000
ZONES = ["UTC", "Europe/Paris", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia"]


def ms(text: str) -> int:
    """Return the instant of an ISO 8601 text."""
    return int(datetime.fromisoformat(text).timestamp() * 1000)


@given(st.sampled_from(ZONES), st.integers(0, ms("2100-01-01T00:00:00+00:00")))
def test_a_day_is_the_date_on_the_wall_there(zone: str, at_ms: int) -> None:
    """The cached offsets give what zoneinfo gives for each instant by itself."""
    local = datetime.fromtimestamp(at_ms // 1000, UTC).astimezone(ZoneInfo(zone)).date()
    assert Calendar(zone).day(at_ms) == local.toordinal() - date(1970, 1, 1).toordinal()


@given(st.sampled_from(ZONES), st.integers(0, ms("2100-01-01T00:00:00+00:00")))
def test_the_next_day_begins_at_the_first_millisecond_on_another_date(zone: str, at_ms: int) -> None:
    """What a velocity counts changes there, not a millisecond later."""
    calendar = Calendar(zone)
    border = calendar.next_day_ms(at_ms)
    assert calendar.day(border - 1) == calendar.day(at_ms) != calendar.day(border)
    assert at_ms < border <= at_ms + 26 * HOUR_MS


@pytest.mark.parametrize(
    ("noon", "hours"), [("2026-03-29T12:00:00+02:00", 23), ("2026-10-25T12:00:00+01:00", 25), ("2026-06-01T12:00:00+02:00", 24)]
)
def test_days_of_23_and_25_hours_count_as_days(noon: str, hours: int) -> None:
    """When the clocks change in Paris."""
    calendar = Calendar("Europe/Paris")
    end = calendar.next_day_ms(ms(noon))
    begin = calendar.next_day_ms(ms(noon) - 24 * HOUR_MS)
    assert end - begin == hours * HOUR_MS


def test_an_instant_is_written_in_utc_with_milliseconds() -> None:
    """Outputs are compared as text by some."""
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"
    assert rfc3339(ms("2026-03-05T12:34:56.789+02:00")) == "2026-03-05T10:34:56.789Z"


@pytest.mark.parametrize(
    ("zone", "change"),
    [
        ("America/St_Johns", "2010-11-07T02:31:00Z"),
        ("Antarctica/Casey", "2022-10-01T16:01:00Z"),
        ("Asia/Gaza", "2011-03-31T22:01:00Z"),
    ],
)
def test_a_clock_that_changes_a_minute_past_the_quarter_changes_then(zone: str, change: str) -> None:
    """In whatever order instants are asked for, since most offsets are remembered by the quarter of an hour."""
    at = ms(change)
    instants = [at - 60_000, at - 1, at, at + 60_000, at + 13 * 60_000]
    expected = [datetime.fromtimestamp(one // 1000, ZoneInfo(zone)).utcoffset() for one in instants]
    assert expected[0] != expected[2]
    for order in (instants, instants[::-1]):
        calendar = Calendar(zone)
        for one in order:
            calendar.day(one)
        assert [timedelta(milliseconds=calendar.offset_ms(one)) for one in instants] == expected
