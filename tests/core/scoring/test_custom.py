"""Events of one's own: which rules they feed, and what a state and an output show of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.comparison import Partition, text
from tests.kit.examples import examples
from tests.kit.grids import a_grid
from tests.kit.stories import DAY, HOUR, START, Line, an_event
from worker.core.contract.event_types import CUSTOM, TYPE_NUMBERS
from worker.core.grid.models import parse_grid
from worker.core.insight.replay import ReplayResult, replay_lines
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.packing import open_
from worker.core.scoring.state import unpack

NAMES = ["custom.a", "custom.a.b", "custom.a.b.c", "custom.ab", "custom.a.", "custom.b", "custom.c.d", "page.viewed"]
ON = ["custom.*", "custom.a.*", "custom.a.b.*", "custom.c.*", "custom.a", "custom.a.b", "custom.b", "page.viewed"]


def replayed(grid: str, lines: list[Line], at_ms: int) -> ReplayResult:
    """Return what a replay of *lines* gives, with a tick at *at_ms*."""
    return replay_lines(text(lines), parse_grid(grid, "g.yaml"), at_ms)


def happened(*types: str, **data: Any) -> list[Line]:
    """Return events of Ada, an hour apart."""
    return [
        an_event("ada", n, START + n * HOUR, type_, data if type_ != "page.viewed" else {"url": "/"})
        for n, type_ in enumerate(types)
    ]


def meets(name: str, type_: str) -> bool:
    """Return whether a name in a grid stands for a type: the slow way, word by word."""
    if not name.endswith(".*"):
        return name == type_
    above, words = name.split(".")[:-1], type_.split(".")
    return words[: len(above)] == above and len(words) > len(above)


ons = st.lists(st.lists(st.sampled_from(ON), min_size=1, max_size=4, unique=True), min_size=1, max_size=4)


@examples(150)
@given(ons, st.lists(st.sampled_from(NAMES), min_size=1, max_size=12))
def test_an_event_counts_once_in_each_rule_that_names_it(on: list[list[str]], types: list[str]) -> None:
    """However many of the rule's names stand for it."""
    rules = [{"id": f"r{n}", "points": 10**n, "on": names} for n, names in enumerate(on)]
    lead = replayed(a_grid(engagement={"rules": rules}), happened(*types), START + DAY).leads[0]
    counted = {reason["id"]: reason["count"] for reason in lead["reasons"]}
    wanted = {f"r{n}": sum(any(meets(name, one) for name in names) for one in types) for n, names in enumerate(on)}
    assert counted == {id_: count for id_, count in wanted.items() if count}


@examples(60)
@given(ons, st.lists(st.sampled_from(NAMES), min_size=1, max_size=6))
def test_velocities_and_exclusions_name_types_as_rules_do(on: list[list[str]], types: list[str]) -> None:
    """Each by its own list."""
    velocity = [{"id": f"v{n}", "on": names, "count": "events", "within": "7d", "steps": {1: 1}} for n, names in enumerate(on)]
    found = replayed(a_grid(velocity=velocity), happened(*types), START + DAY).leads[0]
    fed = {f"v{n}" for n, names in enumerate(on) if any(meets(name, one) for name in names for one in types)}
    assert {reason["id"] for reason in found["reasons"]} == fed
    for n, names in enumerate(on):
        lead = replayed(a_grid(exclusions=[{"id": "x", "on": names}]), happened(*types), START + DAY).leads[0]
        assert (lead["stage"] == "excluded") == (f"v{n}" in fed)


def test_last_events_show_the_name_and_what_the_event_says() -> None:
    """The state keeps one number for all of them."""
    grid = a_grid(engagement={"rules": [{"id": "r", "points": 5, "on": "custom.*"}]}, stages={"mql": {"enter": 5}})
    lines = [*happened("custom.call.made", cta="asked for prices"), an_event("ada", 9, START + DAY, "custom.fair", {})]
    partition = Partition(grid).feed(lines)
    packed = partition.states["ada"]
    assert packed is not None
    assert {number for _, number, _ in open_(unpack(packed).recent)} == {TYPE_NUMBERS[CUSTOM]}
    [mql] = partition.outputs
    assert [(one["type"], one["label"]) for one in mql["data"]["recent"]] == [("custom.call.made", "asked for prices")]


