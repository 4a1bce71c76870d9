"""Checks of a grid that no single value shows. They read the data as written, so they also speak when a value is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic_core import PydanticCustomError

from worker.core.grid.messages import shown_path
from worker.core.grid.values import is_points, within_days
from worker.core.grid.velocity_kinds import KINDS
from worker.core.grid.yaml_lines import Path


def across(data: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Yield the path and the words of each mistake that several values make together."""
    taken: dict[str, str] = {}
    for path, rule in _rules(data):
        yield from _taken_id(taken, path, rule)
        if path[0] == "velocity":
            yield from _too_long_within(path, rule)
        if path[0] == "fit" and "where" not in rule and not isinstance(rule.get("points"), Mapping):
            yield (*path, "where"), "`where` is missing: add it"
        if path[0] == "exclusions" and "where" not in rule and "on" not in rule:
            yield path, "an exclusion needs `where` (traits that exclude), `on` (events that do), or both"
    for name in ("score", "fit", "engagement"):
        yield from _swapped_limits(name, data.get(name))
    yield from _inactivity_above_zero(data.get("inactivity"))
    yield from _sla_of_mql(data.get("stages"))
    yield from _mail_twice(data.get("mail"))


def _taken_id(taken: dict[str, str], path: Path, rule: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    name = rule.get("id")
    if not isinstance(name, str):
        return
    if name in taken:
        yield (*path, "id"), f"the id {name!r} is taken by {taken[name]}: ids are unique in the whole grid"
    else:
        taken[name] = shown_path(path)


def _too_long_within(path: Path, rule: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    count = rule.get("count")
    if not isinstance(count, str) or count not in KINDS:
        return
    try:
        days = within_days(rule.get("within"))
    except PydanticCustomError:
        return  # reported at `within`
    limit = KINDS[count].limit_days
    if days > limit:
        yield (*path, "within"), f"{count} are kept for {limit} days: write at most {limit}d"


def _swapped_limits(name: str, section: object) -> Iterator[tuple[Path, str]]:
    if isinstance(section, Mapping):
        low, high = section.get("min"), section.get("max")
        if is_points(low) and is_points(high) and low > high:
            yield (name, "min"), f"min {low:g} is above max {high:g}: swap them"


def _inactivity_above_zero(section: object) -> Iterator[tuple[Path, str]]:
    tiers = enumerate(section) if isinstance(section, tuple) else [(None, section)]
    for place, tier in tiers:
        low = tier.get("min") if isinstance(tier, Mapping) else None
        if is_points(low) and low > 0:
            path: Path = ("inactivity", "min") if place is None else ("inactivity", place, "min")
            yield path, f"min {low:g} is above 0, so silence gives points: write min: -{low:g}"


def _sla_of_mql(stages: object) -> Iterator[tuple[Path, str]]:
    mql = stages.get("mql") if isinstance(stages, Mapping) else None
    if isinstance(mql, Mapping) and "sla" in mql:
        yield ("stages", "mql", "sla"), "`sla` belongs to sql only: move it there"


def _rules(data: Mapping[str, Any]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    places: tuple[tuple[Path, object], ...] = (
        (("fit", "rules"), data["fit"].get("rules") if isinstance(data.get("fit"), Mapping) else None),
        (("engagement", "rules"), data["engagement"].get("rules") if isinstance(data.get("engagement"), Mapping) else None),
        (("velocity",), data.get("velocity")),
        (("exclusions",), data.get("exclusions")),
    )
    for path, rules in places:
        for i, rule in enumerate(rules if isinstance(rules, tuple) else ()):
            if isinstance(rule, Mapping):
                yield (*path, i), rule


def _mail_twice(mail: object) -> Iterator[tuple[Path, str]]:
    seen: dict[str, str] = {}
    for kind in ("free", "disposable", "business"):
        names = mail.get(kind) if isinstance(mail, Mapping) else None
        for i, name in enumerate(names if isinstance(names, tuple) else ()):
            if isinstance(name, str) and seen.setdefault(name.lower(), kind) != kind:
                yield ("mail", kind, i), f"{name} is also in `{seen[name.lower()]}`: keep one"
