"""A learning table from a CSV file: what is in it, word for word, and what is refused."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from worker.errors import LearningError
from worker.learning.csv_table import CsvChoice, csv_table
from worker.learning.table_words import words
from worker.learning.tables import Dropped, Table, read_table

EXPORT = """\
Lead ID;Status;Source ;won;Score
 A1;Won;Google;yes;3
B2;Lost;;no;20
b2;;direct ;no;100
C3;Closed won;Google;no;7
"""


def made(tmp_path: Path, text: str | bytes, choice: CsvChoice, said: list[str] | None = None) -> Table:
    """Return the table of the CSV *text*."""
    data = text if isinstance(text, bytes) else text.encode()
    out = str(tmp_path / "t.parquet")
    facts = csv_table(lambda: io.BytesIO(data), "folder/leads.csv", choice, out, ([] if said is None else said).append)
    table = read_table(out)
    assert table.facts == facts
    return table


def refused(tmp_path: Path, text: str, choice: CsvChoice) -> str:
    """Return the words with which a file is refused. No table is left behind."""
    with pytest.raises(LearningError) as caught:
        made(tmp_path, text, choice)
    assert list(tmp_path.iterdir()) == []
    return str(caught.value)


def test_names_ids_and_values_are_those_of_the_file(tmp_path: Path) -> None:
    """Blanks at the ends, blank cells and capitals too. Our columns give way to a column of the same name."""
    table = made(tmp_path, EXPORT, CsvChoice("Status", ("Won", "Closed won"), id="Lead ID"))
    assert table.arrow.column_names == ["id", "won_", "Source ", "won", "Score"]
    assert table.facts.roles == {"id": "id", "won": "won_"}
    assert list(table.column("id")) == [" A1", "B2", "b2", "C3"]
    assert list(table.role("won")) == [True, False, False, True]
    assert list(table.column("Source ")) == ["Google", "", "direct ", "Google"]
    assert [(one.column, one.kind, one.id) for one in table.features()] == [
        ("Source ", "column", "Source "),
        ("won", "column", "won"),
        ("Score", "column", "Score"),
    ]
    facts = table.facts
    assert (facts.kind, facts.source, facts.leads, facts.rows, facts.won_leads) == ("csv", "leads.csv", 4, 4, 2)
    assert facts.outcome == {"column": "Status", "won": ["Won", "Closed won"], "blank": 1}
    assert "1 leads have a blank 'Status': they count as not won" in list(words(facts))


def test_encodings_and_hints_of_excel_are_read(tmp_path: Path) -> None:
    """The same rows by UTF-16 with its mark and by windows-1252; the latter is a guess, and is told."""
    text = "sep=;\r\nid;Métier;won\r\n1;ingénieur;oui\r\n2;;non\r\n"
    choice = CsvChoice("won", ("oui",), id="id")
    first = made(tmp_path, text.encode("utf-16"), choice)
    assert list(first.column("Métier")) == ["ingénieur", ""]
    said: list[str] = []
    second = made(tmp_path, text.encode("windows-1252"), choice, said)
    assert second.arrow == first.arrow
    assert said == ["folder/leads.csv: the text is not UTF-8, so it is read as windows-1252; name another with --encoding"]
    assert made(tmp_path, text, choice._replace(delimiter=";", encoding="utf-8")).arrow == first.arrow


def test_order_is_a_number_or_the_rank_of_a_text(tmp_path: Path) -> None:
    """Numbers are no texts: 20 comes after 3. Dates sort as texts. A blank has no order. It is no feature."""
    table = made(tmp_path, EXPORT, CsvChoice("Status", ("Won",), order="Score"))
    assert list(table.role("order")) == [3, 20, 100, 7]
    assert "Score" not in [one.column for one in table.features()]
    assert list(table.role("id")) == ["2", "3", "4", "5"]
    dated = "id,day,won\n1,2026-03-05,y\n2,2026-03-04,n\n3,,n\n4,2026-03-05,n\n"
    ranks = made(tmp_path, dated, CsvChoice("won", ("y",), id="id", order="day")).role("order")
    assert [str(rank) for rank in ranks] == ["2.0", "1.0", "nan", "2.0"]
    wrong = dated.replace("2026-03-04", "4/3/2026")
    assert "'4/3/2026' does not sort by time: write dates as 2026-03-05" in refused_order(tmp_path, wrong)


def refused_order(tmp_path: Path, text: str) -> str:
    """Return the words about an order that cannot be one."""
    for file in tmp_path.iterdir():
        file.unlink()
    return refused(tmp_path, text, CsvChoice("won", ("y",), id="id", order="day"))


def test_rows_that_cannot_be_used_are_counted_and_named(tmp_path: Path) -> None:
    """A row with too many cells, and one without an id. A short row has blanks, and an empty row is none."""
    said: list[str] = []
    text = "id,role,won\n1,cto,y\n2,ceo,n,more\n , ,\n,cmo,n\n5\n"
    table = made(tmp_path, text, CsvChoice("won", ("y",), id="id"), said)
    assert table.arrow.to_pylist() == [{"id": "1", "won": True, "role": "cto"}, {"id": "5", "won": False, "role": ""}]
    assert table.facts.dropped == [Dropped("bad_row", 1, 1), Dropped("no_id", 1, 1)]
    assert said == [
        "folder/leads.csv:3: 4 cells under 3 columns: is ',' the delimiter, or is a quote missing?: the row is left out"
    ]
    assert "left out: 1 rows, because the row has no id" in list(words(table.facts))


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (CsvChoice("status", ("Won",)), "--outcome: no column 'status', did you mean 'Status'?; the columns are 'Lead ID'"),
        (CsvChoice("Status", ("Won",), id="Lead"), "--id: no column 'Lead', did you mean 'Lead ID'?"),
        (CsvChoice("Status", ("Won",), ignore=("Nothing",)), "--ignore: no column 'Nothing'; the columns are"),
        (CsvChoice("Status", ("Won",), id="Status"), "'Status' is the outcome, so it cannot be --id as well"),
        (
            CsvChoice("Status", ("won",)),
            "--won 'won' never occurs in 'Status', did you mean 'Won'?; its values are 'Won' (1), 'Lost' (1), '' (1), 'Clo",
        ),
        (CsvChoice("Status", ("Won", "Lost", "", "Closed won")), "every lead is won, so nothing can be learnt"),
        (CsvChoice("Score", ("3",), id="Source "), "ids occur twice: 'Google' in lines 2 and 5"),
    ],
)
def test_what_cannot_be_a_table_is_refused_with_what_to_do(tmp_path: Path, choice: CsvChoice, words: str) -> None:
    """And nothing is written."""
    assert words in refused(tmp_path, EXPORT, choice)


def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    """Whatever was there before is replaced whole."""
    choice = CsvChoice("Status", ("Won",), id="Lead ID")
    made(tmp_path, EXPORT, choice)
    first = (tmp_path / "t.parquet").read_bytes()
    made(tmp_path, EXPORT, choice)
    assert (tmp_path / "t.parquet").read_bytes() == first
    assert [file.name for file in tmp_path.iterdir()] == ["t.parquet"]


def test_long_files_are_written_in_parts(tmp_path: Path) -> None:
    """40,000 rows, of which the order is kept."""
    text = "id,n,won\n" + "".join(f"{n},{n % 7},{'y' if n % 3 == 0 else 'n'}\n" for n in range(40_000))
    table = made(tmp_path, text, CsvChoice("won", ("y",), id="id", order="id"))
    assert list(table.column("id")) == [str(n) for n in range(40_000)]
    assert list(table.role("order")) == list(range(40_000))
    assert table.facts.won_leads == 13_334
