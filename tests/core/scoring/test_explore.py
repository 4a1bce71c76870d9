"""Exploration: chosen leads below SQL are handed over once, as the oracle says, whatever batches and replays make of it."""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.kit.comparison import Partition, assert_replay_is_right, by_lead
from tests.kit.examples import examples
from tests.kit.grids import a_grid, parsed
from tests.kit.oracle_values import rfc3339
from tests.kit.stories import DAY, HOUR, START, Case, an_event, selling
from tests.kit.strategies import cases
from tests.kit.word_strategies import worded_cases
from worker.core.grid.messages import GridError
from worker.core.grid.models import parse_grid
from worker.core.grid.report import show_markdown
from worker.core.insight.replay import replay_lines
from worker.core.scoring.compiled_grid import is_chosen


@st.composite
def exploring(draw: st.DrawFn, of: st.SearchStrategy[Case]) -> Case:
    """Return a case whose grid explores, with leads of other names, so that others are chosen."""
    case = draw(of)
    sql = parsed(case.grid).stages.sql
    assume(sql is not None)
    assert sql is not None
    share = draw(st.sampled_from([0.05, 0.3, 0.5, 0.5]))
    start = sql.enter - draw(st.sampled_from([0.5, 1, 2, 5, 10, 30]))
    suffix = draw(st.integers(0, 30))
    lines = [line | {"subject": f"{line['subject']}-{suffix}"} if "subject" in line else line for line in case.lines]
    return Case(f"{case.grid}explore: {{share: {share}, from: {start}}}\n", lines, case.at_ms)


@st.composite
def visits(draw: st.DrawFn) -> Case:
    """Return a case of leads who come and go around the score from which they are explored."""
    lines, at = [], START
    rare = ["score.adjusted"] * 4 + ["email.unsubscribed", "crm.lost", "tick"]
    for number, kind in enumerate(draw(st.lists(st.sampled_from(["page.viewed"] * 10 + rare), min_size=5, max_size=40))):
        at += draw(st.sampled_from([0, 1, HOUR, DAY, 3 * DAY]))
        if kind == "tick":
            lines.append({"tick": rfc3339(at)})
            continue
        lead = draw(st.sampled_from([CHOSEN, CHOSEN, CHOSEN, OTHER]))
        late = draw(st.sampled_from([0, 0, HOUR]))
        lines.append(an_event(lead, number, at - late, kind, {"url": "/", "points": 7, "message_id": "m"}))
    rules = "{id: visit, points: 6, on: page.viewed}, {id: by-hand, points: 7, on: score.adjusted}"
    grid = a_grid(
        engagement=f"{{half_life: {draw(st.sampled_from(['none', '2d', '9d']))}, rules: [{rules}]}}",
        exclusions="[{id: gone, on: email.unsubscribed, until: score.adjusted}]",
        stages="{mql: {enter: 35, leave: 5}, sql: {enter: 50, leave: 40, sla: 4h}, quiet: 3d}",
        explore=f"{{share: 0.5, from: {draw(st.sampled_from([6, 11.9, 12, 20, 40]))}}}",
    )
    return Case(grid, lines, at + DAY)


@examples(200)
@given(st.one_of(visits(), exploring(st.one_of(cases(), selling(), worded_cases()))))
def test_who_is_explored_is_what_the_oracle_says(case: Case) -> None:
    """Every output at its instant, by a replay and by a worker that takes events one by one."""
    assert_replay_is_right(case)


@examples(150)
@given(visits(), st.lists(st.integers(2, 12), min_size=1, max_size=4))
def test_where_batches_end_changes_nothing_in_who_is_explored(case: Case, sizes: list[int]) -> None:
    """A lead that is near to be explored is judged after each event, also within a batch."""
    one, other = (Partition(case.grid).feed(case.lines, by) for by in ((1,), sizes))
    assert by_lead(one.outputs) == by_lead(other.outputs)
    assert one.states == other.states


