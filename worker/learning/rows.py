"""A learning table's rows as a sample for fits."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from worker.core.grid.domains import NORMAL_FORMS
from worker.learning.intervals import Floats, Ints
from worker.learning.sample import DAY_MS, Sample, Texts, in_order_of_content, texts_of
from worker.learning.tables import Feature, Table


def sample_of(table: Table, *, texts_too: bool = True) -> Sample:
    """Return the rows of *table*, in the order of their content. Without *texts_too*, only the numbers of events are read.

    Columns of a CSV file and traits are texts, signals and counts are numbers. Signals and traits have their own ids as names.
    """
    texts: dict[str, Texts] = {}
    numbers: dict[str, Floats] = {}
    for feature in table.features():
        if feature.kind == "trait" and not texts_too:
            continue
        values = table.column(feature.column)
        if feature.kind in ("column", "trait"):
            texts[feature.id] = texts_of(_texts(feature, values))
        else:
            name = feature.id if feature.kind == "signal" else feature.column
            numbers[name] = np.nan_to_num(values.astype(np.float64))
    _, leads = np.unique(table.role("id").astype(str), return_inverse=True)
    handed_over = table.role("handed_over").astype(np.bool_) if table.has("handed_over") else None
    return in_order_of_content(
        Sample(
            won=table.role("won").astype(np.bool_),
            leads=leads.astype(np.int64),
            texts=texts,
            numbers=numbers,
            handed_over=handed_over,
            at_ms=_ints(table, "at_ms"),
            order=table.role("order").astype(np.float64) if table.has("order") else None,
            place=np.arange(table.facts.rows, dtype=np.int64),
            followed=_days(table, "followed_days"),
            days_to_won=_days(table, "days_to_won"),
            days_to_handover=_days(table, "days_to_handover"),
            horizon_ms=table.facts.horizon_ms or 0,
            design_effect=max(1.0, table.facts.design_effect),
        )
    )


def _days(table: Table, role: str) -> Floats | None:
    """Return days of a table that has rows without a whole horizon."""
    young = table.has("followed_days") and bool((table.role("followed_days") < (table.facts.horizon_ms or 0) / DAY_MS).any())
    return table.role(role).astype(np.float64) if young else None


def _ints(table: Table, role: str) -> Ints | None:
    return table.role(role).astype(np.int64) if table.has(role) else None


def _texts(feature: Feature, values: Iterable[Any]) -> Iterable[str]:
    if feature.kind == "column":
        form = NORMAL_FORMS.get(feature.id)  # a worker keeps such a trait in its one form, and the grid compares that
        if form is not None:
            return ("" if value is None or not value.strip() else form(value) for value in values)
        return ("" if value is None else value for value in values)
    read: dict[Any, str] = {None: ""}
    return (read[value] if value in read else read.setdefault(value, _of_json(value)) for value in values)


def _of_json(value: str) -> str:
    """Return the text of a trait, which is a JSON scalar; of a list, its JSON."""
    try:
        read = json.loads(value)
    except ValueError:
        return value
    return read if isinstance(read, str) else value
