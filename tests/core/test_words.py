"""What holds of weights, fading one by one, groups and what counts once, whatever the grid and whatever happens.

The properties of the whole core, in `test_properties.py`, draw grids with these words too.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from tests.kit.comparison import Partition, reasons_of, text
from tests.kit.examples import examples
from tests.kit.oracle_values import rfc3339
from tests.kit.recount import recount
from tests.kit.stories import DAY, HOUR, START, Case, Line, an_event, yaml_of
from tests.kit.waits import effort
from tests.kit.word_strategies import counting_cases
from worker.core.grid.models import parse_grid
from worker.core.insight.replay import replay_lines
from worker.core.insight.what_if import exclusions
from worker.core.scoring.moving import moving_parts
from worker.core.scoring.parts import part_of
from worker.core.scoring.reading import Reading
from worker.core.scoring.schedule import due, next_change
from worker.core.scoring.score import read
from worker.core.scoring.stages import judge
from worker.core.scoring.state import LeadState, pack, unpack


def assert_recounted(case: Case, rows: list[dict[str, Any]]) -> None:
    """Hold a lead's reasons and score to what its events give by hand."""
    grid = YAML(typ="safe", pure=True).load(case.grid)
    rules, groups = recount(grid, case.lines, case.at_ms)
    (row,) = rows
    reasons = reasons_of(row)
    total = 0.0
    for rule in grid["engagement"]["rules"]:
        if rule["id"] not in rules:
            continue
        wanted = rules[rule["id"]]
        total += wanted.points if "group" not in rule else 0
        if abs(wanted.points) > 1e-9:
            reason = reasons[f"rule {rule['id']}"]
            assert (reason["points"], reason["raw"]) == pytest.approx((wanted.points, wanted.raw), abs=1e-6)
            assert (reason["count"], reason["last_at"]) == (wanted.n, rfc3339(wanted.last))
    for name, points in groups.items():
        parts = [
            rules[rule["id"]].points
            for rule in grid["engagement"]["rules"]
            if rule.get("group") == name and rule["id"] in rules
        ]
        total += points
        assert reasons.get(f"group {name}", {"points": 0})["points"] == pytest.approx(points - sum(parts), abs=1e-6)
    assert row["score"] == pytest.approx(total, abs=1e-6)
    assert sum(reason["points"] for reason in row["reasons"]) == pytest.approx(row["score"], abs=1e-6)


@examples(400)
@given(counting_cases(), st.randoms(use_true_random=False))
def test_rules_and_groups_are_what_their_events_give_by_hand(case: Case, random: Random) -> None:
    """Weights, lines, windows, combinations, caps, groups and expiries, in two orders of arrival."""
    grid = parse_grid(case.grid, "made-up.yaml")
    for lines in (case.lines, random.sample(case.lines, len(case.lines))):
        assert_recounted(case, replay_lines(text(lines), grid, case.at_ms).leads)


@examples(40)
@given(
    st.sampled_from(["linear", "window"]),
    st.sampled_from(["event", "session_id"]),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 90), st.integers(-3, 9)), min_size=65, max_size=120),
    st.randoms(use_true_random=False),
)
def test_the_64_latest_occurrences_count_in_whatever_order_they_come(
    kind: str, once_per: str, weighed: bool, happened: list[tuple[int, int]], random: Random
) -> None:
    """Past 64 the earliest goes first; at one instant the smaller weight. Nothing of it depends on the order of arrival."""
    rule = {"id": "r", "points": 2, "on": "page.viewed", "once_per": once_per, "decay": {kind: "5d"}}
    if weighed:
        rule["weigh"] = {"path": "worth", "min": -5, "max": 5}
    grid = yaml_of({"grid": "many", "version": 1, "engagement": {"rules": [rule]}})
    lines = [
        an_event("ada", n, START + at * HOUR, "page.viewed", {"url": "/", "session_id": str(n), "worth": amount})
        for n, (at, amount) in enumerate(happened)
    ]
    random.shuffle(lines)
    case = Case(grid, lines, START + 91 * HOUR)
    assert_recounted(case, replay_lines(text(lines), parse_grid(grid, "many.yaml"), case.at_ms).leads)


