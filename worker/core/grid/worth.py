"""What a rule can be worth: by one event, with its cap and its group. Lints compare by it."""

from __future__ import annotations

from worker.core.grid.models import Grid, Rule


def once(grid: Grid, rule: Rule) -> float:
    """Return the most points that one event can give: with `weigh`, those of the greatest weight."""
    return in_group(grid, rule.group, capped(max(weighed(rule)), rule.cap))


def weighed(rule: Rule) -> tuple[float, float]:
    """Return the points of the least and of the greatest weight."""
    weigh = rule.weigh
    return (rule.points, rule.points) if weigh is None else (rule.points * weigh.min, rule.points * weigh.max)


def in_group(grid: Grid, name: str | None, points: float) -> float:
    """Return what *points* are within the cap of the group *name*, if there is one."""
    return points if name is None else capped(points, grid.groups[name].cap)


def is_capped(grid: Grid, rule: Rule) -> bool:
    """Return whether the rule, or its group, has a cap."""
    return rule.cap is not None or (rule.group is not None and grid.groups[rule.group].cap is not None)


def capped(points: float, cap: float | None) -> float:
    """Return *points* within −*cap* and *cap*."""
    return points if cap is None else max(-cap, min(cap, points))
