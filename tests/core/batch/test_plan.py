"""Lively traffic in one batch or event by event: what a batch spares must show nowhere."""

from __future__ import annotations

import json

import pytest

from tests.kit.examples import TIMES
from tests.kit.grids import a_grid, changed, compiled
from tests.kit.lively import GRID, LOW, NURTURED, SHORT_LIVED, TAKING, UNFIT, folded, traffic
from worker.core.batch.plan import plan_events
from worker.core.contract.model import Event
from worker.core.scoring.calendar import rfc3339


@pytest.mark.parametrize(
    "grid",
    [GRID, LOW, SHORT_LIVED, UNFIT, TAKING, NURTURED],
    ids=["preset", "low", "short-lived", "unfit", "taking", "nurtured"],
)
@pytest.mark.parametrize("seed", [1, 2] if TIMES >= 1 else [1])
def test_a_batch_spares_nothing_that_shows(grid: str, seed: int) -> None:
    """A lead is read once a batch where bounds prove that nothing moves it: no byte of state or output may tell."""
    log = traffic(seed)
    one_by_one = folded(grid, log, 1)
    assert folded(grid, log, 2_500) == one_by_one
    assert folded(grid, sorted(log, key=lambda event: event.type), 2_500) == folded(
        grid, sorted(log, key=lambda event: event.type), 1
    )
    assert len(one_by_one[2]) > 25


EDGES = a_grid(
    engagement="""
        rules:
          - {id: told, points: 30, on: email.delivered, cap: 30}
          - {id: read, points: 30, on: email.opened, once_per: message_id, half_life: 1d, cap: 30}
    """,
    stages="{mql: {enter: 25, leave: 20}}",
)
DAY_MS = 86_400_000


def happened(hours: int, type_: str, **data: object) -> Event:
    """Return an event of one lead, so many hours after some midnight."""
    return Event("lead-1", type_, 20_000 * DAY_MS + hours * 3_600_000, f"{type_}-{hours}", "/s", data, False, "t", 0, hours)


@pytest.mark.parametrize(
    ("more", "log"),
    [
        (
            {},
            [
                happened(48, "email.opened", message_id="m"),
                happened(49, "social.followed"),
                happened(0, "email.opened", message_id="m"),
            ],
        ),
        (
            {"velocity": "[{id: back, on: page.viewed, count: days, within: 7d, steps: {2: -15}}]"},
            [
                happened(0, "email.delivered", message_id="m"),
                happened(1, "page.viewed", url="/"),
                happened(25, "page.viewed", url="/"),
            ],
        ),
        (
            {"inactivity": "{after: 1d, points: -15}"},
            [
                happened(0, "email.delivered", message_id="m"),
                happened(1, "email.delivered", message_id="m"),
                happened(2, "social.followed"),
                happened(40, "email.delivered", message_id="m"),
            ],
        ),
    ],
    ids=["an occurrence that came earlier", "a velocity that takes points", "a first activity"],
)
def test_a_lead_that_loses_points_in_the_middle_of_a_batch_cools_there(more: dict[str, str], log: list[Event]) -> None:
    """What proves that a lead stays on its rung must count with everything that takes points."""
    grid = changed(EDGES, more)
    plan = plan_events(compiled(grid), {"lead-1": None}, log, None)
    assert [output.topic for output in plan.outputs] == ["lead.mql", "lead.cooled"]
    assert folded(grid, log, 1) == folded(grid, log, len(log))


def test_a_contact_that_loses_points_in_the_middle_of_a_batch_changes_its_phase_there() -> None:
    """Off the ladder a lead stands in a phase, and what takes points takes it out of that."""
    grid = changed(
        EDGES,
        {
            "engagement.rules.+": "{id: gone, points: -20, on: email.bounced}",
            "engagement.rules.told.cap": 60,
            "stages": None,
            "phases": "{interest: {enter: 25, leave: 20}, decision: 90}",
        },
    )
    log = [
        happened(0, "email.delivered", message_id="m"),
        happened(1, "email.bounced", message_id="m"),
        happened(2, "email.delivered", message_id="m"),
    ]
    plan = plan_events(compiled(grid), {"lead-1": None}, log, None)
    moves = [json.loads(output.value or b"")["data"] for output in plan.outputs]
    assert [(move["from"], move["to"]) for move in moves] == [(None, "interest"), ("interest", None), (None, "interest")]
    assert folded(grid, log, 1) == folded(grid, log, len(log))


def told(grid: str, *batches: tuple[int | None, list[Event]]) -> list[tuple[str, str]]:
    """Fold batches of one lead, each after a tick at its instant; return what goes out, with its instant."""
    scorer = compiled(grid)
    state, outputs = None, []
    for clock_ms, batch in batches:
        plan = plan_events(scorer, {"lead-1": state}, batch, clock_ms)
        state = plan.writes[0].state
        outputs += plan.outputs
    return [(o.topic, json.loads(o.value or b"")["time"]) for o in outputs]


def test_what_had_expired_by_the_last_tick_counts_again_in_the_middle_of_a_batch() -> None:
    """Late beside the tick, in time for the lead's own events: the rule was read as expired, and all of it comes back."""
    grid = a_grid(
        engagement="{rules: [{id: load, points: 8, on: content.downloaded, expires_after: 30d}]}", stages="{mql: {enter: 45}}"
    )
    past = [happened(hour, "content.downloaded") for hour in range(5)]
    tick_ms, late = 20_031 * DAY_MS, [happened(29 * 24, "social.shared"), happened(29 * 24 + 1, "content.downloaded")]
    one_by_one = told(grid, (None, past), (tick_ms, late[:1]), (tick_ms, late[1:]))
    assert one_by_one == [("lead.mql", rfc3339(tick_ms))]
    assert told(grid, (None, past), (tick_ms, late)) == one_by_one


@pytest.mark.parametrize("lag_ms", [0, 1, 2])
def test_nobody_is_called_twice_when_the_event_came_just_after_a_tick(lag_ms: int) -> None:
    """The output has the tick's instant, which is after the clock that the lead is packed with."""
    grid = changed(
        EDGES,
        {
            "engagement.rules.told.cap": None,
            "engagement.rules.read.cap": None,
            "engagement.rules.+": "{id: gone, points: -30, on: email.bounced}",
            "stages": "{mql: {enter: 25}, quiet: 7d}",
        },
    )
    log = [
        happened(hour, type_, message_id="m")
        for hour, type_ in enumerate(["email.delivered", "email.bounced", "email.delivered"])
    ]
    tick_ms = 20_000 * DAY_MS + lag_ms
    assert [topic for topic, _ in told(grid, *((tick_ms, [event]) for event in log))] == [
        "lead.mql",
        "lead.cooled",
        "lead.stage",
    ]