@examples(150)
@given(
    st.sampled_from([{}, {"decay": {"linear": "2h"}}, {"decay": {"window": "2h"}}, {"half_life": "1h"}]),
    st.sampled_from([3, -3]),
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from("ab"), st.integers(-6, 6)), min_size=1, max_size=12),
)
def test_of_several_events_of_a_value_the_earliest_counts_and_of_those_the_heaviest(
    fading: dict[str, Any], points: int, happened: list[tuple[int, str, int]]
) -> None:
    """In the order in which they are drawn, so late ones come too."""
    weigh = {"path": "worth", "min": -5, "max": 5}
    rule = {"id": "r", "points": points, "on": "page.viewed", "once_per": "session_id", "weigh": weigh, **fading}
    grid = yaml_of({"grid": "values", "version": 1, "engagement": {"rules": [rule]}})
    lines = [
        an_event("ada", n, START + at, "page.viewed", {"url": "/", "session_id": session, "worth": worth})
        for n, (at, session, worth) in enumerate(happened)
    ]
    case = Case(grid, lines, START + HOUR)
    assert_recounted(case, replay_lines(text(lines), parse_grid(grid, "values.yaml"), case.at_ms).leads)


BY_HAND = """
grid: by hand
version: 1
engagement:
  rules:
    - {id: by-hand, points: 1, on: score.adjusted, weigh: {path: points, min: -50, max: 50}, half_life: none, intent: true}
    - {id: page, points: 3, on: page.viewed, weigh: {path: worth, min: 1, max: 2}, expires_after: 2h}
stages: {sql: {enter: 10, intent_within: 1h}}
"""


def test_a_persons_word_counts_with_its_points_and_its_reason() -> None:
    """15 as a number, 20 as text, 80 held at 50, −30 off again: each is an event of the rule."""
    adjustments: list[Any] = [15, "20", 80, -30]
    lines = [an_event("ada", n, START + n, "score.adjusted", {"points": points}) for n, points in enumerate(adjustments)]
    (row,) = replay_lines(text(lines), parse_grid(BY_HAND, "by-hand.yaml"), START + DAY).leads
    assert row["score"] == 15 + 20 + 50 - 30
    assert [(reason["id"], reason["points"], reason["count"]) for reason in row["reasons"]] == [("by-hand", 55, 4)]


def test_a_match_that_weighs_nothing_is_a_match() -> None:
    """It shows intent, and `expires_after` counts from it. What is missing weighs 0, also where `min` is above 0."""
    seen = [
        an_event("ada", n, START + n * HOUR, "page.viewed", {"url": "/", "worth": worth}) for n, worth in enumerate([9, None])
    ]
    grid = parse_grid(BY_HAND, "by-hand.yaml")
    assert replay_lines(text(seen), grid, START + 3 * HOUR - 1).leads[0]["score"] == 6
    assert replay_lines(text(seen), grid, START + 3 * HOUR).leads[0]["score"] == 0
    pages = [an_event("ada", 1, START, "page.viewed", {"url": "/", "worth": 2})]
    pages += [an_event("ada", 2, START + 1, "page.viewed", {"url": "/", "worth": 2})]
    assert replay_lines(text(pages), grid, START + 1).leads[0]["stage"] == "contact"
    word = an_event("ada", 9, START + 1, "score.adjusted", {"points": 0})
    assert replay_lines(text([*pages, word]), grid, START + 1).leads[0]["stage"] == "sql"


@pytest.mark.parametrize(
    ("group", "fit", "difference"),
    [("{best: true}", -9, -13), ("{cap: 3}", 3, -1), ("{cap: 0}", 0, -4), ("{cap: 20}", 4, None)],
)
def test_rules_of_the_fit_have_groups_too(group: str, fit: float, difference: float | None) -> None:
    """5 and 8 of a table against −9: the greatest, or their sum within the cap; the reason makes up the difference."""
    grid = f"""
grid: fit
version: 1
groups: {{who: {group}}}
fit:
  rules:
    - {{id: role, points: 5, where: {{role: cto}}, group: who}}
    - {{id: size, points: {{table: company.size, bands: [[10, 8]]}}, group: who}}
    - {{id: far, points: -9, where: {{country: US}}, group: who}}
    - {{id: other, points: 1, where: {{role: cto}}}}
"""
    traits = {"role": "cto", "company.size": 50, "country": "US"}
    line = an_event("ada", 1, START, "profile.updated", {"traits": traits})
    (row,) = replay_lines(text([line]), parse_grid(grid, "fit.yaml"), START).leads
    assert row["fit"] == fit + 1
    assert [reason["points"] for reason in row["reasons"] if reason["kind"] == "group"] == (
        [] if difference is None else [difference]
    )
    assert sum(reason["points"] for reason in row["reasons"]) == row["score"]


