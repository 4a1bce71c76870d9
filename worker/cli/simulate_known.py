"""Options of `leadpulse simulate` for known outcomes."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from worker.cli.common import load_grid

if TYPE_CHECKING:
    from worker.demo.known import KnownOutcomes, Odds
    from worker.demo.simulate import Scenario

_GRID: Final = "saas-b2b"


class _Truth(msgspec.Struct):
    """Of a file of `--truth`, what other traffic can share."""

    base: float
    weights: dict[str, float]


def _months(_: click.Context, param: click.Parameter, months: tuple[str, ...]) -> tuple[str, ...]:
    for month in months:
        if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", month):
            raise click.BadParameter(f"{month!r} is not a month like 2026-03", param=param)
    return months


_OPTIONS: Final = (
    click.option(
        "--truth",
        type=click.Path(dir_okay=False),
        metavar="OUT.json",
        help="Draw outcomes from known odds, and write the true weights here. Leads last 365 days unless --days is given.",
    ),
    click.option(
        "--grid", "-g", metavar="GRID", default=_GRID, show_default=True,
        help="With --truth: the grid of which the signals carry the true weights.",
    ),
    click.option(
        "--won-rate", type=click.FloatRange(0, 0.5, min_open=True, max_open=True), default=0.02, show_default=True,
        help="With --truth: share of the leads that are won within 90 days.",
    ),
    click.option(
        "--interest", type=click.FloatRange(0, 2), default=0.5, show_default=True,
        help="With --truth: how much one hidden interest drives all acts together. At 0 the signals are independent.",
    ),
    click.option(
        "--odds-of", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="TRUTH.json",
        help="With --truth: take base and weights from an earlier truth. Other leads then obey the same odds.",
    ),
    click.option(
        "--first", type=click.IntRange(0), default=0, metavar="N",
        help="With --truth: number of the first lead. Traffic that follows other traffic needs other people.",
    ),
    click.option(
        "--copies", type=click.IntRange(0, 9), default=0, show_default=True,
        help="With --truth: custom.copy.1, … follow visits of pricing pages and requests for a demo, nine times in ten.",
    ),
    click.option(
        "--called-by", metavar="GRID",
        help="With --truth: sales call the leads that are SQL under this grid, and no others.",
    ),
    click.option(
        "--call-odds", type=click.FloatRange(0, min_open=True), default=4.0, show_default=True,
        help="With --called-by: a call multiplies the odds by it.",
    ),
    click.option(
        "--late-wins", "late_wins_days", type=click.FloatRange(0), default=0.0, metavar="DAYS",
        help="With --truth: won leads are recorded up to so many days after they were won.",
    ),
    click.option(
        "--unrecorded", multiple=True, callback=_months, metavar="YYYY-MM",
        help="With --truth: no won lead of this month is ever recorded. Repeat it for several.",
    ),
    click.option(
        "--leaks", is_flag=True,
        help="With --truth: sales write traits and events with the win or after it, some of them back-dated.",
    ),
)  # fmt: skip
_NAMES: Final = (
    "grid",
    "won_rate",
    "interest",
    "odds_of",
    "first",
    "copies",
    "called_by",
    "call_odds",
    "late_wins_days",
    "unrecorded",
    "leaks",
)


def known_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options, and hand them over as one argument *known*: the file of `--truth`, or `None`, and the others."""

    @functools.wraps(command)
    @click.pass_context
    def taking(ctx: click.Context, /, **given: Any) -> Any:
        truth = given.pop("truth")
        chosen = {name: given.pop(name) for name in _NAMES}
        if truth is None:
            for param in ctx.command.params:
                named = param.name in _NAMES and ctx.get_parameter_source(param.name or "")
                if named and named.name == "COMMANDLINE":
                    raise click.UsageError(f"{param.opts[0]} needs --truth OUT.json: only known outcomes use it")
        return command(known=None if truth is None else (Path(truth), chosen), **given)

    for option in reversed(_OPTIONS):
        taking = option(taking)
    return taking


def known_outcomes(scenario: Scenario, path: Path, chosen: dict[str, Any]) -> KnownOutcomes:
    """Return the traffic of *scenario* with outcomes as *chosen*. Its truth will go to *path*."""
    from worker.demo.known import KnownOutcomes, Plan

    if not path.parent.is_dir():
        raise click.ClickException(f"{path}: No such directory; make it first, or write the truth elsewhere")
    odds_of = chosen.pop("odds_of")
    given = {**chosen, "odds": None if odds_of is None else _odds(odds_of)}
    grids = {"grid": load_grid(chosen["grid"]), "called_by": load_grid(chosen["called_by"]) if chosen["called_by"] else None}
    try:
        return KnownOutcomes(scenario, Plan(**given | grids))
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _odds(path: Path) -> Odds:
    from worker.demo.known import Odds

    try:
        held = msgspec.json.decode(path.read_bytes(), type=_Truth)
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from None
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise click.ClickException(f"{path}: {error}; name a file that --truth wrote") from None
    return Odds(held.base, held.weights)


def write_truth(path: Path, known: KnownOutcomes) -> str:
    """Write what was true, and return it in words."""
    truth = known.truth()
    try:
        path.write_text(json.dumps(truth, indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from error
    counts = truth["counts"]
    called = f", {counts['called']:,} called" if truth["called_by"] else ""
    return f"{counts['leads']:,} leads{called}, {counts['won']:,} won, {counts['recorded']:,} of them recorded; truth in {path}"
