"""`leadpulse learn fit`: a proposed grid from outcomes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from worker.cli.common import load_grid, shown_name
from worker.cli.extras import needs
from worker.core.contract.printable import plain
from worker.errors import LearningError

if TYPE_CHECKING:
    from worker.learning.leaks import Leak
    from worker.learning.proposal import Proposal


@click.command("fit")
@click.argument("table", metavar="T.parquet", type=click.Path(exists=True, dir_okay=False))
@click.option("--grid", "grid_name", metavar="G", help="Your grid: its points are the prior, and only numbers change.")
@click.option("--capacity", metavar="N/week|N%", help="SQL is what so many calls a week can take, or a share of the leads.")
@click.option("--p-sql", type=float, metavar="P", help="SQL closes like this, as in 0.2.")
@click.option("--value", type=float, metavar="V", help="What a client is worth: SQL is where a call pays. Needs --cost.")
@click.option("--cost", type=float, metavar="C", help="What a call costs.")
@click.option("--share", type=float, metavar="U", help="The share of a win that a call causes.  [default: 0.5]")
@click.option(
    "--method", type=click.Choice(["shares", "lasso"]), default="shares", show_default=True, help="How to fit points."
)
@click.option("--drop", "dropped", metavar="NAME", multiple=True, help="Leave this column, trait or event out. Repeatable.")
@click.option("--allow", "allowed", metavar="NAME", multiple=True, help="Use this one though it looks like a leak. Repeatable.")
@click.option("--out", metavar="DIR", required=True, type=click.Path(file_okay=False, path_type=Path), help="Where to write.")
def fit(
    table: str, grid_name: str | None, capacity: str | None, p_sql: float | None, value: float | None, cost: float | None,
    share: float | None, method: str, dropped: tuple[str, ...], allowed: tuple[str, ...], out: Path,
) -> None:  # fmt: skip
    """Propose a grid from outcomes.

    T.parquet is a table of `leadpulse learn table`. DIR gets proposed.yaml, report.html, report.json, and model.json if there
    are enough outcomes for probabilities. Nothing is put in force.

    Without an option for the threshold, SQL is the score that the best tenth reaches. Exits with 1 on columns that look like
    leaks, unless each is dropped or allowed by name.
    """
    with needs("learn"):
        from worker.learning.fitting import Choice, fit_table
    from worker.learning.goals import goal_of

    try:
        goal = goal_of(capacity, p_sql, value, cost, share)
        grid = None if grid_name is None else load_grid(grid_name)
        done = fit_table(table, grid, Choice(goal, method == "lasso", dropped, allowed))
    except LearningError as error:
        raise click.ClickException(plain(str(error))) from None
    for leak in done.leaks:
        if leak.verdict == "ask":
            click.echo(plain(f"ask: {leak.name}: {leak.why}"), err=True)
    if done.proposal is None:
        _refuse(done.stopping)
    else:
        _write(out, done.files)
        _say(done.proposal, out)


def _refuse(leaks: list[Leak]) -> None:
    for leak in leaks:
        click.echo(plain(f"refuse: {leak.name}: {leak.why}"), err=True)
    names = " ".join(f"--drop {_quoted(leak.name)}" for leak in leaks)
    click.echo(plain(f"nothing was fitted: leave them out with {names}, or --allow those that you trust"), err=True)
    raise click.exceptions.Exit(1)


def _quoted(name: str) -> str:
    return f'"{name}"' if not name.replace("_", "").replace(".", "").replace(":", "").isalnum() else name


def _write(out: Path, files: dict[str, bytes]) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (out / name).write_bytes(content)
        if "model.json" not in files:
            (out / "model.json").unlink(missing_ok=True)  # of an earlier fit: it would belong to other points
    except OSError as err:
        raise click.ClickException(f"{shown_name(str(out))}: {err.strerror}; choose another --out") from None


def _say(proposal: Proposal, out: Path) -> None:
    from worker.learning.fit_words import summary

    for line in summary(proposal):
        click.echo(plain(line), err=True)
    click.echo(f"written to {out}: look at report.html, then put proposed.yaml in force yourself", err=True)