def moves(partition: Partition, state: LeadState, at_ms: int) -> bool:
    """Return whether the lead, as it stands, would change its stage at *at_ms*."""
    lead, seen = unpack(pack(state)), []

    def hear(
        state: LeadState, at_ms: int, output: str, to: int, reading: Reading, respond_by: int = 0, phase: str = ""
    ) -> None:
        seen.append(output)

    judge(partition.scorer, lead, at_ms, hear)
    return bool(seen)


def differs(of: Callable[[int], int], first: int, at_ms: int) -> bool:
    """Return whether *of* is no longer *first* at *at_ms*."""
    return of(at_ms) != first


def telling(partition: Partition, state: LeadState, from_ms: int, to_ms: int) -> set[int]:
    """Return instants at which something may happen: ends of occurrences, changes of the greatest, and many others."""
    scorer = partition.scorer
    found = {from_ms + (to_ms - from_ms) * n // 60 for n in range(61)}
    for key, rules in scorer.readers.items():
        count = state.counts.get(key)
        for rule in rules if count is not None else ():
            if rule.span_ms and count is not None:
                ends = [rule.memory.instant(entry, 0) + rule.span_ms for entry in rule.memory.entries(count.seen)]
                found |= {end + more for end in ends for more in (-1, 0, 1)}
    for group in scorer.groups:
        parts = [(rule, state.counts[key]) for key, rule in group.rules if key in state.counts]

        def greatest(at_ms: int, parts: list[Any] = parts) -> int:
            sizes = [abs(part.points) if (part := part_of(rule, count, at_ms)) else 0.0 for rule, count in parts]
            return sizes.index(max(sizes))

        for begin, end in pairwise(sorted(at for at in found if from_ms <= at <= to_ms)):
            if parts and greatest(begin) != greatest(end):
                change = bisect_left(range(begin, end), True, key=partial(differs, greatest, greatest(begin)))
                found |= {begin + change - 1, begin + change, begin + change + 1}
    return {at for at in found if from_ms < at <= to_ms}


THERE_AND_BACK = """
grid: there and back
version: 1
groups: {one: {best: true}}
engagement:
  rules:
    - {id: quick, points: 10, on: page.viewed, group: one, decay: {linear: 1h}}
    - {id: penalty, points: -8, on: page.viewed, group: one, decay: {linear: 3h}}
    - {id: still, points: 5, on: page.viewed, group: one}
stages: {mql: {enter: 6, leave: 3}}
"""
"""The greatest is worth points, then takes some, then is worth points again."""


@examples(200)
@given(counting_cases(most=8), st.sampled_from([4 * HOUR, 2 * DAY, 9 * DAY]))
@example(Case(THERE_AND_BACK, [an_event("ada", 1, START, "page.viewed", {"url": "/"})], START + HOUR), 4 * HOUR)
def test_the_first_instant_at_which_time_moves_a_lead_is_found(case: Case, ahead: int) -> None:
    """Where a line, a step or a change of the greatest carries the score over a threshold: not a millisecond late or early."""
    partition = Partition(case.grid).feed(case.lines)
    state = unpack(partition.states["ada"] or b"")
    from_ms, to_ms = state.clock_ms, state.clock_ms + ahead
    scorer = partition.scorer
    found = next_change(scorer, state, from_ms, to_ms)
    for at_ms in telling(partition, state, from_ms, to_ms if found is None else found - 1):
        assert not moves(partition, state, at_ms), (at_ms - from_ms, found and found - from_ms)
    bound = due(scorer, state, read(scorer, state, from_ms), from_ms)
    if found is not None:
        assert moves(partition, state, found)
        assert not moves(partition, state, found - 1) or found - 1 == from_ms
        assert bound is not None
        assert bound <= found
        held = partition.writes["ada"].due_ms
        assert held is not None
        assert held <= found


@pytest.mark.parametrize("cap", ["", ", cap: 12"])
@pytest.mark.parametrize("fading", ["half_life: 14d", "decay: {linear: 60d}"])
@pytest.mark.parametrize("points", [(10, -10), (-10, 10), (10.0000000005, -10), (-10, 10.0000000005)])
def test_equal_parts_of_a_group_do_not_make_the_search_look_at_each_millisecond(
    fading: str, cap: str, points: tuple[float, float]
) -> None:
    """A rule and its opposite are equal all the time, and the first in the grid counts: one look at each occurrence's end."""
    grid = f"""
grid: mirrored
version: 1
groups: {{one: {{best: true}}}}
engagement:
  rules:
    - {{id: a, points: {points[0]}, on: page.viewed, group: one, {fading}}}
    - {{id: b, points: {points[1]}, on: page.viewed, group: one, {fading}}}
    - {{id: c, points: 0.5, on: page.viewed, group: one, half_life: 3d}}
    - {{id: d, points: 7, on: page.viewed}}
stages: {{mql: {{enter: 9, leave: 8}}}}
"""
    partition = Partition(grid).feed([an_event("ada", n, START + n * HOUR, "page.viewed", {"url": "/"}) for n in range(3)])
    state = unpack(partition.states["ada"] or b"")
    assert effort(lambda: next_change(partition.scorer, state, state.clock_ms, state.clock_ms + 20 * DAY)) < 50


@examples(200)
@given(counting_cases(most=8), st.lists(st.integers(0, 9 * DAY), min_size=1, max_size=8))
def test_no_later_score_passes_the_bounds_of_a_reading(case: Case, waits: list[int]) -> None:
    """Neither above `highest` nor below `lowest`, and it moves no faster than `due` takes for granted."""
    partition = Partition(case.grid).feed(case.lines)
    state = unpack(partition.states["ada"] or b"")
    reading = read(partition.scorer, state, state.clock_ms)
    for wait in waits:
        later = read(partition.scorer, state, state.clock_ms + wait)
        assert reading.lowest - 1e-9 <= later.score <= reading.highest + 1e-9


UNTIL = yaml_of(
    {
        "grid": "until",
        "version": 1,
        "exclusions": [
            {"id": "out", "on": ["email.unsubscribed", "crm.lost"], "until": ["form.submitted", "email.clicked"]},
            {"id": "some", "on": "email.bounced", "where": {"x": 1}, "until": "form.submitted"},
        ],
    }
)


def test_an_exclusion_may_end_by_any_event_of_ones_own() -> None:
    """`custom.*` stands for all of them."""
    grid = yaml_of({"grid": "own", "version": 1, "exclusions": [{"id": "out", "on": "crm.lost", "until": "custom.*"}]})
    lines = [an_event("ada", 1, START, "crm.lost", {}), an_event("ada", 2, START + 1, "custom.call.done", {})]
    assert Partition(grid).feed(lines[:1]).writes["ada"].stage == "excluded"
    assert Partition(grid).feed(lines).writes["ada"].stage == "contact"


BEGINS = {"out": ("email.unsubscribed", "crm.lost"), "some": ("email.bounced",)}
ENDS = {"out": ("form.submitted", "email.clicked"), "some": ("form.submitted",)}


@examples(150)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 6),
            st.sampled_from(
                ["email.unsubscribed", "crm.lost", "email.bounced", "form.submitted", "email.clicked", "page.viewed"]
            ),
            st.sampled_from([{}, {"x": 1}, {"x": 1, "machine": True}]),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_an_exclusion_lasts_until_a_later_event_ends_it(happened: list[tuple[int, str, dict[str, Any]]]) -> None:
    """By event time, in whatever order they come, and at one instant it holds. Machines begin and end nothing."""
    lines: list[Line] = []
    latest: dict[tuple[str, str], int] = {}
    for n, (at, kind, more) in enumerate(happened):
        lines.append(an_event("ada", n, START + at, kind, {"url": "/", "message_id": "m", **more}))
        if "machine" not in more:
            for name in BEGINS:
                begins = kind in BEGINS[name] and (name == "out" or more)
                for side in [side for side, holds in (("on", begins), ("until", kind in ENDS[name])) if holds]:
                    latest[name, side] = max(at, latest.get((name, side), 0))
    holds = any(latest.get((name, "until"), -1) <= latest[name, "on"] for name in BEGINS if (name, "on") in latest)
    partition = Partition(UNTIL).feed(lines)
    assert partition.writes["ada"].stage == ("excluded" if holds else "contact")
    state = unpack(partition.states["ada"] or b"")
    assert bool(exclusions(partition.scorer, state)) == holds


