"""What time it is when records are fetched."""

from __future__ import annotations

import time

import pytest

from worker.engine.fetch_time import FetchTime

NOW_MS = 1_780_000_000_000
YEAR_MS = 365 * 86_400_000


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Give the two clocks of the machine, which the test sets."""
    held = {"wall_ms": float(NOW_MS), "monotonic_s": 100.0}
    monkeypatch.setattr(time, "time", lambda: held["wall_ms"] / 1000)
    monkeypatch.setattr(time, "monotonic", lambda: held["monotonic_s"])
    return held


def test_it_is_the_workers_own_time_as_long_as_nothing_shows_a_later_one(clocks: dict[str, float]) -> None:
    """A backlog in the journal is older than now."""
    fetch_time = FetchTime()
    assert fetch_time.now_ms(None) == NOW_MS
    fetch_time.saw(NOW_MS - YEAR_MS)
    fetch_time.saw(None)
    assert fetch_time.now_ms(NOW_MS - 5) == NOW_MS


def test_a_clock_that_is_a_year_behind_holds_no_event_to_the_year_before(clocks: dict[str, float]) -> None:
    """The partition's last tick says that it is later, and so does what the brokers write, from then on."""
    clocks["wall_ms"] -= YEAR_MS
    fetch_time = FetchTime()
    assert fetch_time.now_ms(NOW_MS - 10_000) == NOW_MS - 10_000
    fetch_time.saw(NOW_MS)
    clocks["monotonic_s"] += 30
    fetch_time.saw(NOW_MS + 29_000)
    assert fetch_time.now_ms(NOW_MS - 10_000) == NOW_MS + 30_000
