"""What would move a lead one rung up: events, velocity steps and traits.

One more event is tried on a copy of the lead, with the fold and the stages that the worker runs. There are no formulas here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple

import msgspec

from worker.core.contract.event_types import named
from worker.core.grid.conditions import Condition, Where
from worker.core.grid.domains import NORMAL_FORMS
from worker.core.grid.models import FitRule, Rule, Velocity
from worker.core.grid.point_tables import PointsTable, whole
from worker.core.grid.predicates import compile_where
from worker.core.scoring.calendar import rfc3339
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.compiled_rules import RuleCounter
from worker.core.scoring.fold import count_one, count_velocity, is_activity, note_exclusion
from worker.core.scoring.ladder import lacks
from worker.core.scoring.reading import Reading
from worker.core.scoring.score import clamped, read
from worker.core.scoring.stages import judge
from worker.core.scoring.state import CLIENT, EXCLUDED, OPPORTUNITY, STAGES, LeadState, pack, unpack
from worker.core.scoring.traits import unpack_traits, values
from worker.core.scoring.velocity import VelocityRule

MOST_TIMES: Final = 10
"""How often an act is tried before it counts as not enough by itself."""
Standing = Literal["climbing", "top", "crm", "excluded", "no_ladder"]


class Way(msgspec.Struct, frozen=True):
    """Something that the lead could do now, and what it would be worth with every cap and clamp.

    It holds what such an event does for certain. Rules with other conditions may count it as well. Where a rule counts a thing
    once, the event is about a new one (another session, another webinar).
    """

    event: str
    """The event's type."""
    where: tuple[Condition, ...]
    """What the grid asks of the event's data; empty: nothing."""
    rules: list[str]
    """The rules that would count it."""
    adds: float
    """Points that the first occurrence adds to the score."""
    times: int | None
    """Occurrences that alone would move the lead up; `None`: ten are not enough."""
    done: int = 0
    """How many of them the lead's rules hold: what it did before is likely to come again."""
    weight: float | None = None
    """Of an event that a rule weighs: what it was assumed to count, the most that helps. `None`: it counts 1."""


class VelocityStep(msgspec.Struct, frozen=True):
    """The next step of a velocity rule. Rules that count `rise` have none: their comparison moves with the next visit."""

    id: str
    counts: str
    """`days`, `sessions` or `events`."""
    within_days: int
    now: int
    more: int
    """Missing to the step, if nothing leaves the window meanwhile."""
    adds: float
    """Points that the step adds to the score."""


class Fact(msgspec.Struct, frozen=True):
    """A fit rule that does not match yet."""

    id: str
    where: tuple[Condition, ...]
    adds: float
    """Points that the fit would gain, with all that other rules make of the same trait."""
    enough: bool
    """It alone would move the lead up."""


class Upward(msgspec.Struct, frozen=True):
    """What would bring a lead one rung up; every condition named must come true."""

    standing: Standing
    """`climbing`: a rung is above; `top`: none is; `crm`: sales have it; `excluded`; `no_ladder`: the grid has no stages."""
    to: str | None = None
    enter: float | None = None
    """The score at which that rung begins."""
    points: float = 0.0
    """Missing to `enter`."""
    fit: float = 0.0
    """Missing to the rung's `min_fit`."""
    engagement: float = 0.0
    """Missing to the rung's `min_engagement`."""
    intent: bool = False
    """A recent event of a rule with `intent: true` is missing."""
    closed_until: str | None = None
    """A rejection or a loss keeps the ladder closed until then at least."""
    activity: bool = False
    """The closed ladder opens only for a lead that is active again."""
    excluded_by: list[str] = []
    lifted_by: list[str] = []
    """Types of events that end those exclusions; none where an exclusion has no `until`."""
    ways: list[Way] = []
    """The fewest events first, of equal ones those that the lead has done before, then by points."""
    paces: list[VelocityStep] = []
    facts: list[Fact] = []
    """Only where fit is missing."""


