"""Examples worked out by hand from the contract: the oracle must be right before it may judge, and the core is held to both."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from tests.kit.comparison import assert_replay_is_right
from tests.kit.examples import examples
from tests.kit.oracle import Oracle
from tests.kit.oracle_score import Lead
from tests.kit.oracle_values import instant, rfc3339
from tests.kit.stories import Case, Line, an_event

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
START = instant("2026-03-02T00:00:00Z")  # a Monday, midnight in UTC


def an_oracle(grid: str) -> Oracle:
    """Return an oracle for a grid in YAML."""
    return Oracle(YAML(typ="safe", pure=True).load(grid), "/leadpulse/test")


class Story:
    """One lead, told in few words: times are milliseconds after `START`. Every answer is the oracle's, and the core's too."""

    def __init__(self, grid: str) -> None:
        self.grid = grid if "grid:" in grid else "grid: g\nversion: 1\n" + grid
        self.oracle = an_oracle(self.grid)
        self.lines: list[Line] = []

    def event(self, at: int, type: str = "page.viewed", id: str | None = None, **data: Any) -> Story:
        if type == "page.viewed":
            data.setdefault("url", "/")
        if type.startswith("email."):
            data.setdefault("message_id", "m")
        line = an_event("ada", len(self.lines), START + at, type, data)
        self.lines.append(line | {"id": id or line["id"]})
        self.oracle.event(self.lines[-1])
        return self

    def traits(self, at: int, **traits: Any) -> Story:
        return self.event(at, "profile.updated", traits=traits)

    def tick(self, at: int) -> Story:
        self.lines.append({"tick": rfc3339(START + at)})
        self.oracle.tick(START + at)
        return self

    def outputs(self) -> list[tuple[int, str, str, str]]:
        """Each output as (time after `START`, type, from, to)."""
        assert_replay_is_right(Case(self.grid, self.lines, START))
        return [
            (instant(o["time"]) - START, o["type"], o["data"].get("from", ""), o["data"].get("to", ""))
            for o in self.oracle.outputs
        ]

    def row(self, at: int) -> dict[str, Any]:
        self.tick(at)
        assert_replay_is_right(Case(self.grid, self.lines, START + at))
        return self.oracle.finish(START + at)[0][0]

    def score(self, at: int) -> float:
        score = self.row(at)["score"]
        assert isinstance(score, float | int)
        return score

    def reason(self, at: int, kind: str, id: str | None = None) -> dict[str, Any]:
        return next(r for r in self.row(at)["reasons"] if r["kind"] == kind and r.get("id") == id)


PAGES = "grid: g\nversion: 1\nengagement:\n  half_life: 14d\n  rules:\n    - {id: page, points: 8, on: page.viewed%s}\n"


# --- The score ---------------------------------------------------------------------------------------------------------------


def test_points_halve_in_each_half_life() -> None:
    """Formula 1: 8 points are 4 after one half-life and 2 after two; two occurrences add up."""
    story = Story(PAGES % "").event(0)
    assert story.score(14 * DAY) == pytest.approx(4)
    assert story.event(14 * DAY, id="second").score(28 * DAY) == pytest.approx(2 + 4)


def test_a_rules_own_half_life_takes_the_place_of_the_default() -> None:
    """`none` is a half-life too: no decay."""
    assert Story(PAGES % ", half_life: 7d").event(0).score(14 * DAY) == pytest.approx(2)
    assert Story(PAGES % ", half_life: none").event(0).score(365 * DAY) == 8


def test_a_cap_holds_what_the_rule_has_left_not_what_it_once_had() -> None:
    """Formula 2: three views are 24 raw, capped at 10; after one half-life 12 raw, still 10; after two 6 raw, 6."""
    story = Story(PAGES % ", cap: 10").event(0).event(0).event(0)
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
    story = Story(PAGES % ", half_life: none, expires_after: 30d").event(0).event(DAY)
    assert story.score(31 * DAY - 1) == 16
    assert story.score(31 * DAY) == 0


def test_a_latest_match_that_counts_for_nothing_still_keeps_the_rule_alive() -> None:
    """`expires_after` looks at matching events, and a second opening of one message is one, though it adds no occurrence."""
    story = Story(PAGES % ", half_life: none, once_per: session_id, expires_after: 30d")
    story.event(0, session_id="s").event(DAY, session_id="s")
    assert story.score(30 * DAY) == 8


def test_of_each_value_the_earliest_occurrence_counts_whatever_arrives_first() -> None:
    """Formula 3: the same session at 14 d and, arriving late, at 0: one occurrence, at 0."""
    story = Story(PAGES % ", once_per: session_id").event(14 * DAY, session_id="s").event(0, session_id="s")
    assert story.score(14 * DAY) == pytest.approx(4)


def test_values_are_compared_as_strings_and_an_event_without_one_is_its_own() -> None:
    """1 and "1" are one value, `true` is "true"; a missing path and `null` count every time."""
    story = Story(PAGES % ", once_per: x, half_life: none")
    story.event(0, x=1).event(0, x="1").event(0, x=True).event(0, x="true").event(0).event(0, x=None)
    assert story.reason(0, "rule", "page")["count"] == 4


def test_once_per_day_means_the_grids_midnight() -> None:
    """22:30Z and 23:30Z are two days in Paris (UTC+1 in March), one in UTC."""
    grid = PAGES % ", once_per: day, half_life: none"
    times = [22 * HOUR + 30 * MINUTE, 23 * HOUR + 30 * MINUTE]
    assert Story(grid).event(times[0]).event(times[1]).score(DAY) == 8
    assert Story("timezone: Europe/Paris\n" + grid).event(times[0]).event(times[1]).score(DAY) == 16


def test_a_forgotten_value_counts_as_new_and_its_old_occurrence_stays() -> None:
    """65 sessions: the one with the earliest occurrence is forgotten; coming again it counts a 66th time."""
    story = Story(PAGES % ", once_per: session_id, half_life: none")
    for n in range(65):
        story.event(n * HOUR, session_id=str(n))
    assert story.event(70 * HOUR, session_id="64").score(70 * HOUR) == 65 * 8
    assert story.event(71 * HOUR, session_id="0").score(71 * HOUR) == 66 * 8


VELOCITY = (
    "grid: g\nversion: 1\nvelocity:\n  - {id: v, on: page.viewed, count: %s, within: 7d, steps: {1: 1, 2: 2, 3: 5, 5: 10}}\n"
)


def test_days_counts_the_window_of_today_and_the_days_before() -> None:
    """Three days of a window of seven reach the step of 3; the first falls out at the midnight that begins the eighth day."""
    story = Story(VELOCITY % "days").event(10 * HOUR).event(11 * HOUR).event(DAY).event(2 * DAY)
    assert story.score(7 * DAY - 1) == 5
    assert story.score(7 * DAY) == 2


def test_events_counts_every_matching_event_in_the_window() -> None:
    """Four events: the highest step reached is 3, not 5."""
    assert Story(VELOCITY % "events").event(0).event(1).event(2).event(3).score(3) == 5


def test_sessions_counts_distinct_ids_day_by_day_at_most_16_a_day() -> None:
    """A session without an id counts none; the same id on two days counts on each; twenty in one day are 16."""
    story = Story(VELOCITY % "sessions")
    story.event(0, session_id="a").event(1, session_id="a").event(2).event(DAY, session_id="a")
    assert story.reason(DAY, "velocity", "v")["count"] == 2
    for n in range(20):
        story.event(2 * DAY, session_id=f"s{n}")
    assert story.reason(2 * DAY, "velocity", "v")["count"] == 18


def test_rise_compares_the_days_up_to_the_latest_match_with_those_before() -> None:
    """Days 0, 8, 9, 10: the seven days up to day 10 hold 3, the seven before hold 1 (day 3 is none, day 0 is in -3…3): 2."""
    story = Story(VELOCITY % "rise").event(0)
    for n in (8, 9, 10):
        story.event(n * DAY)
    assert story.reason(10 * DAY, "velocity", "v")["count"] == 2
    assert story.reason(17 * DAY - 1, "velocity", "v")["count"] == 2, (
        "it does not rise or fall while the match is in the window"
    )
    assert story.score(17 * DAY) == 0


def test_inactivity_starts_at_its_instant_steps_and_stops_at_its_floor() -> None:
    """Formula 5: 0 before a + 14 d, then −5 and −5 more every 7 d, not below −12."""
    story = Story("grid: g\nversion: 1\ninactivity: {after: 14d, every: 7d, points: -5, min: -12}").event(0, "social.shared")
    at = {14 * DAY - 1: 0, 14 * DAY: -5, 21 * DAY - 1: -5, 21 * DAY: -10, 28 * DAY: -12, 99 * DAY: -12}
    assert {t: story.score(t) for t in at} == at


def test_a_lead_that_was_never_active_is_not_inactive() -> None:
    """Mail that was delivered, and pages that a machine read, are no activity."""
    story = Story("grid: g\nversion: 1\ninactivity: {after: 14d, every: 7d, points: -5, min: -12}")
    assert story.event(0, "email.delivered").event(0, machine=True).score(99 * DAY) == 0


CLAMPED = """
grid: g
version: 1
score: {min: 0, max: 50}
fit:
  max: 20
  rules:
    - {id: big, points: 30, where: {company.size: {gte: 50}}}
    - {id: far, points: -15, where: {country: {not: [FR]}}}
