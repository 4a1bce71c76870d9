"""Months in which outcomes were not recorded yet are told from months with bad luck."""

from __future__ import annotations

import pytest
from scipy import stats

from worker.learning.recording import poisson_at_most, unrecorded

OLIST = {
    "2017-06": (800, 8),
    "2017-09": (900, 12),
    "2017-12": (1_000, 50),
    "2018-01": (1_000, 130),
    "2018-02": (1_200, 150),
}
"""Leads and wins by month; the first win was recorded on 5 December 2017."""


def refused(months: dict[str, tuple[int, int]], first_month: str) -> list[str]:
    """Return the names of the months that are refused."""
    leads, won = ({month: pair[n] for month, pair in months.items()} for n in (0, 1))
    return [one.month for one in unrecorded(leads, won, first_month)]


@pytest.mark.parametrize(("seen", "expected"), [(0, 0.5), (3, 10.0), (40, 30.0), (900, 1_000.0)])
def test_the_probability_is_that_of_poisson(seen: int, expected: float) -> None:
    """Also where the numbers are large."""
    assert poisson_at_most(seen, expected) == pytest.approx(stats.poisson.cdf(seen, expected), rel=1e-9)


def test_months_before_the_recording_are_refused_by_name() -> None:
    """With what was expected of them."""
    assert refused(OLIST, "2017-12") == ["2017-06", "2017-09", "2017-12"]
    leads, won = ({month: pair[n] for month, pair in OLIST.items()} for n in (0, 1))
    first = unrecorded(leads, won, "2017-12")[0]
    assert (first.leads, first.won) == (800, 8)
    assert first.expected == pytest.approx(800 * 280 / 2_200)


def test_a_good_month_ends_them() -> None:
    """A later month with few wins is no matter of the recording."""
    assert refused({**OLIST, "2017-06": (800, 100)}, "2017-12") == []
    assert refused({**OLIST, "2018-01": (1_000, 10), "2018-03": (9_000, 1_170)}, "2017-12")[-1] == "2017-12"


def test_few_leads_are_no_proof() -> None:
    """Of 20 leads none need be won at 13 %. A short first month is refused together with those after it."""
    assert refused({"2017-12": (20, 0), "2018-01": (1_000, 130)}, "2017-12") == []
    short = {"2017-10": (20, 0), "2017-11": (30, 1), "2017-12": (60, 0), "2018-01": (1_000, 130)}
    assert refused(short, "2017-12") == ["2017-10", "2017-11", "2017-12"]


def test_without_later_months_nothing_is_known() -> None:
    """Nor without any month."""
    assert refused({"2018-01": (1_000, 0)}, "2018-01") == []
    assert refused({}, "2018-01") == []
