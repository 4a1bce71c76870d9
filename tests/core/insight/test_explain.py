"""An explanation says what the worker would do: each of its claims is held against the fold and the replay."""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple

import pytest
from hypothesis import Phase, assume, given, seed, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from tests.kit.examples import examples
from tests.kit.grids import changed
from tests.kit.oracle_values import instant, rfc3339
from tests.kit.stories import DAY, HOUR, START, Case, Line, an_event, selling, yaml_of
from tests.kit.strategies import cases
from worker.core.batch.plan import plan_events
from worker.core.contract.model import Event
from worker.core.grid.models import parse_grid
from worker.core.insight.explain import ahead, steps, totals, waterfall
from worker.core.insight.replay import Replay
from worker.core.insight.what_if import Upward, upward
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.score import read, reasons
from worker.core.scoring.state import OPPORTUNITY, STAGES, LeadState, pack, unpack

GRID = """
grid: explained
version: 1
fit:
  max: 20
  rules:
    - {id: business, points: 10, where: {email_kind: business}}
    - {id: boss, points: 15, where: {role: ceo}}
engagement:
  half_life: 7d
  max: 50
  rules:
    - {id: visit, points: 8, on: page.viewed, cap: 12}
    - {id: share, points: 6, on: social.shared, half_life: none, expires_after: 1d}
    - {id: demo, points: 30, on: [demo.requested, quote.requested], intent: true, once_per: lead}
    - {id: missed, points: -10, on: webinar.no_show}
velocity:
  - {id: returns, on: page.viewed, count: days, within: 7d, steps: {2: 3, 4: 6}}
inactivity: {after: 3d, every: 1d, points: -2, min: -6}
exclusions:
  - {id: rival, where: {email_domain: rival.example}}
  - {id: left, on: email.unsubscribed}
stages:
  mql: {enter: 20, leave: 12, min_fit: 5}
  sql: {enter: 40, leave: 30, min_fit: 5, intent_within: 10d}
  quiet: 7d
"""


class Standing(NamedTuple):
    """A lead as a replay leaves it."""

    name: str
    state: LeadState
    at_ms: int


def replayed(grid: str, lines: list[Line], at_ms: int | None = None) -> Replay:
    """Return the replay of *lines* with a tick at *at_ms*."""
    run = Replay(parse_grid(grid, "grid.yaml"))
    for line in lines:
        run.line(json.dumps(line).encode())
    run.finish(at_ms)
    return run


def standing(run: Replay) -> list[Standing]:
    """Return the leads that a replay holds."""
    found = []
    for line in run.leads():
        state = unpack(run.state_of(line.lead_id) or b"")
        found.append(Standing(line.lead_id, state, max(state.clock_ms, run.clock_ms or 0)))
    return found


def ada(*happened: tuple[int, str, dict[str, Any]], at_ms: int, grid: str = GRID) -> tuple[CompiledGrid, LeadState, int]:
    """Return Ada after (ms since the start, type, data), judged at *at_ms* since the start."""
    lines = [an_event("ada", n, START + ms, type_, data) for n, (ms, type_, data) in enumerate(happened)]
    run = replayed(grid, lines, START + at_ms)
    (lead,) = standing(run)
    return run.scorer, lead.state, lead.at_ms


def looked_up(*happened: tuple[int, str, dict[str, Any]], at_ms: int = 0) -> Upward:
    """Return what would move Ada up."""
    return upward(*ada(*happened, at_ms=at_ms))


KNOWN = (0, "profile.updated", {"traits": {"email": "ada@acme.example"}})
Deed = tuple[str, dict[str, Any]]
VISIT: Deed = ("page.viewed", {"url": "/"})
SHARE: Deed = ("social.shared", {})
DEMO: Deed = ("demo.requested", {})


# --- the waterfall ---------------------------------------------------------------------------------------------------


