"""`leadpulse explain`: where every point of a lead comes from, what would move it up, and what time will do to it."""

from __future__ import annotations

import contextlib
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
import msgspec
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from worker.cli import plot
from worker.cli.common import (
    grid_option,
    instant_option,
    json_line,
    load_grid,
    load_settings,
    opened,
    run_async,
    settings_flags,
    show,
    shown_name,
)
from worker.core.batch.lead import Lead
from worker.core.contract.event_types import TYPE_NAMES
from worker.core.contract.model import Reason
from worker.core.contract.partitioner import owner
from worker.core.contract.printable import plain
from worker.core.grid.conditions import Condition, Where
from worker.core.grid.words import duration, where_words
from worker.core.identity.aliases import MOST_HOPS
from worker.core.insight.explain import AHEAD_MS, Change, PaceStep, Part, Totals, Upward, Way, ahead, totals, upward, waterfall
from worker.core.insight.replay import Replay
from worker.core.insight.trajectory import Sample, StageChange, course, past, until_flat
from worker.core.scoring.calendar import DAY_MS, rfc3339
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.fold import label
from worker.core.scoring.outputs import history, recent
from worker.core.scoring.packing import open_
from worker.core.scoring.score import read, reasons
from worker.core.scoring.stages import advance
from worker.core.scoring.state import STAGES, LeadState, UnreadableState, unpack, unpack_moves
from worker.core.scoring.traits import unpack_traits, values
from worker.queries.leads import held_leads, leads_with_mark
from worker.settings import Settings

_BAR: Final = 16
_SAMPLES: Final = 600
"""Of each half of a picture, about as many as it has columns."""
_WAYS_SHOWN: Final = 6


class Explained(msgspec.Struct, frozen=True):
    """One lead at one instant."""

    lead_id: str
    score: float
    fit: float
    engagement: float
    grade: str | None
    stage: str
    sequence: int
    as_of: str
    respond_by: str | None
    """Until when sales must answer the pending `lead.sql`."""
    reasons: list[Reason]
    """As outputs carry them."""
    waterfall: list[Part]
    """The same points before and after time, caps and clamps; what has expired is there, too."""
    totals: Totals
    next_stage: Upward
    ahead: list[Change]
    """What time alone brings within 90 days, in order, at most ten changes."""
    traits: dict[str, Any]
    recent: list[dict[str, Any]]
    history: list[dict[str, Any]]
    redis_key: str | None
    """Where Redis holds the lead; `None` when files were replayed."""


class _Found(NamedTuple):
    """A lead that stands judged at an instant."""

    scorer: CompiledGrid
    lead: str
    state: LeadState
    now_ms: int
    redis_key: str | None = None
    turns: list[StageChange] | None = None
    """Its whole past, where files were replayed."""


def _plot_option(_: click.Context, param: click.Parameter, file: Path | None) -> Path | None:
    """Take a picture's name while nothing has been done yet (a click callback)."""
    if file is not None and file.suffix.lower() not in plot.FORMATS:
        raise click.BadParameter(f"{file} must end in {' or '.join(plot.FORMATS)}", param=param)
    return file


