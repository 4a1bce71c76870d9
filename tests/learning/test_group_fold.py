"""Rows of leads at instants: nothing of later is in them, and each is what a replay up to its instant gives."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.kit.examples import examples
from tests.kit.grids import a_grid, parsed
from tests.kit.landmarks import OURS, NaiveLog, arrivals, folded, grouped, shown
from tests.kit.oracle_values import instant, rfc3339
from tests.kit.stories import DAY, HOUR, START, Case, Line, an_event
from tests.kit.strategies import grids, histories
from worker.core.grid.models import Grid, parse_grid
from worker.core.insight.replay import Replay
from worker.learning.group_fold import rows_of_group
from worker.learning.landmarks import FLAGS, Options, Tally, folding_grid

HORIZON, EVERY = 4 * DAY, 36 * HOUR
IDS = ("ada", "bob", "v1", "visitor:2")


def apart(lines: list[Line]) -> list[Line]:
    """Put each line at a millisecond of its own, so that none arrives together with another."""
    found: list[Line] = []
    for number, line in enumerate(lines):
        name = "tick" if "tick" in line else "time"
        found.append({**line, name: rfc3339(instant(line[name]) // 1000 * 1000 + number)})
    return found


@st.composite
def logs(draw: st.DrawFn, late: bool = True, outputs: bool = True) -> Case:
    """A grid, and a log of two leads and two visitors who may be identified, with outputs of another grid."""
    drawn: list[Line] = draw(histories(leads=IDS, max_size=30, late=late, erasures=False, repeats=late))
    lines = [line for line in drawn if line.get("type") != "lead.identified"]
    for number, visitor in enumerate(("v1", "visitor:2")):
        if lines and draw(st.sampled_from((True, False))):
            place = draw(st.integers(0, len(lines) - 1))
            at = instant(lines[place].get("tick") or lines[place]["time"])
            known = draw(st.sampled_from(["ada", "bob"]))
            lines.insert(place, an_event(known, 900 + number, at, "lead.identified", {"anonymous_id": visitor}))
    for number in range(draw(st.integers(0, 4)) if outputs else 0):
        place = draw(st.integers(0, len(lines) - 1))
        at = instant(lines[place].get("tick") or lines[place]["time"])
        kind = draw(st.sampled_from(["lead.mql", "lead.sql"]))
        lines.insert(place, an_event(draw(st.sampled_from(IDS)), 950 + number, at, kind, {}) | {"source": OURS})
    lines = apart(lines)
    return Case(draw(grids()), lines, max(arrivals(lines)) + draw(st.sampled_from([0, 3 * DAY, 10 * DAY])))


def options_of(case: Case, **more: Any) -> Options:
    """Return options for a log, its left edge at its first line."""
    given_ = {"horizon_ms": HORIZON, "every_ms": EVERY, "end_ms": case.at_ms, "edge_ms": 0, "recorded": True}
    return Options(**(given_ | more))


@examples(60)
@given(logs())
def test_rows_are_those_of_replays_up_to_each_instant(case: Case) -> None:
    """With visitors, late events, doubles, rejections and re-entry."""
    grid = parse_grid(case.grid, "made-up.yaml")
    options = options_of(case)
    expected = list(NaiveLog(case.lines, grid, options).rows())
    assert [shown(row) for row in folded(case.lines, grid, options)] == expected


@examples(60)
@given(logs(), st.integers(0, 100))
def test_a_log_cut_at_an_instant_gives_the_rows_up_to_the_horizon_before_it(case: Case, share: int) -> None:
    """Nothing later changes a row: neither events, nor who a visitor turns out to be."""
    grid = parse_grid(case.grid, "made-up.yaml")
    arrived = arrivals(case.lines)
    cut_ms = arrived[0] + (case.at_ms - arrived[0]) * share // 100
    before = [line for line, arrival_ms in zip(case.lines, arrived, strict=True) if arrival_ms <= cut_ms]
    whole = folded(case.lines, grid, options_of(case))
    expected = [row for row in whole if row.at_ms <= cut_ms - HORIZON]
    assert folded(before, grid, options_of(case, end_ms=cut_ms)) == expected
    young = folded(before, grid, options_of(case, end_ms=cut_ms, young=True))
    assert [row for row in young if row.at_ms <= cut_ms - HORIZON] == expected


@examples(60)
@given(logs(late=False, outputs=False))
def test_without_outputs_the_handovers_are_those_of_the_grid(case: Case) -> None:
    """A row stands at each `lead.mql` and `lead.sql` of a replay, and none behind a `lead.sql` until sales closes it."""
    grid = parse_grid(case.grid, "made-up.yaml")
    options = options_of(case, recorded=False)
    outputs = replayed(case, grid)
    sales = [an_event(lead, n, at_ms, type_, {}) | {"source": OURS} for n, (lead, at_ms, type_) in enumerate(outputs)]
    lines = sorted([*case.lines, *sales], key=lambda line: instant(line.get("tick") or line["time"]))
    expected = [shown(row) for row in folded(lines, grid, options_of(case))]
    assert [shown(row) for row in folded(case.lines, grid, options)] == expected


def replayed(case: Case, grid: Grid) -> list[tuple[str, int, str]]:
    """Return (lead, instant, type) of each `lead.mql` and `lead.sql` that a replay gives."""
    run = Replay(grid)
    for line in case.lines:
        if "tick" not in line:
            run.line(json.dumps(line).encode())
    run.finish(case.at_ms)
    events = [json.loads(output.value or b"") for output in run.take_outputs()]
    return [(one["subject"], instant(one["time"]), one["type"]) for one in events if one["type"] in FLAGS]


@examples(40)
@given(logs(), st.randoms(use_true_random=False))
def test_other_leads_change_nothing(case: Case, random: Random) -> None:
    """Whatever the order in which groups are folded, and whoever else is in the log."""
    grid = parse_grid(case.grid, "made-up.yaml")
    options = options_of(case)
    rows = folded(case.lines, grid, options)
    groups = grouped(case.lines, grid)
    random.shuffle(groups)
    scorer, tally = folding_grid(grid, options), Tally()
    by_group = [row for group in groups for row in rows_of_group(group, scorer, options, tally)]
    assert sorted(by_group, key=lambda row: (row.id, row.at_ms)) == rows


GRID = parsed(
    a_grid(
        fit="{rules: [{id: cto, points: 10, where: {role: cto}}]}",
        engagement="{rules: [{id: page, points: 8, on: page.viewed}, {id: demo, points: 40, on: demo.requested}]}",
        stages="{mql: {enter: 16}, sql: {enter: 40}, quiet: 3d}",
    )
)
PAGE = ("page.viewed", {"url": "/"})


def log_of(*events: tuple[float, str, str, dict[str, Any]]) -> list[Line]:
    """Return a log of (day, lead, type, data)."""
    return [an_event(lead, n, round(START + day * DAY), type_, data) for n, (day, lead, type_, data) in enumerate(events)]


def rows_of(lines: list[Line], tally: Tally | None = None, **more: Any) -> list[dict[str, Any]]:
    """Return the rows of a log under `GRID`, every day, with a horizon of ten days, up to its fortieth day."""
    given_ = {"horizon_ms": 10 * DAY, "every_ms": DAY, "end_ms": START + 40 * DAY, "edge_ms": 0}
    return [shown(row) for row in folded(lines, GRID, Options(**(given_ | more)), tally)]


def test_a_back_dated_import_is_not_known_before_it_arrived() -> None:
    """The role of day 1 arrives on day 20: rows before then do not have it, whatever its time says."""
    late = an_event("ada", 99, START + DAY, "profile.updated", {"traits": {"role": "cto"}})
    lines = [*log_of((0, "ada", *PAGE), (20, "bob", *PAGE)), late]
    rows = [row for row in rows_of(lines) if row["id"] == "ada" and row["why"] == "every"]
    assert len(rows) == 30
    known = [row for row in rows if row["at_ms"] >= START + 20 * DAY]
    assert [row for row in rows if row["traits"] or row["fit"] or "cto" in row["signals"]] == known
    assert len(known) == 10


def test_the_left_edge_and_the_horizon_bound_the_rows() -> None:
    """Instants outside of them are counted."""
    tally = Tally()
    rows = rows_of(log_of((0, "ada", *PAGE)), tally, edge_ms=START + 5 * DAY)
    assert len(rows) == 25
    assert tally.rows == {"left_edge": 5, "immature": 10}
    assert tally.leads == {"left_edge": 1, "immature": 1}
    assert min(row["at_ms"] for row in rows) >= START + 5 * DAY
    assert max(row["at_ms"] for row in rows) <= START + 30 * DAY


def test_sales_ends_the_risk_and_a_rejection_begins_it_again_after_quiet() -> None:
    """Accepted on day 5, rejected on day 8, quiet for three days; won on day 20."""
    tally = Tally()
    lines = log_of(
        (0, "ada", *PAGE),
        (5, "ada", "crm.accepted", {}),
        (8, "ada", "crm.rejected", {}),
        (20, "ada", "crm.won", {}),
    )
    rows = rows_of(lines, tally)
    days = [(row["at_ms"] - START) / DAY for row in rows]
    assert all(day <= 5 or 11 <= day <= 20 for day in days)
    assert len(days) == 5 + 9
    assert tally.rows == {"handed_over": 3, "closed": 3, "won": 20}
    assert [row["handed_over"] for row in rows] == [True] * 5 + [False] * 9
    assert [row["won"] for row in rows] == [False] * 5 + [day > 10 for day in days[5:]]
    assert all(abs(row["days_to_won"] - (20 - day)) < 1e-6 for row, day in zip(rows, days, strict=True) if row["won"])


def test_rows_stand_at_the_instants_of_decisions() -> None:
    """The `lead.mql` and the `lead.sql` of the grid, each with what had happened by then."""
    lines = log_of((0, "ada", *PAGE), (2.5, "ada", *PAGE), (6.5, "ada", "demo.requested", {}))
    flagged = [(row["why"], row["at_ms"] - START, row["events"]) for row in rows_of(lines) if row["why"] != "every"]
    assert flagged == [
        ("mql", 2.5 * DAY, {"page.viewed": 2}),
        ("sql", 6.5 * DAY, {"page.viewed": 2, "demo.requested": 1}),
    ]
    assert {row["handed_over"] for row in rows_of(lines)} == {True}
    assert max(row["at_ms"] for row in rows_of(lines)) == START + 6.5 * DAY


def test_a_visitor_has_rows_once_it_is_identified() -> None:
    """Under the lead's id, with what it did before. Without the prefix it may have rows until shortly before then."""
    for visitor in ("visitor:7", "v7"):
        lines = log_of((0, visitor, *PAGE), (15.5, "ada", "lead.identified", {"anonymous_id": visitor}), (16, visitor, *PAGE))
        tally = Tally()
        rows = rows_of(lines, tally)
        ada = [row for row in rows if row["id"] == "ada"]
        assert min(row["at_ms"] for row in ada) > START + 15 * DAY
        assert ada[-1]["events"] == {"page.viewed": 2, "lead.identified": 1}
        assert ada[0]["age_days"] > 15
        others = [row for row in rows if row["id"] != "ada"]
        assert len(others) == (0 if visitor.startswith("visitor:") else 6)
        assert all(row["at_ms"] <= START + 5.5 * DAY for row in others)
        assert tally.rows["anonymous"] + len(others) == 16


