"""Checks of a grid that no single value shows. They read the data as written, so they also speak when a value is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic_core import PydanticCustomError

from worker.core.grid.counting import one_way
from worker.core.grid.messages import shown_path
from worker.core.grid.values import did_you_mean, is_points, within_days
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
        if path[0] == "exclusions" and "until" in rule and "on" not in rule:
            yield (*path, "until"), "`until` needs `on`: what traits exclude ends when the traits change"
        if path[0] == "engagement":
            yield from _decay(path, rule)
            yield from _swapped_limits((*path, "weigh"), rule.get("weigh"))
    yield from _groups(data)
    for name in ("score", "fit", "engagement"):
        yield from _swapped_limits((name,), data.get(name))
    yield from _decay(("engagement",), data.get("engagement"))
    yield from _inactivity_above_zero(data.get("inactivity"))
    yield from _sla_of_mql(data.get("stages"))
    yield from _mail_twice(data.get("mail"))
    yield from _explore_without_sql(data)


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
        yield (*path, "within"), f"what `{count}` counts is kept for {limit} days: write at most {limit}d"


def _swapped_limits(path: Path, section: object) -> Iterator[tuple[Path, str]]:
    if isinstance(section, Mapping):
        low, high = section.get("min"), section.get("max")
        if is_points(low) and is_points(high) and low > high:
            yield (*path, "min"), f"min {low:g} is above max {high:g}: swap them"


def _decay(path: Path, level: object) -> Iterator[tuple[Path, str]]:
    if not isinstance(level, Mapping) or "decay" not in level:
        return
    if "half_life" in level:
        yield (*path, "decay"), "`decay` and `half_life` stand side by side: keep one"
    if isinstance(level["decay"], Mapping) and (message := one_way(level["decay"])):
        yield (*path, "decay"), message


def _groups(data: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    groups = data.get("groups")
    for name, group in groups.items() if isinstance(groups, Mapping) else ():
        if isinstance(group, Mapping) and ("cap" in group) == ("best" in group):
            yield ("groups", name), "write exactly one of `cap: POINTS` and `best: true`"
    first: dict[str, str] = {}
    for path, rule in _rules(data):
        name, section = rule.get("group"), str(path[0])
        if not isinstance(name, str) or section not in ("fit", "engagement"):
            continue
        if not isinstance(groups, Mapping) or name not in groups:
            hint = did_you_mean(name, groups) if isinstance(groups, Mapping) else ""
            yield (*path, "group"), f"no group {name!r} in `groups`{hint}: add it, as in groups: {{{name}: {{cap: 20}}}}"
        if first.setdefault(name, section) != section:
            yield (*path, "group"), f"the group {name!r} has rules of {first[name]} already: fit and engagement have their own"


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


def _explore_without_sql(data: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """What is explored lies below the threshold of SQL."""
    explore, stages = data.get("explore"), data.get("stages")
    if not isinstance(explore, Mapping):
        return
    sql = stages.get("sql") if isinstance(stages, Mapping) else None
    enter = sql.get("enter") if isinstance(sql, Mapping) else None
    if sql is None:
        yield ("explore",), "`explore` hands over below the threshold of SQL: add `stages: {sql: {enter: 75}}`"
    elif is_points(enter) and is_points(explore.get("from")) and explore["from"] >= enter:
        yield ("explore", "from"), f"leads from {enter:g} on are SQL already: write a score below {enter:g}"


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
