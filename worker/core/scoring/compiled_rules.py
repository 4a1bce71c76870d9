"""The parts of a compiled grid: how each rule is counted and read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import xxhash

from worker.core.contract.event_types import customs_of
from worker.core.grid.conditions import Where
from worker.core.grid.models import FitRule, Rule
from worker.core.grid.point_tables import PointsTable
from worker.core.grid.predicates import compile_where
from worker.core.grid.stage_models import Phase as GridPhase
from worker.core.grid.stage_models import Rung
from worker.core.scoring.decay import half_life_of, span_of
from worker.core.scoring.fit_table import FitTable
from worker.core.scoring.occurrences import Memory
from worker.core.scoring.velocity import VelocityKind
from worker.core.scoring.weight import bounds

Match = Callable[[Mapping[str, Any]], bool]

INFINITY: Final = float("inf")
ALLOWANCE: Final = 1e-9
"""Thresholds, bands and `leave` are compared with this much grace, so that float dust moves nobody."""

SHORT: Final = 2**32 - 1
"""The bits of a key that states before version 5 hold."""

# The hot path reads these once an event or more: plain classes, whose attributes cost least, compiled or not.


class CompiledRule:
    """How a rule of the grid reads its counter."""

    def __init__(self, rule: Rule) -> None:
        self.id = rule.id
        self.points = rule.points
        self.decay = half_life_of(rule)
        """`None`: no half-life."""
        self.half_life: int = rule.half_life or 0
        """For `score.read`, which repeats the lines of `HalfLife.left`. 0: no decay."""
        self.cap: float = INFINITY if rule.cap is None else rule.cap
        self.expires_after: int = rule.expires_after or 0
        """0: never."""
        self.customs = customs_of(rule.on)
        span = span_of(rule)
        self.span_ms: int = 0 if span is None else span.span_ms
        """0: neither `linear` nor `window`."""
        self.straight = span is not None and span.straight
        self.weighed = rule.weigh is not None
        self.memory = Memory(weighed=self.weighed, marked=rule.once_per != "event")
        self.group = rule.group


class CompiledGroup:
    """Rules that are worth something together, in the order of the grid. *cap* is infinite for `best`."""

    def __init__(self, name: str, cap: float, *, best: bool) -> None:
        self.name = name
        self.cap = cap
        self.best = best
        self.rules: list[tuple[int, CompiledRule]] = []
        """Of the engagement: keys of counts, with the rules that read them."""

    def points(self, parts: list[float]) -> float:
        """Return what the rules' points, in the order of the grid, are worth together."""
        if self.best:
            least = max([abs(part) for part in parts], default=0.0) - ALLOWANCE
            return next((part for part in parts if abs(part) >= least), 0.0)
        total = 0.0
        for part in parts:
            total += part
        return self.cap if total > self.cap else -self.cap if total < -self.cap else total


class RuleCounter:
    """How one kind of occurrence is counted; rules that differ only in what it is worth share it."""

    def __init__(self, key: int, rule: Rule) -> None:
        self.key = key
        self.match = _match(rule.where)
        self.decay = half_life_of(rule)
        """`None`: no half-life."""
        words = (rule.once_per,) if isinstance(rule.once_per, str) else rule.once_per
        self.once_per = words[0]
        self.path = tuple(words[0].split("."))
        """Where `once_per` names a path in `data`: its parts."""
        self.combined = [(word, tuple(word.split("."))) for word in sorted(words)] if len(words) > 1 else []
        """Words and paths of a `once_per` with several."""
        self.weigh = rule.weigh
        self.weigh_path = () if rule.weigh is None else tuple(rule.weigh.path.split("."))
        self.summed = rule.decay is None
        """The sum of the occurrences is kept, not each of them."""
        self.apart = rule.weigh is not None or rule.decay is not None
        """It is counted by `count_apart`."""
        self.memory = Memory(weighed=rule.weigh is not None, marked=rule.once_per != "event")
        self.least_weight, self.most_weight = bounds(rule.weigh)
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
        if reader.weighed:
            # An occurrence may also take the place of another of any weight.
            self.gain += abs(reader.points) * (self.most_weight - self.least_weight)
            self.takes = True
        elif reader.points > 0:
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
    """An exclusion by event, or what ends one: the first event counts, or the latest where there is an `until`."""

    def __init__(self, key: int, where: Where | None, *, latest: bool = False) -> None:
        self.key = key
        self.latest = latest
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


def fit_rule(rule: FitRule) -> tuple[str, float, Match, FitTable | None]:
    """Return a fit rule's id, its points, what it asks, and the table that gives the points instead."""
    match = compile_where(rule.where, flat=True) if rule.where is not None else _always
    if isinstance(rule.points, PointsTable):
        return rule.id, 0.0, match, FitTable(rule.points)
    return rule.id, rule.points, match, None


def _always(traits: Mapping[str, Any]) -> bool:
    return True


def _match(where: Where | None) -> Match | None:
    return None if where is None else compile_where(where, flat=False)


def rule_key(rule: Rule) -> int:
    """Return the key of what an engagement rule counts. Rules without `weigh`, `linear` and `window` have the key of old."""
    more: list[object] = []
    span = span_of(rule)
    if span is not None:
        more.append(span.kind)
    if rule.weigh is not None:
        more.append([rule.weigh.path, rule.weigh.min, rule.weigh.max, rule.weigh.times])
    once_per = rule.once_per if isinstance(rule.once_per, str) else sorted(rule.once_per)
    return key_of("rule", rule.on, rule.where, once_per, rule.half_life, *more)


def key_of(kind: str, on: tuple[str, ...], where: Where | None, *more: object) -> int:
    """Return a number for what is counted. Id, points, caps and steps are left out: they are applied when it is read."""
    counted = msgspec.json.encode([kind, sorted(on), None if where is None else repr(where), *more])
    # The low half is the whole key of states before version 5, which are known by it (`CompiledGrid.recognise`).
    return xxhash.xxh3_64_intdigest(counted) & ~SHORT | xxhash.xxh32_intdigest(counted)