def test_erased_leads_leave_the_table() -> None:
    """With their visitors. What comes after the erasure is another beginning."""
    lines = log_of(
        (0, "v7", *PAGE),
        (1, "ada", "lead.identified", {"anonymous_id": "v7"}),
        (2, "ada", *PAGE),
        (20, "ada", "lead.erased", {}),
    )
    tally = Tally()
    assert rows_of(lines, tally) == []
    assert tally.rows["erased"] == 19 + len(["of the visitor", "at the lead.mql"])
    again = [*lines, *log_of(*[(0, "x", *PAGE)] * 4, (25.5, "ada", *PAGE))[4:]]
    rows = rows_of(again)
    assert [row["events"] for row in rows] == [{"page.viewed": 1}] * 5
    assert min(row["age_days"] for row in rows) < 1


def test_every_type_counts_as_an_event_and_no_feature_names_a_person() -> None:
    """Types that LeadPulse does not know too. Doubles do not."""
    lines = log_of((0, "ada", *PAGE), (1, "ada", "contract.sent", {}), (1, "ada", "profile.updated", {"traits": PERSON}))
    lines.append(lines[0])
    row = rows_of(lines)[-1]
    assert row["events"] == {"page.viewed": 1, "contract.sent": 1, "profile.updated": 1}
    assert row["traits"] == {
        "company.domain": '"acme.example"',
        "company.size": "80",
        "email_domain": '"acme.example"',
        "email_kind": '"business"',
        "tags": '["a","b"]',
    }
    assert row["company"] == "acme.example"


