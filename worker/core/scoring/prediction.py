"""The chance that a lead is won within the model's horizon, and what makes it higher or lower than everyone's.

It is read where a lead is published, listed or explained, never for each event, and it moves no stage. Signals are counted as
`worker.core.scoring.signals` says, but bounded by the model's own caps. So other points and caps of the grid leave it alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from worker.core.contract.model import Factor, Predicted
from worker.core.grid.counted import signals_of
from worker.core.grid.models import Inactivity
from worker.core.grid.prediction import PredictionModel, withheld
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.compiled_rules import INFINITY, CompiledRule
from worker.core.scoring.fit_table import ELSE
from worker.core.scoring.halving import END, MASK, PARTS, SHIFT, SIXTH, STEP, TABLE, WHOLE, exp
from worker.core.scoring.parts import held_to, raw_units
from worker.core.scoring.signals import MOST_IDLE_DAYS, signal_ids
from worker.core.scoring.state import CLIENT, EXCLUDED, LeadState
from worker.core.scoring.traits import unpack_traits, values
from worker.core.scoring.velocity import VelocityRule

LEAST: Final = 0.001
MOST: Final = 0.95
"""No lead is certain to be won, and none is certain not to be."""
OTHERS: Final = "others"
BOUNDS: Final = "bounds"
_SHOWN: Final = 12
"""So many factors are named. The others are one factor."""
_MOST_TIMES: Final = 1_000.0
_FARTHEST: Final = 700.0
"""`exp` of more has no double."""
_LEAST_LOGIT: Final = -6.906754778648554
_MOST_LOGIT: Final = 2.9444389791664403
"""The log-odds of both, as numbers: a logarithm of the C library may differ in its last bit."""
_DAY_MS: Final = 86_400_000
_KEPT: Final = 8


class _Weighed:
    """One signal of the model, and what it does to the calibrated log-odds."""

    def __init__(self, id_: str, most: float, effect: float, mean: float) -> None:
        self.id = id_
        self.most = most
        """The most of the signal that counts."""
        self.effect = effect
        """Of one unit."""
        self.mean_effect = effect * mean


class CompiledModel:
    """A grid's model, made ready to read leads."""

    def __init__(self, scorer: CompiledGrid, model: PredictionModel) -> None:
        a, b = model.calibration
        self._scorer = scorer
        self.horizon = model.horizon
        self.withheld = withheld(model)
        self._base = a + b * model.intercept
        weighed = dict(_weighed(scorer, model))
        self._nothing = math.fsum([self._base, *(-one.mean_effect for one in weighed.values())])
        """The log-odds of a lead with no signal at all."""
        get = weighed.get
        self._fit = [
            (match, table, rows)
            for id_, _, match, table in scorer.fit_rules
            if (rows := {row: one for row, name in _rows_of(id_, table) if (one := get(name)) is not None})
        ]
        self._rules: dict[int, list[tuple[CompiledRule, int, int, float, float, _Weighed]]] = {}
        """By key: the rule, its half-life if its sum fades by one, its expiry, cap and effect, and the signal."""
        for key, rules in scorer.readers.items():
            known = [
                (rule, _half_life(rule), rule.expires_after, one.most, one.effect, one)
                for rule in rules
                if (one := get(rule.id)) is not None
            ]
            if known:
                self._rules[key] = known
        self._velocity: list[tuple[int, VelocityRule, _Weighed]] = [
            (key, rule, one)
            for key, rules in scorer.velocity_rules.items()
            for rule in rules
            if (one := get(rule.id)) is not None
        ]
        *_, idle_days = ids = signal_ids(scorer)
        names = ids[len(ids) - 1 - len(scorer.tiers) : -1]
        self._tiers: list[tuple[Inactivity, _Weighed]] = [
            (tier, one) for name, tier in zip(names, scorer.tiers, strict=True) if (one := get(name)) is not None
        ]
        self._idle = get(idle_days)
        if self._idle is not None:
            self._idle.most = min(self._idle.most, MOST_IDLE_DAYS)

    def p(self, state: LeadState, at_ms: int, view: Mapping[str, Any] | None = None) -> float | None:
        """Return the lead's chance alone; `None` where there is none. *view*: see `signals`."""
        stage: int = state.stage
        if self.withheld is not None or stage in (CLIENT, EXCLUDED):
            return None
        adds = [self._nothing]
        self._add(state, at_ms, view, adds, None)
        return _chance(math.fsum(adds))

    def predicted(self, state: LeadState, stage: int, at_ms: int, view: Mapping[str, Any] | None = None) -> Predicted:
        """Return the chance of a lead that is at *stage*, with its factors: the strongest first."""
        why = self._why_not(stage)
        if why is not None:
            return Predicted(None, self.horizon, None, [], why)
        adds, signals = [self._nothing], list[_Weighed]()
        self._add(state, at_ms, view, adds, signals)
        logit = math.fsum(adds)  # exact before it is rounded, so no order of the signals changes it
        shown = [Factor(one.id, _times(_exp(more - one.mean_effect))) for more, one in zip(adds[1:], signals, strict=True)]
        shown = sorted((one for one in shown if one.times != 1.0), key=_strength)[:_SHOWN]
        base, p = _chance(self._base), _chance(logit)
        return Predicted(p, self.horizon, base, [*shown, *_rest(base, shown, logit, p)])

    def _why_not(self, stage: int) -> str | None:
        if self.withheld is not None:
            return self.withheld
        return "won" if stage == CLIENT else "excluded" if stage == EXCLUDED else None

    def _add(
        self,
        state: LeadState,
        at_ms: int,
        view: Mapping[str, Any] | None,
        adds: list[float],
        of: list[_Weighed] | None,
    ) -> None:
        """Append what each signal that the lead has adds to the log-odds of none, and the signal itself to *of*."""
        # Complexity over 15: nearly all of the time is spent here, and each call made from here costs as much as a signal.
        if self._fit:
            scorer = self._scorer
            traits = scorer.derived(values(unpack_traits(state.traits))) if view is None else view
            for match, table, rows in self._fit:
                if match(traits):
                    one = rows.get(None if table is None else table.row(traits)[1] or "")
                    if one is not None:
                        adds.append(one.effect)
                        if of is not None:
                            of.append(one)
        rules_of = self._rules
        for key, count in state.counts.items():
            rules = rules_of.get(key)
            if rules is None:
                continue
            last_ms: int = count.last_ms
            for rule, half_life, expires_after, most, effect, one in rules:
                if expires_after and at_ms >= last_ms + expires_after:
                    continue
                if half_life:  # as `halved`
                    steps = (at_ms - last_ms) / half_life * PARTS
                    at = int(steps)
                    rest = (steps - at) * STEP
                    left = TABLE[at & MASK] * WHOLE[at >> SHIFT] if at < END else 0.0
                    units = count.sum * (left * (1.0 - rest * (1.0 - rest * (0.5 - rest * SIXTH))))
                else:
                    units = raw_units(rule, count, at_ms)
                if units > most:
                    units = most
                elif units < -most:
                    units = -most
                if units:
                    adds.append(effect * units)
                    if of is not None:
                        of.append(one)
        if self._velocity and state.velocity:
            self._add_velocity(state, self._scorer.calendar.day(at_ms), adds, of)
        active_ms: int = state.active_ms
        if active_ms:
            self._add_idle(at_ms - active_ms, adds, of)

    def _add_velocity(self, state: LeadState, today: int, adds: list[float], of: list[_Weighed] | None) -> None:
        for key, rule, one in self._velocity:
            window = state.velocity.get(key)
            step = 0 if window is None else rule.step(rule.count(window, today))
            if step:
                adds.append(one.effect * min(step, one.most))
                if of is not None:
                    of.append(one)

    def _add_idle(self, idle_ms: int, adds: list[float], of: list[_Weighed] | None) -> None:
        for tier, one in self._tiers:
            taken = steps_taken(tier, idle_ms)
            if taken:
                adds.append(one.effect * min(taken, one.most))
                if of is not None:
                    of.append(one)
        idle = self._idle
        if idle is not None and idle_ms > 0:
            adds.append(idle.effect * min(idle_ms / _DAY_MS, idle.most))
            if of is not None:
                of.append(idle)