def upward(scorer: CompiledGrid, state: LeadState, at_ms: int) -> Upward:
    """Return what would move up a lead that stands judged at *at_ms*."""
    if state.stage == EXCLUDED:
        held = exclusions(scorer, state)
        return Upward("excluded", excluded_by=held, lifted_by=_lifting(scorer, held))
    if state.stage in (OPPORTUNITY, CLIENT):
        return Upward("crm")
    step = scorer.next_step(state.stage)
    if step is None:
        return Upward("top" if scorer.ladder else "no_ladder")
    reading = read(scorer, state, at_ms)
    missing = lacks(scorer, state, step, reading, at_ms)
    return Upward(
        "climbing",
        STAGES[step.stage],
        step.rung.enter,
        missing.points,
        missing.fit,
        missing.engagement,
        missing.intent,
        rfc3339(missing.closed_until) if missing.closed_until else None,
        missing.activity,
        [],
        [],
        _ways(scorer, state, at_ms, reading.score),
        _velocity_steps(scorer, state, at_ms, reading),
        _facts(scorer, state, at_ms) if missing.fit else [],
    )


def exclusions(scorer: CompiledGrid, state: LeadState) -> list[str]:
    """Return the ids of the exclusions that hold, by traits and by events."""
    view = scorer.derived(values(unpack_traits(state.traits)))
    by_traits = {id_ for id_, match in scorer.trait_exclusions if match(view)}
    by_events = scorer.excluded_by(state.exclusions)
    return [rule.id for rule in scorer.grid.exclusions if rule.id in by_traits | by_events]


def _lifting(scorer: CompiledGrid, held: list[str]) -> list[str]:
    """Return the types of events that end the exclusions *held*, where each of them can end so."""
    until = [rule.until for rule in scorer.grid.exclusions if rule.id in held]
    return list(dict.fromkeys(type_ for types in until for type_ in types or ())) if all(until) else []


class _Act(NamedTuple):
    event: str
    where: Where | None

    def meets(self, where: Where | None) -> bool:
        """Return whether the act is sure to meet a rule's conditions."""
        return where is None or repr(where) == repr(self.where)  # 1 and true are equal in Python, and not here


def _ways(scorer: CompiledGrid, state: LeadState, at_ms: int, score: float) -> list[Way]:
    """Return the most useful way of each rule."""
    tried: dict[tuple[str, str], Way | None] = {}
    best: dict[tuple[str, str], Way] = {}
    for rule in scorer.grid.engagement.rules:
        found: dict[tuple[str, str], Way] = {}
        for act in _acts(rule):
            key = act.event, repr(act.where)
            if key not in tried:
                tried[key] = _try(scorer, state, at_ms, score, act)
            if (way := tried[key]) is not None:
                found[key] = way
        if found:
            key = min(found, key=lambda one: _usefulness(found[one]))
            best[key] = found[key]
    return sorted(best.values(), key=_usefulness)


def _acts(rule: Rule) -> list[_Act]:
    """Return the acts that a rule rewards. What sales do and say is no act of the lead."""
    if rule.points <= 0 and not rule.intent:
        return []
    return [_Act(type_, rule.where) for type_ in rule.on if not type_.startswith(("crm.", "score."))]


def _usefulness(way: Way) -> tuple[float, bool, float]:
    """Return the order of ways: the fewest events first, then those that the lead is known for, then by points."""
    return math.inf if way.times is None else way.times, not way.done, -way.adds


def _try(scorer: CompiledGrid, state: LeadState, at_ms: int, score: float, act: _Act) -> Way | None:
    """Let *act* happen to a copy of the lead until the lead moves. Return `None` if it neither helps nor moves it up."""
    lead = unpack(pack(state))
    _occur(scorer, lead, act, at_ms, 1)
    adds, occurrence = read(scorer, lead, at_ms).score - score, 1
    while lead.stage == state.stage and occurrence < MOST_TIMES:
        occurrence += 1
        _occur(scorer, lead, act, at_ms, occurrence)
    times = occurrence if state.stage < lead.stage < OPPORTUNITY else None
    if lead.stage == EXCLUDED or (adds <= 0 and times is None):
        return None
    where = () if act.where is None else act.where.conditions
    return Way(act.event, where, _rules_fed(scorer, act), adds, times, _done(scorer, state, act), _weight(scorer, act))