PERSON = {
    "email": "ada@acme.example",
    "phone": "+33 1 23 45 67 89",
    "company": {"size": 80, "domain": "acme.example"},
    "tags": ["a", "b"],
}


def test_an_outcome_recorded_late_is_neither_won_nor_lost_in_between() -> None:
    """Won on day 5, recorded on day 9: between, the row would say that nothing had happened yet."""
    late = an_event("ada", 99, START + 5 * DAY, "crm.won", {})
    lines = [*log_of((0, "ada", *PAGE), (9, "bob", *PAGE)), late]
    tally = Tally()
    rows = [row for row in rows_of(lines, tally) if row["id"] == "ada"]
    assert all(row["won"] and row["at_ms"] < START + 5 * DAY for row in rows)
    assert len(rows) == 5
    assert tally.rows["late_outcome"] == 4
    assert tally.rows["won"] == 31


def test_labels_of_earlier_outcomes_hold_for_later_ones_too() -> None:
    """Whoever was won was an opportunity."""
    lines = log_of((0, "ada", *PAGE), (5, "ada", "crm.won", {}))
    for label in ("won", "opportunity", "accepted"):
        assert [row["won"] for row in rows_of(lines, label=label)] == [True] * 5
    lines = log_of((0, "ada", *PAGE), (5, "ada", "crm.accepted", {}))
    assert [row["won"] for row in rows_of(lines, label="opportunity")] == [False] * 5
    assert [row["won"] for row in rows_of(lines, label="accepted")] == [True] * 5
