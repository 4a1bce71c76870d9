"""Scores worked out by hand from the contract: the oracle must be right before it may judge, and the core is held to both."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.kit.by_hand import START, Story
from tests.kit.grids import a_grid, changed
from tests.kit.oracle_values import rfc3339
from tests.kit.stories import DAY, HOUR, MINUTE
from worker.core.grid.models import parse_grid
from worker.core.insight.replay import replay_lines

PAGES = a_grid(engagement="{half_life: 14d, rules: [{id: page, points: 8, on: page.viewed}]}")


def pages(**more: object) -> str:
    """Return the grid whose one rule has *more* words."""
    return changed(PAGES, {f"engagement.rules.page.{name}": value for name, value in more.items()})


def test_points_halve_in_each_half_life() -> None:
    """Formula 1: 8 points are 4 after one half-life and 2 after two; two occurrences add up."""
    story = Story(PAGES).event(0)
    assert story.score(14 * DAY) == pytest.approx(4)
    assert story.event(14 * DAY, id="second").score(28 * DAY) == pytest.approx(2 + 4)


def test_a_rules_own_half_life_takes_the_place_of_the_default() -> None:
    """`none` is a half-life too: no decay."""
    assert Story(pages(half_life="7d")).event(0).score(14 * DAY) == pytest.approx(2)
    assert Story(pages(half_life="none")).event(0).score(365 * DAY) == 8


def test_a_cap_holds_what_the_rule_has_left_not_what_it_once_had() -> None:
    """Formula 2: three views are 24 raw, capped at 10; after one half-life 12 raw, still 10; after two 6 raw, 6."""
    story = Story(pages(cap=10)).event(0).event(0).event(0)
    assert story.score(0) == 10
    assert story.score(14 * DAY) == 10
    assert story.score(28 * DAY) == pytest.approx(6)
    assert story.reason(28 * DAY, "rule", "page") == {
        "kind": "rule",
        "id": "page",
        "points": pytest.approx(6),
        "raw": pytest.approx(6),
        "count": 3,
        "last_at": "2026-03-02T00:00:00.000Z",
    }


def test_a_rule_expires_at_the_instant_stated() -> None:
    """`expires_after` has passed when exactly that long has gone by since the latest matching event."""
    story = Story(pages(half_life="none", expires_after="30d")).event(0).event(DAY)
    assert story.score(31 * DAY - 1) == 16
    assert story.score(31 * DAY) == 0


def test_a_latest_match_that_counts_for_nothing_still_keeps_the_rule_alive() -> None:
    """`expires_after` looks at matching events, and a second opening of one message is one, though it adds no occurrence."""
    story = Story(pages(half_life="none", once_per="session_id", expires_after="30d"))
    story.event(0, session_id="s").event(DAY, session_id="s")
    assert story.score(30 * DAY) == 8


def test_of_each_value_the_earliest_occurrence_counts_whatever_arrives_first() -> None:
    """Formula 3: the same session at 14 d and, arriving late, at 0: one occurrence, at 0."""
    story = Story(pages(once_per="session_id")).event(14 * DAY, session_id="s").event(0, session_id="s")
    assert story.score(14 * DAY) == pytest.approx(4)


def test_values_are_compared_as_strings_and_an_event_without_one_is_its_own() -> None:
    """1 and "1" are one value, `true` is "true". A missing path, `null`, a list and an object count every time."""
    for once_per in ("x", ["x"], ["x", "lead"]):
        story = Story(pages(once_per=once_per, half_life="none"))
        story.event(0, x=1).event(0, x="1").event(0, x=True).event(0, x="true").event(0).event(0, x=None)
        story.event(0, x=[]).event(0, x=[]).event(0, x=[1]).event(0, x=[1]).event(0, x={"a": 1}).event(0, x={"a": 1})
        assert story.reason(0, "rule", "page")["count"] == 10


def test_once_per_day_means_the_grids_midnight() -> None:
    """22:30Z and 23:30Z are two days in Paris (UTC+1 in March), one in UTC."""
    grid = pages(once_per="day", half_life="none")
    times = [22 * HOUR + 30 * MINUTE, 23 * HOUR + 30 * MINUTE]
    assert Story(grid).event(times[0]).event(times[1]).score(DAY) == 8
    assert Story(changed(grid, {"timezone": "Europe/Paris"})).event(times[0]).event(times[1]).score(DAY) == 16


def test_a_forgotten_value_counts_as_new_and_its_old_occurrence_stays() -> None:
    """65 sessions: the one with the earliest occurrence is forgotten; coming again it counts a 66th time."""
    story = Story(pages(once_per="session_id", half_life="none"))
    for n in range(65):
        story.event(n * HOUR, session_id=str(n))
    assert story.event(70 * HOUR, session_id="64").score(70 * HOUR) == 65 * 8
    assert story.event(71 * HOUR, session_id="0").score(71 * HOUR) == 66 * 8


def velocity(count: str) -> str:
    """Return a grid that counts so in a window of seven days."""
    return a_grid(
        velocity=f"[{{id: v, on: page.viewed, count: {count}, within: 7d, steps: {{1: 1, 2: 2, 3: 5, 5: 10}}}}]",
    )


def test_days_counts_the_window_of_today_and_the_days_before() -> None:
    """Three days of a window of seven reach the step of 3; the first falls out at the midnight that begins the eighth day."""
    story = Story(velocity("days")).event(10 * HOUR).event(11 * HOUR).event(DAY).event(2 * DAY)
    assert story.score(7 * DAY - 1) == 5
    assert story.score(7 * DAY) == 2


def test_events_counts_every_matching_event_in_the_window() -> None:
    """Four events: the highest step reached is 3, not 5."""
    assert Story(velocity("events")).event(0).event(1).event(2).event(3).score(3) == 5


def test_sessions_counts_distinct_ids_day_by_day_at_most_16_a_day() -> None:
    """A session without an id counts none; the same id on two days counts on each; twenty in one day are 16."""
    story = Story(velocity("sessions"))
    story.event(0, session_id="a").event(1, session_id="a").event(2).event(DAY, session_id="a")
    assert story.reason(DAY, "velocity", "v")["count"] == 2
    for n in range(20):
        story.event(2 * DAY, session_id=f"s{n}")
    assert story.reason(2 * DAY, "velocity", "v")["count"] == 18


def test_depth_is_the_most_events_in_one_session_on_one_day() -> None:
    """A session over midnight is two, one without an id or with a blank one is none, and 1 is "1"."""
    story = Story(velocity("depth")).event(0).event(1).event(2, session_id=" ").event(3, session_id="").event(4, session_id="")
    assert story.row(4)["score"] == 0
    story.event(5, session_id=1).event(6, session_id="1").event(DAY, session_id="1")
    assert story.reason(DAY, "velocity", "v")["count"] == 2
    story.event(DAY + 1, session_id="1").event(DAY + 2, session_id="1")
    assert story.reason(DAY + 2, "velocity", "v")["count"] == 3
    assert story.reason(8 * DAY - 1, "velocity", "v")["count"] == 3
    assert story.score(8 * DAY) == 0


def test_rise_compares_the_days_up_to_the_latest_match_with_those_before() -> None:
    """Days 0, 8, 9, 10: the seven days up to day 10 hold 3, the seven before hold 1 (day 3 is none, day 0 is in -3…3): 2."""
    story = Story(velocity("rise")).event(0)
    for n in (8, 9, 10):
        story.event(n * DAY)
    assert story.reason(10 * DAY, "velocity", "v")["count"] == 2
    assert story.reason(17 * DAY - 1, "velocity", "v")["count"] == 2, (
        "it does not rise or fall while the match is in the window"
    )
    assert story.score(17 * DAY) == 0


INACTIVITY = a_grid(inactivity="{after: 14d, every: 7d, points: -5, min: -12}")


def test_inactivity_starts_at_its_instant_steps_and_stops_at_its_floor() -> None:
    """Formula 5: 0 before a + 14 d, then −5 and −5 more every 7 d, not below −12."""
    story = Story(INACTIVITY).event(0, "social.shared")
    at = {14 * DAY - 1: 0, 14 * DAY: -5, 21 * DAY - 1: -5, 21 * DAY: -10, 28 * DAY: -12, 99 * DAY: -12}
    assert {t: story.score(t) for t in at} == at


def test_a_lead_that_was_never_active_is_not_inactive() -> None:
    """Mail that was delivered, and pages that a machine read, are no activity."""
    story = Story(INACTIVITY)
    assert story.event(0, "email.delivered").event(0, machine=True).score(99 * DAY) == 0


CLAMPED = a_grid(
    score="{min: 0, max: 50}",
    fit="""
        max: 20
        rules:
          - {id: big, points: 30, where: {company.size: {gte: 50}}}
          - {id: far, points: -15, where: {country: {not: [FR]}}}
    """,
    engagement="""
        min: -50
        max: 35
        rules:
          - {id: page, points: 40, on: page.viewed}
          - {id: gone, points: -100, on: email.bounced}
    """,
)


def test_clamps_hold_and_the_reasons_add_up() -> None:
    """Fit 30 is clamped to 20, engagement 40 to 35, their 55 to 50; each clamp is a reason, and the sum is the score."""
    row = Story(CLAMPED).traits(0, company={"size": 80}).event(0).row(0)
    assert (row["fit"], row["engagement"], row["score"]) == (20, 35, 50)
    assert {r["id"]: r["points"] for r in row["reasons"]} == {"big": 30, "fit": -10, "page": 40, "engagement": -5, "score": -5}
    row = Story(CLAMPED).traits(0, country="DE").event(0, "email.bounced").row(0)
    assert (row["fit"], row["engagement"], row["score"]) == (-15, -50, 0)
    assert {r["id"]: r["points"] for r in row["reasons"]} == {"far": -15, "gone": -100, "engagement": 50, "score": 65}


@pytest.mark.parametrize(
    ("where", "data", "holds"),
    [
        ("{a: 1}", {"a": 1.0}, True),
        ("{a: 1}", {"a": True}, False),
        ("{a: 80}", {"a": "80"}, True),
        ("{a: '80'}", {"a": 80}, False),
        ("{a: {not: x}}", {"a": " "}, False),
        ("{a: {not: x}}", {"a": ["y", "x"]}, False),
        ("{a: x}", {"a": ["y", "x"]}, True),
        ("{a: {gte: 10, lte: 20}}", {"a": [5, 30]}, False),
        ("{a: {words: [demand gen]}}", {"a": "Démand-Gen lead"}, True),
        ("{a: [x, y]}", {"a": "y"}, True),
        ("{a: NO}", {"a": "NO"}, True),
        ("{a.b: x}", {"a": {"b": "x"}}, True),
        ("{a: {not: x}}", {}, False),
        ("{a: {not: x}}", {"a": None}, False),
        ("{a: {not: [x, y]}}", {"a": "z"}, True),
        ("{a: {exists: false}}", {"a": None}, True),
        ("{a: {exists: true}}", {"a": 0}, True),
        ("{a: {gt: 1, lte: 2}}", {"a": 2}, True),
        ("{a: {gt: 1}}", {"a": "2"}, True),
        ("{a: {gt: '1'}}", {"a": 2}, False),
        ("{a: {gt: 0}}", {"a": True}, False),
        ("{a: {gte: b}}", {"a": "b"}, True),
        ("{a: {matches: '^d[ei]'}}", {"a": "director"}, True),
        ("{a: {matches: '1'}}", {"a": 1}, False),
        ("{a: {in: [1, x]}, b: {eq: 2}}", {"a": "x", "b": 2}, True),
        ("{a: {in: [1, x]}, b: {eq: 2}}", {"a": "x"}, False),
    ],
)
def test_where(where: str, data: dict[str, Any], holds: bool) -> None:
    """Section 3's conditions: a text may spell the grid's number, and what is missing satisfies only `exists: false`."""
    assert Story(pages(half_life="none", where=where)).event(0, **data).score(0) == (8 if holds else 0)


def test_a_blank_text_is_a_missing_value_everywhere() -> None:
    """A blank page type is derived, a blank session counts none, and a blank value of `once_per` makes an event of its own."""
    once = pages(half_life="none", once_per="session_id")
    assert Story(once).event(0, session_id=" ").event(1, session_id=" ").event(2, session_id="").score(3) == 24
    assert Story(once).event(0, session_id="7").event(1, session_id=7).score(1) == 8
    grid = changed(pages(half_life="none", where="{page_type: pricing}"), {"pages": '{pricing: ["/pricing"]}'})
    assert Story(grid).event(0, url="/pricing", page_type=" ").score(0) == 8
    sessions = a_grid(velocity="[{id: s, on: page.viewed, count: sessions, within: 3d, steps: {1: 5, 2: 9}}]")
    assert Story(sessions).event(0, session_id="").event(1, session_id=" ").score(1) == 0
    kinds = a_grid(fit="{rules: [{id: bad, points: -5, where: {email_kind: invalid}}]}")
    assert Story(kinds).traits(0, email=" ").score(0) == 0
    assert Story(kinds).traits(0, email="x").traits(1, email=" ").score(1) == 0


DERIVED = a_grid(
    fit="""
      rules:
        - {id: domain, points: 1, where: {email_domain: Acme.EXAMPLE}}
        - {id: kind, points: 2, where: {email_kind: business}}
        - {id: company, points: 4, where: {company.domain: [https://www.acme.example/, exämple.de]}}
        - {id: address, points: 8, where: {email: ADA@acme.example}}
    """
)


@pytest.mark.parametrize(
    ("traits", "score"),
    [
        ({"email": "bob@ACME.example"}, 3),
        ({"email": " ADA@ACME.example "}, 11),
        ({"email": "ada@acme.example"}, 3),
        ({"email_domain": "acme.example", "email_kind": "business"}, 3),
        ({"email_domain": " ACME.example"}, 1),
        ({"email": "nonsense", "email_domain": "acme.example", "email_kind": "business"}, 0),
        ({"email": "bob@gmail.com", "email_domain": "acme.example", "email_kind": "business"}, 0),
        ({"company": {"domain": "WWW.ACME.example"}}, 4),
        ({"company.domain": "xn--exmple-cua.de"}, 4),
        ({"company.domain": ["rival.example", "EXÄMPLE.de"]}, 4),
    ],
)
def test_addresses_and_domains_are_compared_in_one_form(traits: dict[str, Any], score: float) -> None:
    """And what is derived from an address wins over traits of these names."""
    assert Story(DERIVED).traits(0, **traits).score(0) == score


def test_the_first_page_type_that_fits_wins_and_one_given_is_kept() -> None:
    """`*` crosses `/`; the pattern is for the whole path of the url, without its query."""
    grid = changed(
        pages(half_life="none", where="{page_type: pricing}"), {"pages": '{product: ["/p/*"], pricing: ["*/pricing"]}'}
    )
    assert Story(grid).event(0, url="https://a.example/x/y/pricing?plan=1").score(0) == 8
    assert Story(grid).event(0, url="https://a.example/p/pricing").score(0) == 0
    assert Story(grid).event(0, url="https://a.example/p/pricing", page_type="pricing").score(0) == 8
    assert Story(grid).event(0, url="https://a.example/pricing/more").score(0) == 0


def test_a_site_of_one_file_has_its_path_in_the_fragment() -> None:
    """For `pages`, and for the labels that sales read. Escapes are decoded for the first, and shown as sent in the second."""
    grid = changed(pages(half_life="none", where="{page_type: pricing}"), {"pages": '{pricing: "/preise-für*"}'})
    url = "https://app.example/x#!/preise-f%C3%BCr-teams?plan=1"
    assert Story(grid).event(0, url=url).score(0) == 0
    routed = changed(grid, {"hash_routes": "true"})
    assert Story(routed).event(0, url=url).score(0) == 8
    assert Story(routed).event(0, url="/preise-für#top").score(0) == 8
    mql = changed(routed, {"stages": "{mql: {enter: 8}}"})
    (moved,) = replay_lines([json.dumps(line) for line in Story(mql).event(0, url=url).lines], parse_grid(mql, "g")).events
    assert [one["label"] for one in moved["data"]["recent"]] == ["/preise-f%C3%BCr-teams"]


FIT = a_grid(fit="{rules: [{id: big, points: 8, where: {company.size: {gte: 50}}}, {id: co, points: 1, where: {company: x}}]}")


def test_the_last_writer_of_a_trait_is_the_latest_in_event_time() -> None:
    """A late profile does not overwrite a newer one; at equal times the greater event id wins."""
    assert Story(FIT).traits(10, company={"size": 80}).traits(5, company={"size": 1}).score(10) == 8
    assert Story(FIT).traits(10, **{"company.size": 80}).traits(10, company={"size": 1}).score(10) == 0


def test_a_trait_replaces_what_is_older_below_it_and_the_leaf_above_it() -> None:
    """`company: x` and `company.size` cannot both stand; a `null` replaces as a value does, also when it arrives first."""
    assert Story(FIT).traits(0, company={"size": 80}).traits(1, company="x").score(1) == 1
    assert Story(FIT).traits(0, company="x").traits(1, company={"size": 80}).score(1) == 8
    assert Story(FIT).traits(1, company=None).traits(0, company={"size": 80}).score(1) == 0
    assert Story(FIT).traits(1, **{"company.size": None}).traits(0, company="x").score(1) == 0


def test_duplicates_are_known_among_the_last_64_events_by_arrival() -> None:
    """The 65th event pushes the first out; its repeat then counts again. A duplicate moves no clock."""
    story = Story(pages(half_life="none")).event(0, id="a")
    for n in range(63):
        story.event(0, "email.delivered", id=str(n))
    assert story.event(DAY, id="a").row(0)["as_of"] == rfc3339(START)
    assert story.score(0) == 8
    assert story.event(0, "email.delivered").event(0, id="a").score(0) == 16


def test_a_machine_scores_nothing_but_teaches_traits() -> None:
    """Formula 8: no rule, no velocity, no exclusion, no activity; its traits and `crm.*` effects are taken."""
    grid = changed(
        FIT,
        {
            "engagement": "{rules: [{id: p, points: 5, on: [page.viewed, crm.won]}]}",
            "exclusions": "[{id: u, on: email.unsubscribed}]",
        },
    )
    story = Story(grid).event(0, machine=True).event(0, "email.unsubscribed", machine=True)
    story.event(0, "profile.updated", machine=True, traits={"company": {"size": 80}}).event(0, "crm.won", machine=True)
    assert (story.score(0), story.row(0)["stage"]) == (8, "client")
