"""How uncertain points are, against counts and against twins."""

from __future__ import annotations

import math

import numpy as np
import pytest

from worker.learning.bins import Attribute
from worker.learning.fields import Encoded, Field
from worker.learning.intervals import Floats
from worker.learning.spread import spreads


def signal(name: str, numbers: Floats) -> Encoded:
    """Return a field of one signal."""
    return Encoded(Field(name, (Attribute("signal", name),), signals=True), numbers=numbers[:, None])


def test_alone_it_is_that_of_the_four_counts() -> None:
    """√(1/a + 1/b + 1/c + 1/d), the standard error of a log odds ratio (Woolf 1955)."""
    has = np.repeat([1.0, 0.0], [400, 1600])
    p = np.where(has > 0, 0.3, 0.1)
    (error,) = spreads([signal("a", has)], p, None, 1.0)
    woolf = math.sqrt(1 / 120 + 1 / 280 + 1 / 160 + 1 / 1440)
    assert error[0] == pytest.approx(woolf, rel=0.01)
    (wider,) = spreads([signal("a", has)], p, None, 4.0)
    assert wider[0] == pytest.approx(2 * woolf, rel=0.02)


def test_twins_cannot_be_told_apart() -> None:
    """Each is uncertain, though both together are not."""
    has = np.repeat([1.0, 0.0], [400, 1600])
    p = np.where(has > 0, 0.3, 0.1)
    (alone,) = spreads([signal("a", has)], p, None, 1.0)
    for error in spreads([signal("a", has), signal("twin", has)], p, None, 1.0):
        assert error[0] > 5 * alone[0]


def test_levels_are_compared_with_the_level_that_is_worth_nothing() -> None:
    """Rows without any level are worth nothing too. That level has no error, and a rare level has a large one."""
    codes = np.repeat([0, 1, 2, -1], [30_000, 15_000, 20, 5_000])
    field = Field("role", tuple(Attribute("value", name) for name in ("x", "y", "z")), signals=False, zero=0)
    (error,) = spreads([Encoded(field, codes=codes)], np.full(codes.size, 0.1), None, 1.0)
    assert error[0] == 0
    assert error[1] == pytest.approx(math.sqrt((1 / 3_500 + 1 / 31_500) + (1 / 1_500 + 1 / 13_500)), rel=0.01)
    assert 0.6 < error[2] < 2.0
