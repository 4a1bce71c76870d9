"""Two grids on one history: which leads each would have handed over, and how those ended.

History judges a lead only if its outcome does not depend on the grid. Sales called the leads of the grid that was in force, and
a call helps. So leads that sales were never given are counted apart: their low rate is no argument against a grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec
import numpy as np
from scipy import stats

from worker.errors import LearningError
from worker.learning.accuracy import auc
from worker.learning.bootstrap import draws_by_lead
from worker.learning.intervals import Bools, Floats, Ints, jeffreys
from worker.learning.sample import Sample
from worker.learning.tables import Table
from worker.learning.thresholds import WEEK_MS, crossings_by_week

_LEVELS: Final = (0.025, 0.975)


class Call(NamedTuple):
    """A lead's first handover under a grid."""

    at_ms: int
    won: bool
    days_to_won: float | None
    given: bool
    """Sales were given the lead within the horizon, in fact."""


class Calls(msgspec.Struct, frozen=True):
    """What one grid hands over."""

    leads: int
    won: int
    rate: float | None
    a_week: tuple[float, float, float]
    """In one of ten weeks at most, in half of them at most, in nine of ten at most."""
    wins_found: float | None
    """Share of all leads won that it hands over before they are won."""


class Moved(msgspec.Struct, frozen=True):
    """Leads that both grids hand over, or one of them."""

    leads: int
    won: int
    rate: float | None
    low: float | None
    high: float | None
    """The likely range of the rate (Jeffreys, 95 %)."""
    never_given: int
    """Of these: leads that sales were never given, so that their outcome says little."""
    never_given_won: int


class Difference(msgspec.Struct, frozen=True):
    """B less A, with its likely range by lead (95 %)."""

    value: float
    low: float
    high: float

    @property
    def shown(self) -> bool:
        """Whether this history can show it: the range leaves 0 out."""
        return self.low > 0 or self.high < 0


class Handovers(msgspec.Struct, frozen=True):
    """The leads of two grids, beside each other."""

    a: Calls
    b: Calls
    both: Moved
    only_a: Moved
    only_b: Moved
    wins: Difference
    wins_only_a: int
    wins_only_b: int
    chance: float
    """McNemar's exact test of the wins that one grid alone finds: how often chance alone moves as many."""
    later_days: Difference | None
    """Of wins that both find: by how many days B hands them over later (below 0: earlier); the median, with its range."""


class AtCapacity(msgspec.Struct, frozen=True):
    """Both grids at the same number of handovers a week, each with the threshold that gives it."""

    a_week: float
    threshold_a: float
    threshold_b: float
    handovers: Handovers


class Comparison(msgspec.Struct, frozen=True):
    """Grid A and grid B on one history."""

    grid_a: str
    grid_b: str
    from_ms: int
    to_ms: int
    horizon_days: float
    leads: int
    won: int
    auc_a: float
    auc_b: float
    auc: Difference
    as_written: Handovers
    at_capacity: AtCapacity


class _Shared(NamedTuple):
    """The rows that both tables have, with both scores."""

    sample: Sample
    names: tuple[str, ...]
    """Of the leads, by number."""
    score_a: Floats
    score_b: Floats
    given: Bools
    days_to_won: Floats


