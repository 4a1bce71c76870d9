"""A grid made ready for use: what each event type feeds, and how each count is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec
import xxhash

from worker.core.days import Calendar
from worker.core.grid import Grid, Rung
from worker.core.mail import WORDS_VERSION, email_domain, email_kind
from worker.core.pages import compile_pages
from worker.core.state import CONTACT, MQL, SQL
from worker.core.where import Where, compile_where

Match = Callable[[Mapping[str, Any]], bool]

INFINITY: Final = float("inf")
ALLOWANCE: Final = 1e-9
"""Thresholds, bands and `leave` are compared with this much grace, so that float dust moves nobody."""


class Counter(NamedTuple):
    """How one kind of occurrence is counted; rules that differ only in what it is worth share it."""

    key: int
    match: Match | None
    half_life: int | None
    once_per: str
    path: tuple[str, ...]
    """Where `once_per` names a path in `data`: its parts."""
    where: Where | None
    """What *match* was compiled from."""


class Reader(NamedTuple):
    """How a rule of the grid reads its counter."""

    id: str
    points: float
    half_life: int
    """0: no decay."""
    cap: float
    expires_after: int
    """0: never."""


class Pacer(NamedTuple):
    """How one kind of velocity is counted: `days` (which also serves `rise`), `events` or `sessions`."""

    key: int
    match: Match | None
    kind: str
    where: Where | None
    """What *match* was compiled from."""


class PaceReader(NamedTuple):
    """How a velocity rule of the grid reads its days."""

    id: str
    counts: str
    """`days`, `sessions`, `events` or `rise`."""
    within_days: int
    steps: tuple[tuple[float, float], ...]


class Bar(NamedTuple):
    """An exclusion by event."""

    key: int
    match: Match | None
    where: Where | None
    """What *match* was compiled from."""


class Step(NamedTuple):
    """One rung of the ladder, with its stage and its output."""

    stage: int
    output: str
    rung: Rung
    leave: float
    """`leave` above `enter` would move a lead up and down at every look; it is taken as `enter`."""
    min_fit: float


class Scorer:
    """One grid, compiled. *source* names the worker in its outputs: `/leadpulse/NAMESPACE`."""

    def __init__(self, grid: Grid, source: str) -> None:
        self.grid = grid
        self.source = source
        # Lists of mail domains change what a trait is worth, as the grid does.
        self.tag = xxhash.xxh32_intdigest(f"{grid.sha256} {WORDS_VERSION}".encode())
        self.calendar = Calendar(grid.timezone)
        self.page_type = compile_pages(grid.pages)
        self.counters: dict[str, list[Counter]] = {}
        self.readers: dict[int, list[Reader]] = {}
        self.pacers: dict[str, list[Pacer]] = {}
        self.pace_readers: dict[int, list[PaceReader]] = {}
        self.pace_kinds: dict[int, str] = {}
        self.bars: dict[str, list[Bar]] = {}
        self.bar_keys: set[int] = set()
        self.bar_ids: dict[int, list[str]] = {}
        self.intent_keys: set[int] = set()
        self._compile_rules()
        self._compile_velocity()
        self.fit_rules = [(rule.id, rule.points, compile_where(rule.where, flat=True)) for rule in grid.fit.rules]
        self.trait_bars: list[tuple[str, Match]] = []
        self._compile_exclusions()
        ladder = ((MQL, "lead.mql", grid.stages.mql), (SQL, "lead.sql", grid.stages.sql))
        self.ladder = tuple(
            Step(stage, output, rung, min(rung.leave, rung.enter), -INFINITY if rung.min_fit is None else rung.min_fit)
            for stage, output, rung in ladder
            if rung is not None
        )
        self.quiet = grid.stages.quiet
        self.retention = grid.retention
        sql = grid.stages.sql
        self.intent_within = sql.intent_within if sql is not None else None
        self.sla = sql.sla if sql is not None else None
        self.identity = {"name": grid.grid, "version": grid.version, "sha256": grid.sha256}

    def _compile_rules(self) -> None:
        made: set[int] = set()
        for rule in self.grid.engagement.rules:
            key = _key("rule", rule.on, rule.where, rule.once_per, rule.half_life)
            self.readers.setdefault(key, []).append(
                Reader(
                    rule.id,
                    rule.points,
                    rule.half_life or 0,
                    INFINITY if rule.cap is None else rule.cap,
                    rule.expires_after or 0,
                )
            )
            if rule.intent:
                self.intent_keys.add(key)
            if key not in made:
                made.add(key)
                counter = Counter(
                    key, _match(rule.where), rule.half_life, rule.once_per, tuple(rule.once_per.split(".")), rule.where
                )
                for type_ in rule.on:
                    self.counters.setdefault(type_, []).append(counter)

    def _compile_velocity(self) -> None:
        made: set[int] = set()
        for rule in self.grid.velocity:
            kind = "days" if rule.count == "rise" else rule.count
            key = _key("velocity", rule.on, rule.where, kind)
            self.pace_readers.setdefault(key, []).append(PaceReader(rule.id, rule.count, rule.within_days, rule.steps))
            self.pace_kinds[key] = kind
            if key not in made:
                made.add(key)
                for type_ in rule.on:
                    self.pacers.setdefault(type_, []).append(Pacer(key, _match(rule.where), kind, rule.where))

    def _compile_exclusions(self) -> None:
        for rule in self.grid.exclusions:
            if rule.on is None:
                if rule.where is not None:
                    self.trait_bars.append((rule.id, compile_where(rule.where, flat=True)))
                continue
            key = _key("exclusion", rule.on, rule.where)
            self.bar_ids.setdefault(key, []).append(rule.id)
            if key in self.bar_keys:
                continue
            self.bar_keys.add(key)
            for type_ in rule.on:
                self.bars.setdefault(type_, []).append(Bar(key, _match(rule.where), rule.where))

    def derived(self, traits: dict[str, Any]) -> dict[str, Any]:
        """Return *traits* with what follows from the address: `email_domain` and `email_kind`."""
        address = traits.get("email")
        if address is None:
            return traits
        text = address if isinstance(address, str) else ""
        domain = email_domain(text)
        more = {"email_kind": email_kind(text, self.grid.mail)}
        return traits | more | ({"email_domain": domain} if domain else {})

    def fit(self, traits: dict[str, Any]) -> float:
        """Return the clamped fit of *traits* (with the derived ones): Σ points of the matching rules."""
        total = 0.0
        for _, points, match in self.fit_rules:
            if match(traits):
                total += points
        return clamp(total, self.grid.fit.min, self.grid.fit.max)

    def barred(self, traits: dict[str, Any]) -> bool:
        """Return whether an exclusion by traits holds."""
        return any(match(traits) for _, match in self.trait_bars)

    def grade(self, fit: float, engagement: float) -> str | None:
        """Return the letter by fit and digit by engagement; `None` without `grades`."""
        grades = self.grid.grades
        return None if grades is None else _band(grades.fit, fit) + _band(grades.engagement, engagement)

    def next_step(self, stage: int) -> Step | None:
        """Return the rung above *stage*."""
        for step in self.ladder:
            if step.stage > stage:
                return step
        return None

    def rung_below(self, stage: int) -> int:
        """Return the stage to which a lead at *stage* cools."""
        below = CONTACT
        for step in self.ladder:
            if step.stage < stage:
                below = step.stage
        return below

    def step_at(self, stage: int) -> Step | None:
        """Return the rung that *stage* stands on, where the grid has it."""
        for step in self.ladder:
            if step.stage == stage:
                return step
        return None


def clamp(value: float, low: float | None, high: float | None) -> float:
    """Return *value* held between *low* and *high*; an absent side is open."""
    if high is not None and value > high:
        value = high
    if low is not None and value < low:
        value = low
    return value + 0.0  # −0.0 reads badly


def _band(bands: tuple[tuple[str, float], ...], value: float) -> str:
    for name, floor in bands:
        if value >= floor - ALLOWANCE:
            return name
    return bands[-1][0]


def _match(where: Where | None) -> Match | None:
    return None if where is None else compile_where(where, flat=False)


def _key(kind: str, on: tuple[str, ...], where: Where | None, *more: object) -> int:
    """Return a number for what is counted. Id, points, caps and steps are left out: they are applied when it is read."""
    counted = [kind, sorted(on), None if where is None else repr(where), *more]
    return xxhash.xxh32_intdigest(msgspec.json.encode(counted))
