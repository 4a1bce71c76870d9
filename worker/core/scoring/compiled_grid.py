"""A grid made ready for use: what each event type feeds, and how each count is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any

import msgspec
import xxhash

from worker.core.contract.event_types import CUSTOM, named
from worker.core.contract.output_types import OUTPUTS
from worker.core.grid.conditions import Where
from worker.core.grid.email_kind import email_domain, email_kind
from worker.core.grid.models import Exclusion, Grid, Rule, Velocity
from worker.core.grid.page_types import compile_pages
from worker.core.grid.predicates import compile_where
from worker.core.grid.scalars import exists
from worker.core.grid.tables import TABLES_VERSION
from worker.core.scoring.calendar import Calendar
from worker.core.scoring.compiled_rules import (
    ALLOWANCE,
    INFINITY,
    SHORT,
    CompiledGroup,
    CompiledPhase,
    CompiledRule,
    CompiledRung,
    ExclusionRule,
    Match,
    RuleCounter,
    VelocityCounter,
    fit_rule,
    key_of,
    rule_key,
)
from worker.core.scoring.response_time import ResponseTime
from worker.core.scoring.state import CONTACT, MQL, SQL, STAGES, LeadState, Phase
from worker.core.scoring.velocity import VelocityKind, VelocityRule


class CompiledGrid:
    """One grid, compiled. *source* names the worker in its outputs: `/leadpulse/NAMESPACE`.

    *explores*: as the grid is for leads that its `explore` chooses. `of_lead` gives that form where it is the lead's.
    """

    def __init__(self, grid: Grid, source: str, *, explores: bool = False) -> None:
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
        self.latest_exclusions: set[int] = set()
        """Of `exclusion_keys`: those whose latest instant is kept, not the first."""
        self.holding_keys: set[int] = set()
        """The others: such an exclusion holds once it has an instant."""
        self.lifted: dict[int, list[tuple[int, str]]] = {}
        """Exclusions with `until`: key of the latest `on` → keys of the latest `until`, and ids."""
        self.apart: dict[int, RuleCounter] = {}
        """Counters with weights, or whose occurrences fade one by one."""
        self.intent_keys: set[int] = set()
        self.velocity_most = 0.0
        """No more points than these come of all velocity rules together."""
        self.velocity_least = 0.0
        """Nor less than these."""
        self.groups: list[CompiledGroup] = []
        """Of the engagement."""
        self.fit_groups: list[CompiledGroup] = []
        self.single_parts: list[tuple[int, CompiledRule]] = []
        """Rules with `weigh`, `linear` or `window` and without a group."""
        self.customs = _customs(grid)
        """The names of types of one's own in the grid, some of which end in `.*`."""
        self._compile_rules()
        self.plain_readers, self.has_parts = self._without_parts()
        self._compile_velocity()
        self.fit_rules = [fit_rule(rule) for rule in grid.fit.rules]
        self.trait_exclusions: list[tuple[str, Match]] = []
        self._compile_exclusions()
        self._short_counts = _by_short(self.readers)
        self._short_velocity = _by_short(self.velocity_rules)
        self._short_exclusions = _by_short(self.exclusion_ids)
        self.ladder = _ladder(grid)
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
        explore = grid.explore
        self.explore_from = explore.from_ if explore is not None and explores else INFINITY
        """From this score on an active lead is handed over below SQL too; infinite for leads that are not chosen."""
        self.exploring = CompiledGrid(grid, source, explores=True) if explore is not None and not explores else None
        """The grid as it is for leads that are chosen; `None`: it is the same for all."""
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
            key = rule_key(rule)
            reader = CompiledRule(rule)
            self.readers.setdefault(key, []).append(reader)
            if rule.intent:
                self.intent_keys.add(key)
            if key not in made:
                made[key] = counter = RuleCounter(key, rule)
                if counter.apart:
                    self.apart[key] = counter
                for type_ in self.fed(rule.on):
                    self.counters.setdefault(type_, []).append(counter)
            made[key].is_read_by(reader)

    def _without_parts(self) -> tuple[dict[int, list[CompiledRule]], bool]:
        """Sort out the rules that `parts` reads. Return the others, as `readers` has them; and whether there are others."""
        made = {
            name: CompiledGroup(name, INFINITY if group.cap is None else group.cap, best=bool(group.best))
            for name, group in self.grid.groups.items()
        }
        of_fit = dict.fromkeys(rule.group for rule in self.grid.fit.rules)
        self.fit_groups = [made[name] for name in of_fit if name is not None]
        plain: dict[int, list[CompiledRule]] = {}
        for rule in self.grid.engagement.rules:
            key = rule_key(rule)
            reader = next(one for one in self.readers[key] if one.id == rule.id)
            if reader.group is not None:
                made[reader.group].rules.append((key, reader))
            elif reader.weighed or reader.span_ms:
                self.single_parts.append((key, reader))
            else:
                plain.setdefault(key, []).append(reader)
        self.groups = [group for group in made.values() if group.rules]
        return plain, bool(self.groups or self.single_parts)

    def _compile_velocity(self) -> None:
        made: set[int] = set()
        for rule in self.grid.velocity:
            reader = VelocityRule(rule)
            kind = reader.kind
            key = key_of("velocity", rule.on, rule.where, kind.kept)
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
            if rule.until is not None:
                self._compile_lifted(rule, rule.on, rule.until)
                continue
            key = key_of("exclusion", rule.on, rule.where)
            self.exclusion_ids.setdefault(key, []).append(rule.id)
            if key not in self.exclusion_keys:
                self._add_exclusion(key, rule.on, rule.where)
        self.holding_keys = self.exclusion_keys - self.latest_exclusions

    def _compile_lifted(self, rule: Exclusion, on: tuple[str, ...], until: tuple[str, ...]) -> None:
        began, ended = key_of("exclusion", on, rule.where, "latest"), key_of("until", until, None)
        self.lifted.setdefault(began, []).append((ended, rule.id))
        for key, types, where in ((began, on, rule.where), (ended, until, None)):
            if key not in self.exclusion_keys:
                self.latest_exclusions.add(key)
                self._add_exclusion(key, types, where)

    def _add_exclusion(self, key: int, types: tuple[str, ...], where: Where | None) -> None:
        self.exclusion_keys.add(key)
        for type_ in self.fed(types):
            self.exclusions.setdefault(type_, []).append(ExclusionRule(key, where, latest=key in self.latest_exclusions))

    def of_lead(self, lead: str) -> CompiledGrid:
        """Return the grid as it is for *lead*: another one for a lead that is chosen to be explored."""
        explore, exploring = self.grid.explore, self.exploring
        return self if explore is None or exploring is None or not is_chosen(lead, explore.share) else exploring

    def excludes_by_event(self, instants: dict[int, int]) -> bool:
        """Return whether an exclusion by events holds, by the instants that a state keeps."""
        if not self.holding_keys.isdisjoint(instants):
            return True
        return bool(self.lifted) and any(True for _ in self._lasting(instants))

    def _lasting(self, instants: dict[int, int]) -> Iterator[str]:
        """Yield the id of each exclusion with `until` whose end has not come: none is later than the latest beginning."""
        for began, ends in self.lifted.items():
            began_ms = instants.get(began)
            if began_ms is not None:
                yield from (id_ for ended, id_ in ends if instants.get(ended, began_ms) <= began_ms)

    def excluding(self, key: int) -> list[str]:
        """Return the ids of the exclusions that the instant under *key* begins, or ends."""
        of_lifted = [id_ for began, ends in self.lifted.items() for ended, id_ in ends if key in (began, ended)]
        return [*self.exclusion_ids.get(key, ()), *of_lifted]

    def excluded_by(self, instants: dict[int, int]) -> set[str]:
        """Return the ids of the exclusions by events that hold."""
        return {id_ for key in instants for id_ in self.exclusion_ids.get(key, ())}.union(self._lasting(instants))

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
        if self.fit_groups:
            return clamp(self.fit_in_groups(traits), self.grid.fit.min, self.grid.fit.max)
        total = 0.0
        for _, points, match, table in self.fit_rules:
            if match(traits):
                total += points if table is None else table.row(traits)[0]
        return clamp(total, self.grid.fit.min, self.grid.fit.max)

    def fit_in_groups(self, traits: dict[str, Any]) -> float:
        """Return the sum of the fit rules with what their groups make of them, before its clamp."""
        total = 0.0
        grouped: dict[str, list[float]] = {}
        for (_, points, match, table), rule in zip(self.fit_rules, self.grid.fit.rules, strict=True):
            if match(traits):
                worth = points if table is None else table.row(traits)[0]
                if rule.group is None:
                    total += worth
                else:
                    grouped.setdefault(rule.group, []).append(worth)
        for group in self.fit_groups:
            total += group.points(grouped.get(group.name, []))
        return total

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