@examples(150)
@given(st.one_of(visits(), exploring(st.one_of(cases(), selling()))))
def test_a_lead_is_explored_once_and_keeps_its_stage(case: Case) -> None:
    """Before any other `lead.sql`, and with all that such an output carries."""
    replayed = replay_lines([json.dumps(line) for line in case.lines], parse_grid(case.grid, "g.yaml"), case.at_ms)
    explore = parsed(case.grid).explore
    assert explore is not None
    for lead, outputs in by_lead(replayed.events).items():
        lives: list[list[dict[str, Any]]] = [[]]
        for output in outputs:
            lives[-1].append(output)
            if output["type"] == "lead.erased":
                lives.append([])
        for life in lives:
            handed_over = [output["data"] for output in life if output["type"] == "lead.sql"]
            assert [data.get("explored") for data in handed_over[1:]] == [None] * len(handed_over[1:])
            for data in handed_over[:1]:
                if data.get("explored"):
                    assert is_chosen(lead, explore.share)
                    assert data["from"] == data["to"] in ("contact", "mql")
                    assert data["score"] >= explore.from_ - 1e-9


GRID = a_grid(
    engagement="{rules: [{id: visit, points: 10, on: page.viewed, half_life: 7d}, {id: won, points: 1, on: crm.won}]}",
    exclusions="[{id: gone, on: email.unsubscribed}]",
    stages="{mql: {enter: 35, leave: 5}, sql: {enter: 70, leave: 60, min_fit: 20, sla: 4h}, quiet: 3d}",
    explore="{share: 0.5, from: 20}",
)
CHOSEN = next(f"lead-{n}" for n in range(99) if is_chosen(f"lead-{n}", 0.5))
OTHER = next(f"lead-{n}" for n in range(99) if not is_chosen(f"lead-{n}", 0.5))


def outputs_of(lead: str, *events: tuple[int, str], grid: str = GRID, until: int = 0) -> list[dict[str, Any]]:
    """Return the outputs of a lead's events (time after `START`, type)."""
    data = {"url": "/", "message_id": "m"}
    lines = [json.dumps(an_event(lead, n, START + at, type_, data)) for n, (at, type_) in enumerate(events)]
    replayed = replay_lines(lines, parsed(grid), START + until if until else None)
    assert replayed.refused == []
    return replayed.events


