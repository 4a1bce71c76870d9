"""Columns that a boosted model needs more than any honest column is worth (gradient boosting, cross-fitted).

A leak may show only beside other columns. Each round leaves the worst column out, because loud leaks hide others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from worker.learning.accuracy import auc
from worker.learning.intervals import Bools, Floats
from worker.learning.leak_columns import SEED, Coded

COSTS: Final = 0.05
"""AUC lost without the column, from which it is asked about. Strong honest columns were worth 0.03 or less."""
_ROWS: Final = 20_000
_FOLDS: Final = 3
_ROUNDS: Final = 3
_SCREENED: Final = 0.02
"""Only columns that lose so much when their rows are mixed are left out in earnest."""
_LEAST_WON: Final = 100
"""With fewer won or lost leads, a difference of `COSTS` is within chance."""
_CATEGORIES: Final = 60


def needed(columns: Sequence[Coded], won: Bools) -> dict[str, float]:
    """Return the AUC that is lost without a column, for each column that loses `COSTS` or more."""
    with threadpool_limits(1):  # threads gain nothing on tables of this size
        return _needed(columns, won)


def _needed(columns: Sequence[Coded], won: Bools) -> dict[str, float]:
    if min(won.sum(), (~won).sum()) < _LEAST_WON or len(columns) < 2:
        return {}
    random = np.random.default_rng(SEED)
    rows = np.sort(random.permutation(won.size)[:_ROWS])
    matrix, kinds = _matrix(columns, rows), np.array([column.numbers is None for column in columns])
    won, fold = won[rows], random.permutation(rows.size) % _FOLDS
    held: list[int] = list(range(len(columns)))
    found: dict[str, float] = {}
    for _ in range(min(_ROUNDS, len(held))):  # each round leaves one column out
        whole, mixed = _fitted(matrix[:, held], kinds[held], won, fold, random)
        suspects = [held[place] for place in np.argsort(-mixed, kind="stable") if mixed[place] >= _SCREENED][:3]
        losses = {}
        for one in suspects:
            others = [other for other in held if other != one]
            losses[one] = whole - (_fitted(matrix[:, others], kinds[others], won, fold, None)[0] if others else 0.5)
        worst = max(losses, key=lambda one: losses[one], default=None)
        if worst is None or losses[worst] < COSTS:
            break
        found[columns[worst].name] = losses[worst]
        held.remove(worst)
    return found


def _matrix(columns: Sequence[Coded], rows: Any) -> Floats:
    """Return a column of numbers as it is, and of values as the place of each in the order of their frequency."""
    made = []
    for column in columns:
        if column.numbers is not None:
            made.append(column.numbers[rows])
            continue
        counts = np.bincount(column.codes, minlength=len(column.words))
        place = np.empty(counts.size, np.float64)
        place[np.argsort(-counts, kind="stable")] = np.arange(counts.size)
        made.append(np.minimum(place, _CATEGORIES - 1)[column.codes[rows]])
    return np.column_stack(made)


def _fitted(matrix: Floats, kinds: Bools, won: Bools, fold: Any, random: np.random.Generator | None) -> tuple[float, Floats]:
    """Return the AUC across the folds, and with *random* also what each column loses when its rows are mixed."""
    said = np.empty(won.size)
    mixed = np.empty((won.size, matrix.shape[1] if random is not None else 0))
    for number in range(_FOLDS):
        test = fold == number
        model = HistGradientBoostingClassifier(
            max_iter=60,
            max_leaf_nodes=8,
            learning_rate=0.15,
            early_stopping=False,
            categorical_features=kinds,
            random_state=SEED,
        )
        model.fit(matrix[~test], won[~test])
        said[test] = model.decision_function(matrix[test])
        for column in range(mixed.shape[1]):
            shuffled = matrix[test].copy()
            assert random is not None
            shuffled[:, column] = random.permutation(shuffled[:, column])
            mixed[test, column] = model.decision_function(shuffled)
    whole = auc(said, won)
    return whole, np.array([whole - auc(column, won) for column in mixed.T])
