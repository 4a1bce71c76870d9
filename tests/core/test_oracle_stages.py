"""Stages worked out by hand from the contract: the oracle must be right before it may judge, and the core is held to both."""

from __future__ import annotations

from tests.kit.by_hand import START, Story
from tests.kit.grids import a_grid, changed
from tests.kit.oracle_values import instant, rfc3339
from tests.kit.stories import DAY, HOUR

STAGES = a_grid(
    engagement="""
        half_life: 14d
        rules:
          - {id: demo, points: 80, on: demo.requested, intent: true}
          - {id: page, points: 20, on: page.viewed}
          - {id: cold, points: -20, on: email.bounced, half_life: 1d}
          - {id: doc, points: 60, on: content.downloaded, half_life: none}
    """,
    exclusions="[{id: rival, where: {company: rival}}, {id: gone, on: email.unsubscribed}]",
    stages="""
        mql: {enter: 50, leave: 40}
        sql: {enter: 75, leave: 60, intent_within: 30d, sla: 4h}
        quiet: 7d
    """,
    grades="{fit: {A: 35, B: 20, C: 0}, engagement: {1: 40, 2: 20, 3: 0}}",
)


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
        story = Story(changed(STAGES, {"engagement.rules.demo.points": 1})).event(0, "demo.requested")
        story.event(age, "content.downloaded").event(age).event(age)
        assert ("lead.sql" in [o[1] for o in story.outputs()]) is sql


def test_a_lead_cools_at_the_first_millisecond_below_leave() -> None:
    """80 · 2^(−t/14d) is 60 at 14d · log2(80/60) = 502,029,359.2 ms, and exactly 40 at 14 d, from where one more is below."""
    story = Story(changed(STAGES, {"stages.sql.sla": None})).event(0, "demo.requested").tick(60 * DAY)
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
    story = Story(changed(STAGES, {"stages.sql": None})).event(0, "demo.requested")
    assert story.event(14 * DAY + 1).tick(14 * DAY + 1).outputs() == [(0, "lead.mql", "contact", "mql")]


def test_a_velocity_step_is_lost_at_local_midnight() -> None:
    """A page of 23 March counts up to the 29th; the 30th begins at 22:00Z in Paris, for summer time has begun on the 29th."""
    story = Story(
        a_grid(
            timezone="Europe/Paris",
            velocity="[{id: v, on: page.viewed, count: days, within: 7d, steps: {1: 50}}]",
            stages="{mql: {enter: 50}}",
        )
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
    grid = changed(STAGES, {"engagement.rules.page.half_life": "1d", "stages.quiet": "2d"})
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
    far = "{rules: [{id: far, points: -5, where: {country: DE}}]}"
    grid = changed(STAGES, {"stages.mql.min_fit": 0, "fit": far})
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
    story = Story(changed(STAGES, {"stages.mql": None})).event(0, "demo.requested").event(1, "crm.accepted")
    assert story.tick(30 * DAY).outputs() == [(0, "lead.sql", "contact", "sql"), (502029360, "lead.cooled", "sql", "contact")]


def test_an_unknown_type_makes_no_lead() -> None:
    """Formula 8: it creates no lead, moves no clock."""
    assert Story(STAGES).event(0, "order.paid").oracle.finish(START)[0] == []
