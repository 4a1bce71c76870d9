"""The scoring models of vendors, as grids: each gives what the arithmetic of its page gives."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import pytest

from tests.kit.oracle_values import instant, rfc3339
from tests.kit.presets import at, preset
from tests.kit.stories import DAY
from worker.core.grid.lint import lint
from worker.core.insight.replay import replay_lines

FOLDER = files("grids.examples")
EXAMPLES = sorted(entry.name.removesuffix(".yaml") for entry in FOLDER.iterdir() if entry.name.endswith(".yaml"))
FIRST = instant("2026-03-01T10:00:00Z")
"""`at(1, …)` happens then."""


def lead(name: str, *lines: str, days: float = 0) -> dict[str, Any]:
    """Return the lead under an example, *days* after the first day."""
    (row,) = replay_lines(list(lines), preset(f"examples/{name}"), FIRST + int(days * DAY)).leads
    return row


def score(name: str, *lines: str, days: float = 0) -> float:
    """Return the lead's score."""
    found = lead(name, *lines, days=days)["score"]
    assert isinstance(found, float | int)
    return found


def traits(**traits: Any) -> str:
    """Return what is known of the lead from the first day on."""
    return at(1, "profile.updated", traits=traits)


def mails(kind: str, *days: int) -> list[str]:
    """Return an event of one mail a day."""
    return [at(day, kind, message_id=f"{kind} {day}") for day in days]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_names_its_page_and_its_arithmetic(name: str) -> None:
    """A reader can compare the grid with what it follows."""
    text = FOLDER.joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    assert "\n# Source: " in text
    assert "arithmetic: " in text
    assert preset(f"examples/{name}").grid == name


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_warnings_of_an_example_are_those_that_its_notes_speak_of(name: str) -> None:
    """A published model may add up without end, and its notes say so. None of them has a mistake that only we made."""
    text = FOLDER.joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    warnings = {warning.code for warning in lint(preset(f"examples/{name}"))}
    assert ("# Warnings of `leadpulse grid check`" in text) == bool(warnings)
    assert warnings <= {"no-cap", "no-decay", "no-negative-points", "everything-scored", "download-like-demo"}


def test_pardot() -> None:
    """A visit with four pages, a file and a form are 3 + 4 + 3 + 50; an opportunity adds 50, and a loss takes 100."""
    pages = [at(1, "page.viewed", url=f"/{n}", session_id="s", **{str(n): n for n in range(n)}) for n in range(4)]
    lines = [*pages, at(1, "content.downloaded"), at(1, "form.submitted", form_id="contact")]
    assert score("pardot", *lines) == 60
    assert score("pardot", *lines, days=365) == 60
    assert score("pardot", *lines, at(2, "crm.opportunity"), days=1) == 110
    assert score("pardot", *lines, at(2, "crm.opportunity"), at(3, "crm.lost"), days=2) == 10
    assert (
        score("pardot", at(1, "custom.form.failed"), at(1, "custom.link.clicked"), at(1, "email.opened", message_id="m")) == -2
    )


def test_eloqua() -> None:
    """A behaviour gives the points of its row times its weight: 100, 75 and 50 of 35 percent for a form, as it grows old."""
    assert score("eloqua", traits(role="Director of Sales")) == 50 * 0.30
    assert score("eloqua", traits(role="Manager of Sales", industry="x", current_solution="Competitor 2")) == 7.5 + 80 * 0.15
    form = at(1, "form.submitted", form_id="f")
    of_form = {0: 100, 6: 100, 7: 75, 13: 75, 14: 50, 29: 50, 30: 0}
    assert {days: score("eloqua", form, days=days) for days in of_form} == {d: p * 0.35 for d, p in of_form.items()}
    clicks = mails("email.clicked", 1, 2, 3)
    assert [score("eloqua", *clicks, days=days) for days in (2, 6, 10)] == [100 * 0.20, 100 * 0.20, 75 * 0.20]
    assert score("eloqua", *mails("email.clicked", 1), days=10) == 50 * 0.20
    assert score("eloqua", *mails("email.opened", 1), days=10) == 100 * 0.15
    pages = [at(day, "page.viewed", url="/product/a") for day in (1, 2, 3)]
    assert [score("eloqua", *pages, days=days) for days in (2, 20)] == [100 * 0.30, 75 * 0.30]
    assert score("eloqua", *pages[:1], days=10) == 50 * 0.30


def test_the_best_lead_of_eloqua_is_a1() -> None:
    """The weights of either side add up to 100 percent."""
    company = {"industry": "Software", "revenue": 1_000_000_000}
    best = traits(role="VP Marketing", company=company, current_solution="Competitor 1")
    pages = [at(day, "page.viewed", url="/product/a") for day in (1, 2, 3)]
    doing = [at(3, "form.submitted"), *mails("email.clicked", 1, 2, 3), *mails("email.opened", 1, 2, 3), *pages]
    row = lead("eloqua", best, *doing, days=2)
    assert (row["fit"], row["engagement"], row["grade"]) == (100, 100, "A1")
    assert lead("eloqua", traits(role="VP Marketing", company=company | {"revenue": 100_000_000}))["grade"] == "B4"


