"""What a new grid counts otherwise than the grid before it: only that needs its past replayed.

Points, caps, clamps, steps and thresholds are applied when a score is read: they are in force at once, for the past too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from worker.core.grid.models import Exclusion, Grid, Rule, Velocity
from worker.core.grid.velocity_kinds import KINDS


class Replayed(NamedTuple):
    """A rule whose past the new grid would count otherwise than the state holds it."""

    kind: Literal["rule", "velocity", "exclusion"]
    id: str
    why: str


def replayed(old: Grid, new: Grid) -> list[Replayed]:
    """Return the rules of *new* whose past is held otherwise, or not at all, when *old* counted it."""
    return list(_replayed(old, new))


def _replayed(old: Grid, new: Grid) -> Iterator[Replayed]:
    pages = old.pages != new.pages or list(old.pages) != list(new.pages)
    zone = old.timezone != new.timezone
    before = {rule.id: _counted(rule) for rule in _counting(old)}
    held = {tuple(counted.items()) for counted in before.values()}
    for rule in _counting(new):
        counted = _counted(rule)
        kind = counted["kind"]
        if tuple(counted.items()) not in held:
            was = before.get(rule.id)
            # A new exclusion by traits has no past: traits are judged as they are.
            if was is not None or rule.on is not None:
                yield Replayed(kind, rule.id, _why_counted_anew(was, counted))
        elif pages and rule.on is not None and "page.viewed" in rule.on and _asks_page_type(rule):
            yield Replayed(kind, rule.id, "it asks for a page type, and `pages` changes")
        elif zone and (isinstance(rule, Velocity) or (isinstance(rule, Rule) and rule.once_per == "day")):
            yield Replayed(kind, rule.id, "it counts days, and `timezone` changes where they begin")


def _why_counted_anew(was: Mapping[str, Any] | None, now: Mapping[str, Any]) -> str:
    if was is None:
        return "it is new, and its past is not counted"
    if was["kind"] != now["kind"]:
        return f"it was a {was['kind']} and is a {now['kind']}"
    return f"its {', '.join(name for name in now if was[name] != now[name])} changes"


def _counting(grid: Grid) -> list[Rule | Velocity | Exclusion]:
    return [*grid.engagement.rules, *grid.velocity, *grid.exclusions]


def _counted(rule: Rule | Velocity | Exclusion) -> dict[str, Any]:
    """Return what decides how *rule* is counted: rules that agree in all of it share one count, whatever their ids."""
    # `repr` tells 1 from true, which Python's equality does not.
    what = {"on": tuple(sorted(rule.on or ())), "where": repr(rule.where)}
    match rule:
        case Rule():
            return {"kind": "rule", **what, "once_per": rule.once_per, "half_life": rule.half_life}
        case Velocity():
            return {"kind": "velocity", **what, "count": KINDS[rule.count].kept}
        case Exclusion():
            return {"kind": "exclusion", **what}


def _asks_page_type(rule: Rule | Velocity | Exclusion) -> bool:
    asked = {condition.path for condition in rule.where.conditions} if rule.where is not None else set()
    return "page_type" in asked or (isinstance(rule, Rule) and rule.once_per == "page_type")
