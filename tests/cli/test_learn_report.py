"""`leadpulse learn report`: the month's figures from the command line."""

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
grid: demos
version: 3
engagement:
  rules:
    - {id: act, points: 80, on: demo.requested, cap: 80, intent: true}
stages:
  mql: {enter: 50, leave: 40}
  sql: {enter: 75, leave: 60, sla: {within: 24h}}
"""


def run(*words: str) -> Result:
    """Run `leadpulse learn report`."""
    return CliRunner().invoke(cli, ["learn", "report", *words], catch_exceptions=False)


def line(type_: str, lead: str, day: float, source: str = "/site", **data: Any) -> str:
    """Return an event of a day, as a line."""
    at, id_ = (BEGIN + timedelta(days=day)).isoformat(), f"{type_}/{lead}/{day}"
    envelope = {"specversion": "1.0", "id": id_, "source": source, "type": type_, "subject": lead, "time": at}
    return json.dumps({**envelope, "data": data})


def history(*, outputs: bool) -> list[str]:
    """Return a log of 60 leads: each third asks for a demo, and half of those are won."""
    found: list[tuple[float, str]] = []
    for number in range(60):
        lead, day = f"l{number}", float(number)
        found.append((day, line("page.viewed", lead, day, url="https://www.example.com/", utm={"source": "<b>ads"})))
        if number % 3 == 0:
            found.append((day + 1, line("demo.requested", lead, day + 1)))
            if outputs:
                data = {"lead_id": lead, "score": 80.0, "respond_by": (BEGIN + timedelta(days=day + 2)).isoformat()}
                found.append((day + 1.001, line("lead.sql", lead, day + 1.001, "/leadpulse/x", **data)))
        if number % 6 == 0:
            found.append((day + 1.5, line("crm.accepted", lead, day + 1.5)))
            found.append((day + 15, line("crm.won", lead, day + 15)))
    found.append((120, line("page.viewed", "last", 120.0, url="https://www.example.com/")))
    return [text for _, text in sorted(found, key=lambda one: one[0])]


@pytest.fixture
def log(tmp_path: Path) -> list[str]:
    """The words for a log without outputs, and its grid."""
    (tmp_path / "grid.yaml").write_text(GRID)
    (tmp_path / "log.jsonl").write_text("\n".join(history(outputs=False)))
    return [str(tmp_path / "log.jsonl"), "--grid", str(tmp_path / "grid.yaml"), "--complete", "--horizon", "30d"]


@pytest.mark.parametrize("outputs", [False, True])
def test_handovers_are_those_recorded_or_else_those_of_a_replay(tmp_path: Path, log: list[str], outputs: bool) -> None:
    """The same figures from both."""
    (tmp_path / "log.jsonl").write_text("\n".join(history(outputs=outputs)))
    result = run(*log, "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["outputs"] == ("recorded" if outputs else "replayed")
    funnel = found["funnel"]
    assert {step["stage"]: step["leads"] for step in funnel["steps"]} == {
        "lead": 61, "mql": 20, "sql": 20, "accepted": 10, "opportunity": 10, "client": 10,
    }  # fmt: skip
    assert funnel["service"] == {"handed_over": 20, "promised": 20, "kept": 10, "late": 0, "never": 10}
    assert funnel["score_of_clients_at_handover"] == 80.0
    quality = found["quality"]
    assert quality["won"] == 10
    handed = {one["stage"]: (one["leads"], one["won"]) for one in quality["handed"]}
    assert handed["sql"] == (20, 10)
    assert quality["low"] > 0.5


def test_the_page_holds_hostile_names_as_text_and_is_the_same_twice(tmp_path: Path, log: list[str]) -> None:
    """A campaign parameter comes from a browser."""
    pages = []
    for name in ("a.html", "b.html"):
        assert run(*log, "--html", str(tmp_path / name)).exit_code == 0
        pages.append((tmp_path / name).read_text(encoding="utf-8"))
    assert pages[0] == pages[1]
    assert "&lt;b&gt;ads" in pages[0]
    assert "<b>ads" not in pages[0]
    assert "Leads under demos version 3" in pages[0]


def test_a_log_too_short_for_the_grid_s_quality_still_has_its_funnel(tmp_path: Path, log: list[str]) -> None:
    """With the reason."""
    (tmp_path / "log.jsonl").write_text("\n".join(history(outputs=False)[:5]))
    result = run(*log)
    assert result.exit_code == 0, result.stderr
    assert "The funnel" in result.stdout
    assert "Not known: " in result.stdout


def test_what_cannot_be_read_is_named(tmp_path: Path, log: list[str]) -> None:
    """A bad line, a source that is not there, and stdin."""
    with Path(log[0]).open("a") as file:
        file.write("\nnonsense")
    result = run(*log)
    assert result.exit_code == 0
    assert "log.jsonl:" in result.stderr
    assert "does not exist" in run(str(tmp_path / "nothing"), *log[1:]).stderr
    assert "write it to a file first" in run("-", *log[1:]).stderr
