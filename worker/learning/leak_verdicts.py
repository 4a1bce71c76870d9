"""Verdicts on the columns of a table without times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from worker.learning.intervals import Bools, Ints
from worker.learning.leak import ALLOW, ASK, Leak, leak, pairs, percent
from worker.learning.leak_boosting import needed
from worker.learning.leak_columns import (
    Coded,
    Counted,
    Extreme,
    Given,
    alone,
    blank_together,
    by_chance,
    coded,
    extremes,
    folds_of,
    given_or_blank,
    only_for_lost,
    only_for_won,
)
from worker.learning.leak_names import telling_word

TOO_GOOD_ALONE: Final = 0.80
"""AUC of a column alone, from which it is refused."""
GOOD_ALONE: Final = 0.75
"""From here on it is asked about."""
BLANKS_TELL: Final = 0.60
"""AUC of blank or filled in, from which the column is asked about."""
WORTH_SAYING: Final = 0.55
SURE: Final = 4.0
"""A column is refused only for an AUC so many standard deviations of chance above 0.5."""
LIKELY: Final = 2.5
"""And asked about only from here on."""


def leaks_in_columns(columns: Mapping[str, Sequence[str | None]], won: Bools) -> list[Leak]:
    """Judge each of *columns* (name → value of each lead) of a table without times, in their order.

    Rows are put in the order of their content first, so that a permuted table gives the same figures.
    """
    order = _by_content(columns, won)
    columns, won = {name: [values[row] for row in order] for name, values in columns.items()}, won[order]
    groups = [coded(name, values) for name, values in columns.items()]
    fold = folds_of(won)
    together = {name: block for block in blank_together(groups) for name in block}
    found = {column.name: _refused(column, won, fold) for column in groups}
    kept = [column for column in groups if found[column.name] is None]
    costs = needed(kept, won)
    return [
        found[column.name] or _asked(column, won, fold, together.get(column.name, ()), costs.get(column.name))
        for column in groups
    ]


def _by_content(columns: Mapping[str, Sequence[str | None]], won: Bools) -> Ints:
    keys = [np.unique([one or "" for one in values], return_inverse=True)[1] for _, values in sorted(columns.items())]
    return np.lexsort([won, *keys]).astype(np.int64)


def _refused(column: Coded, won: Bools, fold: Ints) -> Leak | None:
    """Return why the column is refused, or `None`."""
    overall = float(won.mean())
    found = given_or_blank(column, won)
    if only_for_won(found, overall):
        why = f"Filled in for {_won_of(found.given)}. Of the leads where it is blank, {percent(found.blank.rate)} won."
        return leak(column.name, "refuse", f"{why} {ALLOW}", found.given.rate)
    if only_for_lost(found, overall):
        why = f"Filled in for {_won_of(found.given)}. Of the leads where it is blank, {percent(found.blank.rate)} won."
        return leak(column.name, "refuse", f"{why} {ALLOW}", found.given.rate)
    found_alone = alone(column, won, fold)
    if found_alone >= TOO_GOOD_ALONE and found_alone - 0.5 >= SURE * by_chance(won):
        return leak(column.name, "refuse", f"{pairs(found_alone)} {ALLOW}", found_alone)
    sides = [side for side in extremes(column, won) if not _bounce(column, side)]
    if sides:
        return leak(column.name, "refuse", f"{extreme_words(sides[0], overall)} {ALLOW}", sides[0].of.rate)
    return None


def _asked(column: Coded, won: Bools, fold: Ints, together: Iterable[str], cost: float | None) -> Leak:
    """Return the questions that the column raises, or that it raises none."""
    found, found_alone = given_or_blank(column, won), alone(column, won, fold)
    questions, figure = [], found_alone
    if found_alone >= GOOD_ALONE and found_alone - 0.5 >= LIKELY * by_chance(won):
        sure = found_alone - 0.5 >= SURE * by_chance(won)
        questions.append(pairs(found_alone) + ("" if sure else f" Only {won.sum():,} leads won, so this may be chance."))
    if cost is not None:
        questions.append(f"Without it, a model of all columns puts {100 * cost:.0f} % fewer pairs of leads in order.")
        figure = cost
    bounces = [side for side in extremes(column, won) if _bounce(column, side)]
    if bounces:
        questions.append(extreme_words(bounces[0], float(won.mean())))
        figure = bounces[0].of.rate
    others = [name for name in together if name != column.name]
    if others:
        questions.append(f"Blank for the same leads as {', '.join(others)}: {percent(column.blank.mean())} of all.")
        figure = float(column.blank.mean())
    if found.auc >= BLANKS_TELL and found.auc - 0.5 >= LIKELY * by_chance(won):
        questions.append(_blanks(found))
        figure = found.auc
    word = telling_word(column.name)
    if word is not None:
        questions.append(f"Columns with “{word}” in their name are often filled in after the outcome.")
    if not questions:
        seen = f" {pairs(found_alone)}" if found_alone >= WORTH_SAYING else ""
        return leak(column.name, "ok", f"No sign of the outcome.{seen}", found_alone)
    return leak(column.name, "ask", " ".join([*questions, ASK]), figure)


def _bounce(column: Coded, side: Extreme) -> bool:
    """Return whether *side* may be visits that ended at once: numbers so low, or so high, that these leads never win.

    Of 84 honest columns of real sets, the only one that the check of extremes took for a leak was such a column.
    """
    return column.numbers is not None and not side.always


def _won_of(counted: Counted) -> str:
    winners = {0: "none", counted.rows: "all"}.get(counted.won, f"{counted.won:,.0f}")
    return f"{counted.rows:,.0f} leads, and {winners} of them won"


def extreme_words(side: Extreme, overall: float) -> str:
    """Return an extreme group in words, beside the *overall* rate."""
    likely = f"at least {percent(side.low)}" if side.always else f"at most {percent(side.high)}"
    return f"“{side.word}”: {_won_of(side.of)} (likely {likely}); of all leads {percent(overall)} won."


def _blanks(found: Given) -> str:
    return (
        f"Blank for {found.blank.rows:,.0f} leads, of which {percent(found.blank.rate)} won; of those where it is"
        f" filled in, {percent(found.given.rate)} won."
    )
