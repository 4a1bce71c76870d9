"""A fit from a table's file to the files of a proposal."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from threadpoolctl import threadpool_limits

from worker.core.grid.models import Grid, parse_grid
from worker.errors import LearningError
from worker.learning.fit_page import report_html
from worker.learning.fit_report import report_json
from worker.learning.leak_gate import bare, read_by, stopping
from worker.learning.leaks import Leak, find_leaks
from worker.learning.proposal import Proposal, Wish, propose
from worker.learning.rows import sample_of
from worker.learning.scale import Goal
from worker.learning.scores import Scores, score_rows
from worker.learning.tables import Table, read_table


class Choice(NamedTuple):
    """What the command was asked for."""

    goal: Goal
    lasso: bool = False
    dropped: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Done:
    """A proposal with its files, or the leaks that stopped it."""

    leaks: list[Leak]
    stopping: list[Leak]
    proposal: Proposal | None = None
    files: dict[str, bytes] = field(default_factory=dict)


def fit_table(path: str, grid: Grid | None, choice: Choice) -> Done:
    """Read a table, look for leaks, and fit. Raises `LearningError` with what to do.

    A table of events that comes without *grid* is fitted by the grid that it was made with.
    """
    table = read_table(path)
    grid = grid_of(table, grid)
    known = {name for feature in table.facts.features for name in (feature.column, feature.id)}
    known |= read_by(grid) if grid is not None else set()
    for option, names in (("--drop", choice.dropped), ("--allow", choice.allowed)):
        for name in names:
            if name not in known and bare(name) not in known:
                raise LearningError(f"{option} {name}: the table has no such column, trait or event")
    leaks = find_leaks(table)
    if not choice.lasso:  # the lasso has one intercept, and a hazard needs one for each interval
        table = read_table(path, immature=True)
    stop = stopping(leaks, None if grid is None else read_by(grid), (*choice.dropped, *choice.allowed))
    if stop:
        return Done(leaks, stop)
    sample = sample_of(table, texts_too=grid is None).without([bare(name) for name in choice.dropped] + list(choice.dropped))

    def scores(under: Grid) -> Scores:
        return Scores(*(column[sample.place] for column in score_rows(table, under)))

    wish = Wish(
        scores=scores,
        goal=choice.goal,
        lasso=choice.lasso,
        name=Path(table.facts.source).name.partition(".")[0] or "leads",
        suspects={name for leak in leaks if leak.verdict == "refuse" for name in (leak.name, bare(leak.name))},
        won_leads=table.facts.won_leads,
        horizon_ms=table.facts.horizon_ms,
        dropped=choice.dropped,
    )
    with threadpool_limits(1):  # sums then have one order on all machines, and small products do not wait for threads
        proposal = propose(sample, grid, wish)
    files = {
        "proposed.yaml": proposal.text,
        "report.json": report_json(proposal, table.facts, leaks, choice.dropped),
        "report.html": report_html(proposal, table.facts, leaks).encode(),
    }
    if proposal.model.text is not None:
        files["model.json"] = proposal.model.text
    return Done(leaks, [], proposal, files)


def grid_of(table: Table, grid: Grid | None) -> Grid | None:
    """Return the grid to fit: the given one, else that of a table of events. Raises `LearningError` where they do not fit."""
    made_with = table.facts.grid
    if made_with is None:
        return grid
    own = parse_grid(made_with.text, f"the grid of {table.facts.source}")
    if grid is None:
        return own
    from worker.core.grid.counted import counted_hash

    if counted_hash(grid) != counted_hash(own):
        raise LearningError(
            f"the grid {grid.grid} counts otherwise than {own.grid} version {own.version}, which the table was made with: "
            "make the table again with `leadpulse learn table --grid`"
        )
    return grid
