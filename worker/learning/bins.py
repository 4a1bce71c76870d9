"""What a column asks: values of a text, or ranges of a number. Outcomes are not looked at here."""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

import numpy as np

from worker.learning.intervals import Floats, Ints
from worker.learning.sample import Texts

LEAST: Final = 5
"""Fewer rows than this tell nothing: the rule is not fitted."""

RANGES: Final = 10
"""A column of numbers begins with so many ranges of equal counts."""

MOST_VALUES: Final = 60
"""More values than this make no table that people read: the rarest are taken together."""

NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")
"""Texts that a grid takes for numbers (`worker.core.grid.scalars`)."""

_NUMERIC_SHARE: Final = 0.95
_SPIKE: Final = 0.5
"""A single number with this share of a range's rows is a range of its own: 0 often means “not known”."""


class Attribute(NamedTuple):
    """Something that a lead is, or has done."""

    kind: Literal["value", "range", "blank", "other", "signal"]
    name: str
    """For people: the value, `12–37`, `(blank)`, `(other)`, or the id of a signal."""
    values: tuple[str, ...] = ()
    low: float = -np.inf
    high: float = np.inf
    """Of a range: `low` is included, `high` is not."""
    whole: bool = False
    """Of a range: the column has whole numbers only."""


BLANK: Final = Attribute("blank", "(blank)", ("",))
OTHER: Final = Attribute("other", "(other)")


class LeftOut(NamedTuple):
    """A column that is no field, and why."""

    name: str
    why: str


class Asked(NamedTuple):
    """The attributes of one column, of which each row has exactly one."""

    name: str
    attributes: tuple[Attribute, ...]

    @property
    def ranged(self) -> bool:
        """Its values are numbers, in ranges."""
        return any(one.kind == "range" for one in self.attributes)


def number_of(text: str) -> float | None:
    """Return the number that a grid takes *text* for, or `None`."""
    stripped = text.strip()
    return float(stripped) if len(stripped) <= 32 and NUMBER.fullmatch(stripped) else None


def asked_of(name: str, column: Texts) -> Asked | LeftOut:
    """Return what a column asks, or why it is left out, as a column with the same value for all leads is."""
    counts = column.counts()
    present = [code for code in np.flatnonzero(counts) if column.values[code].strip()]
    filled = int(counts[present].sum())
    if not filled or (len(present) == 1 and filled == counts.sum()):
        return LeftOut(name, "it has the same value for all leads")
    numbers = {code: number for code in present if (number := number_of(column.values[code])) is not None}
    blank = (BLANK,) if filled < counts.sum() else ()
    if counts[list(numbers)].sum() >= _NUMERIC_SHARE * filled and len(numbers) > 2:
        if _is_id(list(numbers.values()), filled):
            return LeftOut(name, f"each lead has a number of its own ({len(numbers):,} of {filled:,})")
        stray = (OTHER,) if len(numbers) < len(present) else ()
        spread = np.repeat(list(numbers.values()), counts[list(numbers)])
        return Asked(name, (*_ranges(np.sort(spread)), *stray, *blank))
    common = [code for code in present if counts[code] >= LEAST]
    if counts[common].sum() < filled / 2:
        return LeftOut(name, f"nearly each lead has a value of its own ({len(present):,} values for {filled:,} leads)")
    kept = sorted(sorted(common, key=lambda code: (-counts[code], column.values[code]))[:MOST_VALUES])
    rare = (OTHER,) if len(kept) < len(present) else ()
    return Asked(name, (*(Attribute("value", column.values[code], (column.values[code],)) for code in kept), *rare, *blank))


def _is_id(numbers: list[float], filled: int) -> bool:
    return filled >= 100 and len(numbers) >= 0.99 * filled and all(number.is_integer() for number in numbers)


def _ranges(ordered: Floats) -> list[Attribute]:
    """Return ranges of about equal counts of the numbers, which are sorted; numbers that many rows share stand alone."""
    values, counts = np.unique(ordered, return_counts=True)
    full = max(ordered.size / RANGES, 2 * LEAST)
    floors: list[float] = []
    held = 0.0
    begin = True
    for i, (value, count) in enumerate(zip(values, counts, strict=True)):
        spike = count >= _SPIKE * full
        if begin or (spike and held >= LEAST):
            floors.append(float(value))
            held = 0.0
        held += count
        left = counts[i + 1 :].sum()
        begin = (held >= full or (spike and held >= LEAST)) and left >= LEAST
    whole = bool((values == np.floor(values)).all())
    return [range_of(low, high, whole=whole) for low, high in zip(floors, [*floors[1:], np.inf], strict=True)]


def range_of(low: float, high: float, *, whole: bool) -> Attribute:
    """Return the range of numbers from *low* (included) to *high* (excluded)."""
    name = f"{shown(low)} to below {shown(high)}"
    if high == np.inf:
        name = f"{shown(low)} or more"
    elif whole:
        name = shown(low) if high == low + 1 else f"{shown(low)}–{shown(high - 1)}"
    return Attribute("range", name, low=low, high=high, whole=whole)


def shown(number: float) -> str:
    """Return a number as people write it, without needless digits."""
    return f"{number:.10g}" if abs(number) < 1e10 else f"{number:g}"


def codes_of(asked: Asked, column: Texts) -> Ints:
    """Return the place of each row's attribute in *asked*; −1 for a value that was not there when it was made."""
    place = np.full(len(column.values), -1, np.int64)
    other = next((i for i, one in enumerate(asked.attributes) if one.kind == "other"), -1)
    by_value = {value: i for i, one in enumerate(asked.attributes) for value in one.values}
    for code, text in enumerate(column.values):
        place[code] = by_value.get(text if text.strip() else "", -1)
        number = number_of(text) if asked.ranged and text.strip() else None
        if number is not None:
            place[code] = _range_at(asked.attributes, number)
        elif text.strip() and place[code] < 0:
            place[code] = other
    return place[column.codes]


def _range_at(attributes: tuple[Attribute, ...], number: float) -> int:
    """Return the place of the last range whose floor is reached; the first for numbers below all floors."""
    ranges = [i for i, one in enumerate(attributes) if one.kind == "range"]
    return max((i for i in ranges if number >= attributes[i].low), default=ranges[0])
