"""`leadpulse explain`: where a lead's points come from, what would move it, and what time will change."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from worker.cli import plot
from worker.cli.common import (
    grid_option,
    instant_option,
    json_line,
    language_option,
    load,
    load_grid,
    needs_extra,
    opened,
    run_async,
    settings_flags,
    show,
    shown_name,
)
from worker.cli.explain_page import page, when
from worker.core.contract.model import Record
from worker.core.insight.explain import AHEAD_MS
from worker.core.insight.trajectory import Sample, StageChange, future, past, until_flat
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.fold import label
from worker.core.scoring.outputs import last_events
from worker.core.scoring.state import STAGES, LeadState, unpack_moves
from worker.history.links import ids_of
from worker.history.records import open_history
from worker.queries.explained import Explained, JudgedLead, lead_with_mark, live, replayed
from worker.settings import ReaderSettings

_SAMPLES: Final = 600
"""Of each half of a picture, about as many as it has columns."""


def _plot_option(_: click.Context, param: click.Parameter, file: Path | None) -> Path | None:
    """Take a picture's name while nothing has been done yet (a click callback)."""
    if file is not None and file.suffix.lower() not in plot.FORMATS:
        raise click.BadParameter(f"{file} must end in {' or '.join(plot.FORMATS)}", param=param)
    return file


@click.command()
@click.argument("lead", required=False)
@click.option("--mark", metavar="MARK", help="Find the lead by its mark in a log or an error, instead of LEAD.")
@click.option(
    "--events", "files", multiple=True, metavar="FILE", type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="Replay this file of events instead of reading Redis; - is stdin.  [many]",
)  # fmt: skip
@click.option(
    "--archive",
    metavar="PLACE",
    help="Replay the lead's events of this archive instead of reading Redis: a folder, or an address such as s3://bucket/path.",
)
@click.option(
    "--at", "at_ms", metavar="T", callback=instant_option,
    help="Evaluate at T (RFC 3339), without events until then.  [default: the lead's clock]",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--plot", "picture", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), callback=_plot_option,
    help="Also draw the score over time into FILE.svg or FILE.png; the past: --events or --archive. Needs leadpulse[plot].",
)  # fmt: skip
@grid_option
@language_option
@settings_flags("redis", "namespace", "partitions")
def explain(lead: str | None, mark: str | None, as_json: bool, picture: Path | None, **given: Any) -> None:
    """Show where every point of LEAD comes from, and what would move it.

    A waterfall shows what was earned, what time and caps took, and the rest. Then follow the ways to the next stage. The last
    part is what time alone will change within 90 days: when the lead cools, if nothing happens.

    Reads the live state and the grid in force from Redis. With --events or --archive, it replays the past by --grid. Without
    that option, the past is replayed by LEADPULSE_GRID, and else by saas-b2b. The lead is evaluated at its clock: the latest of
    its events and of its partition's ticks.
    """
    asked = _Asked(**{name: given.pop(name) for name in _Asked._fields})
    language = given.pop("language")
    settings = load(ReaderSettings, given)
    if picture is not None:
        _can_draw(picture)
    if asked.files and asked.archive:
        raise click.UsageError("name files by --events, or an archive by --archive")
    if (lead is None) == (mark is None) or (mark is not None and (asked.files or asked.archive)):
        raise click.UsageError("name one lead by LEAD, or by --mark, which searches Redis")
    if lead is None:
        lead = run_async(lead_with_mark(settings, mark or ""))
    judged = run_async(_judged(settings, lead, asked))
    explained = judged.explained(language)
    if as_json:
        click.echo(json_line(explained))
    else:
        show(page(explained))
    if picture is not None:
        _draw(picture, judged, explained)


class _Asked(NamedTuple):
    """Where the lead's events come from, and by which grid and when it is evaluated."""

    files: tuple[str, ...]
    archive: str | None
    at_ms: int | None
    grid: str | None