def test_marketo() -> None:
    """Reviewed, titled, from the website, two webinars and the pricing page make 71: sales call. A month later it is 56."""
    webinars = [at(day, f"webinar.{kind}", webinar_id=str(day)) for day in (1, 2) for kind in ("registered", "attended")]
    pricing = at(2, "page.viewed", url="/pricing")
    lines = [traits(seniority="vp", source="website"), at(1, "score.adjusted", points=30), *webinars, pricing]
    assert score("marketo", *lines, days=1) == 30 + 8 + 7 + 20 + 1 + 5
    assert lead("marketo", *lines, days=1)["stage"] == "sql"
    assert score("marketo", *lines, days=31) == 56


def test_marketo_counts_depth_frequency_and_job_seekers() -> None:
    """More than 8 pages in one visit are 7 more, two visits in one week 8 more, and the careers page takes 10."""
    pages = [at(1, "page.viewed", url=f"/{n}", session_id="s", **{str(n): n for n in range(n)}) for n in range(9)]
    assert [score("marketo", *pages[:count]) for count in (8, 9)] == [8, 9 + 7]
    twice = [at(day, "page.viewed", url="/") for day in (1, 2)]
    assert score("marketo", *twice, days=1) == 2 + 8
    assert score("marketo", *twice, at(2, "page.viewed", url="/careers", n=1), days=1) == 3 + 8 - 10


def test_activecampaign() -> None:
    """10 points for the area and 10 for the pricing make 20, once each; what expires does so by itself."""
    seen = [at(day, "page.viewed", url="/pricing") for day in (1, 2)]
    assert score("activecampaign", traits(metro="Lyon"), *seen, days=1) == 20
    assert score("activecampaign", traits(metro="Lyon"), *seen, days=365) == 20
    opened = mails("email.opened", 1, 11)
    assert [score("activecampaign", *opened, days=days) for days in (10, 30, 40)] == [4, 2, 0]


def test_hubspot() -> None:
    """10 points of a form are 5 after a month and none after two; sales give at most 60, marketing at most 40."""
    form = at(1, "form.submitted", form_id="f")
    assert [score("hubspot", form, days=days) for days in (0, 30, 45, 60)] == pytest.approx([10, 5, 2.5, 0])
    webinars = [at(1, "webinar.attended", webinar_id=str(n), **{str(n): n for n in range(n)}) for n in range(4)]
    meetings = [at(1, "custom.meeting.booked", **{str(n): n for n in range(n)}) for n in range(3)]
    assert score("hubspot", *webinars) == 40
    assert score("hubspot", *meetings) == 60
    assert score("hubspot", *webinars, *meetings) == 100
    # Each event fades before the limit is asked: 60 points of webinars are 45 after two weeks and a day.
    assert [score("hubspot", *webinars, days=days) for days in (15, 30)] == pytest.approx([40, 30])


def test_zoho() -> None:
    """A hot lead who opens and clicks a mail and downloads an e-book has 10 + 5 + 10 + 15."""
    mail = [at(1, kind, message_id="m") for kind in ("email.opened", "email.clicked")]
    assert score("zoho", traits(rating="Hot"), *mail, at(1, "content.downloaded", content_id="e-book")) == 40
    assert score("zoho", *mail, at(2, "email.opened", message_id="m"), days=1) == 15
    assert score("zoho", at(1, "email.bounced", message_id="m"), at(1, "email.replied", message_id="n")) == 10
    assert score("zoho", at(1, "custom.webinar.interest"), at(1, "webinar.registered", webinar_id="w")) == 11


def test_plezi() -> None:
    """5, 10 and 15 points by phase. Two forms about discovery and one about evaluation bring a lead into evaluation."""
    forms = [("a", "discovery"), ("b", "discovery"), ("c", "evaluation"), ("d", "purchase"), ("e", "purchase")]
    lines = [at(day, "form.submitted", form_id=form, phase=phase) for day, (form, phase) in enumerate(forms, start=1)]
    rows = [lead("plezi", *lines[:count], days=count - 1) for count in range(1, 6)]
    assert [row["score"] for row in rows] == [5, 10, 20, 35, 50]
    assert [row["phase"] for row in rows] == ["discovery", "discovery", "evaluation", "evaluation", "purchase"]
    assert score("plezi", at(1, "form.submitted", form_id="newsletter")) == 5
    assert score("plezi", at(1, "page.viewed", url="/blog", kind="article"), at(1, "email.clicked", message_id="m")) == 2


def test_a_lead_of_plezi_is_told_to_change_its_phase() -> None:
    """Each change is one output for the tool that sends the mails."""
    lines = [at(day, "form.submitted", form_id=str(day), phase="evaluation") for day in (1, 2, 3, 4)]
    events = replay_lines(lines, preset("examples/plezi"), FIRST + 3 * DAY).events
    changes = [(event["time"], event["data"]["to"]) for event in events if event["type"] == "lead.phase"]
    assert changes == [(rfc3339(FIRST + n * DAY), to) for n, to in ((0, "discovery"), (1, "evaluation"), (3, "purchase"))]
