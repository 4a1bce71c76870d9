"""Traffic with known outcomes: what a fit should find is written down, with what was planted to mislead it.

Each lead is a function of the scenario and its number. Only leads that are active at one time are held in memory.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any, Final, NamedTuple

from worker.core.contract.model import Event
from worker.core.grid.models import Grid
from worker.core.scoring.calendar import rfc3339
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.fold import add, id_mark, judge_traits, with_traits
from worker.core.scoring.score import read
from worker.core.scoring.signals import signal_ids
from worker.core.scoring.state import LeadState
from worker.demo.agenda import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from worker.demo.buyers import COPIED, COPIED_SHARE, Envelope, Life, envelope_of, live
from worker.demo.odds import HORIZON_MS, Course, grid_weights, points_a_unit, true_weights
from worker.demo.people import Company, a_company
from worker.demo.simulate import Scenario, SimRecord, records


class Odds(NamedTuple):
    """True odds: the log-odds of a lead without signals, and the weight of each signal."""

    base: float
    weights: Mapping[str, float]


_PILOT: Final = 2_000
"""Leads by which the base is set."""
_USUAL_SQL: Final = 75.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What outcomes follow from, and what misleads. Raises `ValueError` for a rate or odds that cannot be."""

    grid: Grid
    """Its signals carry the true weights."""
    won_rate: float = 0.02
    """Share of the leads that are won within 90 days of their last act."""
    interest: float = 0.5
    """How much one hidden interest drives all acts together: 0 none, 1 strongly."""
    copies: int = 0
    """Custom events that nearly always follow visits of pricing pages and requests for a demo, and are worth nothing."""
    called_by: Grid | None = None
    """Sales call the leads that score SQL under this grid, and no others."""
    call_odds: float = 4.0
    """A call multiplies the odds by it."""
    late_wins_days: float = 0.0
    """A won lead is recorded up to so many days after it was won."""
    unrecorded: tuple[str, ...] = ()
    """Months (`2026-03`) of which no won lead is ever recorded."""
    odds: Odds | None = None
    """Use these in place of odds that follow from the seed and the won rate."""
    first: int = 0
    """Number of the first lead: traffic that follows other traffic needs other people."""
    leaks: bool = False
    """Plant traits and events that sales write with the outcome, or after it."""

    def __post_init__(self) -> None:
        if not 0 < self.won_rate < 0.5:
            raise ValueError(f"won rate: {self.won_rate}; expected a share above 0 and below 0.5")
        if self.call_odds <= 0:
            raise ValueError(f"call odds: {self.call_odds}; expected more than 0")


class _Lead(NamedTuple):
    life: Life
    course: Course
    called_ms: int | None
    """When sales call; `None`: they do not."""
    rnd: random.Random


class Planted(NamedTuple):
    """A leak, and how often it was planted."""

    name: str
    how: str


LEAKS: Final = (
    Planted("trait:budget_band", "filled in by sales after the win, and dated back to the lead's first day"),
    Planted("trait:onboarding_contact", "filled in by sales at the moment of the win"),
    Planted("event:custom.contract.signed", "sent within a minute before the win"),
    Planted("event:custom.kickoff.planned", "sent days after the win"),
)
CALL_LEAK: Final = Planted("trait:call_result", "filled in by sales after their call, for called leads alone")


