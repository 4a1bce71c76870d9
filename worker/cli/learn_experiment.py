"""`leadpulse learn experiment`: a live test of two grids, planned before it starts and judged once, at its end."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from worker.cli.common import clock_option, duration_option, instant_option, load_grid
from worker.cli.extras import needs
from worker.core.contract.instants import instant
from worker.core.contract.printable import plain
from worker.core.scoring.calendar import rfc3339
from worker.errors import HistoryError, LearningError

if TYPE_CHECKING:
    from worker.core.grid.models import Grid
    from worker.history.record import Clock
    from worker.learning.experiment import Moved, Plan
    from worker.learning.experiment_log import Followed

_WEEK_MS: Final = 7 * 86_400_000
_HEAD: Final = ("lead", "at", "called_by", "arm", "hand_over")


@click.group("experiment")
def experiment() -> None:
    """Test two grids live: half of the leads that they disagree about follow each of them."""


@experiment.command("plan")
@click.option("--name", required=True, metavar="NAME", help="Of the experiment. Another name assigns leads anew.")
@click.option(
    "--grid", "-g", "grids", metavar="GRID", multiple=True, help="Give it twice: the grid in force, then its challenger."
)
@click.option(
    "--moved",
    type=click.FloatRange(0, min_open=True),
    required=True,
    metavar="N",
    help="Leads a week that one grid alone calls, as `learn compare` counts them.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    required=True,
    metavar="P",
    help="How often such leads reach the outcome today, as in 0.1.",
)
@click.option("--weeks", type=click.IntRange(1, 520), metavar="N", help="How long leads take part.")
@click.option(
    "--difference",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="D",
    help="The difference that must be seen, as in 0.05. The weeks follow from it.",
)
@click.option(
    "--outcome",
    type=click.Choice(["won", "opportunity", "accepted"]),
    default="won",
    show_default=True,
    help="What is compared. The later ones imply the earlier ones.",
)
@click.option(
    "--within",
    "within_ms",
    metavar="TIME",
    default="90d",
    show_default=True,
    callback=duration_option,
    help="The outcome counts if it comes within this time.",
)
@click.option(
    "--start", "from_ms", metavar="T", required=True, callback=instant_option, help="When leads begin to take part (RFC 3339)."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed assigns leads anew.")
@click.option(
    "--out",
    metavar="PLAN.json",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write the plan. An existing file stays.",
)
def plan(
    name: str, grids: tuple[str, ...], moved: float, rate: float, weeks: int | None, difference: float | None, out: Path,
    **fixed: Any,
) -> None:  # fmt: skip
    """Say what the test can see, and fix it in a plan.

    Fixed are the outcome, the end, the seed and both grids. Nothing of it changes once leads take part.

    \b
      leadpulse learn experiment plan --name autumn -g grid.yaml -g new.yaml --moved 40 --rate 0.1 --weeks 6 \\
        --start 2026-09-01T00:00:00Z --out autumn.json
    """  # noqa: D301 (click wants the character itself)
    if len(grids) != 2:
        raise click.UsageError("give --grid twice: the grid in force, then its challenger")
    if (weeks is None) == (difference is None):
        raise click.UsageError("give --weeks or --difference: the other one follows from it")
    champion, challenger = (load_grid(grid) for grid in grids)
    if champion.sha256 == challenger.sha256:
        raise click.UsageError("both grids are the same: nothing can differ")
    with needs("learn"):
        from worker.learning.experiment import Plan, leads_needed, smallest_difference
    try:
        if difference is not None:
            weeks = math.ceil(2 * leads_needed(rate, difference) / moved)
        assert weeks is not None
        arm = math.floor(moved * weeks / 2)
        seen = smallest_difference(rate, arm) if difference is None else difference
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    if seen is None:
        raise click.ClickException(
            f"{arm:,} leads an arm show no difference at all: plan more --weeks, or an outcome that comes sooner"
        )
    made = Plan(
        experiment=1, name=name, champion=_planned(champion), challenger=_planned(challenger), rate=rate,
        to_ms=fixed["from_ms"] + weeks * _WEEK_MS, difference=round(seen, 4), leads_an_arm=arm, **fixed,
    )  # fmt: skip
    try:
        with out.open("xb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(made, order="sorted"), indent=1) + b"\n")
    except FileExistsError:
        raise click.ClickException(f"{out} exists, and a plan does not change: choose another --out") from None
    except OSError as error:
        raise click.ClickException(f"{out}: {error.strerror}; choose another --out") from None
    click.echo(
        f"{weeks} weeks, {arm:,} leads an arm. The test can see {rate:.1%} against {rate + seen:.1%}, and nothing smaller."
    )
    click.echo(
        f"Leads take part from {_day(made.from_ms)} to {_day(made.to_ms)}. Nothing is compared before {_day(made.end_ms)}."
    )
    click.echo(f"written to {out}", err=True)


def _planned(grid: Grid) -> Any:
    from worker.learning.experiment import PlannedGrid

    return PlannedGrid(grid.grid, grid.version, grid.sha256)


@experiment.command("read")
@click.argument("path", metavar="PLAN.json", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--champion",
    required=True,
    metavar="SOURCE",
    help="Archive or file of events of the namespace with the grid in force. Outcomes are read here.",
)
@click.option(
    "--challenger", required=True, metavar="SOURCE", help="Archive or file of the outputs of the namespace with the challenger."
)
@click.option(
    "--leads",
    required=True,
    metavar="LEADS.csv",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Leads that take part, and who of them is handed over. New ones are added.",
)
@clock_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def read(path: Path, champion: str, challenger: str, leads: Path, clock: Clock, as_json: bool) -> None:
    """List the leads that take part, and compare the arms once the test has ended.

    Run it every day: LEADS.csv tells which leads sales get. Before the end the command prints counts alone, because a look at
    the outcomes in between finds differences that are none. A lead stays in its arm, whatever happens later.
    """
    with needs("learn"):
        from worker.history.records import open_history
        from worker.learning.experiment import Plan, disagreements
        from worker.learning.experiment_log import follow
    try:
        made = msgspec.json.decode(path.read_bytes(), type=Plan)
        one = follow(open_history(champion, clock), made.champion, made)
        other = follow(open_history(challenger, clock), made.challenger, made)
        moved = disagreements(made, one.calls, other.calls, _kept(leads))
        _write(leads, moved)
    except msgspec.MsgspecError as error:
        raise click.ClickException(f"{path}: {error}; name a file that `experiment plan` wrote") from None
    except (LearningError, HistoryError) as error:
        raise click.ClickException(plain(str(error))) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from None
    _tell(made, moved, one, min(one.end_ms, other.end_ms), as_json)


def _kept(path: Path) -> list[Moved]:
    """Return the leads of an earlier run. Raises `LearningError` for a line that is none."""
    from worker.learning.experiment import ARMS, Moved

    if not path.exists():
        return []
    found = []
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.reader(file), start=1):
            if number == 1 and tuple(row) == _HEAD:
                continue
            at_ms = instant(row[1]) if len(row) == len(_HEAD) else None
            if at_ms is None or row[2] not in ARMS or row[3] not in ARMS:
                raise LearningError(f"{path}:{number}: not a line of {', '.join(_HEAD)}; restore the file as it was written")
            found.append(Moved(row[0], at_ms, row[2], row[3]))
    return found


def _write(path: Path, moved: Iterable[Moved]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(_HEAD)
        rows.writerows((one.lead, rfc3339(one.at_ms), one.by, one.arm, "yes" if one.hand_over else "no") for one in moved)


def _tell(made: Plan, moved: list[Moved], outcomes: Followed, until_ms: int, as_json: bool) -> None:
    from worker.learning.experiment import ARMS, judge
    from worker.learning.experiment_words import sentences

    arms = {arm: sum(one.arm == arm for one in moved) for arm in ARMS}
    judged = judge(made, moved, outcomes.reached_ms) if until_ms >= made.end_ms else None
    if as_json:
        shown = None if judged is None else judged._asdict() | {"shown": judged.shown}
        click.echo(
            msgspec.json.encode(
                {"ends": rfc3339(made.end_ms), "known_until": rfc3339(until_ms), "leads": arms, "judgement": shown}
            )
        )
        return
    click.echo(
        f"{len(moved):,} leads take part: {arms['champion']:,} follow the champion, {arms['challenger']:,} the challenger."
    )
    if judged is None:
        until, end = _day(until_ms), _day(made.end_ms)
        click.echo(f"The logs reach to {until}. Come back when they reach {end}. Until then nothing is compared.")
        return
    for sentence in sentences(made, judged):
        click.echo(sentence)


def _day(at_ms: int) -> str:
    return rfc3339(at_ms)[:10]