def compare(a: Table, b: Table, a_week: float | None = None) -> Comparison:
    """Return how the grids of two tables differ on the same history.

    Both tables come of `event_table` with `shadow`, so a handover of a grid ends no lead's rows. *a_week*: leads that sales can
    take in a week; default: as many as grid A hands over. It is raised where a grid's highest score brings more. Raises
    `LearningError` where the tables share no row, or no lead of them is won.
    """
    shared = _shared(a, b)
    won = shared.sample.won
    if not won.any() or won.all():
        raise LearningError("the history has no lead that was won, or none that was not: the grids cannot be compared on it")
    calls_a, calls_b = _calls(a), _calls(b)
    weeks = _weeks(shared.sample)
    all_won = set(np.array(shared.names, dtype=object)[np.unique(shared.sample.leads[won])])
    as_written = _handovers(calls_a, calls_b, shared.names, weeks, all_won)
    wanted = a_week if a_week is not None else len(calls_a) / max(len(weeks), 1)
    wanted = max(wanted, *(_fewest(score, shared.sample) for score in (shared.score_a, shared.score_b)))
    one, other = (_threshold(score, shared.sample, wanted) for score in (shared.score_a, shared.score_b))
    crossed = _handovers(
        _crossings(shared, shared.score_a, one), _crossings(shared, shared.score_b, other), shared.names, weeks, all_won
    )
    areas = auc(shared.score_a, won), auc(shared.score_b, won)
    drawn = [
        auc(shared.score_b, won, weight) - auc(shared.score_a, won, weight) for weight in draws_by_lead(shared.sample.leads)
    ]
    assert shared.sample.at_ms is not None
    return Comparison(
        grid_a=_name(a),
        grid_b=_name(b),
        from_ms=int(shared.sample.at_ms.min()),
        to_ms=int(shared.sample.at_ms.max()),
        horizon_days=(a.facts.horizon_ms or 0) / 86_400_000,
        leads=len(shared.names),
        won=len(all_won),
        auc_a=areas[0],
        auc_b=areas[1],
        auc=_difference(areas[1] - areas[0], np.array(drawn)),
        as_written=as_written,
        at_capacity=AtCapacity(wanted, one, other, crossed),
    )


class Mover(NamedTuple):
    """A lead that the grids, as they are written, hand over."""

    id: str
    a: Call | None
    b: Call | None


def movers(a: Table, b: Table) -> list[Mover]:
    """Return the leads that either grid hands over: those of one grid alone first, then by id."""
    calls_a, calls_b = _calls(a), _calls(b)
    found = [Mover(lead, calls_a.get(lead), calls_b.get(lead)) for lead in sorted({*calls_a, *calls_b})]
    return sorted(found, key=lambda mover: mover.a is not None and mover.b is not None)


def _name(table: Table) -> str:
    grid = table.facts.grid
    return "" if grid is None else f"{grid.name} version {grid.version}"


def _shared(a: Table, b: Table) -> _Shared:
    keys_a, keys_b = _keys(a), _keys(b)
    places = {key: place for place, key in enumerate(keys_b)}
    pairs = [(place, places[key]) for place, key in enumerate(keys_a) if key in places]
    if not pairs:
        raise LearningError(
            "the grids have no instant of a lead in common: the history is shorter than what one of them counts"
        )
    rows_a, rows_b = (np.array(rows, dtype=np.int64) for rows in zip(*pairs, strict=True))
    ids = a.role("id")[rows_a].astype(str)
    names, leads = np.unique(ids, return_inverse=True)
    sample = Sample(
        won=a.role("won")[rows_a].astype(np.bool_),
        leads=leads.astype(np.int64),
        at_ms=a.role("at_ms")[rows_a].astype(np.int64),
        horizon_ms=a.facts.horizon_ms or 0,
    )
    given = a.role("handed_over")[rows_a].astype(np.bool_)
    days = a.role("days_to_won")[rows_a].astype(np.float64)
    return _Shared(sample, tuple(names), a.role("score")[rows_a], b.role("score")[rows_b], given, days)


def _keys(table: Table) -> list[tuple[str, int]]:
    return list(zip(table.role("id"), table.role("at_ms").tolist(), strict=True))


