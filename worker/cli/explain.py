"""`leadpulse explain`: where every point of a lead comes from."""

from __future__ import annotations

from typing import Any, Final

import click
import msgspec
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from worker.cli.common import (
    grid_option,
    instant_option,
    load_grid,
    load_settings,
    opened,
    run_async,
    settings_flags,
    show,
    shown_name,
)
from worker.cli.leads import held_leads
from worker.core.days import rfc3339
from worker.core.model import Output
from worker.core.outputs import Publisher, history, recent
from worker.core.partition import owner
from worker.core.score import Reason, read, reasons
from worker.core.scorer import Scorer
from worker.core.stages import advance
from worker.core.state import STAGES, LeadState, pack, unpack
from worker.core.traits import unpack_traits, values
from worker.replay import Replay
from worker.settings import Settings

_AHEAD_MS: Final = 90 * 86_400_000
"""How far ahead the next change by time alone is looked for."""

_BAR: Final = 24


class Next(msgspec.Struct, frozen=True):
    """What time alone does to the lead first."""

    time: str
    type: str
    to: str


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
    next: Next | None
    """Within 90 days, if nothing else happens."""
    traits: dict[str, Any]
    recent: list[dict[str, Any]]
    history: list[dict[str, Any]]
    redis_key: str | None
    """Where Redis holds the lead; `None` when files were replayed."""


@click.command()
@click.argument("lead")
@click.option(
    "--events", "files", multiple=True, metavar="FILE", type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="Replay this file of events instead of asking Redis; - is stdin. May be given more than once.",
)  # fmt: skip
@click.option(
    "--at", "at_ms", metavar="T", callback=instant_option,
    help="Judge at T (RFC 3339), if nothing happens until then.  [default: the lead's clock]",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@grid_option
@settings_flags("redis", "namespace", "partitions")
def explain(lead: str, files: tuple[str, ...], at_ms: int | None, as_json: bool, grid: str | None, **flags: Any) -> None:
    """Show where every point of LEAD comes from, and what time alone will do to it next.

    Reads the live state and the grid in force from Redis; with --events, what a replay of files gives by --grid (or
    LEADPULSE_GRID). The lead is judged at its clock, the latest
    of its events and of its partition's ticks.
    """
    settings = load_settings(flags)
    explained = (
        _replayed(lead, files, load_grid(grid or settings.grid), at_ms)
        if files
        else run_async(_live(settings, lead, at_ms, grid))
    )
    if as_json:
        click.echo(msgspec.json.encode(explained))
    else:
        show(_page(explained))


async def _live(settings: Settings, lead: str, at_ms: int | None, grid: str | None) -> Explained:
    async with held_leads(settings, grid) as held:
        partition = owner(lead, settings.partitions)
        fields = await held.stores[partition].lead(lead)
        where = f"namespace {settings.namespace}, partition {partition} of {settings.partitions}"
        found = _explained(held.scorers[partition], lead, fields.get("state"), held.positions[partition].clock_ms, at_ms, where)
        return msgspec.structs.replace(found, redis_key=f"{{{settings.namespace}:{partition}}}:lead:{lead}")


def _replayed(lead: str, files: tuple[str, ...], grid: Any, at_ms: int | None) -> Explained:
    run = Replay(grid)
    for name in files:
        with opened(name) as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    run.line(line.rstrip(b"\r\n"), shown_name(name), number)
    run.finish(at_ms)
    for file, number, reason in run.refused:
        click.echo(f"{file}:{number}: {reason}", err=True)
    return _explained(run.scorer, lead, run.state_of(lead), run.clock_ms, at_ms, ", ".join(map(shown_name, files)))


def _explained(
    scorer: Scorer, lead: str, packed: bytes | None, tick_ms: int | None, at_ms: int | None, where: str
) -> Explained:
    """Judge *lead*, whose partition's last tick was at *tick_ms*. A lead that is not held ends the command with exit code 1."""
    if packed is None:
        raise click.ClickException(f"lead {lead} is not held ({where}): no event of it has been taken")
    state = unpack(packed)
    if not state.alive:
        raise click.ClickException(f"lead {lead} was erased: only the mark of its erasure at {rfc3339(state.erased)} is kept")
    now_ms = max(state.clock, tick_ms or 0)
    if at_ms is not None and at_ms > now_ms:
        advance(scorer, state, now_ms, at_ms, Publisher(scorer, lead, []))
        now_ms = at_ms
    elif at_ms is not None and at_ms < now_ms:
        click.echo(f"the lead's clock is past {rfc3339(at_ms)} already; judged at {rfc3339(now_ms)}", err=True)
    reading = read(scorer, state, now_ms)
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
        _next(scorer, lead, state, now_ms),
        scorer.derived(values(unpack_traits(state.traits))),
        recent(state),
        history(state),
        None,
    )


