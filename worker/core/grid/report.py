"""A grid in words: the page that marketing and sales both read, and what changes between two grids."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Literal, NamedTuple

from markdown_it import MarkdownIt

from worker.core.grid.conditions import Condition, Where
from worker.core.grid.diff import Replayed, replayed
from worker.core.grid.lint import lint
from worker.core.grid.models import (
    DAY_MS,
    Accounts,
    Clamp,
    Exclusion,
    FitRule,
    Grid,
    Identity,
    Inactivity,
    Rule,
    Rung,
    Velocity,
)
from worker.core.grid.velocity_kinds import KINDS

_UNITS: Final = ((DAY_MS, "day"), (3_600_000, "hour"), (60_000, "minute"), (1_000, "second"))


# --- words -----------------------------------------------------------------------------------------------------------


def number(value: float) -> str:
    """Return a number without a needless fraction, with a true minus sign."""
    text = f"{value:.10g}" if abs(value) < 1e9 else f"{value:g}"
    return text.replace("-", "−")


def points(value: float) -> str:
    """Return points with their sign: `+8`, `−15`."""
    return ("+" if value > 0 else "") + number(value)


def duration(ms: int | None) -> str:
    """Return ms in the largest whole unit, as in `14 days`; `None` is `never`."""
    if ms is None:
        return "never"
    for size, unit in _UNITS:
        if ms % size == 0 and ms >= size:
            return f"{ms // size} {unit}{'s' if ms != size else ''}"
    return f"{ms} ms"


def where_words(where: Where | None) -> str:
    """Return what a `where` asks, as a sentence part; empty for none."""
    asked: dict[str, list[str]] = {}
    for condition in where.conditions if where is not None else ():
        asked.setdefault(condition.path, []).append(_condition_words(condition))
    return " and ".join(f"{path} {' and '.join(words)}" for path, words in asked.items())


def _condition_words(condition: Condition) -> str:
    _, op, value = condition
    match op:
        case "eq":
            return f"is {_value(value)}"
        case "in":
            return f"is {_any_of(value)}"
        case "not":
            return f"is there and not {_any_of(value)}"
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


def _clamp_words(clamp: Clamp) -> str:
    match clamp.min, clamp.max:
        case None, None:
            return "without limits"
        case None, float(high):
            return f"at most {number(high)}"
        case float(low), None:
            return f"at least {number(low)}"
        case low, high:
            return f"from {number(low or 0.0)} to {number(high or 0.0)}"


def _counted_words(rule: Rule) -> str:
    match rule.once_per:
        case "event":
            return "each time"
        case "day":
            return "once a day"
        case "lead":
            return "once for ever"
        case path:
            return f"once per {path}"


def _fading_words(rule: Rule) -> str:
    parts = []
    if rule.half_life is not None:
        left = 2 ** (-30 * DAY_MS / rule.half_life)
        parts.append(f"half after {duration(rule.half_life)} ({left:.0%} after 30 days)")
    if rule.expires_after is not None:
        parts.append(f"gone {duration(rule.expires_after)} after the latest")
    return ", ".join(parts) or "never"


# --- the page --------------------------------------------------------------------------------------------------------


def show_markdown(grid: Grid) -> str:
    """Return *grid* as a Markdown page."""
    return "\n".join(_page(grid))


def show_html(grid: Grid) -> str:
    """Return *grid* as one HTML page that needs nothing else (no script, no other file)."""
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(show_markdown(grid))
    title = html.escape(f"Scoring grid {grid.grid}, version {grid.version}")
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{title}</title>\n'
        f"<style>{_CSS}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )


_CSS: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;color:#1a1a1a;background:#fff;margin:0}"
    "main{max-width:64rem;margin:0 auto;padding:1.5rem}"
    "table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem}"
    "th,td{text-align:left;vertical-align:top;padding:.35rem .6rem;border-bottom:1px solid #ddd;overflow-wrap:anywhere}"
    "th{border-bottom:2px solid #888}code{background:#f3f3f3;padding:0 .2em}@media print{main{max-width:none}}"
)


def _page(grid: Grid) -> Iterator[str]:
    yield f"# Scoring grid {_text(grid.grid)}, version {grid.version}"
    yield ""
    yield (
        f"Score = fit (who they are, {_clamp_words(grid.fit)}) + engagement (what they do, "
        f"{_clamp_words(grid.engagement)}); together {_clamp_words(grid.score)}. "
        f"Days begin at midnight in {_text(grid.timezone)}."
    )
    yield from _ladder(grid)
    yield from _section(
        "Who they are: fit, never fades",
        ("rule", "points", "when"),
        [(rule.id, points(rule.points), where_words(rule.where)) for rule in grid.fit.rules],
    )
    yield from _section(
        "What they do: engagement",
        ("rule", "points", "for", "counted", "at most", "fades", "shows intent"),
        [
            (
                rule.id,
                points(rule.points),
                _for(rule.on, rule.where),
                _counted_words(rule),
                "" if rule.cap is None else number(rule.cap if rule.points >= 0 else -rule.cap),
                _fading_words(rule),
                "yes" if rule.intent else "",
            )
            for rule in grid.engagement.rules
        ],
    )
    yield from _section(
        "How often: pace",
        ("rule", "points", "for", "counted"),
        [
            (
                pace.id,
                ", ".join(f"{points(given)} from {number(reached)}" for reached, given in pace.steps),
                _for(pace.on, pace.where),
                f"{KINDS[pace.count].words}, within {pace.within_days} calendar day{'s' if pace.within_days > 1 else ''}",
            )
            for pace in grid.velocity
        ],
        "The highest step reached counts, not the sum.",
    )
    if grid.inactivity is not None:
        yield from ("", "## Silence", "", _silence(grid.inactivity))
    if grid.accounts is not None:
        yield from ("", "## Accounts", "", _account_words(grid.accounts))
    if grid.identity is not None:
        yield from ("", "## Addresses", "", _identity_words(grid.identity))
    if grid.retention is not None:
        yield from ("", "## Retention", "", f"A contact of whom nothing was heard for {duration(grid.retention)} is removed.")
    yield from _section(
        "Never called",
        ("exclusion", "when"),
        [(exclusion.id, _excludes(exclusion)) for exclusion in grid.exclusions],
        "Whatever the score. By what they are: while it is so; by what they did: from then on.",
    )
    if grid.grades is not None:
        yield from _section(
            "Grades",
            ("fit", "from", "engagement", "from "),
            list(_side_by_side(grid.grades.fit, grid.grades.engagement)),
            "A letter for fit and a digit for engagement, as in A1; below every floor the lowest counts.",
        )
    yield from _section(
        "Kinds of page", ("page type", "paths"), [(name, ", ".join(patterns)) for name, patterns in grid.pages.items()]
    )
    lists = [("free", grid.mail.free), ("disposable", grid.mail.disposable), ("business", grid.mail.business)]
    yield from _section(
        "Mail domains of our own",
        ("kind", "domains"),
        [(kind, ", ".join(domains)) for kind, domains in lists if domains],
        "Beside the kept-up lists of free and disposable domains.",
    )
    yield from _section(
        "Warnings",
        ("line", "where", "what"),
        [(str(one.line), one.path or "the whole grid", one.message) for one in lint(grid)],
    )
    yield from ("", f"sha256 of the file: `{grid.sha256}`", "")


def _ladder(grid: Grid) -> Iterator[str]:
    rungs = [
        (
            name,
            number(rung.enter),
            number(rung.leave),
            "" if rung.min_fit is None else number(rung.min_fit),
            "" if rung.intent_within is None else f"within {duration(rung.intent_within)}",
            "" if rung.sla is None else duration(rung.sla),
        )
        for name, rung in (("MQL", grid.stages.mql), ("SQL", grid.stages.sql))
        if rung is not None
    ]
    note = ""
    if grid.stages.quiet:
        note = (
            f"Nobody is announced twice under one name within {duration(grid.stages.quiet)}; a lead that sales rejected or "
            "lost stays off the ladder that long, and until active again."
        )
    heads = ("stage", "score from", "left below", "fit at least", "intent shown", "sales respond within")
    yield from _section("When a lead moves", heads, rungs, note)


def _account_words(accounts: Accounts) -> str:
    least = f"at least {accounts.min_leads} " if accounts.min_leads > 1 else ""
    roles = f", {' and '.join(accounts.roles)} among them," if accounts.roles else ""
    return (
        f"Leads with the same company.domain make an account. It is hot when {least}leads at {number(accounts.active)} or "
        f"more{roles} come to {number(accounts.enter)}, and cools below {number(min(accounts.leave, accounts.enter))}; each "
        f"tells it when its score has moved by {number(accounts.step)}."
    )


def _identity_words(identity: Identity) -> str:
    link = " What comes for email:ADDRESS is that of the one lead with this address." if identity.email == "link" else ""
    return f"A lead with an address that another has is reported, and merged with nobody.{link}"


def _section(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> Iterator[str]:
    if not rows:
        return
    yield from ("", f"## {title}", "")
    yield "| " + " | ".join(heads) + " |"
    yield "|" + " --- |" * len(heads)
    for row in rows:
        yield "| " + " | ".join(map(_text, row)) + " |"
    if note:
        yield from ("", note)


def _text(words: str) -> str:
    """Return *words* so that Markdown shows them as they are, in a table's cell too."""
    return re.sub(r"([\\`*_{}\[\]<>#|~!&])", r"\\\1", " ".join(words.split()))


