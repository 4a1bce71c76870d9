"""The rows of a table as arrays, in an order that the file's own order does not change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from worker.learning.intervals import Bools, Floats, Ints


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
    keys += [one for one in (sample.won, sample.handed_over, sample.order, sample.at_ms) if one is not None]
    ordered = sample.take(np.lexsort(keys[::-1]).astype(np.int64))
    _, first, leads = np.unique(ordered.leads, return_index=True, return_inverse=True)
    return replace(ordered, leads=np.argsort(np.argsort(first))[leads].astype(np.int64))
