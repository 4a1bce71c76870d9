"""`leadpulse learn score`: the score of each row of a table under a grid, as a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from worker.cli.common import load_grid
from worker.cli.extras import needs
from worker.core.contract.printable import plain
from worker.core.grid.messages import GridError
from worker.core.grid.prediction import Prediction, PredictionModel, misfits, read_model_file
from worker.core.scoring.calendar import rfc3339
from worker.errors import LearningError

if TYPE_CHECKING:
    from worker.core.grid.models import Grid
    from worker.learning.scores import Scores
    from worker.learning.tables import Table

HEADER: Final = ("id", "score", "fit", "engagement", "p")


@click.command("score")
@click.argument("table", metavar="T.parquet")
@click.option("--grid", "-g", required=True, metavar="GRID", help="A file, or the name of a grid that comes with LeadPulse.")
@click.option("--model", metavar="M", help="A model.json for the column p.  [default: the grid's own]")
@click.option("--out", metavar="S.csv", default="-", show_default=True, help="Where to write the scores; - is stdout.")
def score(table: str, grid: str, model: str | None, out: str) -> None:
    """Score each row of a table under GRID.

    Writes a CSV file with the columns id, score, fit, engagement and p, in the order of the table. `p` is the chance to be won,
    and empty without a model. A table of events has several rows for a lead, so `at` follows: the instant of each.
    """
    with needs("learn"):
        from worker.learning.scores import probabilities, score_rows
        from worker.learning.tables import read_table
    judged = load_grid(grid)
    try:
        rows = read_table(table)
        chosen = _model(model, judged)
        scores = score_rows(rows, judged)
        chances = None if chosen is None else probabilities(rows, judged, chosen)
    except LearningError as error:
        raise click.ClickException(plain(str(error))) from None
    _write(out, rows, scores, chances)


def _model(name: str | None, grid: Grid) -> PredictionModel | None:
    if name is None:
        return None if grid.prediction is None else grid.prediction.model
    try:
        model = read_model_file(Path(name).read_bytes(), name)[0]
    except OSError as error:
        raise click.ClickException(f"{name}: {error.strerror}") from None
    except GridError as error:
        raise click.ClickException(str(error)) from None
    wrong = [
        message
        for _, message in misfits(grid.model_copy(update={"prediction": Prediction.model_construct(file=None, model=model)}))
    ]
    if wrong:
        raise click.ClickException(plain("\n".join(f"{name}: {message}" for message in wrong)))
    return model


def _write(out: str, table: Table, scores: Scores, chances: Iterable[float] | None) -> None:
    columns: list[Iterable[str]] = [map(str, table.role("id")), *(map(_number, column) for column in scores)]
    columns.append(repeat("") if chances is None else map(_number, chances))
    header = list(HEADER)
    if table.has("at_ms"):
        header.append("at")
        columns.append(map(rfc3339, map(int, table.role("at_ms"))))
    try:
        with click.open_file(out, "w", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(zip(*columns, strict=False))  # without chances their column has no end
    except OSError as error:
        raise click.ClickException(f"{out}: {error.strerror}") from None


def _number(value: float) -> str:
    """Return a number without the dust of a sum: six decimals, and none that are 0."""
    text = f"{value:.6f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