def _for(on: Iterable[str], where: Where | None) -> str:
    asked = where_words(where)
    return " or ".join(on) + (f", {asked}" if asked else "")


def _silence(rule: Inactivity) -> str:
    again = f" and {points(rule.points)} every {duration(rule.every)} after that" if rule.every is not None else ""
    floor = f", at least {number(rule.min)} in all" if rule.min is not None else ""
    when = duration(rule.after) if rule.after else "no time"
    return f"{points(rule.points)} once the lead has done nothing for {when}{again}{floor}."


def _excludes(rule: Exclusion) -> str:
    return _for(rule.on, rule.where) if rule.on is not None else where_words(rule.where)


def _side_by_side(left: Sequence[tuple[str, float]], right: Sequence[tuple[str, float]]) -> Iterator[tuple[str, str, str, str]]:
    for i in range(max(len(left), len(right))):
        fit, floor = (left[i][0], number(left[i][1])) if i < len(left) else ("", "")
        did, least = (right[i][0], number(right[i][1])) if i < len(right) else ("", "")
        yield fit, floor, did, least


# --- the difference --------------------------------------------------------------------------------------------------


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

    Points, caps, clamps, steps and thresholds are applied when a score is read: they are in force at once, for the past too.
    What is *counted* is kept as it was counted: see `Replayed`.
    """
    return Difference(list(_changes(old, new)), replayed(old, new))


def _changes(old: Grid, new: Grid) -> Iterator[Change]:
    yield from _fields("", _head(old), _head(new))
    for section, rules in (
        ("pages", lambda grid: {name: {"paths": ", ".join(patterns)} for name, patterns in grid.pages.items()}),
        ("fit", lambda grid: {rule.id: _fit_fields(rule) for rule in grid.fit.rules}),
        ("engagement", lambda grid: {rule.id: _rule_fields(rule) for rule in grid.engagement.rules}),
        ("velocity", lambda grid: {pace.id: _pace_fields(pace) for pace in grid.velocity}),
        ("exclusions", lambda grid: {rule.id: {"when": _excludes(rule)} for rule in grid.exclusions}),
    ):
        yield from _by_name(section, rules, old, new)
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
        "score": _clamp_words(grid.score),
        "fit": _clamp_words(grid.fit),
        "engagement": _clamp_words(grid.engagement),
        "inactivity": "" if grid.inactivity is None else _silence(grid.inactivity).removesuffix("."),
        "stages.quiet": duration(grid.stages.quiet) if grid.stages.quiet else "",
        "accounts": "" if grid.accounts is None else _account_words(grid.accounts).removesuffix("."),
        "identity": "" if grid.identity is None else _identity_words(grid.identity).removesuffix("."),
        "retention": duration(grid.retention) if grid.retention is not None else "",
    }
    for name, rung in (("mql", grid.stages.mql), ("sql", grid.stages.sql)):
        fields |= {f"stages.{name}.{field}": words for field, words in _rung_fields(rung).items()}
    grades = grid.grades
    fields["grades.fit"] = "" if grades is None else _bands(grades.fit)
    fields["grades.engagement"] = "" if grades is None else _bands(grades.engagement)
    fields |= {f"mail.{kind}": ", ".join(getattr(grid.mail, kind)) for kind in ("free", "disposable", "business")}
    return fields


def _rung_fields(rung: Rung | None) -> dict[str, str]:
    if rung is None:
        return {}
    return {
        "enter": number(rung.enter),
        "leave": number(rung.leave),
        "min_fit": "" if rung.min_fit is None else number(rung.min_fit),
        "intent_within": "" if rung.intent_within is None else duration(rung.intent_within),
        "sla": "" if rung.sla is None else duration(rung.sla),
    }


def _bands(bands: Iterable[tuple[str, float]]) -> str:
    return ", ".join(f"{name} from {number(floor)}" for name, floor in bands)


def _fit_fields(rule: FitRule) -> dict[str, str]:
    return {"points": points(rule.points), "where": where_words(rule.where)}


def _rule_fields(rule: Rule) -> dict[str, str]:
    return {
        "points": points(rule.points),
        "on": " or ".join(sorted(rule.on)),
        "where": where_words(rule.where),
        "once_per": rule.once_per,
        "half_life": "" if rule.half_life is None else duration(rule.half_life),
        "cap": "" if rule.cap is None else number(rule.cap),
        "expires_after": "" if rule.expires_after is None else duration(rule.expires_after),
        "intent": "yes" if rule.intent else "",
    }


def _pace_fields(pace: Velocity) -> dict[str, str]:
    return {
        "on": " or ".join(sorted(pace.on)),
        "where": where_words(pace.where),
        "count": pace.count,
        "within": f"{pace.within_days} days",
        "steps": ", ".join(f"{points(given)} from {number(reached)}" for reached, given in pace.steps),
    }