@examples(100)
@given(
    st.lists(st.tuples(st.integers(0, 5 * 24), st.sampled_from(["a", "b", 3, "3", None])), min_size=1, max_size=40),
    st.integers(1, 5),
    st.randoms(use_true_random=False),
)
def test_depth_is_the_most_of_one_session_on_one_day(happened: list[tuple[int, Any]], within: int, random: Random) -> None:
    """Over midnight it is two; an event without a session counts none; 3 and "3" are one session."""
    velocity = {"id": "deep", "on": "page.viewed", "count": "depth", "within": f"{within}d", "steps": {1: 1}}
    grid = parse_grid(yaml_of({"grid": "deep", "version": 1, "velocity": [velocity]}), "deep.yaml")
    lines = [
        an_event("ada", n, START + hours * HOUR, "page.viewed", {"url": "/", "session_id": session})
        for n, (hours, session) in enumerate(happened)
    ]
    random.shuffle(lines)
    at_ms = START + 5 * DAY
    today = at_ms // DAY
    visits = [
        (day, str(session))
        for hours, session in happened
        if session is not None and today - within < (day := (START + hours * HOUR) // DAY) <= today
    ]
    deepest = max((visits.count(visit) for visit in visits), default=0)
    (row,) = replay_lines(text(lines), grid, at_ms).leads
    assert [reason["count"] for reason in row["reasons"]] == ([deepest] if deepest else [])


def test_depth_counts_to_255_in_the_first_16_sessions_of_a_day() -> None:
    """Later sessions of the day count nothing, however deep they are."""
    velocity = {"id": "deep", "on": "page.viewed", "count": "depth", "within": "1d", "steps": {1: 1}}
    grid = yaml_of({"grid": "deep", "version": 1, "velocity": [velocity]})

    def deepest(sessions: list[str]) -> int:
        lines = [an_event("ada", n, START + n, "page.viewed", {"url": "/", "session_id": s}) for n, s in enumerate(sessions)]
        (row,) = replay_lines(text(lines), parse_grid(grid, "deep.yaml"), START + DAY - 1).leads
        (reason,) = row["reasons"]
        count = reason["count"]
        assert isinstance(count, int)
        return count

    first = [str(n) for n in range(16)]
    assert deepest([*first, *["late"] * 9]) == 1
    assert deepest([*first, *["late"] * 9, "0"]) == 2
    assert deepest(["0"] * 300) == 255


@examples(300)
@given(counting_cases(most=8), st.integers(1, 9 * DAY))
@example(Case(THERE_AND_BACK, [an_event("ada", 1, START, "page.viewed", {"url": "/"})], START + HOUR), HOUR // 2)
def test_bounds_and_slopes_of_what_moves_hold_all_along_a_stretch(case: Case, span_ms: int) -> None:
    """Not at its ends alone, nor in wide stretches alone: halves follow what moves most, down to a millisecond."""
    partition = Partition(case.grid).feed(case.lines)
    state = unpack(partition.states["ada"] or b"")
    first_ms = state.clock_ms
    last_ms = int(min(first_ms + span_ms, read(partition.scorer, state, first_ms).step_ms - 1))
    for part in moving_parts(partition.scorer, state, first_ms):
        begin_ms, end_ms = first_ms, last_ms
        while begin_ms < end_ms:
            middle_ms = (begin_ms + end_ms) // 2
            low, high = part.bounds(begin_ms, end_ms)
            slowest, fastest = part.slopes(begin_ms, end_ms)
            begin, middle, end = values = [part.at(at_ms) for at_ms in (begin_ms, middle_ms, end_ms)]
            assert low - 1e-9 <= min(values)
            assert max(values) <= high + 1e-9
            span = end_ms - begin_ms
            assert slowest * span - 1e-9 <= end - begin <= fastest * span + 1e-9
            if abs(middle - begin) > abs(end - middle):
                end_ms = middle_ms
            else:
                begin_ms = middle_ms + 1
