"""A grid made ready for use: what each event type feeds, and how each count is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec
import xxhash

from worker.core.contract.event_types import CUSTOM, customs_of, named
from worker.core.contract.output_types import OUTPUTS
from worker.core.grid.conditions import Where
from worker.core.grid.email_kind import email_domain, email_kind
from worker.core.grid.models import Exclusion, FitRule, Grid, Rule, Velocity
from worker.core.grid.page_types import compile_pages
from worker.core.grid.point_tables import PointsTable
from worker.core.grid.predicates import compile_where
from worker.core.grid.scalars import exists
from worker.core.grid.stage_models import Phase as GridPhase
from worker.core.grid.stage_models import Rung
from worker.core.grid.tables import TABLES_VERSION
from worker.core.scoring.calendar import Calendar
from worker.core.scoring.decay import decay_of
from worker.core.scoring.fit_table import FitTable
from worker.core.scoring.response_time import ResponseTime
from worker.core.scoring.state import CONTACT, MQL, SQL, STAGES, LeadState, Phase
from worker.core.scoring.velocity import VelocityKind, VelocityRule

Match = Callable[[Mapping[str, Any]], bool]

INFINITY: Final = float("inf")
ALLOWANCE: Final = 1e-9
"""Thresholds, bands and `leave` are compared with this much grace, so that float dust moves nobody."""


_SHORT: Final = 2**32 - 1

# The hot path reads these once an event or more: plain classes, whose attributes cost least, compiled or not.


class CompiledRule:
    """How a rule of the grid reads its counter."""

    def __init__(self, rule: Rule) -> None:
        self.id = rule.id
        self.points = rule.points
        self.decay = decay_of(rule.half_life)
        """`None`: no decay."""
        self.half_life: int = rule.half_life or 0
        """For `score.read`, which repeats the lines of `HalfLife.left`. 0: no decay."""
        self.cap: float = INFINITY if rule.cap is None else rule.cap
        self.expires_after: int = rule.expires_after or 0
        """0: never."""
        self.customs = customs_of(rule.on)


class RuleCounter:
    """How one kind of occurrence is counted; rules that differ only in what it is worth share it."""

    def __init__(self, key: int, rule: Rule) -> None:
        self.key = key
        self.match = _match(rule.where)
        self.decay = decay_of(rule.half_life)
        """`None`: no decay."""
        self.once_per = rule.once_per
        self.path = tuple(rule.once_per.split("."))
        """Where `once_per` names a path in `data`: its parts."""
        self.where = rule.where
        """What `match` was compiled from."""
        self.gain = 0.0
        """No occurrence adds more points than this, whatever it is later..."""
        self.expires_after = 0
        """...unless the rule that reads it and expires soonest had expired by then; 0: none does."""
        self.takes = False
        """An occurrence may take points."""

    def is_read_by(self, reader: CompiledRule) -> None:
        """Take account of one more rule that reads the counter."""
        if reader.points > 0:
            self.gain += reader.points
        else:
            self.takes = True
        if reader.expires_after and (not self.expires_after or reader.expires_after < self.expires_after):
            self.expires_after = reader.expires_after


class VelocityCounter:
    """How one kind of velocity is counted, for all rules whose kinds keep the same."""

    def __init__(self, key: int, kind: VelocityKind, where: Where | None) -> None:
        self.key = key
        self.match = _match(where)
        self.kind = kind
        self.where = where
        """What `match` was compiled from."""


class ExclusionRule:
    """An exclusion by event."""

    def __init__(self, key: int, where: Where | None) -> None:
        self.key = key
        self.match = _match(where)
        self.where = where
        """What `match` was compiled from."""


class CompiledRung:
    """One rung of the ladder, with its stage and its output."""

    def __init__(self, stage: int, output: str, rung: Rung) -> None:
        self.stage = stage
        self.output = output
        self.rung = rung
        self.enter = rung.enter
        self.leave = min(rung.leave, rung.enter)
        """`leave` above `enter` would move a lead up and down at every look; it is taken as `enter`."""
        self.min_fit: float = -INFINITY if rung.min_fit is None else rung.min_fit
        self.asks_engagement = rung.min_engagement is not None
        self.min_engagement: float = -INFINITY if rung.min_engagement is None else rung.min_engagement
        self.intent_within = rung.intent_within


class CompiledPhase:
    """One buying phase."""

    def __init__(self, name: str, phase: GridPhase) -> None:
        self.name = name
        self.enter = phase.enter
        self.leave = phase.leave


class CompiledGrid:
    """One grid, compiled. *source* names the worker in its outputs: `/leadpulse/NAMESPACE`."""

    def __init__(self, grid: Grid, source: str) -> None:
        self.grid = grid
        self.source = source
        # Lists of mail domains change what a trait is worth, as the grid does.
        self.tag = xxhash.xxh3_64_intdigest(f"{grid.sha256} {TABLES_VERSION}".encode())
        self.calendar = Calendar(grid.timezone)
        self.page_type = compile_pages(grid.pages, hash_routes=grid.hash_routes)
        self.hash_routes = grid.hash_routes
        self.counters: dict[str, list[RuleCounter]] = {}
        self.readers: dict[int, list[CompiledRule]] = {}
        self.velocity_counters: dict[str, list[VelocityCounter]] = {}
        self.velocity_rules: dict[int, list[VelocityRule]] = {}
        self.velocity_kinds: dict[int, VelocityKind] = {}
        self.exclusions: dict[str, list[ExclusionRule]] = {}
        self.exclusion_keys: set[int] = set()
        self.exclusion_ids: dict[int, list[str]] = {}
        self.intent_keys: set[int] = set()
        self.velocity_most = 0.0
        """No more points than these come of all velocity rules together."""
        self.velocity_least = 0.0
        """Nor less than these."""
        everything: list[Rule | Velocity | Exclusion] = [*grid.engagement.rules, *grid.velocity, *grid.exclusions]
        names = {name for rule in everything for name in rule.on or ()}
        self.customs = frozenset(name for name in names if name.startswith(f"{CUSTOM}."))
        """The names of types of one's own in the grid, some of which end in `.*`."""
        self._compile_rules()
        self._compile_velocity()
        self.fit_rules = [_fit_rule(rule) for rule in grid.fit.rules]
        self.trait_exclusions: list[tuple[str, Match]] = []
        self._compile_exclusions()
        self._short_counts = _by_short(self.readers)
        self._short_velocity = _by_short(self.velocity_rules)
        self._short_exclusions = _by_short(self.exclusion_ids)
        ladder = ((MQL, "lead.mql", grid.stages.mql), (SQL, "lead.sql", grid.stages.sql))
        self.ladder = tuple(CompiledRung(stage, output, rung) for stage, output, rung in ladder if rung is not None)
        self._above = [next((step for step in self.ladder if step.stage > stage), None) for stage in range(len(STAGES))]
        self._at = [next((step for step in self.ladder if step.stage == stage), None) for stage in range(len(STAGES))]
        self.tiers = grid.inactivity
        self.phases = tuple(CompiledPhase(name, phase) for name, phase in grid.phases.items())
        """By rising `enter`; empty: the grid has none."""
        self.phase_places = {phase.name: place for place, phase in enumerate(self.phases)}
        self.phases_tag = _phases_tag(self.phases)
        """By this a lead's phase is known to be judged by these phases."""
        self._phase_states = [Phase(self.phases_tag, name) for name in (*self.phase_places, "")]
        self.holds_from = CONTACT if self.phases else MQL
        """From this stage on a lead that loses points may move."""
        self.quiet = grid.stages.quiet
        self.retention = grid.retention
        self.engagement_min, self.engagement_max = _bounds(grid.engagement.min, grid.engagement.max)
        self.score_min, self.score_max = _bounds(grid.score.min, grid.score.max)
        self.ties = grid.accounts is not None or grid.identity is not None
        """Whether leads tell the owners of other ids of themselves."""
        absent = [section for section in ("identity", "accounts", "phases") if not getattr(grid, section)]
        self.unpublished = tuple(row.name for row in OUTPUTS if row.asked_by in absent)
        """Output types that this grid never publishes: their topics need not be there."""
        sql = grid.stages.sql
        sla = None if sql is None else sql.sla
        self.response_time = None if sla is None else ResponseTime(sla, self.calendar)
        self.identity = {"name": grid.grid, "version": grid.version, "sha256": grid.sha256}

    def _compile_rules(self) -> None:
        made: dict[int, RuleCounter] = {}
        for rule in self.grid.engagement.rules:
            key = _key("rule", rule.on, rule.where, rule.once_per, rule.half_life)
            reader = CompiledRule(rule)
            self.readers.setdefault(key, []).append(reader)
            if rule.intent:
                self.intent_keys.add(key)
            if key not in made:
                made[key] = counter = RuleCounter(key, rule)
                for type_ in self.fed(rule.on):
                    self.counters.setdefault(type_, []).append(counter)
            made[key].is_read_by(reader)

    def _compile_velocity(self) -> None:
        made: set[int] = set()
        for rule in self.grid.velocity:
            reader = VelocityRule(rule)
            kind = reader.kind
            key = _key("velocity", rule.on, rule.where, kind.kept)
            self.velocity_rules.setdefault(key, []).append(reader)
            self.velocity_most += max(0.0, *(points for _, points in rule.steps), 0.0)
            self.velocity_least += min(0.0, *(points for _, points in rule.steps), 0.0)
            self.velocity_kinds[key] = kind
            if key not in made:
                made.add(key)
                for type_ in self.fed(rule.on):
                    self.velocity_counters.setdefault(type_, []).append(VelocityCounter(key, kind, rule.where))

    def _compile_exclusions(self) -> None:
        for rule in self.grid.exclusions:
            if rule.on is None:
                if rule.where is not None:
                    self.trait_exclusions.append((rule.id, compile_where(rule.where, flat=True)))
                continue
            key = _key("exclusion", rule.on, rule.where)
            self.exclusion_ids.setdefault(key, []).append(rule.id)
            if key in self.exclusion_keys:
                continue
            self.exclusion_keys.add(key)
            for type_ in self.fed(rule.on):
                self.exclusions.setdefault(type_, []).append(ExclusionRule(key, rule.where))

    def fed(self, on: tuple[str, ...]) -> list[str]:
        """Return the kinds of types (`kind_of`) that a rule's *on* names."""
        return [type_ for type_ in on if type_ not in self.customs] + [one for one in sorted(self.customs) if named(on, one)]

    def kind_of(self, custom: str) -> str:
        """Return the name in the grid that fits a type of one's own best; itself where the grid has none.

        Types of one kind feed the same rules: those that name the kind, and those that name what is above it.
        """
        above = custom
        while above not in self.customs:
            prefix, dot, _ = above.removesuffix(".*").rpartition(".")
            if not dot:
                return custom
            above = f"{prefix}.*"
        return above

    def recognise(self, state: LeadState) -> None:
        """Put what an older version counted under keys of 32 bits under this grid's keys, of which these are the low bits."""
        counts, velocity, exclusions = self._short_counts, self._short_velocity, self._short_exclusions
        state.counts = {counts.get(key, key): count for key, count in state.counts.items()}
        state.velocity = {velocity.get(key, key): window for key, window in state.velocity.items()}
        state.exclusions = {exclusions.get(key, key): at_ms for key, at_ms in state.exclusions.items()}

    def derived(self, traits: dict[str, Any]) -> dict[str, Any]:
        """Return *traits* with what follows from the address, where there is one: `email_domain` and `email_kind`."""
        address = traits.get("email")
        if address is None or not exists(address):
            return traits
        text = address if isinstance(address, str) else ""
        domain = email_domain(text)
        found = {**traits, "email_kind": email_kind(text, self.grid.mail), "email_domain": domain}
        if domain is None:  # nor does a domain that was sent stand in for that of an invalid address
            del found["email_domain"]
        return found

    def fit(self, traits: dict[str, Any]) -> float:
        """Return the clamped fit of *traits* (with the derived ones): Σ points of the matching rules."""
        total = 0.0
        for _, points, match, table in self.fit_rules:
            if match(traits):
                total += points if table is None else table.row(traits)[0]
        return clamp(total, self.grid.fit.min, self.grid.fit.max)

    def excludes(self, traits: dict[str, Any]) -> bool:
        """Return whether an exclusion by traits holds."""
        return any(match(traits) for _, match in self.trait_exclusions)

    def grade(self, fit: float, engagement: float) -> str | None:
        """Return the letter by fit and digit by engagement; `None` without `grades`."""
        grades = self.grid.grades
        return None if grades is None else _band(grades.fit, fit) + _band(grades.engagement, engagement)

    def next_step(self, stage: int) -> CompiledRung | None:
        """Return the rung above *stage*."""
        return self._above[stage]

    def phase_at(self, place: int) -> Phase:
        """Return what the state of a lead in the phase at *place* holds; -1: in none."""
        return self._phase_states[place]

    def rung_below(self, stage: int) -> int:
        """Return the stage to which a lead at *stage* cools."""
        below = CONTACT
        for step in self.ladder:
            if step.stage < stage:
                below = step.stage
        return below

    def step_at(self, stage: int) -> CompiledRung | None:
        """Return the rung that *stage* stands on, where the grid has it."""
        return self._at[stage]