@examples(150)
@given(cases())
def test_what_was_earned_less_time_and_caps_is_the_score(case: Case) -> None:
    """Each line is whole in itself, the lines add up, and what is left of a rule is what the outputs say."""
    run = replayed(case.grid, case.lines, case.at_ms)
    for _, state, at_ms in standing(run):
        parts = waterfall(run.scorer, state, at_ms)
        for part in parts:
            assert math.isclose(part.earned + part.by_time + part.by_cap, part.points, rel_tol=1e-12, abs_tol=1e-9)
        score = read(run.scorer, state, at_ms).score
        assert math.fsum(part.points for part in parts) == pytest.approx(score, abs=1e-6)
        left = [(part.kind, part.id or "", part.points) for part in parts if part.points]
        said = [(reason.kind, reason.id or "", reason.points) for reason in reasons(run.scorer, state, at_ms)]
        assert sorted(left) == sorted(said)
        kinds = ["fit", "rule", "group", "velocity", "inactivity", "clamp"]
        assert [part.kind for part in parts] == sorted((part.kind for part in parts), key=kinds.index)
        for kind in ("fit", "rule"):
            weights = [abs(part.points) for part in parts if part.kind == kind]
            assert weights == sorted(weights, reverse=True)
        sums = totals(parts)
        assert sums.earned + sums.by_time + sums.by_cap == pytest.approx(score, abs=1e-6)
        assert sums.decay + sums.expiry + sums.inactivity == pytest.approx(sums.by_time, abs=1e-9)
        grid_points = {rule.id: rule.points for rule in run.scorer.grid.engagement.rules}
        for part in parts:
            if part.kind == "rule":
                assert part.earned == grid_points[part.id or ""] * (part.count or 0)


def test_each_way_in_which_points_go_has_its_place() -> None:
    """Two visits a week ago halve and are no longer held by their cap, a share has expired, silence costs."""
    scorer, state, at_ms = ada((0, *VISIT), (0, *VISIT), (0, *SHARE), at_ms=7 * DAY)
    parts = {part.id or part.kind: part for part in waterfall(scorer, state, at_ms)}
    visit, share, silence = parts["visit"], parts["share"], parts["inactivity"]
    assert (visit.earned, visit.by_time, visit.by_cap, visit.points) == (16, -8, 0, 8)
    assert (share.earned, share.by_time, share.points, share.expired) == (6, -6, 0, True)
    assert (silence.earned, silence.by_time, silence.points) == (0, -6, -6)
    sums = totals(list(parts.values()))
    assert (sums.decay, sums.expiry, sums.inactivity, sums.by_time) == (-8, -6, -6, -20)
    early = {part.id: part for part in waterfall(*ada((0, *VISIT), (0, *VISIT), at_ms=0))}
    assert (early["visit"].earned, early["visit"].by_time, early["visit"].by_cap) == (16, 0, -4)


# --- up --------------------------------------------------------------------------------------------------------------


def unconditional(grid: str) -> str:
    """Return *grid* with rules that ask nothing of an event's data: any event of a type is then an occurrence."""
    loaded = YAML(typ="safe", pure=True).load(grid)
    for rule in (*loaded["engagement"]["rules"], *loaded.get("velocity", ())):
        rule.pop("where", None)
    for exclusion in loaded.get("exclusions", ()):
        if "on" in exclusion:
            exclusion.pop("where", None)
    return yaml_of(loaded)


def happening(event: str, at_ms: int, count: int) -> list[Event]:
    """Return *count* events of one type, each about something of its own."""
    made = []
    for n in range(count):
        data: dict[str, Any] = {"message_id": f"new-{n}", "session_id": f"new session {n + 1}", "url": "/"}
        made.append(Event("ada", event, at_ms, f"new-{n}", "/more", data, False, "-", 0, n))
    return made