@click.command()
@click.argument("lead", required=False)
@click.option("--mark", metavar="MARK", help="The lead that a log or an error names by this mark, in place of LEAD.")
@click.option(
    "--events", "files", multiple=True, metavar="FILE", type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="Replay this file of events instead of asking Redis; - is stdin. May be given more than once.",
)  # fmt: skip
@click.option(
    "--at", "at_ms", metavar="T", callback=instant_option,
    help="Judge at T (RFC 3339), if nothing happens until then.  [default: the lead's clock]",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option(
    "--plot", "picture", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), callback=_plot_option,
    help="Draw the score's course into FILE.svg or FILE.png as well; the past course needs --events. Needs leadpulse[plot].",
)  # fmt: skip
@grid_option
@settings_flags("redis", "namespace", "partitions")
def explain(
    lead: str | None,
    mark: str | None,
    files: tuple[str, ...],
    at_ms: int | None,
    as_json: bool,
    picture: Path | None,
    grid: str | None,
    **flags: Any,
) -> None:
    """Show where every point of LEAD comes from, and what would move it.

    A waterfall: what was earned, what time and caps took away, what is left. Then what would bring the lead to the next stage,
    and what time alone will do to it within 90 days: when it cools, if nothing happens.

    Reads the live state and the grid in force from Redis; with --events, what a replay of files gives by --grid (or
    LEADPULSE_GRID). The lead is judged at its clock, the latest of its events and of its partition's ticks.
    """
    settings = load_settings(flags)
    if picture is not None:
        _can_draw(picture)
    if (lead is None) == (mark is None) or (mark is not None and files):
        raise click.UsageError("name one lead: by LEAD, or by --mark, which looks for it in Redis")
    if lead is None:
        lead = run_async(_marked(settings, mark or ""))
    found = (
        _replayed(lead, files, load_grid(grid or settings.grid), at_ms)
        if files
        else run_async(_live(settings, lead, at_ms, grid))
    )
    explained = _explained(found)
    if as_json:
        click.echo(json_line(explained))
    else:
        show(_page(explained))
    if picture is not None:
        _draw(picture, found, explained)


async def _marked(settings: Settings, mark: str) -> str:
    """Return the one lead whose mark begins with *mark*."""
    found = await leads_with_mark(settings, mark.lower())
    if not found:
        raise click.ClickException(f"no lead of namespace {settings.namespace} has the mark {mark}: it may have been removed")
    if len(found) > 1:
        shown = ", ".join(map(plain, found[:10]))
        raise click.ClickException(f"{len(found)} leads have marks that begin with {mark}: {shown}; name one of them by its id")
    return found[0]


async def _live(settings: Settings, lead: str, at_ms: int | None, grid: str | None) -> _Found:
    async with held_leads(settings, grid) as held:
        partition = owner(lead, settings.partitions)
        fields = await held.stores[partition].lead(lead)
        for _ in range(MOST_HOPS):
            to = _alias_of(lead, fields.get("state"))
            if not to:
                break
            lead, partition = to, owner(to, settings.partitions)
            fields = await held.stores[partition].lead(lead)
        where = f"namespace {settings.namespace}, partition {partition} of {settings.partitions}"
        found = _found(held.scorers[partition], lead, fields.get("state"), held.positions[partition].clock_ms, at_ms, where)
        return found._replace(redis_key=f"{{{settings.namespace}:{partition}}}:lead:{lead}")


def _alias_of(lead: str, packed: bytes | None) -> str:
    """Return the lead that *lead* is an alias of, and say so; empty when it is none, or its state cannot be read."""
    to = ""
    with contextlib.suppress(UnreadableState):
        to = "" if packed is None else unpack(packed).identity.alias_of
    if to:
        click.echo(f"{plain(lead)} is known as {plain(to)}", err=True)
    return to


def _replayed(lead: str, files: tuple[str, ...], grid: Any, at_ms: int | None) -> _Found:
    run = Replay(grid, watched=lead)
    for name in files:
        with opened(name) as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    run.line(line.rstrip(b"\r\n"), shown_name(name), number)
    run.finish(at_ms)
    asked, packed = lead, run.state_of(lead)
    for _ in range(MOST_HOPS):
        to = _alias_of(lead, packed)
        if not to:
            break
        lead, packed = to, run.state_of(to)
    for file, number, reason in run.refused:
        click.echo(plain(f"{file}:{number}: {reason}"), err=True)
    found = _found(run.scorer, lead, packed, run.clock_ms, at_ms, ", ".join(map(shown_name, files)))
    return found._replace(turns=run.turns if lead == asked else [])


