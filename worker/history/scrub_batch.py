"""Erases persons in Arrow batches: few rows are looked at one by one, and the others are passed by as columns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from worker.history.form import Role, schema
from worker.history.rows import from_row
from worker.history.scrub import BLANK, LINKS, Names, Persons, Row, scrubbed

_KEPT: Final = ("partition", "offset", "timestamp_ms")
"""Columns that an erased record keeps."""

_ESCAPES: Final = r"\\u00[3-7]"
"""An escape in JSON of a letter or a digit, which may hide a name."""


def scrub_batch(batch: Any, role: Role, persons: Persons, names: Names | None = None) -> tuple[Any, int]:
    """Return *batch* without the *persons*, and how many records were erased or changed. 0: it is the same batch."""
    blank: set[int] = set()
    data: dict[int, str | None] = {}
    doubtful = _doubtful(batch, role, persons, names)
    for place, held in zip(doubtful.to_pylist(), batch.take(doubtful).to_pylist(), strict=True):
        columns = from_row(held)
        headers = tuple((one["key"], one["value"]) for one in held["headers"] or ())
        left = scrubbed(Row(role, held["timestamp_ms"], held["key"], headers, columns), persons, names)
        if left == BLANK and (columns != BLANK or held["key"] is not None):
            blank.add(place)
        elif left.data != columns.data:
            data[place] = left.data
    return (_rebuilt(batch, blank, data), len(blank) + len(data)) if blank or data else (batch, 0)


def erased_ids(batches: Iterable[Any], persons: Persons) -> set[str]:
    """Return the subjects and keys in *batches* that are ids of erased persons."""
    return {one for batch in batches for one in _known(batch, persons)}


def _known(batch: Any, persons: Persons) -> set[str]:
    found = set(batch.column("subject").unique().to_pylist())
    found |= {one.decode(errors="replace") for one in batch.column("key").unique().to_pylist() if one is not None}
    return {one for one in found if one is not None and persons.erased_ms(one) is not None}


def _doubtful(batch: Any, role: Role, persons: Persons, names: Names | None) -> Any:
    """Return the places of rows that may be a person's, or may name one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    known = sorted(_known(batch, persons))
    masks = [
        pc.is_in(batch.column("subject"), pa.array(known, pa.string())),
        pc.is_in(batch.column("key"), pa.array([one.encode(errors="surrogatepass") for one in known], pa.binary())),
        pc.is_in(batch.column("type"), pa.array(sorted(LINKS), pa.string())),
    ]
    if role == "journal":
        masks.append(pc.invert(pc.is_in(batch.column("type"), pa.array(["tick", "cuts", "grid"], pa.string()))))
    if names is not None:
        masks += _texts(batch, names)
    mask = masks[0]
    for one in masks[1:]:
        mask = pc.or_(mask, one)
    return pc.indices_nonzero(mask)


def _texts(batch: Any, names: Names) -> list[Any]:
    """Return which rows may name a person in their data, or in a value that is no event."""
    import pyarrow as pa
    import pyarrow.compute as pc

    data = batch.column("data")
    value = batch.column("value").cast(pa.binary())
    if not names.needles:
        return [pc.is_valid(data), pc.is_valid(value)]
    found = [pc.match_substring_regex(data, _ESCAPES), pc.is_valid(value)]
    found += [pc.match_substring(data, needle.decode(), ignore_case=True) for needle in names.needles]
    return [pc.fill_null(one, False) for one in found]


def _rebuilt(batch: Any, blank: set[int], data: dict[int, str | None]) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    form = schema()
    erased = pa.array([place in blank for place in range(batch.num_rows)])
    arrays = []
    for field in form:
        column = batch.column(field.name)
        if field.name == "data" and data:
            held = column.to_pylist()
            for place, text in data.items():
                held[place] = text
            column = pa.array(held, field.type)
        if field.name not in _KEPT and blank:
            column = pc.if_else(erased, pa.scalar(None, field.type), column)
        arrays.append(column)
    return pa.record_batch(arrays, schema=form)
