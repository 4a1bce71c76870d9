"""A grid as a page that marketing and sales both read."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from typing import Final

from markdown_it import MarkdownIt

from worker.core.grid.labels import Labels
from worker.core.grid.lint import lint
from worker.core.grid.models import Grid
from worker.core.grid.velocity_kinds import KINDS
from worker.core.grid.words import (
    account_words,
    clamp_words,
    counted_words,
    duration,
    exclusion_words,
    explore_words,
    fading_words,
    fit_words,
    group_words,
    identity_words,
    inactivity_words,
    labels_of,
    number,
    on_words,
    points,
    prediction_words,
    sla_words,
    where_words,
)


def show_markdown(grid: Grid, language: str = "en") -> str:
    """Return *grid* as a Markdown page, with its labels in *language*."""
    return "\n".join(_page(grid, labels_of(grid, language)))


def show_html(grid: Grid, language: str = "en") -> str:
    """Return *grid* as one HTML page that needs nothing else (no script, no other file)."""
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(show_markdown(grid, language))
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


def _page(grid: Grid, labels: Labels) -> Iterator[str]:
    yield f"# Scoring grid {_text(grid.grid)}, version {grid.version}"
    yield ""
    yield (
        f"Score = fit (who they are, {clamp_words(grid.fit)}) + engagement (what they do, "
        f"{clamp_words(grid.engagement)}); together {clamp_words(grid.score)}. "
        f"Days begin at midnight in {_text(grid.timezone)}."
    )
    yield from _ladder(grid)
    yield from _phases(grid)
    yield from _rules(grid, labels)
    yield from _optional(grid)
    yield from _section(
        "Never called",
        ("exclusion", "when"),
        [(labels.rule(exclusion.id), exclusion_words(exclusion, labels.pages)) for exclusion in grid.exclusions],
        "Whatever the score. By what they are: while it is so; by what they did: from then on, or until what ends it.",
    )
    if grid.grades is not None:
        yield from _section(
            "Grades",
            ("fit", "from", "engagement", "from "),
            list(_side_by_side(grid.grades.fit, grid.grades.engagement)),
            "A letter for fit and a digit for engagement, as in A1; below every floor the lowest counts.",
        )
    yield from _section(
        "Kinds of page",
        ("page type", "paths"),
        [(labels.page(name), ", ".join(patterns)) for name, patterns in grid.pages.items()],
        "The path of a page is in its url's fragment, as in /app#/pricing." if grid.hash_routes else "",
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
    yield from ("", f"sha256 of the file without its labels: `{grid.sha256}`", "")


def _rules(grid: Grid, labels: Labels) -> Iterator[str]:
    yield from _section(
        "Who they are: fit, never fades",
        ("rule", "points", "when"),
        [(labels.rule(rule.id), fit_words(rule.points), where_words(rule.where)) for rule in grid.fit.rules],
    )
    yield from _section(
        "What they do: engagement",
        ("rule", "points", "for", "counted", "at most", "fades", "shows intent"),
        [
            (
                labels.rule(rule.id),
                points(rule.points),
                on_words(rule.on, rule.where, labels.pages),
                counted_words(rule),
                "" if rule.cap is None else number(rule.cap if rule.points >= 0 else -rule.cap),
                fading_words(rule),
                "yes" if rule.intent else "",
            )
            for rule in grid.engagement.rules
        ],
    )
    yield from _section(
        "Counted together",
        ("group", "rules", "together"),
        [(name, ", ".join(_rules_of(grid, name)), group_words(group)) for name, group in grid.groups.items()],
    )
    yield from _section(
        "How often: pace",
        ("rule", "points", "for", "counted"),
        [
            (
                labels.rule(velocity.id),
                ", ".join(f"{points(given)} from {number(reached)}" for reached, given in velocity.steps),
                on_words(velocity.on, velocity.where, labels.pages),
                f"{KINDS[velocity.count].words}, within {velocity.within_days} calendar day"
                + ("s" if velocity.within_days > 1 else ""),
            )
            for velocity in grid.velocity
        ],
        "The highest step reached counts, not the sum.",
    )


def _rules_of(grid: Grid, group: str) -> list[str]:
    named = [(rule.id, rule.group) for rule in grid.fit.rules] + [(rule.id, rule.group) for rule in grid.engagement.rules]
    return [id_ for id_, of in named if of == group]


def _optional(grid: Grid) -> Iterator[str]:
    if len(grid.inactivity) == 1:
        yield from ("", "## Silence", "", inactivity_words(grid.inactivity[0]))
    elif grid.inactivity:
        yield from (
            "",
            "## Silence",
            "",
            *(f"{n}. {inactivity_words(tier)}" for n, tier in enumerate(grid.inactivity, start=1)),
        )
        yield from ("", "The points of the tiers add up.")
    if grid.accounts is not None:
        yield from ("", "## Accounts", "", account_words(grid.accounts))
    if grid.identity is not None:
        yield from ("", "## Addresses", "", identity_words(grid.identity))
    if grid.explore is not None:
        yield from ("", "## Explored", "", f"{explore_words(grid.explore).capitalize()}, each once, chosen by its id.")
    if grid.prediction is not None:
        yield from ("", "## The chance to be won", "", f"It moves no stage. By {prediction_words(grid.prediction)}.")
    if grid.retention is not None:
        yield from ("", "## Retention", "", f"A contact of whom nothing was heard for {duration(grid.retention)} is removed.")


def _ladder(grid: Grid) -> Iterator[str]:
    rungs = [
        (
            name,
            number(rung.enter),
            number(rung.leave),
            "" if rung.min_fit is None else number(rung.min_fit),
            "" if rung.min_engagement is None else number(rung.min_engagement),
            "" if rung.intent_within is None else f"within {duration(rung.intent_within)}",
            sla_words(rung.sla),
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
    heads = ("stage", "score from", "left below", "fit at least", "engagement at least", "intent shown", "sales respond within")
    yield from _section("When a lead moves", heads, rungs, note)


def _phases(grid: Grid) -> Iterator[str]:
    yield from _section(
        "Buying phases",
        ("phase", "score from", "left below"),
        [(name, number(phase.enter), number(phase.leave)) for name, phase in grid.phases.items()],
        "For nurturing, beside the stages. A phase stands still while the lead is excluded, an opportunity or a client.",
    )


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


def _side_by_side(left: Sequence[tuple[str, float]], right: Sequence[tuple[str, float]]) -> Iterator[tuple[str, str, str, str]]:
    for i in range(max(len(left), len(right))):
        fit, floor = (left[i][0], number(left[i][1])) if i < len(left) else ("", "")
        did, least = (right[i][0], number(right[i][1])) if i < len(right) else ("", "")
        yield fit, floor, did, least