def is_chosen(lead: str, share: float) -> bool:
    """Return whether *lead* is among the *share* of leads that are explored, by a hash of its id."""
    return int.from_bytes(sha256(f"explore:{lead}".encode()).digest()[:8], "big") < share * 2**64


def clamp(value: float, low: float | None, high: float | None) -> float:
    """Return *value* held between *low* and *high*; an absent side is open."""
    if high is not None and value > high:
        value = high
    if low is not None and value < low:
        value = low
    return value + 0.0  # −0.0 reads badly


def _customs(grid: Grid) -> frozenset[str]:
    """Return the names of types of one's own that rules are on, and that end exclusions."""
    everything: list[Rule | Velocity | Exclusion] = [*grid.engagement.rules, *grid.velocity, *grid.exclusions]
    named = [*(rule.on for rule in everything), *(exclusion.until for exclusion in grid.exclusions)]
    return frozenset(name for names in named for name in names or () if name.startswith(f"{CUSTOM}."))


def _ladder(grid: Grid) -> tuple[CompiledRung, ...]:
    rungs = ((MQL, "lead.mql", grid.stages.mql), (SQL, "lead.sql", grid.stages.sql))
    return tuple(CompiledRung(stage, output, rung) for stage, output, rung in rungs if rung is not None)


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


def _by_short(keys: Iterable[int]) -> dict[int, int]:
    """Return each of *keys* by its low half; where two share that, the first in the grid has it."""
    found: dict[int, int] = {}
    for key in keys:
        found.setdefault(key & SHORT, key)
    return found