async def _judged(settings: ReaderSettings, lead: str, asked: _Asked) -> JudgedLead:
    if asked.archive:
        needs_extra("archive", "duckdb", "pyarrow")
        records, where = _archived(asked.archive, lead), asked.archive
    elif asked.files:
        records, where = _lines(asked.files), ", ".join(map(shown_name, asked.files))
    else:
        return await live(settings, lead, asked.at_ms, asked.grid, _note)
    return replayed(load_grid(asked.grid or settings.grid), lead, records, where, asked.at_ms, _note)


def _lines(files: tuple[str, ...]) -> Iterator[Record]:
    for name in files:
        with opened(name) as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    yield Record(shown_name(name), 0, number, None, None, line.rstrip(b"\r\n"))


def _archived(place: str, lead: str) -> Iterator[Record]:
    """Yield the events of all ids of the person, and ticks."""
    ids = ids_of(open_history(place), lead)
    for record in open_history(place).events(subjects=ids, ticks=True):
        if not record.output:
            yield record.record()


def _note(line: str) -> None:
    click.echo(line, err=True)


# --- the picture -----------------------------------------------------------------------------------------------------


def _can_draw(picture: Path) -> None:
    """End the command where the picture could not be written, before anything else is done."""
    if not picture.parent.is_dir():
        raise click.ClickException(f"{picture}: the folder {picture.parent} does not exist")
    try:
        plot.load()
    except ImportError:
        raise click.ClickException("a picture needs matplotlib: pip install 'leadpulse[plot]'") from None


def _draw(picture: Path, judged: JudgedLead, explained: Explained) -> None:
    try:
        picture.write_bytes(plot.drawn(_drawing(judged, explained), picture.suffix.lower()))
    except OSError as err:
        raise click.ClickException(f"{picture}: {err.strerror}") from None
    click.echo(f"picture written to {picture}", err=True)


def _drawing(judged: JudgedLead, explained: Explained) -> plot.Drawing:
    scorer, state, now_ms = judged.scorer, judged.state, judged.now_ms
    if judged.turns:
        behind, stages, marks = _replayed_past(judged, judged.turns)
    else:
        behind, stages, marks = [], [(at_ms, stage) for stage, at_ms in unpack_moves(state.history)], _recent_marks(state)
        click.echo(
            "Redis does not hold the past of a score: to draw it, give the lead's events with --archive PLACE or --events FILE",
            err=True,
        )
    grade = f"grade {explained.grade}, " if explained.grade else ""
    return plot.Drawing(
        title=f"{judged.lead}: {explained.score:.1f} points, {grade}{explained.stage}, as of {when(explained.as_of)} UTC",
        now_ms=now_ms,
        behind=behind,
        to_come=until_flat(list(future(scorer, state, now_ms, now_ms + AHEAD_MS, AHEAD_MS // _SAMPLES))),
        stages=[(at_ms, STAGES[stage]) for at_ms, stage in stages],
        thresholds=_thresholds(scorer),
        marks=marks,
        names=STAGES,
    )


def _replayed_past(judged: JudgedLead, turns: list[StageChange]) -> tuple[list[Sample], list[tuple[int, int]], list[plot.Mark]]:
    """Return the samples of the past, when each stage began (ms, stage), and the lead's events."""
    every_ms = max((judged.now_ms - turns[0].at_ms) // _SAMPLES, 1)
    behind = list(past(judged.scorer, turns, judged.now_ms, every_ms))
    moves = [(b.at_ms, b.stage) for a, b in pairwise(behind) if a.stage != b.stage]
    routes = judged.scorer.hash_routes
    events = [turn.event for turn in turns if not turn.event.machine]
    marks = [plot.Mark(event.at_ms, event.type, label(event, hash_routes=routes)) for event in events]
    return behind, [(behind[0].at_ms, behind[0].stage), *moves], marks


def _recent_marks(state: LeadState) -> list[plot.Mark]:
    return [plot.Mark(*event) for event in last_events(state)]


def _thresholds(scorer: CompiledGrid) -> list[tuple[str, float]]:
    return [
        (f"{STAGES[step.stage]} {word}", value)
        for step in scorer.ladder
        for word, value in (("enter", step.rung.enter), ("leave", step.leave))
    ]
