"""Fields: attributes that are alternatives of each other, and which of them each row has.

A field of levels gives each row one of its attributes.
In a field of signals each attribute has a number a row, which is 0 where its rule did not match.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from worker.learning.bins import LEAST, OTHER, Asked, Attribute, LeftOut, asked_of, codes_of, range_of
from worker.learning.intervals import Floats, Ints
from worker.learning.sample import Sample


@dataclass(frozen=True)
class Field:
    """One question about a lead, with its possible answers."""

    name: str
    attributes: tuple[Attribute, ...]
    signals: bool
    """Each attribute has a number of its own in the rows; else each row has one attribute."""
    zero: int = -1
    """The attribute that gives 0 points. −1: a row without any of them."""


@dataclass(frozen=True)
class Encoded:
    """Which attributes the rows of a sample have."""

    field: Field
    codes: Ints | None = None
    """Of levels: the attribute of each row, −1 for none."""
    numbers: Floats | None = None
    """Of signals: rows × attributes."""

    def times(self, worth: Floats) -> Floats:
        """Return for each row the sum of its attributes' *worth*."""
        if self.codes is not None:
            return np.asarray(np.append(worth, 0.0)[self.codes], np.float64)
        assert self.numbers is not None
        return np.asarray(self.numbers @ worth, np.float64)

    def counts(self, weight: Floats | None = None) -> Floats:
        """Return how many rows have each attribute; each counts *weight*. The last is that of rows with none."""
        each = np.ones(self.size) if weight is None else weight
        if self.codes is not None:
            k = len(self.field.attributes)
            places = np.where(self.codes < 0, k, self.codes)
            return np.asarray(np.bincount(places, weights=each, minlength=k + 1), np.float64)
        assert self.numbers is not None
        there = self.numbers != 0
        return np.append(there.T @ each, each[~there.any(axis=1)].sum())

    def units(self) -> Floats:
        """Return the mean number of each attribute in the rows that have it: 1 but for signals that count."""
        if self.numbers is None:
            return np.ones(len(self.field.attributes))
        there = (self.numbers != 0).sum(axis=0)
        return np.where(there > 0, self.numbers.sum(axis=0) / np.maximum(there, 1), 1.0)

    @property
    def size(self) -> int:
        """How many rows there are."""
        return len(self.codes) if self.codes is not None else len(self.numbers if self.numbers is not None else ())


def encoded(field: Field, sample: Sample) -> Encoded:
    """Return which of the field's attributes the rows have. A signal that the sample does not have is 0."""
    if not field.signals and field.name in sample.texts:
        return Encoded(field, codes=codes_of(Asked(field.name, field.attributes), sample.texts[field.name]))
    nothing = np.zeros(sample.rows)
    if not field.signals:  # steps of a velocity rule: the number is the place of the step
        return Encoded(field, codes=sample.numbers.get(field.name, nothing).astype(np.int64))
    return Encoded(field, numbers=np.column_stack([sample.numbers.get(one.name, nothing) for one in field.attributes]))


def fields_of_columns(sample: Sample) -> tuple[list[Field], list[LeftOut]]:
    """Return a field for each column of texts, and the columns that are left out. The commonest attribute is worth 0."""
    fields: list[Field] = []
    left_out: list[LeftOut] = []
    for name, column in sample.texts.items():
        asked = asked_of(name, column)
        if isinstance(asked, LeftOut):
            left_out.append(asked)
        else:
            field = Field(name, asked.attributes, signals=False)
            counts = encoded(field, sample).counts()[:-1]
            commonest = int(np.argmax(np.where([one is OTHER for one in asked.attributes], -1, counts)))
            fields.append(replace(field, zero=commonest))
    return fields, left_out


def merged(field: Field, place: int) -> Field:
    """Return the field with the ranges at *place* and after it as one."""
    first, second = field.attributes[place : place + 2]
    attributes = (
        *field.attributes[:place],
        range_of(first.low, second.high, whole=first.whole),
        *field.attributes[place + 2 :],
    )
    return replace(field, attributes=attributes, zero=field.zero - (field.zero > place))


def with_zero(part: Encoded) -> Encoded:
    """Return a field of signals with its commonest one as zero, where hardly any row has none of them."""
    counts = part.counts()
    if not part.field.signals or counts[-1] >= LEAST or len(counts) <= 2:
        return part
    return replace(part, field=replace(part.field, zero=int(np.argmax(counts[:-1]))))
