"""Engagement rules and groups recounted by hand from a lead's events: the formulas as the contract writes them, one by one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tests.kit.oracle_values import MISSING, as_list, as_text, day, duration, in_data
from tests.kit.stories import Line, time_of

KEPT = 64


class Occurrence(NamedTuple):
    """One occurrence, in the order in which the earliest is forgotten."""

    at: int
    weight: float


class Recounted(NamedTuple):
    """What a rule says at an instant."""

    points: float
    raw: float
    n: int
    last: int


def recount(grid: Mapping[str, Any], lines: Sequence[Line], at: int) -> tuple[dict[str, Recounted], dict[str, float]]:
    """Return each rule that has an event, and each group's points, at *at*. *lines* are events of one lead, none twice."""
    engagement = grid["engagement"]
    rules: dict[str, Recounted] = {}
    for rule in engagement["rules"]:
        matching = [line for line in lines if line["type"] in as_list(rule["on"])]
        if matching:
            rules[rule["id"]] = _rule(rule, _fading(rule, engagement), matching, at)
    together = {}
    for name, group in (grid.get("groups") or {}).items():
        parts = [rules[rule["id"]].points for rule in engagement["rules"] if rule.get("group") == name and rule["id"] in rules]
        if group.get("best"):
            greatest = max((abs(part) for part in parts), default=0)
            together[name] = next((part for part in parts if abs(part) >= greatest - 1e-9), 0)
        else:
            together[name] = max(-group["cap"], min(group["cap"], sum(parts)))
    return rules, together


def _fading(rule: Mapping[str, Any], engagement: Mapping[str, Any]) -> tuple[str, int | None]:
    """Return the way to fade and its time: the rule's own, or the default."""
    for level in (rule, engagement):
        if "decay" in level:
            ((kind, span),) = level["decay"].items()
            return kind, duration(span)
        if "half_life" in level:
            return "half_life", duration(level["half_life"])
    return "half_life", None


def _rule(rule: Mapping[str, Any], fading: tuple[str, int | None], matching: Sequence[Line], at: int) -> Recounted:
    kind, span = fading
    occurrences = _occurrences(rule, matching)
    if kind in ("linear", "window"):
        occurrences = sorted(occurrences)[-KEPT:]
    last = max(map(time_of, matching))
    raw = rule["points"] * sum(one.weight * _left(kind, span, at - one.at) for one in occurrences)
    expires = duration(rule.get("expires_after"))
    if expires is not None and at - last >= expires:
        return Recounted(0, 0, len(occurrences), last)
    cap = rule.get("cap", float("inf"))
    return Recounted(max(-cap, min(cap, raw)), raw, len(occurrences), last)


def _left(kind: str, span: int | None, age: int) -> float:
    if span is None:
        return 1
    if kind == "half_life":
        return float(2 ** (-age / span))
    return max(0, 1 - age / span) if kind == "linear" else float(age < span)


def _occurrences(rule: Mapping[str, Any], matching: Sequence[Line]) -> list[Occurrence]:
    """Return one occurrence per value: its earliest, and of several at that instant the heaviest."""
    alone: list[Occurrence] = []
    by_value: dict[Any, Occurrence] = {}
    for line in matching:
        one = Occurrence(time_of(line), _weight(rule.get("weigh"), line["data"]))
        value = _value(rule.get("once_per", "event"), line)
        if value is None:
            alone.append(one)
        else:
            held = by_value.setdefault(value, one)
            by_value[value] = min(held, one, key=lambda each: (each.at, -each.weight))
    return alone + list(by_value.values())


def _value(once_per: Any, line: Line) -> Any:
    if once_per == "event":
        return None
    found = []
    for word in as_list(once_per):
        held = day(time_of(line), "UTC") if word == "day" else "" if word == "lead" else in_data(line["data"], word)
        if held is MISSING or (isinstance(once_per, list) and isinstance(held, (list, dict))):
            return None
        found.append(held if word == "day" else as_text(held))
    return tuple(found)


def _weight(weigh: Mapping[str, Any] | None, data: Mapping[str, Any]) -> float:
    if weigh is None:
        return 1
    value = in_data(data, weigh["path"])
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return 0
    times = weigh.get("times", 1)
    # Beyond 10^9 only the sign decides, so that no whole number is too large.
    return float(max(weigh["min"], min(weigh["max"], max(-(10**9), min(10**9, value)) * times)))
