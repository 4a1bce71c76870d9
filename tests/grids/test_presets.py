"""The grids that come along: what they promise in their notes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.presets import DIRECTOR as KNOWN_DIRECTOR
from tests.kit.presets import KNOWN, PRESETS, PRICING, WEBINAR, at, preset
from worker.core.grid.lint import lint
from worker.core.insight.replay import ReplayResult, replay_lines

DEMO = [at(5, "demo.requested")]


def stage(result: ReplayResult) -> str:
    """Return the stage of the only lead."""
    (lead,) = result.leads
    return str(lead["stage"])


def published(result: ReplayResult) -> list[str]:
    """Return the types of what went out, in order."""
    return [event["type"] for event in result.events]


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_no_warnings(name: str) -> None:
    """What we advise against we do not ship."""
    assert lint(preset(name)) == []


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_named_as_its_file(name: str) -> None:
    """`--grid NAME` and the outputs' `grid.name` say the same."""
    assert preset(name).grid == name


def test_the_director_who_joins_a_webinar_and_visits_pricing_becomes_sql() -> None:
    """The lead that the grid was written for, and sales have four hours."""
    result = replay_lines([*KNOWN, *WEBINAR, *PRICING], preset("saas-b2b"))
    assert published(result) == ["lead.mql", "lead.sql"]
    assert result.events[1]["time"] == "2026-03-08T10:00:00.000Z"
    assert result.events[1]["data"]["respond_by"] == "2026-03-08T14:00:00.000Z"


def test_less_known_and_a_week_between_is_still_enough() -> None:
    """Neither an address nor the company's type is known, there was no registration, and the webinar has faded for a week."""
    traits = {"role": "Directrice marketing", "country": "FR", "company.size": 200, "company.industry": "B2B SaaS"}
    lines = [at(1, "profile.updated", traits=traits), at(1, "webinar.attended", webinar_id="w"), *PRICING]
    assert stage(replay_lines(lines, preset("saas-b2b"))) == "sql"


@pytest.mark.parametrize(
    "lines", [KNOWN, [*KNOWN, *WEBINAR], [*KNOWN, *PRICING], WEBINAR, PRICING, [*WEBINAR, *PRICING]], ids=len
)
def test_no_signal_alone_makes_an_sql(lines: list[str]) -> None:
    """Neither the best fit, nor a webinar seen to its end, nor one look at pricing; nor all a stranger does."""
    assert stage(replay_lines(lines, preset("saas-b2b"))) in {"contact", "mql"}


@pytest.mark.parametrize("known", [[], KNOWN])
def test_a_demo_request_alone_does(known: list[str]) -> None:
    """Who asks to be called is called, known or not."""
    assert published(replay_lines([*known, *DEMO], preset("saas-b2b"))) == ["lead.mql", "lead.sql"]


@pytest.mark.parametrize(
    "traits",
    [
        {"role": "Student"},
        {"country": "US"},
        {"email": "ada@mailinator.com"},
        {"company.size": 3, "email": "ada@gmail.com"},
    ],
)
def test_a_demo_request_of_someone_off_target_does_not(traits: dict[str, Any]) -> None:
    """`min_fit: 0` lets the unknown pass, not those who are known to be no customer."""
    assert stage(replay_lines([at(1, "profile.updated", traits=traits), *DEMO], preset("saas-b2b"))) == "contact"


@pytest.mark.parametrize(
    "line",
    [
        at(9, "profile.updated", traits={"company.domain": "rival.example"}),
        at(9, "profile.updated", traits={"email": "ada@rival.example"}),
        at(9, "email.unsubscribed", message_id="m"),
        at(9, "email.complained", message_id="m"),
    ],
)
def test_nobody_calls_a_competitor_or_who_asked_to_be_left_alone(line: str) -> None:
    """Whatever the score."""
    result = replay_lines([*KNOWN, *WEBINAR, *PRICING, line], preset("saas-b2b"))
    assert published(result)[-1] == "lead.excluded"


def test_an_sql_that_falls_silent_cools() -> None:
    """Two months later nothing is left of it but the fit."""
    result = replay_lines([*KNOWN, *WEBINAR, *PRICING, '{"tick": "2026-05-08T10:00:00Z"}'], preset("saas-b2b"))
    assert published(result) == ["lead.mql", "lead.sql", "lead.sla_breached", "lead.cooled", "lead.cooled"]


