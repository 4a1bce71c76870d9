"""The article's table: how often each attribute closes, how sure that is, and one word for it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, Literal, NamedTuple

import numpy as np

from worker.learning.bins import LEAST
from worker.learning.fields import Encoded
from worker.learning.intervals import Bools, Floats, Interval, Lift, benjamini_hochberg, exact_p, jeffreys, lift

Word = Literal["solid", "leaning", "open", "no data", "suspect"]

FALSE_SHARE: Final = 0.1
"""Of the rules called solid, so many may be solid by chance."""

_ANY: Final = 0.01
"""None is solid unless all together are hardly chance. Without this, every tenth shuffled table has a solid rule."""

_TESTED_ROWS: Final = 30
_TESTED_WINS: Final = 5
_SOLID_WINS: Final = 10

MEANING: Final[dict[Word, str]] = {
    "solid": "many outcomes agree",
    "leaning": "the outcomes lean this way, and are few: points are held back",
    "open": "closes about as often as the others, as far as these outcomes tell: keep yours",
    "no data": "fewer than five leads have it",
    "suspect": "it looks written after the outcome, and was allowed by name",
}


class Rate(NamedTuple):
    """One attribute with its outcomes."""

    field: str
    name: str
    rows: int
    won: int
    rate: float
    """won/rows, as counted."""
    likely: Interval
    """Jeffreys' interval of the rate, at counts divided by the design effect."""
    times: float
    """The rate divided by that of all rows."""
    told: Lift
    """Against all other rows."""
    word: Word


def rates(
    parts: Sequence[Encoded], won: Bools, design_effect: float, suspects: Collection[str] = (), weight: Floats | None = None
) -> list[Rate]:
    """Return a rate for each attribute of each field, in their order. *suspects* are names of fields that may be leaks.

    *weight*: as how many each row counts. Counts are then those of so many rows that were followed for the whole horizon.
    """
    found: list[Rate] = []
    size = won.size if weight is None else float(weight.sum())
    all_rows, all_won = size / design_effect, float(won.sum()) / design_effect
    overall = max(float(won.sum()) / size, 1e-12)
    for part in parts:
        counts, winners = part.counts(weight), part.counts(won.astype(np.float64))
        if weight is not None:
            counts = np.clip(np.round(counts), winners, np.maximum(winners, np.floor(size) - won.sum() + winners))
        for i, one in enumerate(part.field.attributes):
            n, w = counts[i] / design_effect, winners[i] / design_effect
            rate = float(winners[i] / counts[i]) if counts[i] else 0.0
            likely = jeffreys(w, n) if n else Interval(0.0, 1.0)
            row = Rate(
                part.field.name, one.name, int(counts[i]), int(winners[i]), rate, likely, rate / overall,
                lift(w, n, all_won, all_rows), "open",
            )  # fmt: skip
            found.append(row)
    return _worded(found, all_won, all_rows, design_effect, suspects)


def _worded(found: list[Rate], all_won: float, all_rows: float, design_effect: float, suspects: Collection[str]) -> list[Rate]:
    tested = [i for i, row in enumerate(found) if _is_tested(row, design_effect)]
    p_values = [exact_p(found[i].won / design_effect, found[i].rows / design_effect, all_won, all_rows) for i in tested]
    # Simes' test of “none tells anything” comes first: with it, shuffled outcomes seldom make a rule solid.
    any_tells = any(benjamini_hochberg(p_values, _ANY))
    kept = benjamini_hochberg(p_values, FALSE_SHARE) if any_tells else [False] * len(tested)
    solid = {i for i, is_kept in zip(tested, kept, strict=True) if is_kept}
    return [
        row._replace(word=_word(row, i in solid, all_won, design_effect, row.field in suspects or row.name in suspects))
        for i, row in enumerate(found)
    ]


def _is_tested(row: Rate, design_effect: float) -> bool:
    n, w = row.rows / design_effect, row.won / design_effect
    return n >= _TESTED_ROWS and w >= _TESTED_WINS and n - w >= _TESTED_WINS


def _word(row: Rate, solid: bool, all_won: float, design_effect: float, suspect: bool) -> Word:
    w = row.won / design_effect
    if suspect:
        return "suspect"
    if row.rows < LEAST:
        return "no data"
    if solid and min(w, all_won - w) >= _SOLID_WINS:
        return "solid"
    low, high = row.told.interval
    return "open" if low <= 0 <= high else "leaning"


def in_words(row: Rate) -> str:
    """Return the counts as a sentence's part: `9 of 41 closed (12–36 % likely)`."""
    if not row.rows:
        return "no lead has it"
    return f"{row.won:,} of {row.rows:,} closed ({row.likely.low:.0%}–{row.likely.high:.0%} likely)"