engagement:
  min: -50
  max: 35
  half_life: none
  rules:
    - {id: page, points: 40, on: page.viewed}
    - {id: gone, points: -100, on: email.bounced}
"""


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
        ("{a: 80}", {"a": "80"}, False),
        ("{a: [x, y]}", {"a": "y"}, True),
        ("{a: NO}", {"a": "NO"}, True),
        ("{a.b: x}", {"a": {"b": "x"}}, True),
        ("{a: {not: x}}", {}, False),
        ("{a: {not: x}}", {"a": None}, False),
        ("{a: {not: [x, y]}}", {"a": "z"}, True),
        ("{a: {exists: false}}", {"a": None}, True),
        ("{a: {exists: true}}", {"a": 0}, True),
        ("{a: {gt: 1, lte: 2}}", {"a": 2}, True),
        ("{a: {gt: 1}}", {"a": "2"}, False),
        ("{a: {gt: 0}}", {"a": True}, False),
        ("{a: {gte: b}}", {"a": "b"}, True),
        ("{a: {matches: '^d[ei]'}}", {"a": "director"}, True),
        ("{a: {matches: '1'}}", {"a": 1}, False),
        ("{a: {in: [1, x]}, b: {eq: 2}}", {"a": "x", "b": 2}, True),
        ("{a: {in: [1, x]}, b: {eq: 2}}", {"a": "x"}, False),
    ],
)
def test_where(where: str, data: dict[str, Any], holds: bool) -> None:
    """Section 3's conditions: equality is JSON's, a missing path satisfies only `exists: false`."""
    assert Story(PAGES % f", half_life: none, where: {where}").event(0, **data).score(0) == (8 if holds else 0)


def test_the_first_page_type_that_fits_wins_and_one_given_is_kept() -> None:
    """`*` crosses `/`; the pattern is for the whole path of the url, without its query."""
    grid = 'pages: {product: ["/p/*"], pricing: ["*/pricing"]}\n' + PAGES % ", half_life: none, where: {page_type: pricing}"
    assert Story(grid).event(0, url="https://a.example/x/y/pricing?plan=1").score(0) == 8
    assert Story(grid).event(0, url="https://a.example/p/pricing").score(0) == 0
    assert Story(grid).event(0, url="https://a.example/p/pricing", page_type="pricing").score(0) == 8
    assert Story(grid).event(0, url="https://a.example/pricing/more").score(0) == 0


FIT = """
grid: g
version: 1
fit: {rules: [{id: big, points: 8, where: {company.size: {gte: 50}}}, {id: co, points: 1, where: {company: x}}]}
"""


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
    story = Story(PAGES % ", half_life: none").event(0, id="a")
    for n in range(63):
        story.event(0, "email.delivered", id=str(n))
    assert story.event(DAY, id="a").row(0)["as_of"] == rfc3339(START)
    assert story.score(0) == 8
    assert story.event(0, "email.delivered").event(0, id="a").score(0) == 16


def test_a_machine_scores_nothing_but_teaches_traits() -> None:
    """Formula 8: no rule, no velocity, no exclusion, no activity; its traits and `crm.*` effects are taken."""
    grid = (
        FIT
        + "engagement: {rules: [{id: p, points: 5, on: [page.viewed, crm.won]}]}\nexclusions: [{id: u, on: email.unsubscribed}]"
    )
    story = Story(grid).event(0, machine=True).event(0, "email.unsubscribed", machine=True)
    story.event(0, "profile.updated", machine=True, traits={"company": {"size": 80}}).event(0, "crm.won", machine=True)
    assert (story.score(0), story.row(0)["stage"]) == (8, "client")


# --- Stages ------------------------------------------------------------------------------------------------------------------

STAGES = """
grid: g
version: 1
engagement:
  half_life: 14d
  rules:
    - {id: demo, points: 80, on: demo.requested, intent: true}
    - {id: page, points: 20, on: page.viewed}
    - {id: cold, points: -20, on: email.bounced, half_life: 1d}
    - {id: doc, points: 60, on: content.downloaded, half_life: none}
