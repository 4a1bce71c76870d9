"""Powers of two that no C library has a part in."""

from __future__ import annotations

import ast
import hashlib
import math
from decimal import Decimal, localcontext
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.grid.models import parse_grid
from worker.core.scoring import halving
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.halving import PARTS, TABLE, halved, halvings
from worker.core.scoring.score import read
from worker.core.scoring.state import Count, LeadState

CORE = Path(halving.__file__).parents[1]
HALF_LIVES = st.integers(1, 10 * 365 * 86_400_000)
OF_LIBM = {"exp2", "exp", "log2", "log", "log10", "log1p", "expm1", "pow", "sin", "cos", "tan", "hypot", "cbrt"}


GRID = "grid: g\nversion: 1\nengagement: {rules: [{id: page, points: 3, on: page.viewed, half_life: 36h}]}\n"
SCORER = CompiledGrid(parse_grid(GRID, "grid"), "/leadpulse/test")


def exact(age_ms: int, half_life: int) -> Decimal:
    """Return 2^(−age/half-life) to 40 digits."""
    with localcontext() as context:
        context.prec = 40
        return Decimal(2) ** (Decimal(-age_ms) / Decimal(half_life))


@given(st.integers(0, 20 * 365 * 86_400_000), HALF_LIVES)
def test_a_power_is_right_to_the_last_place(age_ms: int, half_life: int) -> None:
    """As near as a C library's own: what is left of the error is that of the exponent, age / half-life."""
    got = halved(age_ms, half_life)
    true = exact(age_ms, half_life)
    if true < Decimal(2) ** -1_020:
        assert got <= 2.0**-1_019
    else:
        allowed = Decimal(2) ** -53 * Decimal(2 + age_ms / half_life)
        assert abs(Decimal(got) / true - 1) <= allowed


@pytest.mark.parametrize("half_life", [1, 3, 5_000, 86_400_000])
@pytest.mark.parametrize("times", [*range(-20, 60), 1_074])
def test_whole_halvings_are_exact(half_life: int, times: int) -> None:
    """One is one, half is half: a count that has not decayed packs as an integer. Instants before the latest are right too."""
    assert halved(times * half_life, half_life) == math.ldexp(1.0, -times)


def test_nothing_is_left_in_the_end() -> None:
    """However long ago it was."""
    assert halved(1_075, 1) == halved(2**60, 1) == 0.0


@given(st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_the_halvings_of_what_is_left_are_never_too_many(left: float) -> None:
    """`due` must not be later than the crossing; that it is earlier by 2·10⁻⁸ of a half-life costs nothing."""
    with localcontext() as context:
        context.prec = 40
        true = -(Decimal(left).ln() / Decimal(2).ln())
        assert 0 <= true - Decimal(halvings(left)) < Decimal("2.1e-8")


def test_the_same_bits_on_every_machine() -> None:
    """Recorded once: another digest here means that states of this machine differ from those of others."""
    assert len(TABLE) == PARTS
    ages = [(n * 7_919_993, 86_400_000 + n) for n in range(2_000)]
    found = [*TABLE, *(halved(*one) for one in ages), *(halvings(one) for one in TABLE[1:])]
    digest = hashlib.sha256(" ".join(map(float.hex, found)).encode()).hexdigest()
    assert digest == "d51a0285257428f53ad9437bb11c494e860e6611614257be2626614e35756376"


@given(st.integers(0, 400 * 86_400_000), st.floats(0.001, 1_000))
def test_a_score_is_read_by_the_same_powers(age_ms: int, sum_: float) -> None:
    """`score.read` repeats the lines of `halved`; `reasons` and the crossings call it."""
    count = Count(n=1, last_ms=1_760_000_000_000, sum=sum_)
    state = LeadState(clock_ms=count.last_ms, counts={next(iter(SCORER.readers)): count})
    assert read(SCORER, state, count.last_ms + age_ms).total == 3 * (sum_ * halved(age_ms, 36 * 3_600_000))


def test_the_core_asks_no_c_library_for_a_function_that_rounds_as_it_likes() -> None:
    """IEEE 754 fixes the last bit of + − × ÷ and of the square root alone; Python's `sum` of floats changed in 3.12."""
    for path in CORE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [one.name for one in node.names] if isinstance(node, ast.ImportFrom) and node.module == "math" else []
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "math":
                names.append(node.attr)
            assert OF_LIBM.isdisjoint(names), f"{path.name}: {names}"
