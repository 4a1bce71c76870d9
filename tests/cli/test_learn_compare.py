"""`leadpulse learn compare`: two grids on one history, from the command line."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from worker.cli import cli

BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
GRID = """
grid: {name}
version: 1
engagement:
  rules:
    - {{id: act, points: 80, on: {on}, cap: 80, intent: true}}
stages:
  mql: {{enter: 50, leave: 40}}
  sql: {{enter: 75, leave: 60}}
"""


def run(*words: str) -> Result:
    """Run `leadpulse learn compare`."""
    return CliRunner().invoke(cli, ["learn", "compare", *words], catch_exceptions=False)


def line(type_: str, lead: str, day: float, source: str = "/site", **data: Any) -> str:
    """Return an event of a day, as a line."""
    at = (BEGIN + timedelta(days=day)).isoformat()
    envelope = {
        "specversion": "1.0",
        "id": f"{type_}/{lead}/{day}",
        "source": source,
        "type": type_,
        "subject": lead,
        "time": at,
    }
    return json.dumps({**envelope, "data": data})


def history(*, outputs: bool = False) -> list[str]:
    """Return a log of 60 leads: a third asks for a demo, a third downloads, and every second demo is won."""
    found: list[tuple[float, str]] = []
    for number in range(60):
        lead, day = f"l{number}", float(number)
        found.append((day, line("page.viewed", lead, day, url="https://www.example.com/")))
        act = ("demo.requested", "content.downloaded", "page.viewed")[number % 3]
        found.append((day + 1, line(act, lead, day + 1, url="https://www.example.com/x")))
        if number % 6 == 0:
            found.append((day + 12, line("crm.accepted", lead, day + 12)))
            found.append((day + 15, line("crm.won", lead, day + 15)))
        if outputs and number % 3 == 0:
            found.append((day + 1.1, line("lead.sql", lead, day + 1.1, "/leadpulse/demo", lead_id=lead)))
    found.append((120, line("page.viewed", "last", 120.0, url="https://www.example.com/")))
    return [text for _, text in sorted(found, key=lambda one: one[0])]


@pytest.fixture
def grids(tmp_path: Path) -> list[str]:
    """A grid for demos, and one for downloads."""
    words = []
    for name, on in (("demos", "demo.requested"), ("downloads", "content.downloaded")):
        (tmp_path / f"{name}.yaml").write_text(GRID.format(name=name, on=on))
        words += ["--grid", str(tmp_path / f"{name}.yaml")]
    return words


@pytest.mark.parametrize("outputs", [False, True])
def test_the_leads_of_each_grid_and_their_outcomes(tmp_path: Path, grids: list[str], outputs: bool) -> None:
    """Whether the log holds what the worker published or not: the grids judge, and sales decide who was called."""
    (tmp_path / "log.jsonl").write_text("\n".join(history(outputs=outputs)))
    result = run(str(tmp_path / "log.jsonl"), *grids, "--complete", "--horizon", "30d", "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert (found["grid_a"], found["grid_b"]) == ("demos version 1", "downloads version 1")
    groups = found["as_written"]
    assert (groups["both"]["leads"], groups["only_a"]["leads"], groups["only_b"]["leads"]) == (0, 20, 20)
    assert (groups["only_a"]["won"], groups["only_b"]["won"]) == (10, 0)
    assert groups["only_a"]["never_given"] == (0 if outputs else 10)
    assert groups["only_b"]["never_given"] == 20
    assert groups["wins"]["high"] < 0
    assert found["auc"]["high"] < 0


def test_each_lead_that_a_grid_calls_is_listed(tmp_path: Path, grids: list[str]) -> None:
    """Those of one grid alone first, with when, and how it ended."""
    (tmp_path / "log.jsonl").write_text("\n".join(history()))
    result = run(str(tmp_path / "log.jsonl"), *grids, "--complete", "--horizon", "30d", "--leads", "-")
    assert result.exit_code == 0, result.stderr
    header, *rows = result.stdout.splitlines()
    assert header == "id,called_by,at_a,at_b,won,given_to_sales"
    assert len(rows) == 40
    assert "l0,A,2026-01-06T00:00:00.000Z,,yes,yes" in rows
    assert "l1,B,,2026-01-07T00:00:00.000Z,no,no" in rows


def test_the_page_and_the_words_say_the_same_twice(tmp_path: Path, grids: list[str]) -> None:
    """The same bytes, and what history cannot tell."""
    (tmp_path / "log.jsonl").write_text("\n".join(history()))
    pages = []
    for name in ("one.html", "two.html"):
        result = run(str(tmp_path / "log.jsonl"), *grids, "--complete", "--horizon", "30d", "--html", str(tmp_path / name))
        assert result.exit_code == 0, result.stderr
        assert "A calls 20 leads" in result.stdout
        assert "Sales were never given 20 of the 20 leads that B alone calls" in result.stdout
        pages.append((tmp_path / name).read_bytes())
    assert pages[0] == pages[1]
    assert b"A calls 20 leads" in pages[0]


def test_wrong_options_and_histories_are_named(tmp_path: Path, grids: list[str]) -> None:
    """With what to write."""
    (tmp_path / "log.jsonl").write_text("\n".join(history()))
    log = str(tmp_path / "log.jsonl")
    assert "give --grid twice" in run(log, *grids[:2]).stderr
    assert "write calls a week, as in 40/week" in run(log, *grids, "--capacity", "20%").stderr
    assert "write it to a file first" in run("-", *grids).stderr
    assert "does not exist" in run(str(tmp_path / "nothing"), *grids).stderr
    lost = [text for text in history() if "crm.won" not in text]
    (tmp_path / "lost.jsonl").write_text("\n".join(lost))
    result = run(str(tmp_path / "lost.jsonl"), *grids, "--complete", "--horizon", "30d")
    assert result.exit_code == 1
    assert "no lead that was won" in result.stderr