def test_a_reason_names_the_types_of_ones_own_that_its_rule_counts() -> None:
    """A rule's id alone may not say what the event was; other types need no such word."""
    grid = a_grid(
        engagement={
            "rules": [
                {"id": "r", "points": 5, "on": ["custom.call.*", "page.viewed"]},
                {"id": "s", "points": 1, "on": "page.viewed"},
            ]
        },
        velocity=[{"id": "v", "on": "custom.call.*", "count": "days", "within": "7d", "steps": {1: 2}}],
    )
    [lead] = replayed(grid, happened("custom.call.made", "page.viewed"), START + DAY).leads
    named = {reason["id"]: list(reason.get("on") or ()) for reason in lead["reasons"]}
    assert named == {"r": ["custom.call.*"], "s": [], "v": ["custom.call.*"]}


def test_the_longest_name_leaves_room_for_a_label() -> None:
    """Together they take no more room than the label of any other event."""
    lines = happened("custom." + "n" * 64, cta="\U0001f600" * 60)
    packed = Partition(a_grid()).feed(lines).states["ada"]
    assert packed is not None
    [(_, _, kept)] = open_(unpack(packed).recent)
    assert kept == "n" * 64 + " " + "\U0001f600" * 43
    assert len(kept.encode()) <= 240


def test_an_event_of_ones_own_is_activity_and_an_adjustment_is_none() -> None:
    """Formula 5: silence counts from the latest activity."""
    grid = a_grid(inactivity={"after": "1d", "points": -1})
    for type_, data, score in (
        ("custom.call", {}, -1),
        ("custom.call", {"machine": True}, 0),
        ("email.subscribed", {}, -1),
        ("score.adjusted", {"points": 5}, 0),
    ):
        [lead] = replayed(grid, [an_event("ada", 1, START, type_, data)], START + DAY).leads
        assert lead["score"] == score, type_


def test_an_adjustment_opens_no_ladder_that_sales_closed() -> None:
    """A word on a lead is no sign of life; an event of its own is."""
    grid = a_grid(
        engagement={"rules": [{"id": "r", "points": 9, "on": ["score.adjusted", "custom.back"]}]},
        stages={"mql": {"enter": 5}, "quiet": "1d"},
    )
    lines = [
        an_event("ada", 1, START, "crm.rejected", {}),
        an_event("ada", 2, START + 2 * DAY, "score.adjusted", {"points": "15"}),
    ]
    assert replayed(grid, lines, START + 9 * DAY).leads[0]["stage"] == "contact"
    back = an_event("ada", 3, START + 3 * DAY, "custom.back", {})
    assert replayed(grid, [*lines, back], START + 9 * DAY).leads[0]["stage"] == "mql"


@pytest.mark.parametrize(
    ("type_", "kind"),
    [
        ("custom.a", "custom.a"),
        ("custom.a.b", "custom.a.*"),
        ("custom.a.b.c", "custom.a.b.c"),
        ("custom.a.b.c.d", "custom.a.*"),
        ("custom.b", "custom.*"),
        ("custom.ab", "custom.*"),
    ],
)
def test_types_that_feed_the_same_rules_are_of_one_kind(type_: str, kind: str) -> None:
    """A made-up name costs a walk over its dots, and no memory."""
    rules = [{"id": name.replace("*", "x"), "points": 1, "on": name} for name in ("custom.*", "custom.a", "custom.a.*")]
    rules.append({"id": "c", "points": 1, "on": "custom.a.b.c"})
    scorer = CompiledGrid(parse_grid(a_grid(engagement={"rules": rules}), "g.yaml"), "/test")
    assert scorer.kind_of(type_) == kind