@examples(200)
@given(case=st.one_of(cases(leads=["ada"], erasures=False), selling()))
def test_a_way_up_leads_up_in_just_so_many_steps(case: Case) -> None:
    """So many events of that type, folded by the worker's own code at that instant, move the lead; one fewer does not."""
    run = replayed(unconditional(case.grid), case.lines, case.at_ms)
    leads = [lead for lead in standing(run) if lead.name == "ada"]
    assume(leads)
    ((_, state, at_ms),) = leads
    way_up = upward(run.scorer, state, at_ms)
    before = read(run.scorer, state, at_ms).score
    for way in way_up.ways:
        stages, scores = [], []
        for count in range(1, 11 if way.times is None else way.times + 1):
            plan = plan_events(run.scorer, {"ada": pack(state)}, happening(way.event, at_ms, count), run.clock_ms)
            after = unpack(plan.writes[0].state)
            stages.append(after.stage)
            scores.append(read(run.scorer, after, at_ms).score)
        assert scores[0] - before == pytest.approx(way.adds, abs=1e-9)
        up = [state.stage < stage < OPPORTUNITY for stage in stages]
        assert up == [False] * (len(up) - 1) + [way.times is not None]


@examples(150)
@given(case=st.one_of(cases(), selling()))
def test_a_lead_that_stays_below_a_rung_lacks_something_of_it(case: Case) -> None:
    """A lead stands where it stands for a reason that is named; so no condition of the ladder is forgotten here."""
    run = replayed(case.grid, case.lines, case.at_ms)
    for _, state, at_ms in standing(run):
        found = upward(run.scorer, state, at_ms)
        missing = bool(found.points or found.fit or found.engagement or found.intent or found.closed_until)
        assert missing == (found.standing == "climbing")
        assert (found.standing == "excluded") == bool(found.excluded_by)


def test_the_ways_up_are_told_by_what_they_are_worth() -> None:
    """One more visit meets the cap, a demo alone is enough, and coming back on another day is a step of its own."""
    found = looked_up(KNOWN, (0, *VISIT))
    assert (found.standing, found.to, found.enter, found.points) == ("climbing", "mql", 20, 2)
    assert [(way.event, way.rules, way.adds, way.times) for way in found.ways] == [
        ("page.viewed", ["visit", "returns"], 4, 1),
        ("demo.requested", ["demo"], 30, 1),
        ("social.shared", ["share"], 6, 1),
    ]
    assert [way.done for way in found.ways] == [1, 0, 0], "of those that are enough once, the likeliest comes first"
    assert [(step.id, step.now, step.more, step.adds) for step in found.paces] == [("returns", 1, 1, 3)]


def test_a_cap_and_once_per_count_in_a_way() -> None:
    """What has been counted once a lead, or is at its cap, brings nothing more."""
    found = looked_up(KNOWN, (0, *VISIT), (0, *VISIT), (0, "quote.requested", {}), at_ms=0)
    assert found.standing == "top"
    found = looked_up((0, *VISIT), (0, *VISIT))
    assert "page.viewed" not in [way.event for way in found.ways]
    assert [way.times for way in found.ways] == [None, None]  # no fit: no number of events is enough


def test_missing_fit_names_the_facts_that_would_mend_it() -> None:
    """Nothing that the lead does helps; knowing who it is would."""
    found = looked_up((0, *DEMO))
    assert (found.points, found.fit) == (0, 5)
    assert [(fact.id, fact.adds, fact.enough) for fact in found.facts] == [("boss", 15, True), ("business", 10, True)]
    assert {way.times for way in found.ways} <= {None}


def test_an_act_counts_for_every_rule_that_is_sure_to_take_it() -> None:
    """A visit on another day is worth the visit and the step of the velocity that it completes."""
    found = looked_up(KNOWN, (0, *VISIT), at_ms=DAY)
    (visit,) = [way for way in found.ways if way.event == "page.viewed"]
    assert visit.rules == ["visit", "returns"]
    assert visit.adds == pytest.approx(12 - 8 * 2 ** (-1 / 7) + 3)


def test_an_act_that_excludes_the_lead_is_no_way_up() -> None:
    """Points for an event that also bars the lead bring it nowhere."""
    grid = changed(GRID, {"exclusions.left.on": "social.shared"})
    scorer, state, at_ms = ada(KNOWN, (0, *VISIT), at_ms=0, grid=grid)
    assert [way.event for way in upward(scorer, state, at_ms).ways] == ["page.viewed", "demo.requested"]


