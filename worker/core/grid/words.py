"""A grid's parts in words, for pages, differences and explanations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from worker.core.grid.conditions import Condition, Where
from worker.core.grid.counting import Decay, Group, Weigh
from worker.core.grid.labels import NO_LABELS, Label, Labels, in_language
from worker.core.grid.models import Accounts, Clamp, Exclusion, FitRule, GridFile, Identity, Inactivity, Rule, Velocity
from worker.core.grid.open_hours import date_words, days_words, time_words
from worker.core.grid.point_tables import FitPoints, PointsTable
from worker.core.grid.prediction import Prediction, model_mark
from worker.core.grid.stage_models import Explore, Sla
from worker.core.grid.values import DAY_MS, duration_ms

_UNITS: Final = ((DAY_MS, "day"), (3_600_000, "hour"), (60_000, "minute"), (1_000, "second"))


def number(value: float) -> str:
    """Return a number without a needless fraction, with a true minus sign."""
    text = f"{value:.10g}" if abs(value) < 1e9 else f"{value:g}"
    return text.replace("-", "−")


def points(value: float) -> str:
    """Return points with their sign: `+8`, `−15`."""
    return ("+" if value > 0 else "") + number(value)


def fit_words(given: FitPoints) -> str:
    """Return what a fit rule gives: points, or a table with what each row gives."""
    if not isinstance(given, PointsTable):
        return points(given)
    sign = "from " if given.bands else ""
    rows = [f"{sign}{_value(row.condition.value)} {points(row.points)}" for row in given.rows]
    otherwise = [f"else {points(given.otherwise)}"] if given.otherwise else []
    return f"by {given.path}: {', '.join(rows + otherwise)}"


def duration(ms: int | None) -> str:
    """Return ms in the largest whole unit, as in `14 days`; `None` is `never`."""
    if ms is None:
        return "never"
    for size, unit in _UNITS:
        if ms % size == 0 and ms >= size:
            return f"{ms // size} {unit}{'s' if ms != size else ''}"
    return f"{ms} ms"


def where_words(where: Where | None, pages: Mapping[str, str] = NO_LABELS) -> str:
    """Return what a `where` asks, as a sentence part; empty for none. *pages* has what people call page types."""
    asked: dict[str, list[str]] = {}
    for condition in where.conditions if where is not None else ():
        asked.setdefault(condition.path, []).append(_condition_words(_with_labels(condition, pages)))
    return " and ".join(f"{path} {' and '.join(words)}" for path, words in asked.items())


def _with_labels(condition: Condition, pages: Mapping[str, str]) -> Condition:
    value = condition.value
    if condition.path != "page_type" or condition.op not in ("eq", "in", "not"):
        return condition
    if isinstance(value, tuple):
        return condition._replace(value=tuple(pages.get(str(one), one) for one in value))
    return condition._replace(value=pages.get(str(value), value))


def _condition_words(condition: Condition) -> str:
    _, op, value = condition
    match op:
        case "eq":
            return f"is {_value(value)}"
        case "in":
            return f"is {_any_of(value)}"
        case "not":
            return f"is there and not {_any_of(value)}"
        case "words":
            return f"has the word {_any_of(value)}"
        case "matches":
            return f"matches /{value}/"
        case "exists":
            return f"is {'filled in' if value else 'missing'}"
        case _:
            sign = {"gt": "above", "gte": "at least", "lt": "below", "lte": "at most"}[op]
            return f"is {sign} {_value(value)}"


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return number(value)
    # A string that looks like something else is shown as what it is.
    text = str(value)
    return f'"{text}"' if not text or re.fullmatch(r"[-+0-9.eE\s]+|true|false", text) else text


def _any_of(value: object) -> str:
    values = value if isinstance(value, tuple) else (value,)
    return " or ".join(map(_value, values))


def clamp_words(clamp: Clamp) -> str:
    """Return the limits of a sum."""
    match clamp.min, clamp.max:
        case None, None:
            return "without limits"
        case None, float(high):
            return f"at most {number(high)}"
        case float(low), None:
            return f"at least {number(low)}"
        case low, high:
            return f"from {number(low or 0.0)} to {number(high or 0.0)}"


def counted_once(rule: Rule) -> tuple[str, ...]:
    """Return the words and paths of a rule's `once_per`."""
    return (rule.once_per,) if isinstance(rule.once_per, str) else rule.once_per


def counted_words(rule: Rule) -> str:
    """Return how often a rule counts, and how much."""
    match counted_once(rule):
        case ("event",):
            counted = "each time"
        case ("day",):
            counted = "once a day"
        case ("lead",):
            counted = "once for ever"
        case words:
            paths = " and ".join(word for word in words if word not in ("day", "lead"))
            counted = f"once {'a day ' if 'day' in words else ''}per {paths}" if paths else "once a day"
    return counted if rule.weigh is None else f"{counted}, weighed by {weigh_words(rule.weigh)}"


