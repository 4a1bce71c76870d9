"""Records become the bytes of a Parquet file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from worker.core.contract.model import Record
from worker.history.form import FACTS, Facts, schema
from worker.history.rows import Columns, columns_of

_GROUP_ROWS: Final = 65_536
_LEVEL: Final = 3
_REPEATED: Final = ["partition", "key", "type", "source", "subject", "headers.list.element.key", "headers.list.element.value"]
"""Columns whose values repeat, so that a dictionary makes them smaller."""


def arrow_of(records: Sequence[Record], columns: Sequence[Columns] | None = None) -> Any:
    """Return *records* of one partition as an Arrow record batch, which takes far less memory than they do.

    *columns*: what each of them is in columns, if that is known.
    """
    import pyarrow as pa

    form = schema()
    made = list(map(columns_of, records)) if columns is None else columns
    by_name: dict[str, Any] = dict(zip(Columns._fields, zip(*made, strict=True), strict=True))
    by_name["partition"] = [one.partition for one in records]
    by_name["offset"] = [one.offset for one in records]
    by_name["timestamp_ms"] = [one.timestamp_ms for one in records]
    by_name["key"] = [one.key for one in records]
    arrays = [_headers(records) if field.name == "headers" else pa.array(by_name[field.name], field.type) for field in form]
    return pa.record_batch(arrays, schema=form)


def _headers(records: Sequence[Record]) -> Any:
    """Return the headers of *records* as a list array, made of flat ones."""
    import pyarrow as pa

    form = schema().field("headers").type
    offsets, names, values = [0], [], []
    for record in records:
        for name, value in record.headers:
            names.append(name)
            values.append(value)
        offsets.append(len(names))
    inner = pa.StructArray.from_arrays(
        [pa.array(names, pa.string()), pa.array(values, pa.binary())], fields=list(form.value_type)
    )
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), inner, type=form)


class ParquetBytes:
    """A Parquet file that is written piece by piece into memory, with *facts* in its metadata."""

    def __init__(self, facts: Facts | None) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        self._out = pa.BufferOutputStream()
        self._writer = parquet.ParquetWriter(
            self._out,
            schema(),
            compression="zstd",
            compression_level=_LEVEL,
            use_dictionary=_REPEATED,
            store_schema=False,
        )
        self._facts = facts

    def write(self, batches: Iterable[Any]) -> None:
        """Add Arrow record *batches*, in their order, as row groups of their own."""
        import pyarrow as pa

        self._writer.write_table(pa.Table.from_batches(list(batches), schema()), row_group_size=_GROUP_ROWS)

    def close(self) -> bytes:
        """Return the bytes of the file. Nothing can be added any more."""
        if self._facts is not None:
            self._writer.add_key_value_metadata({FACTS: msgspec.json.encode(self._facts)})
        self._writer.close()
        return bytes(self._out.getvalue())


def parquet_of(batches: Iterable[Any], facts: Facts) -> bytes:
    """Return a Parquet file of Arrow record *batches*, in their order, with *facts* in its metadata."""
    out = ParquetBytes(facts)
    out.write(batches)
    return out.close()


def in_form(table: Any) -> Any:
    """Return *table* in the form of an archive, whichever columns another program left out."""
    import pyarrow as pa

    form = schema()
    arrays = [
        table.column(field.name).cast(field.type) if field.name in table.column_names else pa.nulls(table.num_rows, field.type)
        for field in form
    ]
    return pa.table(arrays, schema=form).combine_chunks()