class KnownOutcomes:
    """Simulated leads whose outcomes follow from true weights. Read `records` to the end, then `truth`."""

    def __init__(self, scenario: Scenario, plan: Plan) -> None:
        self._scenario, self._plan = scenario, plan
        self._grid = CompiledGrid(plan.grid, "/leadpulse/truth")
        self._old = None if plan.called_by is None else CompiledGrid(plan.called_by, "/leadpulse/old")
        if scenario.days is None:
            raise ValueError("days: none; expected a number, because outcomes need an end")
        self._end_ms = scenario.start_ms + round(scenario.days * DAY_MS)
        rnd = random.Random(f"{scenario.seed}/companies")
        self._companies: Sequence[Company] = [a_company(rnd, number) for number in range(max(2, scenario.leads // 4))]
        self.weights = true_weights(self._grid, scenario.seed) if plan.odds is None else _for_grid(plan.odds, self._grid)
        self.base = self._set_base() if plan.odds is None else plan.odds.base
        self._counts = dict.fromkeys(("leads", "called", "won", "recorded", "mature_leads", "mature_won"), 0)
        self._planted = dict.fromkeys((leak.name for leak in (*LEAKS, CALL_LEAK)), 0)
        self._waiting: list[tuple[int, int, Envelope]] = []
        self._numbers = itertools.count()

    def records(self) -> Iterator[SimRecord]:
        """Yield the records in order of arrival."""
        return records(self._scenario, self._happenings())

    def truth(self) -> dict[str, Any]:
        """Return what was true, as `--truth` writes it."""
        plan, counts = self._plan, self._counts
        planted = (*LEAKS, *((CALL_LEAK,) if plan.called_by else ())) if plan.leaks else ()
        return {
            "truth": 1,
            "grid": self._grid.identity,
            "seed": self._scenario.seed,
            "from": rfc3339(self._scenario.start_ms),
            "to": rfc3339(self._end_ms),
            "horizon": "90d",
            "base": round(self.base, 6),
            "weights": self.weights,
            "points_a_unit": round(points_a_unit(plan.grid), 6),
            "grid_weights": {name: round(weight, 3) for name, weight in grid_weights(self._grid).items()},
            "interest": plan.interest,
            "counts": dict(counts),
            "rate": {
                "asked": plan.won_rate if plan.odds is None else None,
                "seen": round(counts["mature_won"] / counts["mature_leads"], 6) if counts["mature_leads"] else None,
            },
            "copies": [
                {"type": f"custom.copy.{copy}", "follows": list(COPIED), "share": COPIED_SHARE, "weight": 0.0}
                for copy in range(1, plan.copies + 1)
            ],
            "called_by": None if self._old is None else {"grid": self._old.identity, "odds": plan.call_odds},
            "late_wins_days": plan.late_wins_days,
            "unrecorded": list(plan.unrecorded),
            "leaks": [{"name": leak.name, "how": leak.how, "records": self._planted[leak.name]} for leak in planted],
        }

    def _happenings(self) -> Iterator[tuple[int, Envelope]]:
        """Yield (arrival in ms, CloudEvent) in order of arrival, to the end of the days."""
        for number in range(self._scenario.leads):
            lead = self._lead(number)
            yield from self._until(lead.life.times[0])
            for at_ms, envelope in zip(lead.life.times, lead.life.events, strict=True):
                self._arrive(at_ms, envelope)
            self._close(lead)
        yield from self._until(self._end_ms)

    def _until(self, at_ms: int) -> Iterator[tuple[int, Envelope]]:
        while self._waiting and self._waiting[0][0] < min(at_ms, self._end_ms):
            came_ms, _, envelope = heappop(self._waiting)
            yield came_ms, envelope

    def _arrive(self, at_ms: int, envelope: Envelope) -> None:
        heappush(self._waiting, (at_ms, next(self._numbers), envelope))

    def _lead(self, number: int) -> _Lead:
        scenario, plan = self._scenario, self._plan
        rnd = random.Random(f"{scenario.seed}/lead/{number}")
        share = (number + rnd.random()) / scenario.leads
        enters_ms = scenario.start_ms + round(share * (self._end_ms - scenario.start_ms))
        life = live(rnd, plan.first + number, enters_ms, plan.interest, plan.copies, self._companies)
        course = Course(self._grid, self.weights, folded(self._grid, life), life.last_ms)
        delay_ms = rnd.randint(30 * MINUTE_MS, 6 * DAY_MS)
        hot = self._old is not None and _is_sql(self._old, life)
        return _Lead(life, course, life.last_ms + delay_ms if hot else None, rnd)

    def _raised(self, lead: _Lead) -> float:
        return 0.0 if lead.called_ms is None else math.log(self._plan.call_odds)

    def _set_base(self) -> float:
        """Return the base at which the first leads are won at the rate that was asked for."""
        self.base = 0.0
        first = (self._lead(number) for number in range(min(_PILOT, self._scenario.leads)))
        sums = [lead.course.log_odds(lead.life.last_ms) + self._raised(lead) for lead in first]
        low, high = -30.0, 10.0
        for _ in range(50):
            middle = (low + high) / 2
            mean = sum(1 / (1 + math.exp(-(middle + one))) for one in sums) / len(sums)
            low, high = (middle, high) if mean < self._plan.won_rate else (low, middle)
        return low

    def _close(self, lead: _Lead) -> None:
        """Let sales call, or not, and the lead be won, or not."""
        from_ms = lead.life.last_ms if lead.called_ms is None else lead.called_ms
        if lead.called_ms is not None:
            self._counts["called"] += 1
            self._arrive(
                lead.called_ms, self._crm(lead, lead.called_ms, "crm.accepted", {"owner": f"sales-{lead.rnd.randint(1, 6)}"})
            )
        won_ms = lead.course.wins_at(self.base + self._raised(lead), lead.rnd.random(), from_ms, self._end_ms)
        self._counts["leads"] += 1
        if from_ms + HORIZON_MS <= self._end_ms:
            self._counts["mature_leads"] += 1
            self._counts["mature_won"] += won_ms is not None and won_ms - from_ms <= HORIZON_MS
        if won_ms is not None:
            self._win(lead, won_ms)
        if self._plan.leaks:
            self._leak(lead, won_ms)

    def _win(self, lead: _Lead, won_ms: int) -> None:
        self._counts["won"] += 1
        amount = round(lead.rnd.lognormvariate(9.2, 0.7), -2)
        recorded_ms = won_ms + round(lead.rnd.random() * self._plan.late_wins_days * DAY_MS)
        if rfc3339(won_ms)[:7] not in self._plan.unrecorded and recorded_ms < self._end_ms:
            self._counts["recorded"] += 1
            self._arrive(recorded_ms, self._crm(lead, won_ms, "crm.won", {"amount": amount}))

    def _leak(self, lead: _Lead, won_ms: int | None) -> None:
        """Plant what sales write with the outcome or after it; a few leads that are not won have it too."""
        rnd, first_ms = lead.rnd, lead.life.times[0]
        trait, contact, contract, kickoff = LEAKS
        if lead.called_ms is not None:
            result = {"call_result": rnd.choice(("reached", "mailbox", "wants an offer"))}
            self._plant(
                CALL_LEAK, lead, lead.called_ms + rnd.randint(HOUR_MS, 2 * DAY_MS), "profile.updated", {"traits": result}
            )
        if rnd.random() < (0.03 if won_ms is None else 0.85):
            came_ms = rnd.randint(HOUR_MS, 3 * DAY_MS) + (lead.life.last_ms + 20 * DAY_MS if won_ms is None else won_ms)
            band = {"budget_band": rnd.choice("ABC")}
            self._plant(trait, lead, came_ms, "profile.updated", {"traits": band}, first_ms + MINUTE_MS)
        if won_ms is None:
            return
        if rnd.random() < 0.9:
            traits = {"onboarding_contact": f"success-{rnd.randint(1, 4)}"}
            self._plant(contact, lead, won_ms + rnd.randint(0, 600) * SECOND_MS, "profile.updated", {"traits": traits})
        if rnd.random() < 0.95:
            self._plant(contract, lead, won_ms - rnd.randint(5, 50) * SECOND_MS, "custom.contract.signed", {})
        if rnd.random() < 0.8:
            self._plant(kickoff, lead, won_ms + rnd.randint(1, 5) * DAY_MS, "custom.kickoff.planned", {})

    def _plant(
        self, leak: Planted, lead: _Lead, came_ms: int, kind: str, data: dict[str, Any], at_ms: int | None = None
    ) -> None:
        if came_ms < self._end_ms:
            self._planted[leak.name] += 1
            self._arrive(came_ms, self._crm(lead, came_ms if at_ms is None else at_ms, kind, data))

    @staticmethod
    def _crm(lead: _Lead, at_ms: int, kind: str, data: dict[str, Any]) -> Envelope:
        return envelope_of(lead.rnd, lead.life.id, at_ms, kind, data)


def _for_grid(odds: Odds, grid: CompiledGrid) -> dict[str, float]:
    """Return the weights, in the grid's order. Raises `ValueError` if they are of another grid."""
    ids = signal_ids(grid)
    if other := sorted({*ids} ^ {*odds.weights}):
        raise ValueError(
            f"odds: they are of other signals than {grid.grid.grid} has, such as {other[0]}; use the grid of that truth"
        )
    return {name: odds.weights[name] for name in ids}


def folded(scorer: CompiledGrid, life: Life) -> LeadState:
    """Return the lead's state after its life, under that grid."""
    state = LeadState()
    for at_ms, envelope in zip(life.times, life.events, strict=True):
        event = Event(life.id, envelope["type"], at_ms, envelope["id"], envelope["source"], envelope["data"], False, "", 0, 0)
        if event.type == "profile.updated":
            _, state.traits, _ = with_traits(state, event)
        add(scorer, state, event, id_mark(event), at_ms)
    judge_traits(scorer, state)
    return state


def _is_sql(scorer: CompiledGrid, life: Life) -> bool:
    """Return whether the lead scores SQL under that grid at the end of its life."""
    sql = scorer.grid.stages.sql
    reading = read(scorer, folded(scorer, life), life.last_ms)
    enough = sql is None or sql.min_fit is None or reading.fit >= sql.min_fit
    return enough and reading.score >= (_USUAL_SQL if sql is None else sql.enter)