def told(outputs: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Return what each output says in short."""
    return [(one["type"] + "!" * bool(one["data"].get("explored")), one["data"]["from"], one["data"]["to"]) for one in outputs]


VIEW = "page.viewed"


def test_a_chosen_lead_is_handed_over_in_its_stage_and_with_a_deadline() -> None:
    """Whatever else the rung asks, for what the grid may be wrong about is what it asks."""
    outputs = outputs_of(CHOSEN, (0, VIEW), (HOUR, VIEW), (HOUR, VIEW))
    assert told(outputs) == [("lead.sql!", "contact", "contact")]
    assert outputs[0]["data"]["respond_by"] == outputs[0]["time"].replace("T01:", "T05:")
    assert told(outputs_of(OTHER, (0, VIEW), (HOUR, VIEW), (HOUR, VIEW))) == []


def test_a_deadline_that_nobody_keeps_is_told() -> None:
    """An outcome is what exploration is for, so sales must answer."""
    found = outputs_of(CHOSEN, (0, VIEW), (0, VIEW), (0, VIEW), until=5 * HOUR)
    assert told(found) == [("lead.sql!", "contact", "contact"), ("lead.sla_breached", "contact", "contact")]
    answered = outputs_of(CHOSEN, (0, VIEW), (0, VIEW), (0, VIEW), (HOUR, "crm.rejected"), until=5 * HOUR)
    assert told(answered) == [("lead.sql!", "contact", "contact")]


def test_at_mql_a_lead_climbs_first_and_is_explored_then() -> None:
    """Three views at once: 30 points explore it, 40 make it MQL; and it does not cool for being explored."""
    assert told(outputs_of(CHOSEN, *[(0, VIEW)] * 4)) == [("lead.sql!", "contact", "contact"), ("lead.mql", "contact", "mql")]
    high = GRID.replace("from: 20", "from: 40")
    assert told(outputs_of(CHOSEN, *[(0, VIEW)] * 4, grid=high)) == [
        ("lead.mql", "contact", "mql"),
        ("lead.sql!", "mql", "mql"),
    ]


def test_after_it_nobody_is_called_twice_within_quiet() -> None:
    """The lead that climbs to SQL on the next day moves its stage silently; a week later it is announced."""
    grid = GRID.replace(", min_fit: 20", "")
    soon = [(0, VIEW)] * 3 + [(DAY, VIEW)] * 7
    assert told(outputs_of(CHOSEN, *soon, grid=grid))[-2:] == [("lead.mql", "contact", "mql"), ("lead.stage", "mql", "sql")]
    late = [(0, VIEW)] * 3 + [(4 * DAY, VIEW)] * 7
    assert told(outputs_of(CHOSEN, *late, grid=grid))[-1] == ("lead.sql", "mql", "sql")


@pytest.mark.parametrize("first", ["crm.accepted", "crm.rejected", "crm.lost", "crm.no_show", "email.unsubscribed"])
def test_who_sales_had_and_who_is_excluded_is_not_explored(first: str) -> None:
    """Sales know such a lead, or must not call."""
    found = outputs_of(CHOSEN, (0, first), (HOUR, VIEW), (HOUR, VIEW), (5 * DAY, VIEW), (5 * DAY, VIEW))
    assert [name for name, _, _ in told(found) if name == "lead.sql!"] == []


def test_only_what_a_lead_does_hands_it_over() -> None:
    """Neither time nor a machine, nor a change of its traits: sales call somebody who just did something."""
    grid = GRID.replace("{id: won", "{id: open, points: 15, on: email.delivered}, {id: won")
    quiet: list[tuple[int, str]] = [(0, "email.delivered"), (0, "email.delivered")]
    assert told(outputs_of(CHOSEN, *quiet, grid=grid, until=9 * DAY)) == []
    assert told(outputs_of(CHOSEN, *quiet, (HOUR, VIEW), grid=grid)) == [
        ("lead.mql", "contact", "mql"),
        ("lead.sql!", "mql", "mql"),
    ]
    line = an_event(CHOSEN, 9, START, VIEW, {"url": "/", "machine": True})
    lines = [json.dumps(an_event(CHOSEN, n, START, "email.delivered", {"message_id": "m"})) for n in range(2)]
    assert replay_lines([*lines, json.dumps(line)], parsed(grid)).events == []


def test_the_share_is_that_of_all_ids_and_stays_theirs() -> None:
    """Whoever is chosen at a share is chosen at every greater one; the hash is stated, so others can compute it."""
    ids = [f"lead-{n}" for n in range(20_000)]
    chosen = [{lead for lead in ids if is_chosen(lead, share)} for share in (0.01, 0.05, 0.2, 0.5)]
    assert [len(some) / len(ids) for some in chosen] == pytest.approx([0.01, 0.05, 0.2, 0.5], abs=0.01)
    assert all(fewer < more for fewer, more in pairwise(chosen))
    digest = hashlib.sha256(b"explore:lead-0").digest()
    assert is_chosen("lead-0", 0.5) == (digest[0] < 128)


@pytest.mark.parametrize(("sections", "says"), [
    ({"explore": "{share: 0, from: 20}"}, "explore.share: write a share above 0 and at most 0.5, as in 0.05; got 0"),
    ({"explore": "{share: 0.6, from: 20}"}, "explore.share: write a share above 0"),
    ({"explore": "{share: 0.1}"}, "explore.from: `from` is missing"),
    ({"explore": "{share: 0.1, from: 70}"}, "explore.from: leads from 70 on are SQL already: write a score below 70"),
    ({"explore": "{share: 0.1, from: 9}", "stages": "{mql: {enter: 10}}"}, "explore: `explore` hands over below the threshold"),
])  # fmt: skip
def test_mistakes_are_named(sections: dict[str, str], says: str) -> None:
    """By path, with what to write."""
    with pytest.raises(GridError) as caught:
        parsed(a_grid(**({"stages": "{sql: {enter: 70}}"} | sections)))
    assert str(caught.value.mistakes[0]).partition(": ")[2].startswith(says)


def test_the_page_of_a_grid_names_it() -> None:
    """Marketing and sales read that page."""
    page = show_markdown(parsed(GRID))
    assert "50 % of the leads from 20 on are handed over below sql too, each once, chosen by its id." in page