def _met(scorer: CompiledGrid, act: _Act) -> list[RuleCounter]:
    """Return the counters that count *act* for certain."""
    return [counter for counter in scorer.counters.get(act.event, ()) if act.meets(counter.where)]


def _done(scorer: CompiledGrid, state: LeadState, act: _Act) -> int:
    held = (state.counts.get(counter.key) for counter in _met(scorer, act))
    return max((count.n for count in held if count is not None), default=0)


def _weight(scorer: CompiledGrid, act: _Act) -> float | None:
    """Return what *act* counts at most in favour of the lead, in the first rule that weighs it."""
    weighed = (_best_weight(scorer, counter) for counter in _met(scorer, act))
    return next((weight for weight in weighed if weight is not None), None)


def _best_weight(scorer: CompiledGrid, counter: RuleCounter) -> float | None:
    weigh = counter.weigh
    if weigh is None:
        return None
    return weigh.max if sum(rule.points for rule in scorer.readers[counter.key]) >= 0 else weigh.min


def _data(scorer: CompiledGrid, counter: RuleCounter) -> dict[str, Any]:
    """Return an event's data that gives it the weight of `_weight`; nothing else, so that it is about something new."""
    weight = _best_weight(scorer, counter)
    if weight is None or counter.weigh is None or not counter.weigh.times:
        return {}
    data: Any = weight / counter.weigh.times
    for name in reversed(counter.weigh_path):
        data = {name: data}
    return dict(data)


def _occur(scorer: CompiledGrid, lead: LeadState, act: _Act, at_ms: int, occurrence: int) -> None:
    # Without other data every occurrence counts as one of something new, as `Way` says; a session must have a name.
    for counter in _met(scorer, act):
        count_one(scorer, lead, counter, at_ms, _data(scorer, counter))
    _occur_apart(scorer, lead, act, at_ms, occurrence)
    if is_activity(act.event):
        lead.active_ms = max(lead.active_ms, at_ms)
    judge(scorer, lead, at_ms, _ignore)


def _occur_apart(scorer: CompiledGrid, lead: LeadState, act: _Act, at_ms: int, occurrence: int) -> None:
    """Count *act* in velocities and exclusions."""
    for velocity in scorer.velocity_counters.get(act.event, ()):
        if act.meets(velocity.where):
            name = "new session" if velocity.kind.name == "depth" else f"new session {occurrence}"
            count_velocity(lead, velocity, scorer.calendar.day(at_ms), {"session_id": name})
    for exclusion in scorer.exclusions.get(act.event, ()):
        if act.meets(exclusion.where):
            note_exclusion(lead, exclusion, at_ms)


def _rules_fed(scorer: CompiledGrid, act: _Act) -> list[str]:
    grid = scorer.grid
    rules: list[Rule | Velocity] = [*grid.engagement.rules, *grid.velocity]
    return [rule.id for rule in rules if named(rule.on, act.event) and act.meets(rule.where)]


def _velocity_steps(scorer: CompiledGrid, state: LeadState, at_ms: int, reading: Reading) -> list[VelocityStep]:
    today = scorer.calendar.day(at_ms)
    found = []
    for key, rules in scorer.velocity_rules.items():
        window = state.velocity.get(key)
        for rule in rules:
            if not rule.kind.additive:
                continue
            number = 0 if window is None else rule.count(window, today)
            now = rule.points(number)
            reached, points = _next_step(rule, number, now)
            adds = clamped(scorer, state.fit, reading.total - now + points)[0] - reading.score
            if points > now and adds > 0:
                more = math.ceil(reached - number)
                found.append(VelocityStep(rule.id, rule.kind.name, rule.within_days, number, more, adds))
    return sorted(found, key=lambda step: -step.adds)


