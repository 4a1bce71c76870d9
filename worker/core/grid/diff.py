"""What changes between two grids, and which rules need their past replayed.

Points, caps, clamps, steps and thresholds are applied when a score is read. They are in force at once, for the past too.
Only a rule that counts differently needs its past replayed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from worker.core.grid.models import Exclusion, FitRule, Grid, Inactivity, Rule, Velocity
from worker.core.grid.stage_models import Phase, Rung
from worker.core.grid.velocity_kinds import KINDS
from worker.core.grid.words import (
    account_words,
    clamp_words,
    counted_once,
    decay_words,
    duration,
    exclusion_words,
    explore_words,
    fit_words,
    group_words,
    identity_words,
    inactivity_words,
    label_words,
    number,
    points,
    prediction_words,
    sla_words,
    weigh_words,
    where_words,
)


class Replayed(NamedTuple):
    """A rule whose past the new grid would count otherwise than the state holds it."""

    kind: Literal["rule", "velocity", "exclusion"]
    id: str
    why: str


def replayed(old: Grid, new: Grid) -> list[Replayed]:
    """Return the rules of *new* whose past is held otherwise, or not at all, when *old* counted it."""
    return list(_replayed(old, new))


def _replayed(old: Grid, new: Grid) -> Iterator[Replayed]:
    before = {rule.id: _counted(rule) for rule in _counting(old)}
    held = {tuple(counted.items()) for counted in before.values()}
    for rule in _counting(new):
        counted = _counted(rule)
        if tuple(counted.items()) not in held:
            was = before.get(rule.id)
            # A new exclusion by traits has no past: traits are judged as they are.
            why = None if was is None and rule.on is None else _why_counted_anew(was, counted)
        else:
            why = _why_read_anew(rule, old, new)
        if why is not None:
            yield Replayed(counted["kind"], rule.id, why)


def _why_read_anew(rule: Rule | Velocity | Exclusion, old: Grid, new: Grid) -> str | None:
    """Say why the past of a rule that is itself the same is held otherwise."""
    if "page.viewed" in (rule.on or ()) and _asks_page_type(rule):
        if old.pages != new.pages or list(old.pages) != list(new.pages):
            return "it asks for a page type, and `pages` changes"
        if old.hash_routes != new.hash_routes and new.pages:
            return "it asks for a page type, and `hash_routes` changes what the path is"
    if old.timezone != new.timezone and _counts_days(rule):
        return "it counts days, and `timezone` changes where they begin"
    return None


def _counts_days(rule: Rule | Velocity | Exclusion) -> bool:
    return isinstance(rule, Velocity) or (isinstance(rule, Rule) and "day" in counted_once(rule))


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
            return {
                "kind": "rule",
                **what,
                "once_per": tuple(sorted(counted_once(rule))),
                "half_life": rule.half_life,
                "weigh": repr(rule.weigh),
                "decay": _kind_of_decay(rule),
            }
        case Velocity():
            return {"kind": "velocity", **what, "count": KINDS[rule.count].kept}
        case Exclusion():
            return {"kind": "exclusion", **what, "until": None if rule.until is None else tuple(sorted(rule.until))}


def _kind_of_decay(rule: Rule) -> str:
    """Return how occurrences fade one by one; empty where their sum fades. How long that takes is applied when it is read."""
    if rule.decay is None:
        return ""
    return "linear" if rule.decay.linear is not None else "window"


def _asks_page_type(rule: Rule | Velocity | Exclusion) -> bool:
    asked = {condition.path for condition in rule.where.conditions} if rule.where is not None else set()
    return "page_type" in asked or (isinstance(rule, Rule) and "page_type" in counted_once(rule))


class Change(NamedTuple):
    """One thing that differs. *before* and *after* are in words; empty where it is not there."""

    change: Literal["added", "removed", "changed"]
    path: str
    """`engagement.pricing-page.points`: rules are named by id, so that moving one changes nothing."""
    before: str
    after: str

    def __str__(self) -> str:
        match self.change:
            case "added":
                return f"{self.path} is new: {self.after}"
            case "removed":
                return f"{self.path} is gone; it was {self.before}"
            case _:
                return f"{self.path}: {self.before or 'nothing'} → {self.after or 'nothing'}"


class Difference(NamedTuple):
    """What changes from one grid to another."""

    changes: list[Change]
    replay: list[Replayed]


def compare(old: Grid, new: Grid) -> Difference:
    """Return what changes from *old* to *new*, and which rules need their past replayed.

    Counts are kept as the old grid counted them. See `Replayed`.
    """
    return Difference(list(_changes(old, new)), replayed(old, new))


def _changes(old: Grid, new: Grid) -> Iterator[Change]:
    yield from _fields("", _head(old), _head(new))
    for section, rules in (
        ("pages", lambda grid: {name: {"paths": ", ".join(patterns)} for name, patterns in grid.pages.items()}),
        ("fit", lambda grid: {rule.id: _fit_fields(rule) for rule in grid.fit.rules}),
        ("engagement", lambda grid: {rule.id: _rule_fields(rule) for rule in grid.engagement.rules}),
        ("groups", lambda grid: {name: {"together": group_words(group)} for name, group in grid.groups.items()}),
        ("velocity", lambda grid: {velocity.id: _velocity_fields(velocity) for velocity in grid.velocity}),
        (
            "exclusions",
            lambda grid: {
                rule.id: {"when": exclusion_words(rule), "label": label_words(rule.label)} for rule in grid.exclusions
            },
        ),
        ("phases", lambda grid: {name: _phase_fields(phase) for name, phase in grid.phases.items()}),
    ):
        yield from _by_name(section, rules, old, new)
    yield from _fields("labels.", *({name: label_words(label) for name, label in grid.labels.items()} for grid in (old, new)))
    if list(old.pages) != list(new.pages) and sorted(old.pages) == sorted(new.pages):
        yield Change("changed", "pages", "order " + ", ".join(old.pages), "order " + ", ".join(new.pages))


def _by_name(section: str, rules: Callable[[Grid], dict[str, dict[str, str]]], old: Grid, new: Grid) -> Iterator[Change]:
    before, after = rules(old), rules(new)
    for name in before:
        if name not in after:
            yield Change("removed", f"{section}.{name}", _all_words(before[name]), "")
    for name, fields in after.items():
        if name not in before:
            yield Change("added", f"{section}.{name}", "", _all_words(fields))
        else:
            yield from _fields(f"{section}.{name}.", before[name], fields)


def _fields(prefix: str, before: dict[str, str], after: dict[str, str]) -> Iterator[Change]:
    for name in {**before, **after}:
        was, becomes = before.get(name, ""), after.get(name, "")
        if was != becomes:
            yield Change("changed", prefix + name, was, becomes)


def _all_words(fields: dict[str, str]) -> str:
    return "; ".join(f"{name} {words}" for name, words in fields.items() if words)


def _head(grid: Grid) -> dict[str, str]:
    fields = {
        "grid": grid.grid,
        "version": str(grid.version),
        "timezone": grid.timezone,
        "hash_routes": "yes" if grid.hash_routes else "",
        "traits": ", ".join(grid.traits),
        "score": clamp_words(grid.score),
        "fit": clamp_words(grid.fit),
        "engagement": clamp_words(grid.engagement),
        **{f"inactivity{place}": inactivity_words(tier).removesuffix(".") for place, tier in _places(grid)},
        "stages.quiet": duration(grid.stages.quiet) if grid.stages.quiet else "",
        "accounts": "" if grid.accounts is None else account_words(grid.accounts).removesuffix("."),
        "identity": "" if grid.identity is None else identity_words(grid.identity).removesuffix("."),
        "explore": explore_words(grid.explore),
        "prediction": prediction_words(grid.prediction),
        "retention": duration(grid.retention) if grid.retention is not None else "",
    }
    for name, rung in (("mql", grid.stages.mql), ("sql", grid.stages.sql)):
        fields |= {f"stages.{name}.{field}": words for field, words in _rung_fields(rung).items()}
    grades = grid.grades
    fields["grades.fit"] = "" if grades is None else _bands(grades.fit)
    fields["grades.engagement"] = "" if grades is None else _bands(grades.engagement)
    fields |= {f"mail.{kind}": ", ".join(getattr(grid.mail, kind)) for kind in ("free", "disposable", "business")}
    return fields


def _places(grid: Grid) -> Iterator[tuple[str, Inactivity]]:
    """Yield the tiers of inactivity, each with its place as mistakes show it; a lone one has none."""
    for place, tier in enumerate(grid.inactivity):
        yield (f"[{place}]" if len(grid.inactivity) > 1 else ""), tier


def _rung_fields(rung: Rung | None) -> dict[str, str]:
    if rung is None:
        return {}
    return {
        "enter": number(rung.enter),
        "leave": number(rung.leave),
        "min_fit": "" if rung.min_fit is None else number(rung.min_fit),
        "min_engagement": "" if rung.min_engagement is None else number(rung.min_engagement),
        "intent_within": "" if rung.intent_within is None else duration(rung.intent_within),
        "sla": sla_words(rung.sla),
    }


def _phase_fields(phase: Phase) -> dict[str, str]:
    return {"enter": number(phase.enter), "leave": number(phase.leave)}


def _bands(bands: Iterable[tuple[str, float]]) -> str:
    return ", ".join(f"{name} from {number(floor)}" for name, floor in bands)


def _fit_fields(rule: FitRule) -> dict[str, str]:
    return {
        "points": fit_words(rule.points),
        "where": where_words(rule.where),
        "group": rule.group or "",
        "label": label_words(rule.label),
    }


def _rule_fields(rule: Rule) -> dict[str, str]:
    return {
        "points": points(rule.points),
        "on": " or ".join(sorted(rule.on)),
        "where": where_words(rule.where),
        "once_per": " and ".join(counted_once(rule)),
        "weigh": "" if rule.weigh is None else weigh_words(rule.weigh),
        "half_life": "" if rule.half_life is None else duration(rule.half_life),
        "decay": "" if rule.decay is None else decay_words(rule.decay),
        "cap": "" if rule.cap is None else number(rule.cap),
        "expires_after": "" if rule.expires_after is None else duration(rule.expires_after),
        "intent": "yes" if rule.intent else "",
        "group": rule.group or "",
        "label": label_words(rule.label),
    }


def _velocity_fields(velocity: Velocity) -> dict[str, str]:
    return {
        "on": " or ".join(sorted(velocity.on)),
        "where": where_words(velocity.where),
        "count": velocity.count,
        "within": f"{velocity.within_days} days",
        "steps": ", ".join(f"{points(given)} from {number(reached)}" for reached, given in velocity.steps),
        "label": label_words(velocity.label),
    }
