"""Why a lead stands where it stands, what would move it up, and what time alone will do to it.

Nothing is judged here by formulas of its own: what one more event would do is tried on a copy of the lead, with the fold and
the stages that the worker runs.
"""

from __future__ import annotations

import math
from typing import Any, Final, Literal, NamedTuple

import msgspec

from worker.core.contract.model import Reason
from worker.core.grid.conditions import Condition, Where, compile_where
from worker.core.scoring.calendar import DAY_MS, rfc3339
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.fold import count_one, count_velocity, is_activity
from worker.core.scoring.score import Reading, clamped, in_grid_order, read, reasons
from worker.core.scoring.stages import advance, judge, lacks
from worker.core.scoring.state import CLIENT, EXCLUDED, OPPORTUNITY, STAGES, Count, LeadState, pack, unpack
from worker.core.scoring.traits import unpack_traits, values

MOST_TIMES: Final = 10
"""How often an act is tried before it counts as not enough by itself."""
AHEAD_MS: Final = 90 * DAY_MS
MOST_AHEAD: Final = 10

Standing = Literal["climbing", "top", "crm", "excluded", "no_ladder"]


class Part(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the waterfall: earned + by_time + by_cap = points, and all points add up to the score."""

    kind: str
    """`fit`, `rule`, `velocity`, `inactivity` or `clamp`."""
    earned: float
    """Points before time, caps and clamps; a rule's points times its count."""
    by_time: float
    """What decay, expiry or inactivity took; positive where a penalty faded."""
    by_cap: float
    """What a rule's cap or a clamp took."""
    points: float
    """What is left: the same as in the outputs' `reasons`."""
    id: str | None = None
    count: int | None = None
    last_at: str | None = None
    expired: bool = False


class Totals(msgspec.Struct, frozen=True):
    """The waterfall in five numbers: earned + by_time + by_cap is the score, decay + expiry + inactivity is by_time."""

    earned: float
    by_time: float
    decay: float
    expiry: float
    inactivity: float
    by_cap: float


def waterfall(scorer: CompiledGrid, state: LeadState, at_ms: int) -> list[Part]:
    """Return where every point of the score at *at_ms* came from and what became of it, in the order of `reasons`."""
    fit, rules, rest = [], {}, []
    for reason in reasons(scorer, state, at_ms):
        if reason.kind == "rule":
            rules[reason.id] = reason
        elif reason.kind == "fit" or (reason.kind, reason.id) == ("clamp", "fit"):
            fit.append(_plain(reason))
        else:
            rest.append(_plain(reason))
    counted = [
        _counted(rule.id, rule.points * count.n, count, rules.get(rule.id))
        for rule, count in in_grid_order(scorer, state)
        if rule.points and count.n
    ]
    return [*fit, *counted, *rest]


def _plain(reason: Reason) -> Part:
    points = reason.points
    match reason.kind:
        case "clamp":
            return Part("clamp", 0.0, 0.0, points, points, reason.id)
        case "inactivity":
            return Part("inactivity", 0.0, points, 0.0, points)
        case _:
            return Part(reason.kind, points, 0.0, 0.0, points, reason.id, reason.count)


def _counted(id_: str, earned: float, count: Count, reason: Reason | None) -> Part:
    """Return a rule's line; without a *reason* nothing is left of it."""
    last_at = rfc3339(count.last)
    if reason is None or reason.raw is None:
        return Part("rule", earned, -earned, 0.0, 0.0, id_, count.n, last_at, expired=True)
    return Part("rule", earned, reason.raw - earned, reason.points - reason.raw, reason.points, id_, count.n, last_at)


def totals(parts: list[Part]) -> Totals:
    """Return the sums of the waterfall."""
    decay = math.fsum(part.by_time for part in parts if part.kind == "rule" and not part.expired)
    expiry = math.fsum(part.by_time for part in parts if part.expired)
    inactivity = math.fsum(part.by_time for part in parts if part.kind == "inactivity")
    earned, by_cap = math.fsum(part.earned for part in parts), math.fsum(part.by_cap for part in parts)
    return Totals(earned, decay + expiry + inactivity, decay, expiry, inactivity, by_cap)


# --- up --------------------------------------------------------------------------------------------------------------


class Way(msgspec.Struct, frozen=True):
    """Something that the lead could do now, and what it would be worth with every cap and clamp.

    What is told is what such an event does for certain: rules with other conditions may take it as well. It is taken to be
    about something new (another session, another webinar) where a rule counts a thing once.
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


class PaceStep(msgspec.Struct, frozen=True):
    """The next step of a velocity rule. Not of one that counts `rise`: what it compares moves with the next visit."""

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
    intent: bool = False
    """A recent event of a rule with `intent: true` is missing."""
    closed_until: str | None = None
    """A rejection or a loss keeps the ladder closed until then at least."""
    activity: bool = False
    """The closed ladder opens only for a lead that is active again."""
    excluded_by: list[str] = []
    ways: list[Way] = []
    """The most useful first."""
    paces: list[PaceStep] = []
    facts: list[Fact] = []
    """Only where fit is missing."""


def upward(scorer: CompiledGrid, state: LeadState, at_ms: int) -> Upward:
    """Return what would move up a lead that stands judged at *at_ms*."""
    if state.stage == EXCLUDED:
        return Upward("excluded", excluded_by=exclusions(scorer, state))
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
        missing.intent,
        rfc3339(missing.closed_until) if missing.closed_until else None,
        missing.activity,
        [],
        _ways(scorer, state, at_ms, reading.score),
        _pace_steps(scorer, state, at_ms, reading),
        _facts(scorer, state, at_ms) if missing.fit else [],
    )


def exclusions(scorer: CompiledGrid, state: LeadState) -> list[str]:
    """Return the ids of the exclusions that hold, by traits and by events."""
    view = scorer.derived(values(unpack_traits(state.traits)))
    by_traits = {id_ for id_, match in scorer.trait_bars if match(view)}
    by_events = {id_ for key, ids in scorer.bar_ids.items() if key in state.bars for id_ in ids}
    return [rule.id for rule in scorer.grid.exclusions if rule.id in by_traits | by_events]


class _Act(NamedTuple):
    event: str
    where: Where | None

    def meets(self, where: Where | None) -> bool:
        """Return whether the act is sure to meet a rule's conditions."""
        return where is None or repr(where) == repr(self.where)  # 1 and true are equal in Python, and not here


def _ways(scorer: CompiledGrid, state: LeadState, at_ms: int, score: float) -> list[Way]:
    """Try each act that a rule rewards; what sales do in the CRM is no act of the lead."""
    tried: dict[tuple[str, str], Way | None] = {}
    best: dict[tuple[str, str], Way] = {}
    for rule in scorer.grid.engagement.rules:
        found: list[tuple[tuple[str, str], Way]] = []
        for type_ in rule.on if rule.points > 0 or rule.intent else ():
            key = type_, repr(rule.where)
            if key not in tried:
                act = _Act(type_, rule.where)
                tried[key] = None if type_.startswith("crm.") else _tried(scorer, state, at_ms, score, act)
            way = tried[key]
            if way is not None:
                found.append((key, way))
        if found:
            key, way = min(found, key=lambda one: _usefulness(one[1]))
            best[key] = way
    return sorted(best.values(), key=_usefulness)


def _usefulness(way: Way) -> tuple[float, float]:
    return math.inf if way.times is None else way.times, -way.adds


def _tried(scorer: CompiledGrid, state: LeadState, at_ms: int, score: float, act: _Act) -> Way | None:
    """Let *act* happen to a copy of the lead until it moves up; `None` when it neither helps nor moves."""
    lead = unpack(pack(state))
    adds, times = 0.0, None
    for occurrence in range(1, MOST_TIMES + 1):
        _occur(scorer, lead, act, at_ms, occurrence)
        judge(scorer, lead, at_ms, _unheard)
        if occurrence == 1:
            adds = read(scorer, lead, at_ms).score - score
        if lead.stage != state.stage:
            times = occurrence if state.stage < lead.stage < OPPORTUNITY else None
            break
    if lead.stage == EXCLUDED or (adds <= 0 and times is None):
        return None
    where = () if act.where is None else act.where.conditions
    return Way(act.event, where, _fed(scorer, act), adds, times)


def _occur(scorer: CompiledGrid, lead: LeadState, act: _Act, at_ms: int, occurrence: int) -> None:
    # Without data every occurrence counts as one of something new, as `Way` says; a session must have a name.
    session = {"session_id": f"new session {occurrence}"}
    for counter in scorer.counters.get(act.event, ()):
        if act.meets(counter.where):
            count_one(scorer, lead, counter, at_ms, {})
    for velocity in scorer.velocity_counters.get(act.event, ()):
        if act.meets(velocity.where):
            count_velocity(scorer, lead, velocity, at_ms, session)
    for bar in scorer.bars.get(act.event, ()):
        if act.meets(bar.where):
            lead.bars.setdefault(bar.key, at_ms)
    if is_activity(act.event):
        lead.active = max(lead.active, at_ms)


def _fed(scorer: CompiledGrid, act: _Act) -> list[str]:
    grid = scorer.grid
    scored = [rule.id for rule in grid.engagement.rules if act.event in rule.on and act.meets(rule.where)]
    return scored + [rule.id for rule in grid.velocity if act.event in rule.on and act.meets(rule.where)]


def _pace_steps(scorer: CompiledGrid, state: LeadState, at_ms: int, reading: Reading) -> list[PaceStep]:
    today = scorer.calendar.day(at_ms)
    found = []
    for key, rules in scorer.velocity_rules.items():
        window = state.velocity.get(key)
        for rule in rules:
            if not rule.kind.additive:
                continue
            number = 0 if window is None else rule.count(window, today)
            points = rule.points(number)
            better = next(((reached, worth) for reached, worth in rule.steps if reached > number and worth > points), None)
            if better is None:
                continue
            adds = clamped(scorer, state.fit, reading.total - points + better[1])[0] - reading.score
            if adds > 0:
                more = math.ceil(better[0] - number)
                found.append(PaceStep(rule.id, rule.kind.name, rule.within_days, number, more, adds))
    return sorted(found, key=lambda step: -step.adds)


def _facts(scorer: CompiledGrid, state: LeadState, at_ms: int) -> list[Fact]:
    """Try each rule that does not match with traits that make it match: others may match, or cease to, with them."""
    view = scorer.derived(values(unpack_traits(state.traits)))
    unmet = {id_ for id_, points, match in scorer.fit_rules if points > 0 and not match(view)}
    found = []
    for rule in scorer.grid.fit.rules:
        instead = _meeting(rule.where) if rule.id in unmet else None
        if instead is None:
            continue
        lead, told = unpack(pack(state)), view | instead
        lead.fit, lead.barred = scorer.fit(told), scorer.barred(told)
        adds = lead.fit - state.fit
        judge(scorer, lead, at_ms, _unheard)
        if adds > 0:
            found.append(Fact(rule.id, rule.where.conditions, adds, state.stage < lead.stage < OPPORTUNITY))
    return sorted(found, key=lambda fact: -fact.adds)


def _meeting(where: Where) -> dict[str, Any] | None:
    """Return traits, by path, that meet *where*; `None` where none is known (a pattern tells no text that fits it)."""
    traits: dict[str, Any] = {}
    for path in dict.fromkeys(condition.path for condition in where.conditions):
        asked = Where(tuple(condition for condition in where.conditions if condition.path == path))
        meets = compile_where(asked, flat=True)
        offered = (value for condition in asked.conditions for value in _offers(condition))
        value = next((value for value in offered if meets({path: value})), None)
        if value is None:
            return None
        traits[path] = value
    return traits


def _offers(condition: Condition) -> tuple[Any, ...]:
    """Return values that may meet *condition*."""
    value = condition.value
    match condition.op:
        case "in":
            return value if isinstance(value, tuple) else (value,)
        case "eq" | "gte" | "lte":
            return (value,)
        case "gt":
            return (value + 1,) if isinstance(value, int | float) else (f"{value} ",)
        case "lt":
            return (value - 1,) if isinstance(value, int | float) else ("",)
        case "not" | "exists":
            return ("something",)
        case _:
            return ()


def _unheard(state: LeadState, at_ms: int, output: str, to: int, reading: Reading, respond_by: int = 0) -> None:
    """Take a move of a copy: nobody hears of it."""


# --- ahead -----------------------------------------------------------------------------------------------------------


class Change(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """Something that time alone will do to the lead: an output that would be published."""

    time: str
    type: str
    from_: str
    to: str


def ahead(scorer: CompiledGrid, state: LeadState, at_ms: int) -> list[Change]:
    """Return what the next 90 days bring a lead that stands judged at *at_ms*, if nothing happens: the first ten changes."""
    found: list[Change] = []

    def hear(state: LeadState, at_ms: int, output: str, to: int, reading: Reading, respond_by: int = 0) -> None:
        found.append(Change(rfc3339(at_ms), output, STAGES[state.stage], STAGES[to]))

    advance(scorer, unpack(pack(state)), at_ms, at_ms + AHEAD_MS, hear)
    return found[:MOST_AHEAD]
