"""What a sound ladder avoids: rungs and phases out of reach, and leads that are in and out at once."""

from __future__ import annotations

from collections.abc import Iterator

from worker.core.grid.lint_codes import Found
from worker.core.grid.models import Grid
from worker.core.grid.stage_models import Rung


def stages(grid: Grid) -> Iterator[Found]:
    """Yield the warnings about rungs, accounts and phases."""
    mql, sql = grid.stages.mql, grid.stages.sql
    if mql is None and sql is None and not grid.phases:
        yield ("stages",), "no-ladder", "there is no rung, so no score ever tells anyone: add stages.mql or stages.sql"
    if grid.accounts is not None and grid.accounts.leave > grid.accounts.enter:
        yield (
            ("accounts", "leave"),
            "leave-above-enter",
            f"leave {grid.accounts.leave:g} is above enter {grid.accounts.enter:g}, so an account between them is hot and "
            f"cooled at once: write a leave below {grid.accounts.enter:g}",
        )
    for name, rung in (("mql", mql), ("sql", sql)):
        if rung is not None:
            yield from _rung(grid, name, rung)
    if mql is not None and sql is not None and sql.enter < mql.enter:
        yield (
            ("stages", "sql", "enter"),
            "rungs-swapped",
            f"sql is entered at {sql.enter:g}, below mql at {mql.enter:g}: a lead becomes both at once, so raise sql",
        )
    yield from _phases(grid)


def _rung(grid: Grid, name: str, rung: Rung) -> Iterator[Found]:
    top = _highest_score(grid)
    if rung.leave > rung.enter:
        yield (
            ("stages", name, "leave"),
            "leave-above-enter",
            f"leave {rung.leave:g} is above enter {rung.enter:g}, so a lead between them is in and out at once: "
            f"write a leave below {rung.enter:g}",
        )
    if top is not None and rung.enter > top:
        yield (
            ("stages", name, "enter"),
            "unreachable",
            f"{name} is entered at {rung.enter:g} and no lead can have more than {top:g} (the max of the sums): "
            "lower it, or raise the max",
        )
    for section, least, most in (
        ("fit", rung.min_fit, grid.fit.max),
        ("engagement", rung.min_engagement, grid.engagement.max),
    ):
        if least is not None and most is not None and least > most:
            yield (
                ("stages", name, f"min_{section}"),
                "unreachable",
                f"min_{section} {least:g} is above the most that {section} can be, {most:g}: lower it, or raise {section}.max",
            )
    if rung.intent_within is not None and not any(rule.intent for rule in grid.engagement.rules):
        yield (
            ("stages", name, "intent_within"),
            "unreachable",
            f"{name} asks for an intent and no rule has `intent: true`, so nobody gets there: mark the rules that show one",
        )


def _phases(grid: Grid) -> Iterator[Found]:
    top = _highest_score(grid)
    for name, phase in grid.phases.items():
        if top is not None and phase.enter > top:
            yield (
                ("phases", name),
                "unreachable",
                f"{name} begins at {phase.enter:g} and no lead can have more than {top:g} (the max of the sums): "
                "lower it, or raise the max",
            )


def _highest_score(grid: Grid) -> float | None:
    """Return the most that a score can be by the clamps alone; `None` when they leave it open."""
    tops = [grid.score.max]
    if grid.fit.max is not None and grid.engagement.max is not None:
        tops.append(grid.fit.max + grid.engagement.max)
    return min((top for top in tops if top is not None), default=None)
