"""Weights, decay, what counts once, groups and `until` in a grid: as it is read, refused, described and compared."""

from __future__ import annotations

import pytest

from tests.kit.grids import parsed
from worker.core.grid.counting import Decay, Weigh
from worker.core.grid.diff import replayed
from worker.core.grid.messages import GridError
from worker.core.grid.models import Rule, parse_grid
from worker.core.grid.report import show_markdown
from worker.core.grid.values import DAY_MS
from worker.core.scoring.compiled_grid import CompiledGrid

HEAD = "grid: g\nversion: 1\n"
R0 = "engagement.rules[0]"


def a_rule(more: str, engagement: str = "") -> str:
    """Return a grid with one engagement rule with *more* in it."""
    return f"{HEAD}engagement: {{{engagement}rules: [{{id: a, points: 2, on: page.viewed, {more}}}]}}\n"


def the_rule(more: str, engagement: str = "") -> Rule:
    """Return that rule as it is read."""
    (rule,) = parsed(a_rule(more, engagement)).engagement.rules
    return rule


@pytest.mark.parametrize(
    ("grid", "path", "hint"),
    [
        (a_rule("weigh: {path: x, min: 0}"), f"{R0}.weigh.max", "`max` is missing"),
        (a_rule("weigh: {path: x, max: 0}"), f"{R0}.weigh.min", "`min` is missing"),
        (a_rule("weigh: {min: 0, max: 1}"), f"{R0}.weigh.path", "`path` is missing"),
        (a_rule("weigh: {path: x, min: 2, max: 1}"), f"{R0}.weigh.min", "min 2 is above max 1"),
        (a_rule("weigh: {path: x, min: 0, max: 1, tims: 2}"), f"{R0}.weigh.tims", "did you mean 'times'"),
        (a_rule("weigh: 3"), f"{R0}.weigh", "write a mapping"),
        (a_rule("decay: {}"), f"{R0}.decay", "exactly one of half_life, linear and window"),
        (a_rule("decay: {linear: 1d, window: 1d}"), f"{R0}.decay", "exactly one of"),
        (a_rule("decay: {linear: none}"), f"{R0}.decay.linear", "no meaning here"),
        (a_rule("decay: {window: 0d}"), f"{R0}.decay.window", "no time at all"),
        (a_rule("decay: {half_life: 7 days}"), f"{R0}.decay.half_life", "as in 30s"),
        (a_rule("decay: {linear: 1d}, half_life: 1d"), f"{R0}.decay", "keep one"),
        (a_rule("cap: 1", "decay: {linear: 1d}, half_life: 1d, "), "engagement.decay", "keep one"),
        (a_rule("cap: 1", "decay: {liner: 1d}, "), "engagement.decay.liner", "did you mean 'linear'"),
        (a_rule("cap: 1", "decay: {window: 1 d}, "), "engagement.decay.window", "no duration"),
        (a_rule("once_per: []"), f"{R0}.once_per", "empty"),
        (a_rule("once_per: [day, event]"), f"{R0}.once_per[1]", "take it out of the list"),
        (a_rule("once_per: [x, x]"), f"{R0}.once_per", "given twice"),
        (a_rule("once_per: [x, 3]"), f"{R0}.once_per[1]", "got 3"),
        (a_rule("once_per: [x, a..b]"), f"{R0}.once_per[1]", "a path in the event's data"),
        (a_rule("once_per: {x: 1}"), f"{R0}.once_per", "or a list of them"),
        (a_rule("group: some"), f"{R0}.group", "no group 'some'"),
        (a_rule("group: some") + "groups: {sone: {cap: 3}}", f"{R0}.group", "did you mean 'sone'"),
        (HEAD + "groups: {a: {}}", "groups.a", "exactly one of"),
        (HEAD + "groups: {a: {cap: 1, best: true}}", "groups.a", "exactly one of"),
        (HEAD + "groups: {a: {cap: -1}}", "groups.a.cap", "below 0"),
        (HEAD + "groups: {a: {best: false}}", "groups.a.best", "write best: true"),
        (
            a_rule("group: a") + "groups: {a: {cap: 1}}\nfit: {rules: [{id: f, points: 1, where: {x: 1}, group: a}]}",
            f"{R0}.group",
            "fit and engagement have their own",
        ),
        (
            HEAD
            + "velocity: [{id: v, on: page.viewed, count: days, within: 1d, steps: {1: 1}, group: a}]\ngroups: {a: {cap: 1}}",
            "velocity[0].group",
            "unknown key",
        ),
        (
            HEAD + "velocity: [{id: v, on: page.viewed, count: depth, within: 8d, steps: {1: 1}}]",
            "velocity[0].within",
            "at most 7d",
        ),
        (
            HEAD + "fit: {rules: [{id: f, points: 1, where: {x: 1}, weigh: {path: x, min: 0, max: 1}}]}",
            "fit.rules[0].weigh",
            "unknown",
        ),
        (HEAD + "exclusions: [{id: u, where: {x: 1}, until: page.viewed}]", "exclusions[0].until", "needs `on`"),
        (HEAD + "exclusions: [{id: u, on: crm.lost, until: page.view}]", "exclusions[0].until[0]", "did you mean"),
    ],
)
def test_each_mistake_is_named_alone_where_it_stands(grid: str, path: str, hint: str) -> None:
    """With what to write instead."""
    with pytest.raises(GridError) as err:
        parse_grid(grid, "g.yaml")
    (mistake,) = err.value.mistakes
    assert mistake.path == path
    assert hint in mistake.message