def test_a_missing_intent_is_named_and_what_mends_it() -> None:
    """Points enough for sales, and no wish to be called within ten days."""
    grid = changed(
        GRID,
        {"engagement.half_life": "none", "engagement.rules.demo.once_per": None, "engagement.rules.demo.cap": 30},
    )
    scorer, state, at_ms = ada(KNOWN, (0, *DEMO), (11 * DAY, *VISIT), at_ms=11 * DAY, grid=grid)
    state.stage = STAGES.index("mql")
    found = upward(scorer, state, at_ms)
    assert (found.to, found.points, found.intent) == ("sql", 0, True)
    assert next((way.event, way.adds, way.times) for way in found.ways) == ("demo.requested", 0, 1)


def test_a_rejected_lead_waits_and_must_come_back() -> None:
    """Until when, and that it takes activity: then nothing the lead does now is enough."""
    found = looked_up(KNOWN, (0, *DEMO), (HOUR, "crm.rejected", {}), at_ms=HOUR)
    assert (found.closed_until, found.activity) == (rfc3339(START + HOUR + 7 * DAY), True)
    assert all(way.times is None for way in found.ways)
    found = looked_up(KNOWN, (0, *DEMO), (HOUR, "crm.rejected", {}), (2 * HOUR, *VISIT), at_ms=2 * HOUR)
    assert (found.closed_until, found.activity) == (rfc3339(START + HOUR + 7 * DAY), False)


@pytest.mark.parametrize(
    ("happened", "answer"),
    [
        ([KNOWN, (0, *DEMO)], "top"),
        ([KNOWN, (0, "crm.opportunity", {})], "crm"),
        ([KNOWN, (0, "crm.won", {})], "crm"),
        ([KNOWN, (0, "email.unsubscribed", {"message_id": "m"})], "excluded"),
        ([(0, "profile.updated", {"traits": {"email": "x@rival.example"}})], "excluded"),
    ],
)
def test_off_the_ladder_the_answer_is_why(happened: list[Any], answer: str) -> None:
    """At the top, with sales or excluded there is no way up to name."""
    found = looked_up(*happened)
    assert found.standing == answer
    assert not found.ways
    assert found.excluded_by in ([], ["left"], ["rival"])


WEIGHED = """
grid: weighed
version: 1
engagement:
  rules:
    - {id: minutes, points: 0.5, on: webinar.attended, weigh: {path: meeting.minutes, min: 0, max: 60, times: 2}, cap: 90}
    - {id: by-hand, points: 1, on: score.adjusted, weigh: {path: points, min: -50, max: 50}, cap: 50}
    - {id: call, points: 2, on: custom.call.*, cap: 20}
exclusions: [{id: left, on: email.unsubscribed, until: [email.subscribed, custom.back.*], label: Said goodbye}]
stages: {mql: {enter: 55, min_engagement: 70}}
"""


def test_a_weighed_event_is_tried_with_what_helps_most() -> None:
    """The way says so. A salesperson's word is no act of the lead, and types of one's own are acts like others."""
    grid = parse_grid(WEIGHED, "g.yaml")
    scorer, state, at_ms = ada((0, "custom.call.made", {}), at_ms=0, grid=WEIGHED)
    assert grid.grid == "weighed"
    found = upward(scorer, state, at_ms)
    assert (found.points, found.engagement) == (53, 68)
    assert [(way.event, way.weight, way.adds, way.times, way.done) for way in found.ways] == [
        ("webinar.attended", 60, 30, 3, 0),
        ("custom.call.*", None, 2, None, 1),
    ]


def test_what_lifts_an_exclusion_is_named() -> None:
    """Where each of those that hold can end by an event."""
    left = (0, "email.unsubscribed", {"message_id": "m"})
    found = upward(*ada(left, at_ms=0, grid=WEIGHED))
    assert (found.excluded_by, found.lifted_by) == (["left"], ["email.subscribed", "custom.back.*"])
    for_ever = changed(WEIGHED, {"exclusions.+": "{id: also, on: email.unsubscribed}"})
    assert upward(*ada(left, at_ms=0, grid=for_ever)).lifted_by == []


