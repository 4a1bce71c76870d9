"""`leadpulse learn table`: a table from the command line."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.kit.stories import DAY, START, an_event
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


def test_a_log_of_events_becomes_a_table(tmp_path: Path) -> None:
    """Lines that are no events are named, and the words say what the table holds."""
    source, out = tmp_path / "events.jsonl", str(tmp_path / "t.parquet")
    events = [an_event("ada", n, START + n * DAY, "page.viewed", {"url": "/"}) for n in (0, 1, 60)]
    source.write_text("".join(json.dumps(event) + "\n" for event in events) + "nonsense\n")
    result = run(str(source), "--grid", "pivot-15", "--horizon", "20d", "--every", "1w", "--complete", "--out", out)
    assert result.exit_code == 0, result.stderr
    assert f"{source}:4: not a CloudEvent" in result.stderr
    assert "1 leads, 0 of them won (0.0%)" in result.stderr
    assert "horizon: 20 days; the log ends on 2026-05-24" in result.stderr
    facts = read_table(out).facts
    assert (facts.kind, facts.label, facts.source, facts.every_ms) == ("events", "won", "events.jsonl", 7 * DAY)


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ((), "give --grid for a log of events, or --outcome and --won for a CSV file"),
        (("--outcome", "Status"), "--outcome needs --won"),
        (("--outcome", "Status", "--won", "won", "--label", "opportunity"), "--label has no effect on a CSV file"),
        (("--grid", "pivot-15", "--delimiter", ";"), "--delimiter has no effect on a log of events"),
        (("--grid", "pivot-15", "--master", "local"), "--master has no effect without --engine spark"),
        (("--grid", "pivot-15", "--horizon", "soon"), "'soon' is no duration"),
        (("--grid", "pivot-15", "--every", "none"), "'none' is no time"),
    ],
)
def test_options_that_do_not_go_together_are_refused(tmp_path: Path, words: tuple[str, ...], fault: str) -> None:
    """Before anything is read."""
    result = run(str(tmp_path / "events.jsonl"), *words, "--out", str(tmp_path / "t.parquet"))
    assert result.exit_code == 2
    assert fault in result.stderr


def test_a_missing_log_is_named(tmp_path: Path) -> None:
    """In one line."""
    result = run(str(tmp_path / "events.jsonl"), "--grid", "pivot-15", "--out", str(tmp_path / "t.parquet"))
    assert result.exit_code == 1
    assert "events.jsonl does not exist" in result.stderr
