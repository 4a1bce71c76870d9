"""How uncertain the points of a fit are: the spread of each attribute's log-odds, with all other attributes beside it.

The counts of an attribute alone are not enough. Where two signals go together, the outcomes tell their sum well, and each of
them badly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from worker.learning.fields import Encoded
from worker.learning.intervals import Bools, Floats

_WIDEST: Final = 2.0
"""Log-odds of an attribute of which the outcomes tell nothing: most true ones lie within twice of that."""

_AT_ONCE: Final = 20_000
"""Rows in one product, so that a large table needs little memory."""


def spreads(parts: Sequence[Encoded], p: Floats, handed_over: Bools | None, design_effect: float) -> list[Floats]:
    """Return for each field the standard error of its attributes, in log-odds for one unit of each.

    A logistic regression on all attributes together has these errors. They come of the inverse of Σ p(1 − p)·x·xᵀ.
    A weak prior around 0 keeps them finite.
    *p*: the chance of each row by the fit. An attribute that is worth 0 by definition has 0.
    """
    kept = [[i for i in range(len(part.field.attributes)) if i != part.field.zero] for part in parts]
    size = 2 + sum(map(len, kept))
    information = np.diag(np.append([1e-9, 1e-9], np.full(size - 2, design_effect / _WIDEST**2)))
    weight = p * (1 - p)
    for rows in _blocks(p.size):
        columns = np.zeros((rows.stop - rows.start, size))
        columns[:, 0] = 1.0
        if handed_over is not None:
            columns[:, 1] = handed_over[rows]
        place = 2
        for part, own in zip(parts, kept, strict=True):
            columns[:, place : place + len(own)] = _columns(part, rows)[:, own]
            place += len(own)
        information += columns.T @ (columns * weight[rows, None])
    errors = np.sqrt(np.diag(np.linalg.pinv(information, hermitian=True)) * design_effect)
    found: list[Floats] = []
    place = 2
    for part, own in zip(parts, kept, strict=True):
        each = np.zeros(len(part.field.attributes))
        each[own] = errors[place : place + len(own)]
        place += len(own)
        found.append(each)
    return found


def _blocks(rows: int) -> Iterator[slice]:
    count = math.ceil(rows / _AT_ONCE)
    return (slice(i * _AT_ONCE, min((i + 1) * _AT_ONCE, rows)) for i in range(count))


def _columns(part: Encoded, rows: slice) -> Floats:
    if part.numbers is not None:
        return part.numbers[rows]
    assert part.codes is not None
    k = len(part.field.attributes)
    one_of: Floats = np.eye(k + 1)[np.where(part.codes[rows] < 0, k, part.codes[rows])][:, :k]
    return one_of
