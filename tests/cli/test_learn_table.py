"""`leadpulse learn table`: a table from the command line."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from worker.cli import cli
from worker.learning.tables import read_table

EXPORT = b"Lead;Status\n1;won\n2;lost\n"


def run(*words: str, stdin: bytes | None = None) -> Result:
    """Run `leadpulse learn table`."""
    return CliRunner().invoke(cli, ["learn", "table", *words], input=stdin, catch_exceptions=False)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("stdin", [False, True])
def test_a_file_or_stdin_becomes_a_table(tmp_path: Path, packed: bool, stdin: bool) -> None:
    """Gzipped or not, with words about it on stderr."""
    data = gzip.compress(EXPORT) if packed else EXPORT
    source, out = tmp_path / "leads.csv", str(tmp_path / "t.parquet")
    source.write_bytes(data)
    words = ("--outcome", "Status", "--won", "won", "--id", "Lead", "--out", out)
    result = run("-", *words, stdin=data) if stdin else run(str(source), *words)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    assert result.stderr.startswith("2 leads, 1 of them won (50.0%); 0 columns\n")
    assert read_table(out).facts.source == ("stdin" if stdin else "leads.csv")


def test_what_is_wrong_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    """Without a table."""
    source, out = tmp_path / "leads.csv", tmp_path / "t.parquet"
    source.write_bytes(EXPORT)
    result = run(str(source), "--outcome", "Stage", "--won", "won", "--out", str(out))
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {source}: --outcome: no column 'Stage'")
    assert not out.exists()


def test_a_missing_library_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line that installs it, and exit code 2."""
    source = tmp_path / "leads.csv"
    source.write_bytes(EXPORT)
    for module in [name for name in sys.modules if name.startswith("worker.learning")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = run(str(source), "--outcome", "Status", "--won", "won", "--out", str(tmp_path / "t.parquet"))
    assert result.exit_code == 2
    assert "this command needs pyarrow: pip install 'leadpulse[learn]'" in result.stderr
