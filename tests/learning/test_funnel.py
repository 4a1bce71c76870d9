"""The funnel: what became of leads, counted from a history of inputs and outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from worker.history.records import open_history
from worker.learning.funnel import Funnel, funnel
from worker.learning.journeys import journeys

Line = dict[str, Any]


def an_input(type_: str, lead: str, at: str, source: str = "/site", **data: Any) -> Line:
    """Return an event as a producer sends it; *at* is a day and an hour of 2026."""
    envelope = {"specversion": "1.0", "id": f"{type_}{lead}{at}", "type": type_, "source": source, "subject": lead}
    return {**envelope, "time": f"2026-{at}:00Z", "data": data}


def an_output(type_: str, lead: str, at: str, **data: Any) -> Line:
    """Return an event as the worker publishes it."""
    return an_input(type_, lead, at, "/leadpulse/demo", lead_id=lead, **data)


def of(tmp_path: Path, *lines: Line, timezone: str = "UTC") -> Funnel:
    """Return the funnel of a file of *lines*."""
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    found, end_ms = journeys(open_history(str(file)).events())
    return funnel(found, end_ms, timezone)


def test_a_lead_is_counted_at_each_stage_that_it_reached(tmp_path: Path) -> None:
    """Also at stages that no output names: sales took a lead without a call."""
    found = of(
        tmp_path,
        an_input("page.viewed", "ada", "01-03T10:00", utm={"source": "News", "campaign": "spring"}),
        an_input("page.viewed", "bob", "01-04T10:00", referrer="https://www.search.example/q"),
        an_input("form.submitted", "cyd", "01-05T10:00"),
        an_output("lead.mql", "ada", "01-13T10:00", score=52.0),
        an_output("lead.sql", "ada", "01-15T10:00", score=81.5, respond_by="2026-01-15T11:00:00Z"),
        an_input("crm.accepted", "ada", "01-15T10:30"),
        an_input("crm.opportunity", "bob", "01-20T10:00"),
        an_input("crm.won", "ada", "02-14T10:00", amount=100),
    )
    assert [(step.stage, step.leads) for step in found.steps] == [
        ("lead", 3), ("mql", 2), ("sql", 2), ("accepted", 2), ("opportunity", 2), ("client", 1),
    ]  # fmt: skip
    assert found.steps[1].of_before == pytest.approx(2 / 3)
    assert found.steps[5].of_all == pytest.approx(1 / 3)
    assert found.score_of_clients_at_handover == 81.5
    assert {one.name: (one.leads, one.client) for one in found.sources} == {
        "news": (1, 1),
        "search.example": (1, 0),
        "/site": (1, 0),
    }
    assert [one.name for one in found.campaigns] == ["spring"]
    days = {(one.start, one.end): one.median for one in found.durations}
    assert days["lead", "mql"] == 10.0
    assert days["mql", "sql"] == 2.0
    assert days["lead", "client"] == 42.0
    assert ("sql", "opportunity") not in days


def test_a_handover_is_kept_late_or_never_answered(tmp_path: Path) -> None:
    """Each `lead.sql` alone; a handover whose time is not over yet is none of the three."""
    due = "2026-01-02T11:00:00Z"
    found = of(
        tmp_path,
        *(an_output("lead.sql", lead, "01-02T10:00", score=80, respond_by=due) for lead in ("kept", "late", "never")),
        an_input("crm.accepted", "kept", "01-02T11:00"),
        an_input("crm.no_show", "late", "01-02T10:10"),
        an_input("crm.rejected", "late", "01-02T11:01", reason="too small"),
        an_output("lead.sql", "kept", "02-02T10:00", score=80, respond_by="2026-02-02T11:00:00Z"),
        an_input("page.viewed", "kept", "02-02T10:30"),
    )
    assert found.service == {"handed_over": 4, "promised": 4, "kept": 1, "late": 1, "never": 1}
    assert found.rejected == {"too small": 1}


def test_a_visitor_becomes_the_lead_with_its_past(tmp_path: Path) -> None:
    """Seen when the visitor was, from where the visitor came."""
    found = of(
        tmp_path,
        an_input("page.viewed", "visitor:1", "01-02T10:00", utm={"source": "ads"}),
        an_output("lead.mql", "visitor:1", "01-03T10:00", score=50),
        an_input("crm.accepted", "ada", "01-04T10:00"),
        an_input("lead.identified", "ada", "01-05T10:00", anonymous_id="visitor:1"),
        an_output("lead.stage", "visitor:1", "01-05T10:00", merged_into="ada"),
        an_input("page.viewed", "visitor:1", "01-06T10:00"),
        an_input("crm.won", "ada", "01-08T10:00"),
    )
    assert [(one.name, one.leads, one.mql, one.client) for one in found.sources] == [("ads", 1, 1, 1)]
    assert {(one.start, one.end): one.median for one in found.durations}["lead", "client"] == 6.0


def test_mails_count_once_a_message_and_not_for_machines(tmp_path: Path) -> None:
    """A click without an open is a click."""
    found = of(
        tmp_path,
        *(an_input("email.delivered", "ada", "01-02T10:00", message_id=message) for message in ("m1", "m2", "m3")),
        an_input("email.opened", "ada", "01-02T11:00", message_id="m1"),
        an_input("email.opened", "ada", "01-02T12:00", message_id="m1"),
        an_input("email.opened", "ada", "01-02T13:00", message_id="m2", machine=True),
        an_input("email.clicked", "ada", "01-02T14:00", message_id="m3"),
    )
    assert found.mails == {"delivered": 3, "opened": 1, "clicked": 1}


def test_months_are_those_of_the_grid_s_time_zone(tmp_path: Path) -> None:
    """Cohorts by the first event, periods by what happened."""
    lines = (
        an_input("page.viewed", "ada", "01-31T23:30"),
        an_input("crm.won", "ada", "03-31T22:30"),
    )
    assert [one.name for one in of(tmp_path, *lines).cohorts] == ["2026-01"]
    paris = of(tmp_path, *lines, timezone="Europe/Paris")
    assert [one.name for one in paris.cohorts] == ["2026-02"]
    assert [(one.month, one.won) for one in paris.periods] == [("2026-04", 1)]


def test_an_erased_lead_is_in_no_figure(tmp_path: Path) -> None:
    """Whatever it did before."""
    found = of(
        tmp_path,
        an_input("page.viewed", "ada", "01-02T10:00"),
        an_input("page.viewed", "bob", "01-02T10:00"),
        an_input("page.viewed", "cyd", "01-02T10:00"),
        an_output("lead.erased", "ada", "01-03T10:00"),
        an_input("lead.erased", "cyd", "01-03T10:00"),
    )
    assert found.steps[0].leads == 1


def test_a_history_without_leads_has_figures_of_nothing(tmp_path: Path) -> None:
    """No division by zero."""
    found = of(tmp_path)
    assert found.steps[-1].of_all is None
    assert found.from_ is None