def _found(scorer: CompiledGrid, lead: str, packed: bytes | None, tick_ms: int | None, at_ms: int | None, where: str) -> _Found:
    """Judge *lead*, whose partition's last tick was at *tick_ms*. A lead that is not held ends the command with exit code 1."""
    if packed is None:
        raise click.ClickException(f"lead {lead} is not held ({where}): no event with this subject has been taken")
    held = Lead(scorer, lead, packed, tick_ms)
    state, now_ms = held.state, held.at_ms
    if not state.alive and not state.erased:
        raise click.ClickException(
            f"lead {lead} is not held ({where}): it was removed after the grid's retention, or never was a lead"
        )
    if not state.alive:
        raise click.ClickException(f"lead {lead} was erased: only the mark of its erasure at {rfc3339(state.erased)} is kept")
    if at_ms is not None and at_ms > now_ms:
        advance(scorer, state, now_ms, at_ms, held.by_time)
        now_ms = at_ms
    elif at_ms is not None and at_ms < now_ms:
        click.echo(f"the lead's clock is past {rfc3339(at_ms)} already; judged at {rfc3339(now_ms)}", err=True)
    return _Found(scorer, lead, state, now_ms)


def _explained(found: _Found) -> Explained:
    scorer, lead, state, now_ms = found[:4]
    reading = read(scorer, state, now_ms)
    parts = waterfall(scorer, state, now_ms)
    return Explained(
        lead,
        reading.score,
        reading.fit,
        reading.engagement,
        scorer.grade(reading.fit, reading.engagement),
        STAGES[state.stage],
        state.sequence,
        rfc3339(now_ms),
        rfc3339(state.respond_by) if state.respond_by else None,
        reasons(scorer, state, now_ms),
        parts,
        totals(parts),
        upward(scorer, state, now_ms),
        ahead(scorer, state, now_ms),
        scorer.derived(values(unpack_traits(state.traits))),
        recent(state),
        history(state),
        found.redis_key,
    )


# --- the picture -----------------------------------------------------------------------------------------------------


def _can_draw(picture: Path) -> None:
    """End the command where the picture could not be written, before anything else is done."""
    if not picture.parent.is_dir():
        raise click.ClickException(f"{picture}: the folder {picture.parent} does not exist")
    try:
        plot.load()
    except ImportError:
        raise click.ClickException("a picture needs matplotlib: pip install 'leadpulse[plot]'") from None


