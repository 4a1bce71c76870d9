"""What a sound grid avoids: the classic ways in which lead scoring goes wrong, found before sales find them.

A lint is no mistake: the grid works, and its author may have a reason. Each says why it matters and what to do.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from worker.core.contract.event_types import ACTIVITIES, DATA_FIELDS
from worker.core.contract.printable import plain
from worker.core.grid.conditions import Path, Where
from worker.core.grid.lint_codes import Code, Found
from worker.core.grid.lint_stages import stages
from worker.core.grid.lint_values import values
from worker.core.grid.messages import shown_path
from worker.core.grid.models import Grid, Rule
from worker.core.grid.point_tables import greatest, least
from worker.core.grid.velocity_kinds import KINDS
from worker.core.grid.words import counted_once
from worker.core.grid.worth import in_group, is_capped, once, weighed
from worker.core.grid.yaml_lines import Document, read_yaml

MAX_RULES: Final = 40
"""More rules than this cannot be explained to a salesperson; the larger preset has as many."""


class Lint(NamedTuple):
    """One warning: where, which, why and what to do."""

    line: int
    code: Code
    path: str
    message: str


def lint(grid: Grid, seen: Collection[str] | None = None) -> list[Lint]:
    """Return the warnings about *grid*, by line. An empty list does not prove that the points are right.

    *seen*: traits that events were seen to set. With it, each trait that neither they nor the schemas set is named.
    """
    document = read_yaml(grid.source)
    found = [
        Lint(document.line(path), code, shown_path(path), plain(message)) for path, code, message in _all(grid, document, seen)
    ]
    return sorted(dict.fromkeys(found), key=lambda one: one.line)


def _all(grid: Grid, document: Document, seen: Collection[str] | None) -> Iterator[Found]:
    yield from _everything_scored(grid)
    yield from _no_negative(grid)
    yield from _one_signal(grid)
    yield from _no_cap(grid)
    yield from _comparisons(grid)
    yield from stages(grid)
    yield from _no_decay(grid)
    yield from _steps(grid)
    yield from _fields(grid)
    yield from values(grid, document, seen)
    yield from _bands(document)


def _everything_scored(grid: Grid) -> Iterator[Found]:
    freely: set[str] = set()
    for i, rule in enumerate(grid.engagement.rules):
        if rule.points <= 0:
            continue
        path: Path = ("engagement", "rules", i)
        if rule.where is None:
            freely.update(rule.on)
            if "page.viewed" in rule.on:
                yield (
                    (*path, "on"),
                    "everything-scored",
                    "every page view scores, the careers page too: name the pages that tell something, "
                    "as in where: {page_type: pricing}",
                )
        done_to_them = [name for name in rule.on if name in ("email.delivered", "email.bounced")]
        if done_to_them:
            yield (
                (*path, "on"),
                "everything-scored",
                f"{', '.join(done_to_them)} is nothing the lead did: score the answer (email.clicked, email.replied)",
            )
    if freely.issuperset(ACTIVITIES):
        yield (
            ("engagement", "rules"),
            "everything-scored",
            "everything a lead can do scores, so a high score tells only that they were busy: "
            "keep the signals that your won deals showed and drop the others",
        )
    count = len(grid.fit.rules) + len(grid.engagement.rules) + len(grid.velocity)
    if count > MAX_RULES:
        yield (
            (),
            "everything-scored",
            f"{count} rules are more than anyone can explain to sales: keep the {MAX_RULES} that tell most",
        )


def _no_negative(grid: Grid) -> Iterator[Found]:
    points = [*(least(rule.points) for rule in grid.fit.rules), *(min(weighed(rule)) for rule in grid.engagement.rules)]
    for place, tier in enumerate(grid.inactivity):
        points.append(tier.points)
        if tier.points > 0:
            at: Path = ("inactivity", "points") if len(grid.inactivity) == 1 else ("inactivity", place, "points")
            yield at, "inactivity-rewards", "a lead gains by doing nothing: write points below 0"
    if points and min(points) >= 0:
        yield (
            (),
            "no-negative-points",
            "no points are ever taken off, so every lead rises in the end: take some off for a bad fit (off territory, "
            "disposable address), a no-show or inactivity",
        )


def _one_signal(grid: Grid) -> Iterator[Found]:
    """A fit rule, a velocity rule or one event of a rule without `intent` that reaches a rung with nothing beside it."""
    for i, fit_rule in enumerate(grid.fit.rules):
        yield from _crosses(
            grid,
            ("fit", "rules", i),
            fit_rule.id,
            in_group(grid, fit_rule.group, greatest(fit_rule.points)),
            grid.fit.max,
            "being so is no interest yet",
        )
    for i, rule in enumerate(grid.engagement.rules):
        if not rule.intent:
            path: Path = ("engagement", "rules", i)
            worth = once(grid, rule)
            why = "one deed is no pattern (mark it `intent: true` if it truly is a request to be called)"
            alone = list(_crosses(grid, path, rule.id, worth, grid.engagement.max, why))
            yield from alone
            if not alone and rule.cap is not None and rule.once_per != "lead" and worth > 0:
                most = in_group(grid, rule.group, rule.cap)
                why = f"the same thing again and again, up to its cap of {most:g}, is one signal still"
                yield from _crosses(grid, path, rule.id, most, grid.engagement.max, why)
    for i, velocity in enumerate(grid.velocity):
        most = max(points for _, points in velocity.steps)
        yield from _crosses(
            grid, ("velocity", i), velocity.id, most, grid.engagement.max, "a pace says how often, not what for"
        )


def _crosses(grid: Grid, path: Path, rule_id: str, points: float, section_max: float | None, why: str) -> Iterator[Found]:
    for limit in (section_max, grid.score.max):
        points = points if limit is None else min(points, limit)
    for name, rung in (("sql", grid.stages.sql), ("mql", grid.stages.mql)):
        if rung is not None and 0 < rung.enter <= points:
            yield (
                path,
                "one-signal",
                f"{rule_id} alone gives {points:g} and {name} is entered at {rung.enter:g}; {why}: "
                f"keep it below {rung.enter:g}",
            )
            return


def _no_cap(grid: Grid) -> Iterator[Found]:
    rungs = [rung.enter for rung in (grid.stages.mql, grid.stages.sql) if rung is not None]
    top = grid.engagement.max
    held = top is not None and (not rungs or top < min(rungs))
    for i, rule in enumerate(grid.engagement.rules):
        worth = once(grid, rule)
        if worth <= 0 or is_capped(grid, rule) or rule.once_per == "lead" or held or (rule.intent and top is not None):
            continue
        bound = "without end" if top is None else f"up to the engagement's max of {top:g}"
        yield (
            ("engagement", "rules", i),
            "no-cap",
            f"{rule.id} adds up {bound}, so much of one small thing weighs like interest in all: "
            f"add a cap, as in cap: {3 * worth:g}",
        )


def _comparisons(grid: Grid) -> Iterator[Found]:
    yield from _not_as_much(
        grid,
        "content.downloaded",
        "demo.requested",
        "download-like-demo",
        "who downloads wants to read, who asks for a demo wants to talk",
    )
    if any("email.clicked" in rule.on for rule in grid.engagement.rules):
        yield from _not_as_much(
            grid,
            "email.opened",
            "email.clicked",
            "open-like-click",
            "opens are made by mail proxies and previews too, a click is chosen",
        )


def _not_as_much(grid: Grid, less: str, more: str, code: Code, why: str) -> Iterator[Found]:
    best = max((once(grid, rule) for rule in grid.engagement.rules if more in rule.on), default=0.0)
    for i, rule in enumerate(grid.engagement.rules):
        worth = once(grid, rule)
        if less in rule.on and worth > 0 and worth >= best:
            yield (
                ("engagement", "rules", i, "points"),
                code,
                f"{rule.id} gives {worth:g} for {less} and {more} gives {best:g}; {why}: give {more} clearly more",
            )


def _fades(rule: Rule) -> bool:
    return bool(rule.half_life) or rule.decay is not None or rule.expires_after is not None


def _no_decay(grid: Grid) -> Iterator[Found]:
    scored = [rule for rule in grid.engagement.rules if max(weighed(rule)) > 0]
    if scored and not any(map(_fades, scored)) and not grid.inactivity:
        yield (
            ("engagement",),
            "no-decay",
            "what a lead did last year counts like today: add engagement.half_life, as in 14d, or inactivity",
        )


def _steps(grid: Grid) -> Iterator[Found]:
    for i, velocity in enumerate(grid.velocity):
        most = KINDS[velocity.count].most(velocity.within_days)
        for reached, _ in velocity.steps:
            if most is not None and reached > most:
                yield (
                    ("velocity", i, "steps"),
                    "unreachable",
                    f"{velocity.id} has a step at {reached:g} and `{velocity.count}` within {velocity.within_days}d is at most "
                    f"{most}: lower the step, or widen within",
                )


def _fields(grid: Grid) -> Iterator[Found]:
    """Names that no event has but nearly: such a rule counts nothing, or everything, in silence."""
    for i, rule in enumerate(grid.engagement.rules):
        path: Path = ("engagement", "rules", i)
        yield from _misspelt(grid, path, rule.on, rule.where)
        for name in counted_once(rule):
            if name not in ("event", "day", "lead"):
                yield from _near(grid, (*path, "once_per"), rule.on, name)
        if rule.weigh is None and "score.adjusted" in rule.on:
            yield (
                path,
                "adjustment-unweighed",
                f"{rule.id} counts each score.adjusted as 1, whatever points it brings: "
                "add weigh: {path: points, min: -50, max: 50} and points: 1",
            )
        if rule.weigh is not None:
            yield from _near(grid, (*path, "weigh", "path"), rule.on, rule.weigh.path)
    for i, velocity in enumerate(grid.velocity):
        yield from _misspelt(grid, ("velocity", i), velocity.on, velocity.where)
    for i, exclusion in enumerate(grid.exclusions):
        if exclusion.on is not None:
            yield from _misspelt(grid, ("exclusions", i), exclusion.on, exclusion.where)
    yield from _labels(grid)


def _labels(grid: Grid) -> Iterator[Found]:
    """Labels of page types that the grid neither derives nor asks for. Events may bring such a type, so it must be near one."""
    for name in grid.labels:
        close = difflib.get_close_matches(name, list(grid.pages), n=1, cutoff=0.75)
        if name not in grid.pages and close:
            yield ("labels", name), "unknown-page-type", f"{name!r} is no page type of `pages`, did you mean {close[0]!r}?"


def _misspelt(grid: Grid, path: Path, on: Iterable[str], where: Where | None) -> Iterator[Found]:
    for name, op, value in where.conditions if where is not None else ():
        at: Path = (*path, "where", name)
        yield from _near(grid, at, on, name)
        if name == "page_type" and op in ("eq", "in") and grid.pages:
            for page in value if isinstance(value, tuple) else (value,):
                if isinstance(page, str) and page not in grid.pages:
                    yield (
                        at,
                        "unknown-page-type",
                        f"{page!r} is not in `pages` ({', '.join(grid.pages)}), so only events that bring it match: add it",
                    )


def _near(grid: Grid, at: Path, on: Iterable[str], name: str) -> Iterator[Found]:
    if any(event_type not in DATA_FIELDS for event_type in on):  # a type of one's own has any fields
        return
    known = sorted({field for event_type in on for field in DATA_FIELDS[event_type]})
    first = name.partition(".")[0]
    close = difflib.get_close_matches(first, known, n=1, cutoff=0.75)
    if first not in known and close:
        yield at, "unknown-field", f"no event here has a field {first!r}, did you mean {close[0]!r}?"


def _bands(document: Document) -> Iterator[Found]:
    """Bands whose floors rise as written: the best name then goes to the worse leads. The file alone knows the order."""
    grades: Any = document.data.get("grades") if isinstance(document.data, Mapping) else None
    for part in ("fit", "engagement") if isinstance(grades, Mapping) else ():
        written = list(grades[part].items())
        for (better, high), (worse, low) in itertools.pairwise(written):
            if low > high:
                yield (
                    ("grades", part, worse),
                    "bands-out-of-order",
                    f"{worse} begins at {low:g}, above {better} at {high:g} before it: write the best band first, "
                    "with the highest floor, or swap the two floors",
                )