def test_coming_back_over_days_is_worth_more_than_one_long_visit() -> None:
    """The same number of pages: five days against one."""
    steady = [at(day, "page.viewed", url="/product/a", session_id=str(day)) for day in (1, 2, 3, 4, 5)]
    burst = [at(5, "page.viewed", url=f"/product/{n}", session_id="one", **{str(n): n for n in range(n)}) for n in range(5)]
    scores = [replay_lines(lines, preset("saas-b2b")).leads[0]["score"] for lines in (steady, burst)]
    assert scores[0] > 2 * scores[1] > 0


def test_the_pivot_is_a_manager_who_asks_for_a_demo() -> None:
    """5 and 10 make 15, at the very instant; and neither does alone."""
    manager = at(5, "profile.updated", traits={"email": "ada@acme.example", "role": "Office Manager"})
    assert published(replay_lines([manager, *DEMO], preset("pivot-15"))) == ["lead.sql"]
    assert published(replay_lines([manager], preset("pivot-15"))) == []
    assert published(replay_lines(DEMO, preset("pivot-15"))) == []


def test_a_newsletter_is_worth_one_point_however_often_it_is_signed_up_for() -> None:
    """The smallest signal of the pivot grid."""
    lines = [at(day, "form.submitted", form_id="newsletter-footer") for day in (1, 2)]
    (lead,) = replay_lines(lines, preset("pivot-15"), at_ms=None).leads
    assert lead["score"] == pytest.approx(2 ** (-1 / 30))


def hour(clock: str, event_type: str, **data: Any) -> str:
    """Return what the director does on 4 March, a Wednesday, at a time of the day in UTC."""
    return at(4, event_type, **data).replace("T10:00:00Z", f"T{clock}Z")


VISITS = [hour("10:00:00", "page.viewed", url="/pricing"), hour("10:00:00", "quote.requested", form_id="quote")]


def test_the_articles_sums_are_right_to_the_point() -> None:
    """40 of fit, 15 of a webinar, 10 of a download, 10 of pricing: 40 discovers, 55 is nurtured in person, 75 is called."""
    known = hour("10:00:00", "profile.updated", traits=KNOWN_DIRECTOR)
    webinar = hour("10:00:00", "webinar.attended", webinar_id="w")
    rest = [hour("10:00:00", "content.downloaded", content_id="guide"), VISITS[0]]
    result = replay_lines([known, webinar, *rest], preset("article-75"))
    told = [(event["type"], event["data"]["to"], event["data"]["score"]) for event in result.events]
    assert told == [
        ("lead.phase", "discovery", 40),
        ("lead.mql", "mql", 55),
        ("lead.phase", "consideration", 55),
        ("lead.sql", "sql", 75),
        ("lead.phase", "decision", 75),
    ]


def test_sales_have_an_hour_of_their_working_day() -> None:
    """Handed over on Wednesday at 18:30 in Paris: until ten o'clock on Thursday."""
    known = hour("17:29:00", "profile.updated", traits=KNOWN_DIRECTOR)
    result = replay_lines([known, hour("17:30:00", "demo.requested")], preset("article-75"))
    (sql,) = [event for event in result.events if event["type"] == "lead.sql"]
    assert sql["data"]["respond_by"] == "2026-03-05T09:00:00.000Z"


def test_neither_the_best_fit_nor_a_stranger_who_does_everything_is_called() -> None:
    """A fit of 40 alone is no MQL. A stranger comes to 60, which is nurtured in person."""
    known = [hour("09:00:00", "profile.updated", traits=KNOWN_DIRECTOR)]
    assert stage(replay_lines(known, preset("article-75"))) == "contact"
    everything = [
        *VISITS,
        hour("10:00:00", "webinar.attended", webinar_id="w"),
        hour("10:00:00", "email.replied", message_id="m"),
    ]
    (lead,) = replay_lines(everything, preset("article-75")).leads
    assert (lead["score"], lead["stage"], lead["phase"]) == (60, "mql", "consideration")
    (lead,) = replay_lines([*everything, *known], preset("article-75")).leads
    assert (lead["stage"], lead["phase"]) == ("sql", "decision")


def test_a_lead_that_falls_silent_goes_back_through_the_phases() -> None:
    """Down to discovery, with the stage."""
    lines = [hour("09:00:00", "profile.updated", traits=KNOWN_DIRECTOR), *VISITS, '{"tick": "2026-09-01T00:00:00Z"}']
    phases = [e["data"]["to"] for e in replay_lines(lines, preset("article-75")).events if e["type"] == "lead.phase"]
    assert phases == ["discovery", "consideration", "decision", "consideration", "discovery"]