exclusions: [{id: rival, where: {company: rival}}, {id: gone, on: email.unsubscribed}]
stages:
  mql: {enter: 50, leave: 40}
  sql: {enter: 75, leave: 60, intent_within: 30d, sla: 4h}
  quiet: 7d
grades: {fit: {A: 35, B: 20, C: 0}, engagement: {1: 40, 2: 20, 3: 0}}
"""


def test_a_lead_climbs_one_rung_at_a_time_an_output_a_rung() -> None:
    """A demo is 80 points and intent: mql, then sql, in the same instant; the sql carries `respond_by`."""
    story = Story(STAGES).event(0, "demo.requested")
    assert story.outputs() == [(0, "lead.mql", "contact", "mql"), (0, "lead.sql", "mql", "sql")]
    last = story.oracle.outputs[-1]
    assert (last["id"], last["sequence"], last["data"]["respond_by"]) == ("ada:2", "2", "2026-03-02T04:00:00.000Z")
    assert last["data"]["grade"] == "C1"


def test_without_recent_intent_there_is_no_sql() -> None:
    """100 points of pages and downloads are an mql; a demo asked for exactly 30 days ago is no longer within 30 days."""
    assert Story(STAGES).event(0, "content.downloaded").event(0).event(0).outputs() == [(0, "lead.mql", "contact", "mql")]
    for age, sql in ((30 * DAY - 1, True), (30 * DAY, False)):
        story = Story(STAGES.replace("points: 80", "points: 1")).event(0, "demo.requested")
        story.event(age, "content.downloaded").event(age).event(age)
        assert ("lead.sql" in [o[1] for o in story.outputs()]) is sql


def test_a_lead_cools_at_the_first_millisecond_below_leave() -> None:
    """80 · 2^(−t/14d) is 60 at 14d · log2(80/60) = 502,029,359.2 ms, and exactly 40 at 14 d, from where one more is below."""
    story = Story(STAGES.replace(", sla: 4h", "")).event(0, "demo.requested").tick(60 * DAY)
    assert story.outputs()[2:] == [(502029360, "lead.cooled", "sql", "mql"), (14 * DAY + 1, "lead.cooled", "mql", "contact")]


def test_the_next_event_reveals_the_same_instants_as_a_tick() -> None:
    """Cooling is published with its own instant, whether a tick or an event comes by later."""
    ticked = Story(STAGES).event(0, "demo.requested").tick(3 * DAY).tick(10 * DAY).tick(20 * DAY)
    revealed = Story(STAGES).event(0, "demo.requested").event(20 * DAY, "email.delivered")
    assert ticked.outputs() == revealed.outputs()


def test_a_lead_climbs_by_time_alone_when_a_penalty_fades() -> None:
    """60 − 20 · 2^(−t/1d) reaches 50 after exactly one day."""
    story = Story(STAGES).event(0, "email.bounced").event(0, "content.downloaded").tick(2 * DAY)
    assert story.outputs() == [(DAY, "lead.mql", "contact", "mql")]


def test_what_happens_at_an_instant_comes_before_the_judgement() -> None:
    """At 14 d + 1 ms the mql would cool; an event of that very instant that brings points prevents it."""
    story = Story(STAGES.replace("  sql: {enter: 75, leave: 60, intent_within: 30d, sla: 4h}\n", "")).event(0, "demo.requested")
    assert story.event(14 * DAY + 1).tick(14 * DAY + 1).outputs() == [(0, "lead.mql", "contact", "mql")]


def test_a_velocity_step_is_lost_at_local_midnight() -> None:
    """A page of 23 March counts up to the 29th; the 30th begins at 22:00Z in Paris, for summer time has begun on the 29th."""
    story = Story(
        "grid: g\nversion: 1\ntimezone: Europe/Paris\n"
        "velocity: [{id: v, on: page.viewed, count: days, within: 7d, steps: {1: 50}}]\nstages: {mql: {enter: 50}}"
    )
    story.event(instant("2026-03-23T12:00:00Z") - START).tick(60 * DAY)
    cooled = instant("2026-03-29T22:00:00Z") - START
    assert story.outputs()[1:] == [(cooled, "lead.cooled", "mql", "contact")]


def test_a_late_event_changes_the_sums_not_the_clock() -> None:
    """A demo asked for a day before the last tick is worth what is left of it, and is judged and published at the tick."""
    story = Story(STAGES).tick(14 * DAY).event(0, "demo.requested").event(0)
    assert story.outputs() == [(14 * DAY, "lead.mql", "contact", "mql")]
    assert story.row(0)["as_of"] == rfc3339(START + 14 * DAY)


def test_a_second_mql_within_quiet_is_a_change_of_stage_only() -> None:
    """Cooled and back within 7 days: nobody is called twice; back at exactly 7 days: published under its name again."""
    grid = STAGES.replace("on: page.viewed", "on: page.viewed, half_life: 1d").replace("quiet: 7d", "quiet: 2d")
    for again, name in ((2 * DAY - 1, "lead.stage"), (2 * DAY, "lead.mql")):
        story = Story(grid).event(0).event(0).event(0)
        assert story.outputs()[0] == (0, "lead.mql", "contact", "mql")
        story.event(again, "content.downloaded")
        assert [o[1:] for o in story.outputs()[1:]] == [("lead.cooled", "mql", "contact"), (name, "contact", "mql")]


def test_a_rejection_closes_the_ladder_until_quiet_has_passed_and_the_lead_was_active_since() -> None:
    """Activity on day 1, quiet over on day 7: the lead climbs again on day 7 exactly, by time alone."""
    story = Story(STAGES).event(0, "content.downloaded").event(HOUR, "crm.rejected").event(DAY).tick(30 * DAY)
    assert story.outputs() == [
        (0, "lead.mql", "contact", "mql"),
        (HOUR, "lead.stage", "mql", "contact"),
        (HOUR + 7 * DAY, "lead.mql", "contact", "mql"),
    ]
    assert Story(STAGES).event(0, "content.downloaded").event(HOUR, "crm.lost").tick(30 * DAY).row(0)["stage"] == "contact"


def test_the_crm_sets_stages_from_anywhere_and_neither_score_nor_exclusion_moves_them() -> None:
    """An excluded lead may become an opportunity; lost, it is contact for no longer than the same instant."""
    story = Story(STAGES).traits(0, company="rival").event(1, "crm.opportunity").event(2, "crm.opportunity")
    story.event(3, "crm.won").event(4, "crm.accepted").event(5, "crm.lost").event(6, "crm.lost")
    assert story.outputs() == [
        (0, "lead.excluded", "contact", "excluded"),
        (1, "lead.stage", "excluded", "opportunity"),
        (3, "lead.stage", "opportunity", "client"),
        (5, "lead.stage", "client", "contact"),
        (5, "lead.excluded", "contact", "excluded"),
    ]


def test_a_crm_event_older_than_the_last_one_moves_no_stage() -> None:
    """`crm.won` at 5 stands, though `crm.lost` at 3 arrives after it; at equal times the later arrival acts."""
    story = Story(STAGES).event(5, "crm.won").event(3, "crm.lost").event(5, "crm.opportunity")
    assert [o[2:] for o in story.outputs()] == [("contact", "client"), ("client", "opportunity")]


def test_a_lead_cools_when_its_fit_falls_below_what_its_rung_asks() -> None:
    """60 points are enough for an mql, but not for one whose fit is 5 below the 0 that is asked."""
    grid = (
        STAGES.replace("leave: 40}", "leave: 40, min_fit: 0}") + "fit: {rules: [{id: far, points: -5, where: {country: DE}}]}"
    )
    story = Story(grid).event(0, "content.downloaded").traits(1, country="DE")
    assert story.outputs() == [(0, "lead.mql", "contact", "mql"), (1, "lead.cooled", "mql", "contact")]


def test_an_exclusion_by_traits_ends_with_them_and_one_by_event_does_not() -> None:
    """No longer a rival: contact again and up in the same instant. Unsubscribed: excluded for good."""
    story = Story(STAGES).traits(0, company="rival").event(1, "content.downloaded").traits(2, company="friend")
    assert story.outputs() == [
        (0, "lead.excluded", "contact", "excluded"),
        (2, "lead.stage", "excluded", "contact"),
        (2, "lead.mql", "contact", "mql"),
    ]
    story.event(3, "email.unsubscribed").event(4, "content.downloaded").tick(99 * DAY)
    assert story.row(0)["stage"] == "excluded"


def test_an_unanswered_sql_breaches_its_sla_at_that_instant() -> None:
    """Four hours after the sql, whoever reveals it; an answer at that very instant is in time, and so is a late one."""
    breach = (4 * HOUR, "lead.sla_breached", "sql", "sql")
    assert Story(STAGES).event(0, "demo.requested").tick(DAY).outputs()[2:] == [breach]
    assert Story(STAGES).event(0, "demo.requested").event(4 * HOUR + 1, "crm.accepted").outputs()[2:] == [breach]
    assert Story(STAGES).event(0, "demo.requested").event(4 * HOUR, "crm.accepted").tick(DAY).outputs()[2:] == []
    story = Story(STAGES).event(0, "demo.requested").event(3 * HOUR).event(2 * HOUR, "crm.accepted").tick(DAY)
    assert story.outputs()[2:] == []


def test_an_answer_older_than_the_sql_is_none_and_exclusion_does_not_stop_the_sla() -> None:
    """The breach keeps from = to = the stage of that instant."""
    story = (
        Story(STAGES).tick(HOUR).event(HOUR, "demo.requested").event(0, "crm.accepted").event(2 * HOUR, "email.unsubscribed")
    )
    assert story.tick(DAY).outputs()[2:] == [
        (2 * HOUR, "lead.excluded", "sql", "excluded"),
        (5 * HOUR, "lead.sla_breached", "excluded", "excluded"),
    ]


def test_an_erased_lead_starts_anew_and_its_past_stays_out() -> None:
    """Events up to the mark are dropped; the sequence goes on, so ids stay unique."""
    story = Story(STAGES).event(0, "content.downloaded").event(5, "lead.erased").event(5, "demo.requested").event(4)
    assert story.outputs() == [(0, "lead.mql", "contact", "mql"), (5, "lead.erased", "", "")]
    assert story.oracle.finish(START + 6)[0] == []
    story.event(7, "content.downloaded")
    assert story.outputs()[2:] == [(7, "lead.mql", "contact", "mql")]
    assert [o["id"] for o in story.oracle.outputs] == ["ada:1", "ada:2", "ada:3"]
    assert story.score(7) == 60


def test_a_ladder_of_sql_alone_has_one_rung() -> None:
    """The ladder is the rungs that are present."""
    story = Story(STAGES.replace("  mql: {enter: 50, leave: 40}\n", "")).event(0, "demo.requested").event(1, "crm.accepted")
    assert story.tick(30 * DAY).outputs() == [(0, "lead.sql", "contact", "sql"), (502029360, "lead.cooled", "sql", "contact")]


def test_an_unknown_type_makes_no_lead() -> None:
    """Formula 8: it creates no lead, moves no clock."""
    assert Story(STAGES).event(0, "order.paid").oracle.finish(START)[0] == []


# --- The search for instants -------------------------------------------------------------------------------------------------


class EveryMillisecond(Oracle):
    """The oracle without its search: it asks the ladder at every single millisecond."""

    def _first_move(self, lead: Lead, start: int, end: int) -> int | None:
        for t in range(start, end + 1):
            now = self._score(lead, t)
            if lead.stage in self.ladder and (
                self._may_climb(lead, t, now.score, now.fit) or self._must_descend(lead, now.score, now.fit)
            ):
                return t
        return None


@examples(60)
@given(
    st.lists(
        st.tuples(st.integers(-1500, 1500), st.sampled_from(["page.viewed", "email.bounced", "crm.rejected"])), max_size=6
    ),
    st.sampled_from([3.1, 7.7, 9.3]),
    st.sampled_from(["1s", "2s", "none"]),
)
def test_the_search_finds_the_instants_that_a_walk_through_every_millisecond_finds(
    happened: list[tuple[int, str]], enter: float, half_life: str
) -> None:
    """Around a midnight, with half-lives, penalties and waits of a second or two: the halving misses nothing."""
    grid = YAML(typ="safe", pure=True).load(
        "grid: g\nversion: 1\nengagement:\n  half_life: 1s\n  rules:\n"
        f"    - {{id: page, points: 6, on: page.viewed, cap: 11, half_life: {half_life}}}\n"
        "    - {id: cold, points: -5, on: email.bounced, expires_after: 2s}\n"
        "    - {id: lost, points: 2, on: crm.rejected, intent: true}\n"
        "velocity: [{id: v, on: page.viewed, count: days, within: 1d, steps: {1: 1}}]\n"
        "inactivity: {after: 1s, every: 1s, points: -1, min: -2}\n"
        f"stages: {{mql: {{enter: {enter}, leave: {enter - 2}}}, quiet: 1s,"
        f" sql: {{enter: {enter + 2}, intent_within: 1s, sla: 2s}}}}"
    )
    outputs = []
    for oracle in (Oracle(grid, "/test"), EveryMillisecond(grid, "/test")):
        for n, (at, kind) in enumerate(happened):
            oracle.event({"id": str(n), "source": "/", "type": kind, "subject": "ada", "time": rfc3339(START + at), "data": {}})
        outputs.append(oracle.finish(START + 4_000)[1])
    assert outputs[0] == outputs[1]