def weigh_words(weigh: Weigh) -> str:
    """Return what an event counts by its data."""
    times = "" if weigh.times == 1 else f" × {number(weigh.times)}"
    return f"{weigh.path}{times}, from {number(weigh.min)} to {number(weigh.max)}"


def decay_words(decay: Decay) -> str:
    """Return how an event fades by itself."""
    if decay.linear is not None:
        return f"in a straight line, to nothing after {duration(decay.linear)}"
    if decay.window is not None:
        return f"whole for {duration(decay.window)}, then nothing"
    return f"half after {duration(decay.half_life)}"


def group_words(group: Group) -> str:
    """Return what the rules of a group are worth together."""
    return "only the greatest counts" if group.cap is None else f"from −{number(group.cap)} to {number(group.cap)} together"


def fading_words(rule: Rule) -> str:
    """Return how a rule's sum decays."""
    parts = []
    if rule.half_life is not None:
        left = 2 ** (-30 * DAY_MS / rule.half_life)
        parts.append(f"half after {duration(rule.half_life)} ({left:.0%} after 30 days)")
    if rule.decay is not None:
        parts.append(decay_words(rule.decay))
    if rule.expires_after is not None:
        parts.append(f"gone {duration(rule.expires_after)} after the latest")
    return ", ".join(parts) or "never"


def account_words(accounts: Accounts) -> str:
    """Return when an account is hot, in two sentences."""
    least = f"at least {accounts.min_leads} " if accounts.min_leads > 1 else ""
    roles = f", {' and '.join(accounts.roles)} among them," if accounts.roles else ""
    return (
        f"Leads with the same company.domain make an account. It is hot when {least}leads at {number(accounts.active)} or "
        f"more{roles} come to {number(accounts.enter)}, and cools below {number(min(accounts.leave, accounts.enter))}; each "
        f"tells it when its score has moved by {number(accounts.step)}."
    )


def identity_words(identity: Identity) -> str:
    """Return what a shared address does."""
    link = " What comes for email:ADDRESS is that of the one lead with this address." if identity.email == "link" else ""
    return f"A lead with an address that another has is reported, and merged with nobody.{link}"


def explore_words(explore: Explore | None) -> str:
    """Return which leads below the threshold of SQL are handed over too; empty for none."""
    if explore is None:
        return ""
    return f"{number(100 * explore.share)} % of the leads from {number(explore.from_)} on are handed over below SQL too"


def prediction_words(prediction: Prediction | None) -> str:
    """Return which model a grid has, and what it was trained on; empty for none."""
    model = None if prediction is None else prediction.model
    if model is None:
        return ""
    trained = model.trained
    return (
        f"model {model_mark(model)} of {len(model.features)} signals, for {duration(duration_ms(model.horizon))}, trained on"
        f" {trained.leads:,} leads, {trained.won:,} of them won"
    )


def sla_words(sla: Sla | None) -> str:
    """Return the time that sales have, and when it counts; empty for none."""
    if sla is None:
        return ""
    hours = sla.hours
    if hours is None:
        return duration(sla.within)
    off = f", not on {', '.join(map(date_words, hours.off))}" if hours.off else ""
    return f"{duration(sla.within)} of {days_words(hours.days)} {time_words(hours.from_)} to {time_words(hours.to)}{off}"


def on_words(on: Iterable[str], where: Where | None, pages: Mapping[str, str] = NO_LABELS) -> str:
    """Return which events match: types and conditions. *pages* has what people call page types."""
    asked = where_words(where, pages)
    return " or ".join(on) + (f", {asked}" if asked else "")


def inactivity_words(rule: Inactivity) -> str:
    """Return what inactivity takes off, as a sentence."""
    again = f" and {points(rule.points)} every {duration(rule.every)} after that" if rule.every is not None else ""
    floor = f", at least {number(rule.min)} in all" if rule.min is not None else ""
    when = duration(rule.after) if rule.after else "no time"
    return f"{points(rule.points)} once the lead has done nothing for {when}{again}{floor}."


def labels_of(grid: GridFile, language: str) -> Labels:
    """Return what people call the parts of *grid* in *language*, or in the language that a label has."""
    rules: list[FitRule | Rule | Velocity | Exclusion] = [
        *grid.fit.rules, *grid.engagement.rules, *grid.velocity, *grid.exclusions
    ]  # fmt: skip
    return Labels(in_language({rule.id: rule.label for rule in rules}, language), in_language(grid.labels, language))


def label_words(label: Label | None) -> str:
    """Return a label in all its languages; empty for none."""
    return ", ".join(f"{language}: {text}" if language else text for language, text in (label or {}).items())


def exclusion_words(rule: Exclusion, pages: Mapping[str, str] = NO_LABELS) -> str:
    """Return what excludes a lead, and what ends it. *pages* has what people call page types."""
    if rule.on is None:
        return where_words(rule.where)
    until = f", until {' or '.join(rule.until)}" if rule.until is not None else ""
    return on_words(rule.on, rule.where, pages) + until
