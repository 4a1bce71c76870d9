"""The form of a learning table: written and read again, and refused where it is none."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from worker.errors import LearningError
from worker.learning.tables import Feature, TableFacts, new_table, own_columns, read_table, write_table

FACTS = TableFacts(
    kind="csv", source="leads.csv", leads=2, rows=2, won_leads=1, features=[Feature("role", "column", "role")],
    roles={"id": "id", "won": "won"},
)  # fmt: skip
ROWS = pa.table({"id": ["1", "2"], "won": [True, False], "role": ["cto", None]})


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Columns by name and by role, and the facts."""
    path = str(tmp_path / "t.parquet")
    write_table(path, ROWS, FACTS)
    table = read_table(path)
    assert table.facts == FACTS
    assert table.arrow.to_pylist() == ROWS.to_pylist()
    assert table.column("won").dtype == bool
    assert list(table.column("role")) == ["cto", None]
    assert table.has("won")
    assert not table.has("at_ms")
    assert list(table.role("id")) == ["1", "2"]
    assert table.features("signal") == []
    assert table.features("column") == table.features() == FACTS.features
    with pytest.raises(LearningError, match="no column 'rule': its columns are id, won, role"):
        table.column("rule")


def test_facts_are_sorted_json_in_the_file(tmp_path: Path) -> None:
    """Other programs find them under `leadpulse`."""
    path = tmp_path / "t.parquet"
    write_table(str(path), ROWS, FACTS)
    text = parquet.read_metadata(path).metadata[b"leadpulse"].decode()
    assert text.startswith('{"design_effect":1.0,"dropped":[],"end_ms":null,')


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    """A missing file, another format, a foreign Parquet file, and a newer version."""
    path = tmp_path / "t.parquet"
    with pytest.raises(LearningError, match="does not exist: make one with `leadpulse learn table`"):
        read_table(str(path))
    path.write_text("id,won\n")
    with pytest.raises(LearningError, match="is no Parquet file"):
        read_table(str(path))
    parquet.write_table(ROWS, path)
    with pytest.raises(LearningError, match="without facts of LeadPulse"):
        read_table(str(path))
    write_table(str(path), ROWS.replace_schema_metadata(None), FACTS)
    newer = TableFacts(table=2, kind="csv", source="", leads=0, rows=0, won_leads=0, features=[], roles={})
    write_table(str(path), ROWS, newer)
    with pytest.raises(LearningError, match="has version 2, and this LeadPulse reads 1"):
        read_table(str(path))


def test_a_table_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    """And no half of itself."""
    path = tmp_path / "t.parquet"
    write_table(str(path), ROWS, FACTS)
    before = path.read_bytes()
    with pytest.raises(KeyError), new_table(str(path), ROWS.schema) as writer:
        writer.write({"id": ["3"]})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["t.parquet"]
    with pytest.raises(LearningError, match=r"cannot be written: the folder .*nowhere does not exist"):
        write_table(str(tmp_path / "nowhere" / "t.parquet"), ROWS, FACTS)


def test_our_columns_give_way() -> None:
    """As often as it takes."""
    assert own_columns(("id", "won"), ("won", "won_", "x")) == {"id": "id", "won": "won__"}