def _next(scorer: Scorer, lead: str, state: LeadState, now_ms: int) -> Next | None:
    """Return what time alone does first to a lead that stands judged at *now_ms*."""
    outputs: list[Output] = []
    advance(scorer, unpack(pack(state)), now_ms, now_ms + _AHEAD_MS, Publisher(scorer, lead, outputs))
    if not outputs:
        return None
    event = msgspec.json.decode(outputs[0].value or b"")
    return Next(event["time"], event["type"], event["data"]["to"])


def _page(lead: Explained) -> RenderableType:
    """Return the lead as people read it: a waterfall from the first reason to the score, and the dossier."""
    parts: list[RenderableType] = [_head(lead), _waterfall(lead)]
    if lead.traits:
        parts.append(_pairs("traits", [(name, str(value)) for name, value in sorted(lead.traits.items())]))
    if lead.recent:
        seen = [(event["time"], f"{event['type']} {event['label'] or ''}".rstrip()) for event in reversed(lead.recent)]
        parts.append(_pairs("last events", seen))
    if lead.history:
        parts.append(_pairs("history", [(move["at"], move["stage"]) for move in lead.history]))
    return Group(*parts)


def _head(lead: Explained) -> Text:
    text = Text.assemble((lead.lead_id, "bold"), "  ", (f"{lead.score:.1f}", "bold"), f"  {lead.grade or ''}  {lead.stage}")
    text.append(f"  (fit {lead.fit:.1f}, engagement {lead.engagement:.1f}), as of {lead.as_of}")
    if lead.redis_key is not None:
        text.append(f"\nheld in Redis as {lead.redis_key}")
    if lead.respond_by:
        text.append(f"\nsales must answer by {lead.respond_by}")
    if lead.next is None:
        text.append("\nif nothing happens, nothing changes within 90 days")
    else:
        text.append(f"\nif nothing happens: {lead.next.type} at {lead.next.time}, to {lead.next.to}")
    return text


def _waterfall(lead: Explained) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("reason", "points", "sum"):
        table.add_column(name, justify="left" if name == "reason" else "right", no_wrap=True)
    table.add_column("")
    table.add_column("what", style="dim")
    total, scale = 0.0, _scale(lead.reasons)
    for reason in lead.reasons:
        before, total = total, total + reason.points
        low, high = sorted((round(max(0.0, before) * scale), round(max(0.0, total) * scale)))
        bar = Text(" " * low + "█" * max(1, high - low), style="green" if reason.points > 0 else "red")
        name = f"{reason.kind} {reason.id or ''}".rstrip()
        table.add_row(name, f"{reason.points:+.2f}", f"{total:.2f}", bar, _what(reason))
    table.add_section()
    table.add_row("score", "", f"{lead.score:.2f}", Text("█" * round(max(0.0, lead.score) * scale), style="bold"), "")
    return table


def _scale(found: list[Reason]) -> float:
    """Return the columns of a point: the highest sum on the way fills the bar."""
    highest, total = 1.0, 0.0
    for reason in found:
        total += reason.points
        highest = max(highest, total)
    return _BAR / highest


def _what(reason: Reason) -> str:
    words = []
    if reason.count is not None:
        words.append(f"{reason.count}×" if reason.kind == "rule" else f"counted {reason.count}")
    if reason.raw is not None and abs(reason.raw - reason.points) > 1e-9:
        words.append(f"{reason.raw:+.2f} before its cap")
    if reason.last_at is not None:
        words.append(f"last {reason.last_at}")
    return ", ".join(words)


def _pairs(title: str, pairs: list[tuple[str, str]]) -> Table:
    table = Table(box=None, title=title, title_justify="left", title_style="bold", show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column()
    for name, value in pairs:
        table.add_row(name, Text(value))
    return table