def clamp(value: float, low: float | None, high: float | None) -> float:
    """Return *value* held between *low* and *high*; an absent side is open."""
    if high is not None and value > high:
        value = high
    if low is not None and value < low:
        value = low
    return value + 0.0  # −0.0 reads badly


def _phases_tag(phases: tuple[CompiledPhase, ...]) -> int:
    """Return a number for *phases*, in 32 bits. Leads of another grid with the same ones keep their phase as it is."""
    return xxhash.xxh32_intdigest(msgspec.json.encode([[phase.name, phase.enter, phase.leave] for phase in phases]))


def _bounds(low: float | None, high: float | None) -> tuple[float, float]:
    return -INFINITY if low is None else low, INFINITY if high is None else high


def _band(bands: tuple[tuple[str, float], ...], value: float) -> str:
    for name, floor in bands:
        if value >= floor - ALLOWANCE:
            return name
    return bands[-1][0]


def _fit_rule(rule: FitRule) -> tuple[str, float, Match, FitTable | None]:
    """Return a fit rule's id, its points, what it asks, and the table that gives the points instead."""
    match = compile_where(rule.where, flat=True) if rule.where is not None else _always
    if isinstance(rule.points, PointsTable):
        return rule.id, 0.0, match, FitTable(rule.points)
    return rule.id, rule.points, match, None


def _always(traits: Mapping[str, Any]) -> bool:
    return True


def _match(where: Where | None) -> Match | None:
    return None if where is None else compile_where(where, flat=False)


def _key(kind: str, on: tuple[str, ...], where: Where | None, *more: object) -> int:
    """Return a number for what is counted. Id, points, caps and steps are left out: they are applied when it is read."""
    counted = msgspec.json.encode([kind, sorted(on), None if where is None else repr(where), *more])
    # The low half is the whole key of states before version 5, which are known by it (`CompiledGrid.recognise`).
    return xxhash.xxh3_64_intdigest(counted) & ~_SHORT | xxhash.xxh32_intdigest(counted)


def _by_short(keys: Iterable[int]) -> dict[int, int]:
    """Return each of *keys* by its low half; where two share that, the first in the grid has it."""
    found: dict[int, int] = {}
    for key in keys:
        found.setdefault(key & _SHORT, key)
    return found