def _next_step(rule: VelocityRule, number: float, now: float) -> tuple[float, float]:
    """Return the count at which the rule's next better step begins, and its points: the points *now* if there is none."""
    better = ((reached, points) for reached, points in rule.steps if reached > number and points > now)
    return next(better, (number, now))


def _facts(scorer: CompiledGrid, state: LeadState, at_ms: int) -> list[Fact]:
    """Try each rule that does not match with traits that make it match: others may match, or cease to, with them."""
    view = scorer.derived(values(unpack_traits(state.traits)))
    found = []
    for rule, (_, points, match, table) in zip(scorer.grid.fit.rules, scorer.fit_rules, strict=True):
        now = 0.0 if not match(view) else points if table is None else table.row(view)[0]
        best: Fact | None = None
        for where in _wishes(rule, now):
            fact = _fact(scorer, state, at_ms, rule.id, where, view)
            if fact is not None and (best is None or fact.adds > best.adds):
                best = fact
            if best is not None and best.enough:
                break
        if best is not None:
            found.append(best)
    return sorted(found, key=lambda fact: -fact.adds)


def _wishes(rule: FitRule, now: float) -> list[Where]:
    """Return what could be asked of the traits for more points than the rule gives *now*: of a table the least row first."""
    if isinstance(rule.points, PointsTable):
        better = sorted((row for row in rule.points.rows if row.points > now), key=lambda row: row.points)
        return [whole(rule.where, row) for row in better]
    return [rule.where] if rule.where is not None and rule.points > now else []


def _fact(scorer: CompiledGrid, state: LeadState, at_ms: int, id_: str, where: Where, view: dict[str, Any]) -> Fact | None:
    """Return what traits that meet *where* would do for the lead; `None` where none are known, or they add nothing."""
    instead = _meeting(where)
    if instead is None:
        return None
    lead, told = unpack(pack(state)), view | instead
    lead.fit, lead.excluded_by_traits = scorer.fit(told), scorer.excludes(told)
    adds = lead.fit - state.fit
    judge(scorer, lead, at_ms, _ignore)
    return Fact(id_, where.conditions, adds, state.stage < lead.stage < OPPORTUNITY) if adds > 0 else None


def _meeting(where: Where) -> dict[str, Any] | None:
    """Return traits, by path, that meet *where*; `None` where none is known (a pattern tells no text that fits it)."""
    traits: dict[str, Any] = {}
    for path in dict.fromkeys(condition.path for condition in where.conditions):
        asked = Where(tuple(condition for condition in where.conditions if condition.path == path))
        meets = compile_where(asked, flat=True)
        form = NORMAL_FORMS.get(path)  # as the trait would be taken
        offered = (
            form(value) if form is not None and isinstance(value, str) else value
            for condition in asked.conditions
            for value in _offered(condition)
        )
        value = next((value for value in offered if meets({path: value})), None)
        if value is None:
            return None
        traits[path] = value
    return traits


def _above(value: Any) -> Any:
    return value + 1 if isinstance(value, int | float) else f"{value} "


def _below(value: Any) -> Any:
    return value - 1 if isinstance(value, int | float) else ""


_OFFERS: Final[dict[str, Callable[[Any], tuple[Any, ...]]]] = {
    "in": lambda value: value if isinstance(value, tuple) else (value,),
    "eq": lambda value: (value,),
    "words": lambda value: value,
    "gte": lambda value: (value,),
    "lte": lambda value: (value,),
    "gt": lambda value: (_above(value),),
    "lt": lambda value: (_below(value),),
    "not": lambda value: ("something",),
    "exists": lambda value: ("something",),
}
"""Values that may meet a condition, by its operator. Other operators offer none."""


def _offered(condition: Condition) -> tuple[Any, ...]:
    offers = _OFFERS.get(condition.op)
    return () if offers is None else offers(condition.value)


def _ignore(state: LeadState, at_ms: int, output: str, to: int, reading: Reading, respond_by: int = 0, phase: str = "") -> None:
    """Ignore the move of a copy."""
