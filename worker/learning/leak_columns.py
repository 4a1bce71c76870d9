"""Columns that know the outcome, found without times: by what their values, their blanks and their names say.

Source of the checks and limits: measured on five public data sets of which the leaks are known.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from datetime import date
from typing import Final, NamedTuple

import numpy as np

from worker.learning.accuracy import auc
from worker.learning.intervals import Bools, Floats, Ints, jeffreys

BLANKS: Final = frozenset({"", "-", "?", "na", "n/a", "nan", "nil", "none", "null", "select"})
"""Texts that stand for no value, in small letters. `Select` is what forms leave that nobody chose from."""

FOLDS: Final = 5
SEED: Final = 20261201
STRENGTH: Final = 20.0
"""Rates of few leads are shrunk as if by so many leads of the overall rate."""

_BINS: Final = 10
_FEW: Final = 20
"""A column of numbers with no more values than these is taken value by value."""
_FREQUENT: Final = 0.05
"""A number that so large a share of the leads has is a bin of its own."""
_NUMBERS: Final = 0.95
"""Share of the filled-in values that must be numbers, or dates, for a column of numbers."""
_DATE: Final = re.compile(r"(\d{4})-(\d{2})-(\d{2})(?:$|[T ])")


class Coded(NamedTuple):
    """A column as groups of rows: each value a group, or each range of numbers."""

    name: str
    codes: Ints
    """Group of each row."""
    words: tuple[str, ...]
    """Of each group: its value, its range, or `blank`."""
    blank: Bools
    numbers: Floats | None
    """Of a column of numbers or dates: each row's, not a number where blank."""


def coded(name: str, values: Sequence[str | None]) -> Coded:
    """Put the *values* of a column into groups. Blanks are a group of their own."""
    texts = np.array(["" if value is None else value.strip() for value in values], dtype=object)
    blank = np.fromiter((text.lower() in BLANKS for text in texts), np.bool_, len(texts))
    numbers = _numbers(texts, blank)
    if numbers is None:
        return _by_value(name, texts, blank)
    return by_range(name, numbers)


def _by_value(name: str, texts: np.ndarray[tuple[int], np.dtype[np.object_]], blank: Bools) -> Coded:
    words, codes = np.unique(np.where(blank, "", texts).astype(str), return_inverse=True)
    return Coded(name, codes.astype(np.int64), tuple(word or "blank" for word in words.tolist()), blank, None)


def _numbers(texts: np.ndarray[tuple[int], np.dtype[np.object_]], blank: Bools) -> Floats | None:
    """Return the column as numbers, or `None` if it is none, or has few values."""
    filled = texts[~blank]
    found = np.full(texts.size, np.nan)
    found[~blank] = [_number(text) for text in filled]
    readable = np.isfinite(found)
    if filled.size == 0 or readable.sum() < _NUMBERS * filled.size or np.unique(found[readable]).size <= _FEW:
        return None
    return found


def _number(text: str) -> float:
    """Return a number, the day number of a date, or not a number."""
    try:
        return float(text)
    except ValueError:
        pass
    found = _DATE.match(text)
    if found is None:
        return math.nan
    try:
        return float(date(int(found[1]), int(found[2]), int(found[3])).toordinal())
    except ValueError:
        return math.nan


def by_range(name: str, numbers: Floats) -> Coded:
    """Put *numbers* into ranges of about equal counts. A frequent number is a group of its own."""
    blank = ~np.isfinite(numbers)
    filled = numbers[~blank]
    values, places, counts = np.unique(filled, return_inverse=True, return_counts=True)
    own = counts >= max(_FREQUENT * numbers.size, 1)
    if values.size <= _FEW:
        own = np.ones(values.size, np.bool_)
    rest = filled[~own[places]]
    edges = np.unique(np.quantile(rest, np.linspace(0, 1, _BINS + 1))) if rest.size else np.zeros(0)
    bins = np.clip(np.searchsorted(edges, filled, side="right") - 1, 0, max(edges.size - 2, 0))
    # Groups: the blanks, then the frequent numbers, then the ranges.
    group = np.where(own[places], 1 + np.cumsum(own)[places] - 1, 1 + own.sum() + bins)
    codes = np.zeros(numbers.size, np.int64)
    codes[~blank] = group
    ranges = [f"{low:g} to {high:g}" for low, high in itertools.pairwise(edges)] or [f"{e:g}" for e in edges]
    words = ("blank", *(f"{value:g}" for value in values[own]), *ranges)
    return Coded(name, codes, words, blank, numbers)


class Counted(NamedTuple):
    """Leads of a group, or of all."""

    won: float
    rows: float

    @property
    def rate(self) -> float:
        """Share that won."""
        return self.won / self.rows if self.rows else 0.0


def folds_of(won: Bools, seed: int = SEED) -> Ints:
    """Return a fold for each row, with the same share of won rows in each."""
    random = np.random.default_rng(seed)
    fold = np.empty(won.size, np.int64)
    for part in (won, ~won):
        rows = np.flatnonzero(part)
        fold[random.permutation(rows)] = np.arange(rows.size) % FOLDS
    return fold