# --- ahead -----------------------------------------------------------------------------------------------------------


@examples(150)
@given(case=st.one_of(cases(), selling()), waits=st.lists(st.integers(1, 30 * DAY), max_size=6))
def test_what_lies_ahead_is_what_ticks_then_publish(case: Case, waits: list[int]) -> None:
    """Ninety days of ticks, wherever they fall, bring those outputs at those milliseconds and no others."""
    run = replayed(case.grid, case.lines, case.at_ms)
    leads = standing(run)
    foreseen = {
        name: [(c.time, c.type, c.from_, c.to) for c in ahead(run.scorer, state, at_ms)] for name, state, at_ms in leads
    }
    run.take_outputs()
    end_ms = max((lead.at_ms for lead in leads), default=case.at_ms) + 90 * DAY
    tick_ms = case.at_ms
    for wait in waits:
        tick_ms = min(tick_ms + wait, end_ms)
        run.line(json.dumps({"tick": rfc3339(tick_ms)}).encode())
    run.finish(end_ms)
    published: dict[str, list[tuple[str, str, str, str]]] = {lead.name: [] for lead in leads}
    ends = {lead.name: lead.at_ms + 90 * DAY for lead in leads}
    for output in run.take_outputs():
        event = json.loads(output.value or b"")
        if instant(event["time"]) <= ends[event["subject"]]:
            data = event["data"]
            published[event["subject"]].append((event["time"], event["type"], data["from"], data["to"]))
    assert {name: found[:10] for name, found in published.items()} == foreseen


@pytest.mark.parametrize(("after", "seen"), [("90d", True), ("91d", False)])
def test_ninety_days_are_looked_ahead(after: str, seen: bool) -> None:
    """A change at the last instant is told, one a day later is not."""
    grid = changed(
        GRID,
        {
            "engagement.half_life": "none",
            "inactivity": f"{{after: {after}, points: -40}}",
            "stages.sql.intent_within": None,
            "stages.sql.sla": "4h",
        },
    )
    changes = ahead(*ada(KNOWN, (0, *DEMO), at_ms=0, grid=grid))
    assert ("lead.cooled" in [change.type for change in changes]) == seen


class Everywhere(Exception):
    """The histories have come everywhere."""


def test_histories_reach_every_standing() -> None:
    """The properties above would say little if no lead ever came anywhere."""
    seen: set[str] = set()

    @seed(8)  # always the same histories: these soon come everywhere
    @settings(examples(300), max_examples=300, database=None, phases=[Phase.generate])
    @given(st.one_of(cases(leads=["ada"]), selling()))
    def look(case: Case) -> None:
        run = replayed(case.grid, case.lines, case.at_ms)
        for _, state, at_ms in standing(run):
            found = upward(run.scorer, state, at_ms)
            seen.add(found.standing)
            seen.update(f"{way.times}" for way in found.ways)
        if seen >= {"climbing", "top", "crm", "excluded", "no_ladder", "None", "1", "2"}:
            raise Everywhere

    with pytest.raises(Everywhere):
        look()


@pytest.mark.parametrize(("size", "adds"), [(500, 2), (100, None)])
def test_a_fact_is_tried_with_all_that_other_rules_make_of_it(size: int, adds: float | None) -> None:
    """Another size takes the points of this one away: to add a rule's points to today's sum would promise what never comes."""
    grid = """
grid: g
version: 1
fit:
  rules:
    - {id: icp, points: 12, where: {company.size: {gte: 50, lte: 200}}}
    - {id: near, points: 10, where: {company.size: {gt: 200, lte: 1000}}}
    - {id: fr, points: 1, where: {country: FR}}
    - {id: pattern, points: 9, where: {role: {matches: chief}}}
stages: {mql: {enter: 20, min_fit: 20}}
"""
    told = {"traits": {"company": {"size": size}, "country": "FR"}}
    scorer, state, at_ms = ada((0, "profile.updated", told), at_ms=0, grid=grid)
    facts = upward(scorer, state, at_ms).facts
    assert [(fact.id, fact.adds, fact.enough) for fact in facts] == ([] if adds is None else [("icp", adds, False)])