def test_a_cap_of_zero_in_a_group_is_none_of_them() -> None:
    """A group of rules may be switched off."""
    assert parsed(HEAD + "groups: {a: {cap: 0}}").groups["a"].cap == 0


def test_a_half_life_is_the_same_in_either_place() -> None:
    """As its own word, within `decay`, as the default, and as the default within `decay`: one key, one past."""
    ways = [
        ("half_life: 14d", ""),
        ("decay: {half_life: 14d}", ""),
        ("cap: 9", "half_life: 14d, "),
        ("cap: 9", "decay: {half_life: 14d}, "),
    ]
    rules = [the_rule(*way) for way in ways]
    assert [(rule.half_life, rule.decay) for rule in rules] == [(14 * DAY_MS, None)] * 4
    assert len({key for way in ways for key in CompiledGrid(parsed(a_rule(*way)), "/test").readers}) == 1


def spans(decay: Decay | None) -> tuple[int | None, int | None]:
    """Return the times of `linear` and `window` in ms."""
    assert decay is not None
    return decay.linear, decay.window


def test_a_rules_own_decay_wins_over_the_default() -> None:
    """Of either kind, and `none` too."""
    assert spans(the_rule("cap: 1", "decay: {linear: 1d}, ").decay) == (DAY_MS, None)
    assert spans(the_rule("decay: {window: 2d}", "decay: {linear: 1d}, ").decay) == (None, 2 * DAY_MS)
    assert the_rule("decay: {window: 2d}", "half_life: 1d, ").half_life is None
    for own in ("half_life: none", "decay: {half_life: none}"):
        rule = the_rule(own, "decay: {linear: 1d}, ")
        assert (rule.half_life, rule.decay) == (None, None)


def test_a_list_of_one_is_that_one() -> None:
    """And keeps its key."""
    assert the_rule("once_per: [session_id]").once_per == "session_id"
    assert the_rule("once_per: [message_id, day]").once_per == ("message_id", "day")
    assert the_rule("weigh: {path: x, min: -1, max: 2}").weigh == Weigh(path="x", min=-1, max=2, times=1)


PLAIN = "once_per: session_id, half_life: 14d"


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (PLAIN, PLAIN + ", cap: 3, group: a", ""),
        ("decay: {linear: 60d}", "decay: {linear: 30d}, points: 3", ""),
        ("decay: {window: 60d}", "decay: {window: 30d}", ""),
        ("decay: {linear: 60d}", "decay: {window: 60d}", "its decay changes"),
        ("half_life: 60d", "decay: {window: 60d}", "its half_life, decay changes"),
        ("once_per: [x, day]", "once_per: [day, x]", ""),
        ("once_per: x", "once_per: [x, day]", "its once_per changes"),
        ("cap: 3", "weigh: {path: x, min: 0, max: 3}", "its weigh changes"),
        ("weigh: {path: x, min: 0, max: 3}", "weigh: {path: x, min: 0, max: 4}", "its weigh changes"),
        ("weigh: {path: x, min: 0, max: 3}", "weigh: {path: x, min: 0, max: 3, times: 2}", "its weigh changes"),
    ],
)
def test_what_is_counted_otherwise_needs_its_past_replayed(before: str, after: str, why: str) -> None:
    """And nothing else does; the key of the count changes exactly then."""
    groups = "groups: {a: {cap: 3}}\n"
    after = after.removesuffix(", points: 3")
    old, new = parsed(a_rule(before) + groups), parsed(a_rule(after) + groups)
    assert [one.why for one in replayed(old, new)] == ([why] if why else [])
    keys = [set(CompiledGrid(grid, "/test").readers) for grid in (old, new)]
    assert (keys[0] == keys[1]) == (not why)


def test_an_exclusion_that_gets_an_end_needs_its_past_replayed() -> None:
    """The first event was kept, and now the latest of each side is."""
    grids = [
        parsed(HEAD + f"exclusions: [{{id: u, on: crm.lost{until}}}]")
        for until in ("", ", until: crm.won", ", until: page.viewed")
    ]
    assert [one.why for one in replayed(grids[0], grids[1])] == ["its until changes"]
    assert [one.why for one in replayed(grids[1], grids[2])] == ["its until changes"]
    assert replayed(grids[1], grids[1]) == []


def test_a_velocity_that_counts_depth_needs_its_past_replayed() -> None:
    """Sessions are kept without how often they matched."""
    grids = [
        parsed(HEAD + f"velocity: [{{id: v, on: page.viewed, count: {count}, within: 7d, steps: {{1: 1}}}}]")
        for count in ("sessions", "depth")
    ]
    assert [one.why for one in replayed(*grids)] == ["its count changes"]


def test_the_page_of_a_grid_says_all_of_it() -> None:
    """In words that marketing and sales read."""
    grid = parsed(
        a_rule("weigh: {path: minutes, min: 0, max: 9, times: 0.5}, once_per: [day, x], decay: {linear: 60d}, group: some")
        + "groups: {some: {cap: 9}, other: {best: true}}\n"
        "fit: {rules: [{id: f, points: 1, where: {x: 1}, group: other}]}\n"
        "exclusions: [{id: u, on: crm.lost, until: [page.viewed, crm.won]}]\n"
    )
    page = show_markdown(grid).replace("\\", "")
    assert "once a day per x, weighed by minutes × 0.5, from 0 to 9" in page
    assert "in a straight line, to nothing after 60 days" in page
    assert "| some | a | from −9 to 9 together |" in page
    assert "| other | f | only the greatest counts |" in page
    assert "crm.lost, until page.viewed or crm.won" in page
