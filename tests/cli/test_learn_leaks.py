"""`leadpulse learn leaks`: every column, with its exact name, as JSON and in words."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from worker.cli.learn import learn

NAMES = ["Lead Origin", "  Tags", "Won_by", "Last Activity", 'He said "hm", and left', "Größe", "won"]


def made(folder: Path) -> str:
    """A learning table of 400 leads, of which every fourth won."""
    source, out = folder / "leads.csv", folder / "leads.parquet"
    with source.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", *NAMES, "End"])
        for number in range(400):
            won = number % 4 == 0
            tag = "closed" if won else "open"
            row = number // 4
            values = [f"o{row % 3}", tag, "Ann" if won else "", f"a{row % 7}", f"h{row % 5}", row % 50, row % 2]
            writer.writerow([number, *values, "yes" if won else "no"])
    run("table", str(source), "--outcome", "End", "--won", "yes", "--id", "id", "--out", str(out))
    return str(out)


def run(*words: str) -> Result:
    """Run the command, which must succeed."""
    result = CliRunner().invoke(learn, list(words))
    assert result.exit_code == 0, result.output
    return result


def test_every_column_is_listed_as_json_with_its_exact_name(tmp_path: Path) -> None:
    """In the order of the table. The form is a contract."""
    result = run("leaks", made(tmp_path), "--json")
    found = json.loads(result.stdout)
    assert set(found) == {"columns"}
    assert [column["name"] for column in found["columns"]] == NAMES
    assert all(list(column) == ["name", "verdict", "why", "figure"] for column in found["columns"])
    assert [column["verdict"] for column in found["columns"]] == ["ok", "refuse", "refuse", "ask", "ok", "ok", "ask"]
    assert found["columns"][2] == {
        "name": "Won_by",
        "verdict": "refuse",
        "why": "Filled in for 100 leads, and all of them won. Of the leads where it is blank, 0.0 % won."
        " Drop it, or allow it if it is known before the outcome.",
        "figure": 1.0,
    }
    assert result.stderr == ""


def test_words_begin_with_what_is_refused(tmp_path: Path) -> None:
    """Columns without a sign are only named."""
    result = run("leaks", made(tmp_path))
    lines = result.stdout.splitlines()
    verdicts = [line.split()[0] for line in lines if line[:1].strip()]
    assert verdicts == ["verdict", "refuse", "refuse", "ask", "ask", "ok:"]
    assert lines[-1] == 'ok: Lead Origin, He said "hm", and left, Größe'
    assert result.stderr == "7 columns: 2 refused, 2 asked about, 3 ok\n"


@pytest.mark.parametrize(("name", "words"), [("nowhere.parquet", "does not exist"), ("leads.csv", "is no Parquet file")])
def test_a_file_that_is_no_table_is_named(tmp_path: Path, name: str, words: str) -> None:
    """With the command that makes one."""
    made(tmp_path)
    result = CliRunner().invoke(learn, ["leaks", str(tmp_path / name)])
    assert result.exit_code == 1
    assert words in result.stderr
    assert "leadpulse learn table" in result.stderr