def _draw(picture: Path, found: _Found, explained: Explained) -> None:
    scorer, lead, state, now_ms = found[:4]
    to_come = until_flat(list(course(scorer, state, now_ms, now_ms + AHEAD_MS, AHEAD_MS // _SAMPLES)))
    behind: list[Sample] = []
    if found.turns:
        every_ms = max((now_ms - found.turns[0].at_ms) // _SAMPLES, 1)
        behind = list(past(scorer, found.turns, now_ms, every_ms))
        marks = [
            plot.Mark(turn.event.at_ms, turn.event.type, label(turn.event)) for turn in found.turns if not turn.event.machine
        ]
        moves = [(b.at_ms, b.stage) for a, b in pairwise(behind) if a.stage != b.stage]
        stages = [(behind[0].at_ms, behind[0].stage), *moves]
    else:
        marks = [plot.Mark(at, TYPE_NAMES[number], text) for at, number, text in open_(state.recent)]
        stages = [(at, stage) for stage, at in unpack_moves(state.history)]
        click.echo("Redis holds no past course of a score: to draw it, give the lead's events with --events FILE", err=True)
    grade = f"grade {explained.grade}, " if explained.grade else ""
    title = f"{lead}: {explained.score:.1f} points, {grade}{explained.stage}, as of {_when(explained.as_of)} UTC"
    thresholds = [
        (f"{STAGES[step.stage]} {word}", value)
        for step in scorer.ladder
        for word, value in (("enter", step.rung.enter), ("leave", step.leave))
    ]
    named = [(at, STAGES[stage]) for at, stage in stages]
    drawing = plot.Drawing(title, now_ms, behind, to_come, named, thresholds, marks, STAGES)
    try:
        picture.write_bytes(plot.drawn(drawing, picture.suffix.lower()))
    except OSError as err:
        raise click.ClickException(f"{picture}: {err.strerror}") from None
    click.echo(f"picture written to {picture}", err=True)


# --- the page --------------------------------------------------------------------------------------------------------


def _page(lead: Explained) -> RenderableType:
    """Return the lead as people read it: the waterfall, the way up, what time brings, and the dossier."""
    parts: list[RenderableType] = [_head(lead), _waterfall(lead), _took(lead.totals), Text(), *_up(lead), Text(), *_time(lead)]
    if lead.traits:
        parts.append(_pairs("traits", [(name, str(value)) for name, value in sorted(lead.traits.items())]))
    if lead.recent:
        seen = [(_when(event["time"]), f"{event['type']} {event['label'] or ''}".rstrip()) for event in reversed(lead.recent)]
        parts.append(_pairs("last events", seen))
    if lead.history:
        parts.append(_pairs("history", [(_when(move["at"]), move["stage"]) for move in lead.history]))
    return Group(*parts)


def _head(lead: Explained) -> Text:
    text = Text.assemble(
        (plain(lead.lead_id), "bold"), "  ", (f"{lead.score:.1f}", "bold"), f"  {lead.grade or ''}  {lead.stage}"
    )
    text.append(f"  (fit {lead.fit:.1f}, engagement {lead.engagement:.1f}), as of {_when(lead.as_of)} UTC")
    if lead.redis_key is not None:
        text.append(f"\nheld in Redis as {plain(lead.redis_key)}")
    if lead.respond_by:
        text.append(f"\nsales must answer by {_when(lead.respond_by)}")
    return text


def _waterfall(lead: Explained) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("reason", "earned", "time", "caps", "points", "sum"):
        table.add_column(name, justify="left" if name == "reason" else "right", no_wrap=True)
    table.add_column("")
    table.add_column("what, when (UTC)", style="dim")
    total, scale = 0.0, _scale(lead.waterfall)
    for part in lead.waterfall:
        before, total = total, total + part.points
        low, high = sorted((round(max(0.0, before) * scale), round(max(0.0, total) * scale)))
        bar = Text(" " * low + "█" * max(1, high - low), style="green" if part.points > 0 else "red")
        table.add_row(
            f"{part.kind} {part.id or ''}".rstrip(),
            *(_signed(points) for points in (part.earned, part.by_time, part.by_cap)),
            f"{part.points:+.2f}",
            f"{total:.2f}",
            bar if part.points else "",
            _what(part),
        )
    table.add_section()
    sums = [_signed(points) for points in (lead.totals.earned, lead.totals.by_time, lead.totals.by_cap)]
    bar = Text("█" * round(max(0.0, lead.score) * scale), style="bold")
    table.add_row("score", *sums, "", f"{lead.score:.2f}", bar, "")
    return table


def _signed(points: float) -> str:
    """Return points with their sign; nothing for none (float dust is none)."""
    return f"{points:+.2f}" if abs(points) >= 0.005 else ""


def _scale(found: list[Part]) -> float:
    """Return the columns of a point: the highest sum on the way fills the bar."""
    highest, total = 1.0, 0.0
    for part in found:
        total += part.points
        highest = max(highest, total)
    return _BAR / highest


def _what(part: Part) -> str:
    words = []
    if part.count is not None:
        words.append(f"{part.count}×" if part.kind == "rule" else f"counted {part.count}")
    if part.last_at is not None:
        words.append(f"last {_when(part.last_at)}")
    if part.expired:
        words.append("expired")
    return ", ".join(words)


def _took(sums: Totals) -> Text:
    """Say what time took away altogether, and by what."""
    named = [(sums.decay, "fading"), (sums.expiry, "expiry"), (sums.inactivity, "silence")]
    causes = ", ".join(f"{word} {points:+.1f}" for points, word in named if abs(points) >= 0.05)
    if not causes:
        return Text("time has taken nothing away yet")
    verb = "took away" if sums.by_time <= 0 else "gave back"
    return Text(f"time {verb} {abs(sums.by_time):.1f} points ({causes})")


def _up(lead: Explained) -> list[RenderableType]:
    """Say what would bring the lead to the next stage."""
    up = lead.next_stage
    match up.standing:
        case "top":
            return [Text(f"next stage: none, {lead.stage} is the top of the ladder; it is for sales to go on")]
        case "crm":
            return [Text(f"next stage: {lead.stage} was set in the CRM, and only the CRM moves it")]
        case "excluded":
            return [Text(f"next stage: none, excluded by {', '.join(up.excluded_by)}, whatever the score")]
        case "no_ladder":
            return [Text("next stage: none, the grid has no stages")]
    parts: list[RenderableType] = [Text.assemble((f"to {up.to}", "bold"), " it takes ", "; ".join(_conditions(up)))]
    ways = [(_act(way), _worth(way, up.to or "")) for way in up.ways[:_WAYS_SHOWN]]
    ways += [(f"{_more(step)} ({step.id})", f"{step.adds:+.1f}") for step in up.paces]
    if ways:
        parts.append(_pairs("what the lead could do now", ways))
    if up.facts:
        facts = [
            (f"{_words(fact.where)} ({fact.id})", f"fit {fact.adds:+.1f}" + (", enough for it alone" if fact.enough else ""))
            for fact in up.facts
        ]
        parts.append(_pairs("what would raise its fit, if it were so", facts))
    return parts


def _conditions(up: Upward) -> list[str]:
    words = []
    if up.points:
        words.append(f"{up.points:.1f} more points (it begins at {up.enter:g})")
    if up.fit:
        words.append(f"{up.fit:.1f} more fit")
    if up.intent:
        words.append("a recent sign of intent")
    if up.closed_until:
        words.append(f"a pause to end: sales rejected or lost it, and it may climb again from {_when(up.closed_until)}")
    if up.activity:
        words.append("the lead to be active again")
    return words or ["nothing more: it moves when it is next judged"]


def _more(step: PaceStep) -> str:
    what = step.counts if step.more != 1 else step.counts.removesuffix("s")
    return f"{step.more} more {what} within {step.within_days} days"


def _act(way: Way) -> str:
    where = f" where {_words(way.where)}" if way.where else ""
    return f"{way.event}{where} ({', '.join(way.rules)})"


def _worth(way: Way, to: str) -> str:
    if way.times is None:
        return f"{way.adds:+.1f}"
    times = {1: "once", 2: "twice"}.get(way.times, f"{way.times} times")
    return f"{way.adds:+.1f}, {times} is enough for {to}"


def _words(conditions: tuple[Condition, ...]) -> str:
    return where_words(Where(conditions))


def _time(lead: Explained) -> list[RenderableType]:
    """Say what time alone brings, and first of all when the lead cools."""
    if not lead.ahead:
        return [Text(f"if nothing happens, its stage does not change within {duration(AHEAD_MS)}")]
    cools = next((change for change in lead.ahead if change.type == "lead.cooled"), None)
    days = 0.0 if cools is None else (_ms(cools.time) - _ms(lead.as_of)) / DAY_MS
    said = (
        f"if nothing happens, it does not cool within {duration(AHEAD_MS)}"
        if cools is None
        else f"if nothing happens, it cools to {cools.to} on {_when(cools.time)} UTC, in {days:.1f} days"
    )
    changes = [(_when(change.time), f"{change.type}, {_from_to(change)}") for change in lead.ahead]
    return [Text(said), _pairs("what time alone brings", changes)]


def _from_to(change: Change) -> str:
    return f"{change.from_} to {change.to}" if change.from_ != change.to else f"still {change.to}"


def _ms(time: str) -> float:
    return datetime.fromisoformat(time).timestamp() * 1_000


def _when(time: str) -> str:
    """Return an RFC 3339 instant as people read it, to the minute."""
    return time[:16].replace("T", " ")


def _pairs(title: str, pairs: list[tuple[str, str]]) -> Table:
    table = Table(box=None, title=title, title_justify="left", title_style="bold", show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column()
    for name, value in pairs:
        table.add_row(Text(plain(name)), Text(plain(value)))
    return table