def _weeks(sample: Sample) -> range:
    assert sample.at_ms is not None
    return range(int(sample.at_ms.min()) // WEEK_MS, int(sample.at_ms.max()) // WEEK_MS + 1)


def _calls(table: Table) -> dict[str, Call]:
    """Return each lead's first handover under the table's grid."""
    rows = np.flatnonzero(table.role("why") == "sql")
    columns = [table.role(name)[rows].tolist() for name in ("id", "at_ms", "won", "days_to_won", "handed_over")]
    found: dict[str, Call] = {}
    for lead, at_ms, won, days, given in zip(*columns, strict=True):
        found.setdefault(lead, Call(at_ms, won, days if won else None, given))  # rows of a lead stand in order of time
    return found


def _threshold(score: Floats, sample: Sample, a_week: float) -> float:
    """Return the lowest score that at most *a_week* leads newly reach in a week, on average."""
    candidates = np.unique(score)
    low, high = 0, candidates.size - 1
    while low < high:
        middle = (low + high) // 2
        reached = float(crossings_by_week(score, sample, float(candidates[middle])).mean())
        low, high = (low, middle) if reached <= a_week else (middle + 1, high)
    return float(candidates[low])


def _fewest(score: Floats, sample: Sample) -> float:
    """Return how many leads a week reach the highest score: many where `max` cuts scores off. The grid cannot call fewer."""
    return float(crossings_by_week(score, sample, float(score.max())).mean())


def _crossings(shared: _Shared, score: Floats, threshold: float) -> dict[str, Call]:
    """Return each lead's first row that reaches *threshold*."""
    assert shared.sample.at_ms is not None
    above = np.flatnonzero(score >= threshold)
    order = above[np.lexsort((shared.sample.at_ms[above], shared.sample.leads[above]))]
    leads, first = np.unique(shared.sample.leads[order], return_index=True)
    found: dict[str, Call] = {}
    for lead, row in zip(leads.tolist(), order[first].tolist(), strict=True):
        won = bool(shared.sample.won[row])
        days = float(shared.days_to_won[row]) if won else None
        found[shared.names[lead]] = Call(int(shared.sample.at_ms[row]), won, days, bool(shared.given[row]))
    return found


def _handovers(
    a: Mapping[str, Call], b: Mapping[str, Call], names: tuple[str, ...], weeks: range, all_won: set[str]
) -> Handovers:
    both = [a[lead] for lead in a if lead in b]
    only_a = [call for lead, call in a.items() if lead not in b]
    only_b = [call for lead, call in b.items() if lead not in a]
    wins_a = {lead for lead, call in a.items() if call.won}
    wins_b = {lead for lead, call in b.items() if call.won}
    leads = sorted({*names, *a, *b})
    moved = np.array([(lead in wins_b) - (lead in wins_a) for lead in leads], dtype=np.float64)
    lost, gained = len(wins_a - wins_b), len(wins_b - wins_a)
    drawn = np.array([float((weight * moved).sum()) for weight in draws_by_lead(np.arange(len(leads)))])
    return Handovers(
        a=_side(a, weeks, all_won),
        b=_side(b, weeks, all_won),
        both=_group(both),
        only_a=_group(only_a),
        only_b=_group(only_b),
        wins=_difference(float(gained - lost), drawn),
        wins_only_a=lost,
        wins_only_b=gained,
        chance=float(stats.binomtest(gained, lost + gained).pvalue) if lost + gained else 1.0,
        later_days=_later([(a[lead], b[lead]) for lead in sorted(wins_a & wins_b)]),
    )


def _side(calls: Mapping[str, Call], weeks: range, all_won: set[str]) -> Calls:
    won = sum(call.won for call in calls.values())
    counts: Ints = np.zeros(len(weeks), dtype=np.int64)
    for call in calls.values():
        week = call.at_ms // WEEK_MS - weeks.start
        if 0 <= week < len(weeks):
            counts[week] += 1
    ten, half, ninety = (float(number) for number in np.quantile(counts, [0.1, 0.5, 0.9]))
    found = sum(lead in all_won for lead, call in calls.items() if call.won)
    return Calls(
        len(calls), won, won / len(calls) if calls else None, (ten, half, ninety), found / len(all_won) if all_won else None
    )


def _group(calls: list[Call]) -> Moved:
    won = sum(call.won for call in calls)
    apart = [call for call in calls if not call.given]
    likely = jeffreys(won, len(calls)) if calls else None
    return Moved(
        len(calls),
        won,
        won / len(calls) if calls else None,
        None if likely is None else likely.low,
        None if likely is None else likely.high,
        len(apart),
        sum(call.won for call in apart),
    )


def _later(pairs: list[tuple[Call, Call]]) -> Difference | None:
    """Return by how many days the second call of each pair is later: the median, with its range by lead."""
    if not pairs:
        return None
    days = np.array([(b.at_ms - a.at_ms) / 86_400_000 for a, b in pairs])
    drawn = [float(np.median(np.repeat(days, weight.astype(np.int64)))) for weight in draws_by_lead(np.arange(days.size))]
    return _difference(float(np.median(days)), np.array(drawn))


def _difference(value: float, drawn: Floats) -> Difference:
    finite = drawn[np.isfinite(drawn)]
    low, high = np.quantile(finite, _LEVELS) if finite.size else (np.nan, np.nan)
    return Difference(value, float(low), float(high))
