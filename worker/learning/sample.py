"""The rows of a table as arrays, in an order that the file's own order does not change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

import numpy as np

from worker.learning.intervals import Bools, Floats, Ints

DAY_MS: Final = 86_400_000


class Texts(NamedTuple):
    """A column of texts: for each row the place of its text in `values`. A missing value is the empty text."""

    codes: Ints
    values: tuple[str, ...]

    def take(self, rows: Ints | Bools) -> Texts:
        """Return the column of some rows."""
        return Texts(self.codes[rows], self.values)

    def counts(self) -> Ints:
        """Return how many rows have each value."""
        return np.bincount(self.codes, minlength=len(self.values)).astype(np.int64)


def texts_of(values: Iterable[str]) -> Texts:
    """Return a column of texts, with its values in alphabetical order."""
    listed = list(values)
    distinct = sorted(set(listed))
    place = {value: code for code, value in enumerate(distinct)}
    return Texts(np.fromiter((place[one] for one in listed), np.int64, len(listed)), tuple(distinct))


@dataclass(frozen=True)
class Sample:
    """Rows of leads with their outcome. All arrays have one value a row."""

    won: Bools
    leads: Ints
    """The number of the row's lead, from 0 without gaps."""
    texts: Mapping[str, Texts] = field(default_factory=dict)
    """Columns of a table without time, and traits, by name."""
    numbers: Mapping[str, Floats] = field(default_factory=dict)
    """Signals of the grid, counts of events and ages, by name."""
    handed_over: Bools | None = None
    """The lead was handed over within the horizon after the row."""
    at_ms: Ints | None = None
    order: Floats | None = None
    """The place in time of a row without an instant."""
    place: Ints | None = None
    """The row's place in its table."""
    followed: Floats | None = None
    """For how many days the row was followed, the horizon at most. `None`: all rows for the whole horizon."""
    days_to_won: Floats | None = None
    """Beside `followed`; not a number where the row was not won by then."""
    days_to_handover: Floats | None = None
    """The same for the first handover."""
    horizon_ms: int = 0
    design_effect: float = 1.0

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return int(self.won.size)

    @property
    def when(self) -> Floats | None:
        """What orders the rows in time: the instant in ms, or `order`."""
        return self.order if self.at_ms is None else self.at_ms.astype(np.float64)

    @property
    def mature(self) -> Bools:
        """Which rows were followed for the whole horizon."""
        return np.ones(self.rows, np.bool_) if self.followed is None else self.followed >= self.horizon_ms / DAY_MS

    def judged(self) -> Sample:
        """Return the rows that were followed for the whole horizon, as rows of a table that has no others."""
        if self.followed is None:
            return self
        return replace(self.take(self.mature), followed=None, days_to_won=None, days_to_handover=None)

    def until(self, cut_ms: float) -> Sample:
        """Return the rows before an instant, followed up to it at most."""
        assert self.at_ms is not None
        assert self.followed is not None
        assert self.days_to_won is not None
        assert self.days_to_handover is not None
        followed = np.minimum(self.followed, (cut_ms - self.at_ms) / DAY_MS)
        won = np.where(self.days_to_won <= followed, self.days_to_won, np.nan)
        handed = np.where(self.days_to_handover <= followed, self.days_to_handover, np.nan)
        then = replace(self, won=~np.isnan(won), followed=followed, days_to_won=won, days_to_handover=handed)
        return then.take(self.at_ms < cut_ms)

    def take(self, rows: Ints | Bools) -> Sample:
        """Return some of the rows. Leads are numbered anew."""
        _, leads = np.unique(self.leads[rows], return_inverse=True)
        return replace(
            self,
            won=self.won[rows],
            leads=leads.astype(np.int64),
            texts={name: column.take(rows) for name, column in self.texts.items()},
            numbers={name: column[rows] for name, column in self.numbers.items()},
            handed_over=None if self.handed_over is None else self.handed_over[rows],
            at_ms=None if self.at_ms is None else self.at_ms[rows],
            order=None if self.order is None else self.order[rows],
            place=None if self.place is None else self.place[rows],
            followed=None if self.followed is None else self.followed[rows],
            days_to_won=None if self.days_to_won is None else self.days_to_won[rows],
            days_to_handover=None if self.days_to_handover is None else self.days_to_handover[rows],
        )

    def without(self, names: Iterable[str]) -> Sample:
        """Return the sample without the columns *names*."""
        gone = set(names)
        return replace(
            self,
            texts={name: column for name, column in self.texts.items() if name not in gone},
            numbers={name: column for name, column in self.numbers.items() if name not in gone},
        )


def in_order_of_content(sample: Sample) -> Sample:
    """Return the rows sorted by what they hold, and leads numbered in that order.

    A permuted table then gives the same sums to the last bit, and the same draws.
    """
    keys: list[Floats | Ints | Bools] = [sample.leads] if sample.at_ms is not None else []
    for _, text in sorted(sample.texts.items()):
        keys.append(np.argsort(np.argsort(np.array(text.values)))[text.codes] if text.values else text.codes)
    keys += [numbers for _, numbers in sorted(sample.numbers.items())]
    keys += [one for one in (sample.won, sample.handed_over, sample.order, sample.at_ms, sample.followed) if one is not None]
    ordered = sample.take(np.lexsort(keys[::-1]).astype(np.int64))
    _, first, leads = np.unique(ordered.leads, return_index=True, return_inverse=True)
    return replace(ordered, leads=np.argsort(np.argsort(first))[leads].astype(np.int64))
