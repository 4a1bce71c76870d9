"""The chance to be won, as the oracle understands it from the contract alone: signals recounted, and one plain sum."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from tests.kit.oracle_counting import Counted, expired, left, velocity
from tests.kit.oracle_values import as_list, duration

DAY = 86_400_000
LEAST, MOST = 0.001, 0.95


class Shown(NamedTuple):
    """What of a lead's facts has signals."""

    fit: list[tuple[str, str | None]]
    """(id, row) of each fit rule that holds."""
    counted: list[Counted]
    velocity: list[tuple[Mapping[str, Any], list[Any]]]
    activity: int | None


def model_in(grid: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the model that a kept grid holds."""
    prediction = grid.get("prediction")
    return None if prediction is None else json.loads(prediction["model"])


def signals(grid: Mapping[str, Any], shown: Shown, t: int) -> dict[str, float]:
    """Return each signal that the lead has, before any cap."""
    found: dict[str, float] = {}
    tables = {rule["id"] for rule in (grid.get("fit") or {}).get("rules") or [] if isinstance(rule["points"], Mapping)}
    for id_, row in shown.fit:
        if id_ not in tables:
            found[id_] = 1.0
        elif row is not None:
            found[f"{id_}/{row}"] = 1.0
    for counted in shown.counted:
        if not expired(counted, t):
            there = [one for one in counted.occurrences if one.at <= t]
            found[counted.rule["id"]] = sum(one.weight * left(counted, t - one.at) for one in there)
    for rule, matching in shown.velocity:
        number = velocity(rule, matching, t, grid.get("timezone", "UTC"))[1]
        found[rule["id"]] = sum(number >= step for step in rule["steps"])
    found |= dict(_silence(grid, shown.activity, t))
    return {name: value for name, value in found.items() if value}


def _silence(grid: Mapping[str, Any], activity: int | None, t: int) -> Iterator[tuple[str, float]]:
    if activity is None:
        return
    taken = set(_ids(grid))
    for place, tier in enumerate(as_list(grid.get("inactivity") or []), start=1):
        passed, every = t - activity - (duration(tier["after"]) or 0), duration(tier.get("every"))
        name = _free("inactivity", taken) + (f"/{place}" if place > 1 else "")
        yield name, 0 if passed < 0 else 1 if every is None else 1 + passed // every
    yield _free("idle_days", taken), min((t - activity) / DAY, 365)


def _ids(grid: Mapping[str, Any]) -> Iterable[str]:
    for rules in ((grid.get("fit") or {}).get("rules"), (grid.get("engagement") or {}).get("rules"), grid.get("velocity")):
        yield from (rule["id"] for rule in rules or [])


def _free(name: str, taken: set[str]) -> str:
    return name if name not in taken else _free(name + "_", taken)


def withheld(model: Mapping[str, Any], stage: str) -> str | None:
    """Return why there is no chance, in the first word of the reason."""
    trained, metrics = model["trained"], model["metrics"]
    for why, holds in (
        ("too_few_wins", trained["won"] >= 100),
        ("too_few_losses", trained["leads"] - trained["won"] >= 100),
        ("too_few_leads", trained["leads"] >= 1_000),
        ("not_tested", {"auc", "slope"} <= metrics.keys()),
        ("too_weak", metrics.get("auc", [0, 1, 1])[1] > 0.55),
        ("not_calibrated", metrics.get("slope", [1, 1, 1])[1] <= 1.3 and metrics.get("slope", [1, 1, 1])[2] >= 0.7),
        ("won", stage != "client"),
        ("excluded", stage != "excluded"),
    ):
        if not holds:
            return why
    return None


def prediction(grid: Mapping[str, Any], shown: Shown, t: int, stage: str) -> dict[str, Any] | None:
    """Return what is expected of `data.prediction`: with exact numbers, and the factor of each signal that the lead has."""
    model = model_in(grid)
    if model is None:
        return None
    why = withheld(model, stage)
    if why is not None:
        return {"p": None, "horizon": model["horizon"], "base": None, "factors": {}, "reason": why}
    a, b = model["calibration"]
    has = signals(grid, shown, t)
    total, factors = model["intercept"], {}
    for name, (weight, mean) in model["features"].items():
        cap = model["caps"].get(name, math.inf)
        part = weight * (max(-cap, min(cap, has.get(name, 0.0))) - mean)
        total += part
        if name in has:
            factors[name] = b * part
    chances = {"p": a + b * total, "base": a + b * model["intercept"]}
    return {name: chance(logit) for name, logit in chances.items()} | {"horizon": model["horizon"], "factors": factors}


def chance(logit: float) -> float:
    """Return the chance of log-odds, within the limits of what is said."""
    p = 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0
    return min(max(p, LEAST), MOST)


def assert_same_prediction(ours: Mapping[str, Any] | None, theirs: Mapping[str, Any] | None) -> None:
    """Hold what was published to what is expected: three decimals, the named factors, and that they multiply to p."""
    if ours is None or theirs is None:
        assert ours == theirs
        return
    assert ours["horizon"] == theirs["horizon"]
    if theirs["p"] is None:
        assert {**ours, "reason": ours["reason"].partition(":")[0]} == {**theirs, "factors": []}
        return
    assert "reason" not in ours
    for name in ("p", "base"):
        assert ours[name] == pytest.approx(theirs[name], abs=0.000501)
        assert ours[name] == round(ours[name], 3)
    assert_factors_multiply(ours)
    named = {one["id"]: one["times"] for one in ours["factors"] if one["id"] in theirs["factors"]}
    for id_, times in named.items():
        assert times == pytest.approx(min(max(math.exp(theirs["factors"][id_]), 0.001), 1_000), rel=0.0006), id_
    unnamed = [abs(logs) for id_, logs in theirs["factors"].items() if id_ not in named]
    weakest = min((abs(math.log(times)) for times in named.values()), default=0.0) if len(named) == 12 else 0.0
    assert all(logs <= weakest + 0.0006 for logs in unnamed), "a stronger factor is not named"
    assert [one["id"] for one in ours["factors"] if one["id"] not in named] in (
        [], ["others"], ["bounds"], ["others", "bounds"],
    )  # fmt: skip


def assert_factors_multiply(ours: Mapping[str, Any]) -> None:
    """The odds of everyone, times every factor, are the odds of the lead: to the last decimal."""
    odds = ours["base"] / (1 - ours["base"])
    for one in ours["factors"]:
        odds *= one["times"]
    assert round(odds / (1 + odds), 3) == ours["p"], ours
