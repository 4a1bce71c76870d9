"""Powers of two for decay, the same to the last bit on every machine.

The `exp2` and `log2` of a C library differ in the last bit between processors with and without fused multiply-add. They also
differ between libraries and releases. States, due times and outputs would differ with them. This module uses only additions,
multiplications and divisions of IEEE 754, in a fixed order, and a table made of whole numbers.
"""

from __future__ import annotations

from bisect import bisect_right
from math import floor, frexp, isqrt, ldexp
from typing import Final

PARTS: Final = 4_096
"""Steps of the table within one halving. A step is so short that four terms of a series give 53 bits."""
SHIFT: Final = PARTS.bit_length() - 1
MASK: Final = PARTS - 1
_BITS: Final = 128
_ONE: Final = 1 << _BITS
LN2: Final = 0.6931471805599453
STEP: Final = LN2 / PARTS
"""The natural logarithm of one step."""
SIXTH: Final = 1 / 6
_LEAST: Final = 1_075
"""From so many halvings on nothing is left of 1.0."""
_MOST: Final = 1_023
"""Halvings back of which a double still holds the result."""


def _table() -> list[float]:
    """Return 2^(−i/PARTS) for i from 0 to PARTS − 1, each rounded correctly."""
    step = _ONE >> 1
    for _ in range(SHIFT):
        step = isqrt(step << _BITS)
    found, value = [], _ONE
    for _ in range(PARTS):
        found.append(value / _ONE)
        value = value * step >> _BITS
    return found


TABLE: Final = _table()
WHOLE: Final = [ldexp(1.0, -n) for n in range(_LEAST)] + [0.0] + [ldexp(1.0, n) for n in range(_MOST, 0, -1)]
"""2^−n at n, also for negative n, which Python counts from the end."""
END: Final = _LEAST * PARTS
_RISING: Final = [0.5, *reversed(TABLE)]
"""2^(−1 + i/PARTS) for i from 0 to PARTS."""


def exp(power: float) -> float:
    """Return e^*power*, by the same table; *power* is between -700 and 700."""
    steps = -power / LN2 * PARTS
    at = floor(steps)
    rest = (steps - at) * STEP
    return TABLE[at & MASK] * WHOLE[at >> SHIFT] * (1.0 - rest * (1.0 - rest * (0.5 - rest * SIXTH)))


def halved(age_ms: int, half_life: int) -> float:
    """Return 2^(−*age_ms*/*half_life*), within one unit in the last place beside the rounding of the exponent.

    `score.read` repeats these lines, because a call costs as much as all of them.
    """
    steps = age_ms / half_life * PARTS
    at = int(steps)
    if at >= END:
        return 0.0
    rest = (steps - at) * STEP
    return TABLE[at & MASK] * WHOLE[at >> SHIFT] * (1.0 - rest * (1.0 - rest * (0.5 - rest * SIXTH)))


def halvings(left: float) -> float:
    """Return a number of halvings that is not more than those after which *left* of 1.0 is left; 0 < *left* < 1.

    Less than the exact one by 2·10⁻⁸ at most. The tangent at the next step above lies below the logarithm.
    """
    part, exponent = frexp(left)
    place = bisect_right(_RISING, part)
    above = _RISING[place]
    return (PARTS - place) / PARTS - exponent + (above - part) / (above * LN2) - 1e-15