def test_an_act_is_of_a_session_of_its_own() -> None:
    """Velocity that counts sessions would never see it otherwise."""
    grid = """
grid: g
version: 1
engagement: {rules: [{id: p, points: 1, on: page.viewed}]}
velocity: [{id: visits, on: page.viewed, count: sessions, within: 7d, steps: {1: 10}}]
stages: {mql: {enter: 11}}
"""
    scorer, state, at_ms = ada((0, "profile.updated", {"traits": {"country": "FR"}}), at_ms=0, grid=grid)
    (way,) = upward(scorer, state, at_ms).ways
    assert (way.event, way.adds, way.times) == ("page.viewed", 11, 1)


STEPPING = """
grid: stepping
version: 1
engagement:
  rules:
    - {id: share, points: 6, on: social.shared, expires_after: 5d}
    - {id: visit, points: 8, on: page.viewed, decay: {window: 3d}, label: Came by}
    - {id: demo, points: 30, on: demo.requested, half_life: 7d}
velocity: [{id: returns, on: page.viewed, count: days, within: 2d, steps: {1: 3}}]
inactivity:
  - {after: 4d, points: -2}
  - {after: 6d, every: 90d, points: -7}
"""


def test_each_step_that_time_alone_brings_has_its_instant() -> None:
    """What only decays has none; the score stands beside each."""
    visits = [(0, *VISIT), (HOUR, *VISIT), (HOUR, *SHARE), (HOUR, *DEMO)]
    scorer, state, at_ms = ada(*visits, at_ms=2 * HOUR, grid=STEPPING)
    found = steps(scorer, state, at_ms, {"visit": "Came by"})
    assert [(one.kind, one.id, one.place, one.label, instant(one.time) - START, one.before, one.after) for one in found] == [
        ("velocity", "returns", None, None, 2 * DAY, 3, 0),
        ("rule", "visit", None, "Came by", 3 * DAY, 16, 8),
        ("rule", "visit", None, "Came by", 3 * DAY + HOUR, 8, 0),
        ("inactivity", None, 1, None, 4 * DAY + HOUR, 0, -2),
        ("rule", "share", None, None, 5 * DAY + HOUR, 6, 0),
        ("inactivity", None, 2, None, 6 * DAY + HOUR, 0, -7),
    ]
    for one in found:
        assert one.score == read(scorer, state, instant(one.time)).score


@examples(60)
@given(cases())
def test_between_the_steps_ahead_the_score_only_decays(case: Case) -> None:
    """Whatever the grid: at any other instant no part jumps, and each step is one of the reasons."""
    run = replayed(case.grid, case.lines, case.at_ms)
    for _, state, at_ms in standing(run):
        found = steps(run.scorer, state, at_ms)
        assert [one.time for one in found] == sorted(one.time for one in found)
        for one in found:
            moments = (instant(one.time) - 1, instant(one.time))
            was, becomes = ({(r.kind, r.id): r.points for r in reasons(run.scorer, state, ms)} for ms in moments)
            assert (was.get((one.kind, one.id), 0.0), becomes.get((one.kind, one.id), 0.0)) == (one.before, one.after)


def test_a_fact_is_offered_in_the_form_in_which_a_trait_is_taken() -> None:
    """A domain is one of the grid's whatever way its author wrote it, and words are met by one of them."""
    grid = """
grid: g
version: 1
fit:
  rules:
    - {id: client, points: 12, where: {company.domain: https://www.Acme.example/}}
    - {id: marketing, points: 10, where: {role: {words: [demand gen, growth]}}}
    - {id: text, points: 9, where: {company.size: {lt: b}}}
stages: {mql: {enter: 10, min_fit: 10}}
"""
    scorer, state, at_ms = ada((0, "profile.updated", {"traits": {"country": "FR"}}), at_ms=0, grid=grid)
    facts = upward(scorer, state, at_ms).facts
    assert [(fact.id, fact.enough) for fact in facts] == [("client", True), ("marketing", True)]