def alone(column: Coded, won: Bools, fold: Ints) -> float:
    """Return the AUC of the column alone: of its rates, or of its numbers as they are, whichever tells more.

    Each row is judged by the rates of the other folds. With few won leads, numbers tell more than the rates of their ranges.
    """
    groups = int(column.codes.max()) + 1
    said = np.empty(won.size, np.float64)
    for number in range(FOLDS):
        test = fold == number
        others = column.codes[~test]
        rows = np.bincount(others, minlength=groups)
        winners = np.bincount(others, weights=won[~test], minlength=groups)
        rates = (winners + STRENGTH * won[~test].mean()) / (rows + STRENGTH)
        said[test] = rates[column.codes[test]]
    found = auc(said, won)
    if column.numbers is None:
        return found
    middle = float(np.nanmedian(column.numbers))
    rising = auc(np.where(column.blank, middle, column.numbers), won)
    return max(found, rising, 1 - rising)


def by_chance(won: Bools, effect: float = 1.0) -> float:
    """Return the standard deviation of the AUC of a column that tells nothing (Mann and Whitney 1947).

    *effect*: the design effect of several rows a lead.
    """
    winners = float(won.sum())
    losers = won.size - winners
    if not winners or not losers:
        return math.inf
    return math.sqrt(effect * (won.size + 1) / (12 * winners * losers))


class Extreme(NamedTuple):
    """A group of leads that nearly always won, or nearly never."""

    word: str
    of: Counted
    low: float
    """Likely range of its rate (99 %, Jeffreys)."""
    high: float
    always: bool


_SURE: Final = 0.99
_LEAST: Final = 30
_ALWAYS, _ALWAYS_SHARE = 0.90, 0.02
_NEVER_PART, _NEVER_SHARE = 8, 0.05
_GIVEN_LEAST: Final = 8


def always_from(overall: float) -> float:
    """Return the rate from which leads “nearly always” win. Where most leads win, nine in ten is nothing special."""
    return max(_ALWAYS, 1 - (1 - overall) / 4)


def extremes(column: Coded, won: Bools, effect: float = 1.0) -> list[Extreme]:
    """Return the groups of the column that nearly always won, or nearly never, the largest first."""
    overall = float(won.mean())
    rows = np.bincount(column.codes, minlength=len(column.words)) / effect
    winners = np.bincount(column.codes, weights=won, minlength=len(column.words)) / effect
    found = []
    for word, n, w in zip(column.words, rows.tolist(), winners.tolist(), strict=True):
        if n < _LEAST:
            continue
        low, high = jeffreys(min(w, n), n, _SURE)
        share = n * effect / won.size
        always = low >= always_from(overall) and share >= _ALWAYS_SHARE
        never = high <= overall / _NEVER_PART and share >= _NEVER_SHARE
        if always or never:
            found.append(Extreme(word, Counted(w * effect, n * effect), low, high, always))
    return sorted(found, key=lambda one: -one.of.rows)


class Given(NamedTuple):
    """Leads for which the column is filled in, and the others."""

    given: Counted
    blank: Counted
    auc: float
    """Of being filled in or not, the larger side; 0.5 tells nothing."""


def given_or_blank(column: Coded, won: Bools) -> Given:
    """Count the leads for which the column is filled in, and those for which it is not."""
    blank = column.blank
    given = Counted(float(won[~blank].sum()), float((~blank).sum()))
    missing = Counted(float(won[blank].sum()), float(blank.sum()))
    winners, losers = max(given.won + missing.won, 1), max(won.size - given.won - missing.won, 1)
    apart = abs(given.won / winners - (given.rows - given.won) / losers)
    return Given(given, missing, 0.5 + apart / 2)


def only_for_won(found: Given, overall: float) -> bool:
    """Return whether the column is filled in for won leads nearly alone."""
    given = found.given
    if given.rows < _GIVEN_LEAST or not found.blank.rows or given.rate < _ALWAYS:
        return False
    return jeffreys(given.won, given.rows, _SURE).low >= max(overall + (1 - overall) / 2, found.blank.rate)


def only_for_lost(found: Given, overall: float) -> bool:
    """Return whether the column is filled in for lost leads nearly alone, as the reason of a loss is."""
    given = found.given
    if given.rows < _LEAST or not found.blank.rows:
        return False
    return jeffreys(given.won, given.rows, _SURE).high <= overall / _NEVER_PART


_SAME: Final = 0.98
"""Blanks of two columns belong together if so large a share of the rows blank in either is blank in both."""
_MISSING: Final = (0.05, 0.95)


def blank_together(columns: Sequence[Coded]) -> list[list[str]]:
    """Return the names of columns that are blank in the same rows, block by block."""
    blocks: list[tuple[Bools, list[str]]] = []
    for column in columns:
        share = float(column.blank.mean())
        if not _MISSING[0] <= share <= _MISSING[1]:
            continue
        for mask, names in blocks:
            if (mask & column.blank).sum() >= _SAME * (mask | column.blank).sum():
                names.append(column.name)
                break
        else:
            blocks.append((column.blank, [column.name]))
    return [names for _, names in blocks if len(names) > 1]