@lru_cache(maxsize=_KEPT)
def model_of(scorer: CompiledGrid) -> CompiledModel | None:
    """Return the model of a grid, ready to read leads; `None` for a grid without one."""
    prediction = scorer.grid.prediction
    return None if prediction is None or prediction.model is None else CompiledModel(scorer, prediction.model)


def predicted(
    scorer: CompiledGrid, state: LeadState, at_ms: int, *, stage: int | None = None, view: Mapping[str, Any] | None = None
) -> Predicted | None:
    """Return the chance of a lead at *at_ms* with its factors; `None` under a grid without a model.

    *stage*: where the lead goes, if it does not stay. *view*: its traits with the derived ones, where the caller has them.
    """
    model = model_of(scorer)
    return None if model is None else model.predicted(state, state.stage if stage is None else stage, at_ms, view)


def steps_taken(tier: Inactivity, idle_ms: int) -> float:
    """Return how many times a tier's points are taken after *idle_ms* without activity, whatever its `min`."""
    passed_ms = idle_ms - tier.after
    if passed_ms < 0:
        return 0.0
    return 1.0 if tier.every is None else float(1 + passed_ms // tier.every)


def _weighed(scorer: CompiledGrid, model: PredictionModel) -> Iterator[tuple[str, _Weighed]]:
    b = model.calibration[1]
    for name in signals_of(scorer.grid):
        feature = model.features.get(name)
        if feature is not None:
            weight, mean = feature
            yield name, _Weighed(name, model.caps.get(name, INFINITY), b * weight, mean)


def _half_life(rule: CompiledRule) -> int:
    """Return the half-life of a rule whose sum fades as a whole; 0: it does not."""
    return 0 if rule.span_ms or rule.decay is None else rule.half_life


def _rows_of(id_: str, table: Any) -> list[tuple[str | None, str]]:
    """Return each row of a fit rule, as its table names it, and the row's signal."""
    return [(None, id_)] if table is None else [(row, f"{id_}/{row}") for row in (*table.names, ELSE)]


def _exp(log_odds: float) -> float:
    """Return e^*log_odds*, the same to the last bit on every machine, which the C library's is not."""
    return exp(held_to(log_odds, _FARTHEST))


def _chance(logit: float) -> float:
    """Return the chance of log-odds, to three decimals, within `LEAST` and `MOST`."""
    if logit <= _LEAST_LOGIT:
        return LEAST
    if logit >= _MOST_LOGIT:
        return MOST
    return round(1.0 / (1.0 + exp(-logit)), 3)


def _odds(p: float) -> float:
    return p / (1.0 - p)


def _rounded(times: float) -> float:
    """Return a factor of the odds to 3 decimals, and below 1 to 4 digits: never further off than a two-thousandth of it."""
    return round(times, 3) if times >= 1 else float(f"{times:.4g}")


def _times(times: float) -> float:
    return _rounded(min(max(times, 1 / _MOST_TIMES), _MOST_TIMES))


def _strength(factor: Factor) -> tuple[float, str]:
    return -max(factor.times, 1 / factor.times), factor.id


def _rest(base: float, shown: list[Factor], logit: float, p: float) -> list[Factor]:
    """Return the factors that complete *shown*, so that the odds of *base* times all of them are the odds of *p*."""
    odds = _odds(base)
    for factor in shown:
        odds *= factor.times
    bounded = not LEAST < p < MOST
    others = _times((_exp(logit) if bounded else _odds(p)) / odds)
    left = _odds(p) / (odds * others)
    found = [Factor(OTHERS, others)] if others != 1.0 else []
    if bounded or abs(left - 1.0) > 0.001:
        cut = _rounded(left)
        found += [Factor(BOUNDS, cut)] if cut != 1.0 else []
    return found
