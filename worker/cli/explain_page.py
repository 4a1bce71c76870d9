"""The page of `leadpulse explain`: the waterfall, the way up, what time brings, and the dossier."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from worker.core.contract.model import Predicted
from worker.core.contract.printable import plain
from worker.core.grid.conditions import Condition, Where
from worker.core.grid.values import duration_ms
from worker.core.grid.words import duration, where_words
from worker.core.insight.chance import factor_words, percent
from worker.core.insight.explain import AHEAD_MS, Change, Part, Step, Totals
from worker.core.insight.what_if import Fact, Upward, VelocityStep, Way
from worker.core.scoring.calendar import DAY_MS
from worker.queries.explained import Explained

_BAR: Final = 16
_WAYS_SHOWN: Final = 6


def page(lead: Explained) -> RenderableType:
    """Return the lead as people read it: the waterfall, the way up, what time brings, and the dossier."""
    parts: list[RenderableType] = [_head(lead), _waterfall(lead), _took(lead.totals), Text(), *_up(lead), Text(), *_time(lead)]
    return Group(*parts, *_dossier(lead))


def _dossier(lead: Explained) -> list[RenderableType]:
    parts: list[RenderableType] = []
    if lead.traits:
        parts.append(_pairs("traits", [(name, str(value)) for name, value in sorted(lead.traits.items())]))
    if lead.recent:
        seen = [(when(event["time"]), f"{event['type']} {event['label'] or ''}".rstrip()) for event in reversed(lead.recent)]
        parts.append(_pairs("last events", seen))
    if lead.history:
        parts.append(_pairs("history", [(when(move["at"]), move["stage"]) for move in lead.history]))
    return parts


def _head(lead: Explained) -> Text:
    text = Text.assemble(
        (plain(lead.lead_id), "bold"), "  ", (f"{lead.score:.1f}", "bold"), f"  {lead.grade or ''}  {lead.stage}"
    )
    text.append(f"  (fit {lead.fit:.1f}, engagement {lead.engagement:.1f}), as of {when(lead.as_of)} UTC")
    if lead.redis_key is not None:
        text.append(f"\nheld in Redis as {plain(lead.redis_key)}")
    if isinstance(lead.phase, str):
        text.append(f"\nbuying phase {plain(lead.phase)}")
    if lead.respond_by:
        text.append(f"\nsales must answer by {when(lead.respond_by)}")
    if isinstance(lead.prediction, Predicted):
        text.append(f"\n{_chance(lead.prediction, lead.labels)}")
    return text


def _chance(found: Predicted, labels: Mapping[str, str]) -> str:
    """Return a chance with the factors of its odds."""
    within = f"won within {duration(duration_ms(found.horizon))}"
    if found.p is None or found.base is None:
        return f"{within}: no chance is given ({found.reason})"
    return f"{within}: {percent(found.p)}; odds: everyone {percent(found.base)} · {factor_words(found.factors, labels)}"


def _waterfall(lead: Explained) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("reason", "earned", "time", "caps", "points", "sum"):
        table.add_column(name, justify="left" if name == "reason" else "right", no_wrap=True)
    table.add_column("")
    table.add_column("what, when (UTC)", style="dim")
    total, scale = 0.0, _scale(lead.waterfall)
    for part in lead.waterfall:
        before, total = total, total + part.points
        table.add_row(
            plain(f"{part.kind} {part.label or part.id or part.place or ''}".rstrip()),
            *(_signed(points) for points in (part.earned, part.by_time, part.by_cap)),
            f"{part.points:+.2f}",
            f"{total:.2f}",
            _bar(before, total, scale) if part.points else "",
            _what(part),
        )
    table.add_section()
    sums = [_signed(points) for points in (lead.totals.earned, lead.totals.by_time, lead.totals.by_cap)]
    bar = Text("█" * round(max(0.0, lead.score) * scale), style="bold")
    table.add_row("score", *sums, "", f"{lead.score:.2f}", bar, "")
    return table


def _bar(before: float, after: float, scale: float) -> Text:
    """Return the step of the waterfall from one sum to the next."""
    low, high = sorted((round(max(0.0, before) * scale), round(max(0.0, after) * scale)))
    return Text(" " * low + "█" * max(1, high - low), style="green" if after > before else "red")


def _signed(points: float) -> str:
    """Return points with their sign; nothing for none (float dust is none)."""
    return f"{points:+.2f}" if abs(points) >= 0.005 else ""


def _scale(parts: list[Part]) -> float:
    """Return the columns of a point: the highest sum on the way fills the bar."""
    highest, total = 1.0, 0.0
    for part in parts:
        total += part.points
        highest = max(highest, total)
    return _BAR / highest


def _what(part: Part) -> str:
    words = []
    if part.row is not None:
        words.append(part.row)
    if part.count is not None:
        words.append(f"{part.count}×" if part.kind == "rule" else f"counted {part.count}")
    if part.last_at is not None:
        words.append(f"last {when(part.last_at)}")
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
    """Return what would bring the lead to the next stage."""
    up = lead.next_stage
    nowhere = {
        "top": f"none, {lead.stage} is the top of the ladder; it is for sales to go on",
        "crm": f"{lead.stage} was set in the CRM, and only the CRM moves it",
        "excluded": f"none, excluded by {_names(lead, up.excluded_by)}, whatever the score{_lifted(up)}",
        "no_ladder": "none, the grid has no stages",
    }.get(up.standing)
    if nowhere is not None:
        return [Text(f"next stage: {nowhere}")]
    parts: list[RenderableType] = [Text.assemble((f"to {up.to}", "bold"), " it takes ", "; ".join(_conditions(up)))]
    ways = [(_act(lead, way), _worth(way, up.to or "")) for way in up.ways[:_WAYS_SHOWN]]
    ways += [(f"{_more(step)} ({_name(lead, step.id)})", f"{step.adds:+.1f}") for step in up.paces]
    facts = [(f"{_words(lead, fact.where)} ({_name(lead, fact.id)})", _raises(fact)) for fact in up.facts]
    parts += [_pairs("what the lead could do now", ways)] if ways else []
    parts += [_pairs("what would raise its fit, if it were so", facts)] if facts else []
    return parts


def _raises(fact: Fact) -> str:
    return f"fit {fact.adds:+.1f}" + (", enough for it alone" if fact.enough else "")


def _lifted(up: Upward) -> str:
    return f"; {' or '.join(up.lifted_by)} ends that" if up.lifted_by else ""


def _conditions(up: Upward) -> list[str]:
    words = []
    if up.points:
        words.append(f"{up.points:.1f} more points (it begins at {up.enter:g})")
    if up.fit:
        words.append(f"{up.fit:.1f} more fit")
    if up.engagement:
        words.append(f"{up.engagement:.1f} more engagement")
    if up.intent:
        words.append("a recent sign of intent")
    if up.closed_until:
        words.append(f"a pause to end: sales rejected or lost it, and it may climb again from {when(up.closed_until)}")
    if up.activity:
        words.append("the lead to be active again")
    return words or ["nothing more: it moves when it is next judged"]


def _more(step: VelocityStep) -> str:
    if step.counts == "depth":
        return f"a visit with {step.now + step.more} of these events within {step.within_days} days"
    what = step.counts if step.more != 1 else step.counts.removesuffix("s")
    return f"{step.more} more {what} within {step.within_days} days"


def _act(lead: Explained, way: Way) -> str:
    where = f" where {_words(lead, way.where)}" if way.where else ""
    weight = "" if way.weight is None else f" that counts {way.weight:g}"
    return f"{way.event}{where}{weight} ({_names(lead, way.rules)})"


def _name(lead: Explained, id_: str) -> str:
    return lead.labels.get(id_, id_)


def _names(lead: Explained, ids: list[str]) -> str:
    return ", ".join(_name(lead, id_) for id_ in ids)


def _worth(way: Way, to: str) -> str:
    words = [f"{way.adds:+.1f}"]
    if way.times is not None:
        words.append(f"{_often(way.times)} is enough for {to}")
    if way.done:
        words.append(f"done {_often(way.done)} before")
    return ", ".join(words)


def _often(times: int) -> str:
    return {1: "once", 2: "twice"}.get(times, f"{times} times")


def _words(lead: Explained, conditions: tuple[Condition, ...]) -> str:
    return where_words(Where(conditions), lead.page_labels)


def _time(lead: Explained) -> list[RenderableType]:
    """Say what time alone brings, and first of all when the lead cools."""
    steps = [(when(step.time), _step(step)) for step in lead.steps]
    points = [_pairs("points that time alone takes or gives at once", steps)] if steps else []
    if not lead.ahead:
        return [Text(f"if nothing happens, its stage does not change within {duration(AHEAD_MS)}"), *points]
    cools = next((change for change in lead.ahead if change.type == "lead.cooled"), None)
    days = 0.0 if cools is None else (_ms(cools.time) - _ms(lead.as_of)) / DAY_MS
    text = (
        f"if nothing happens, it does not cool within {duration(AHEAD_MS)}"
        if cools is None
        else f"if nothing happens, it cools to {cools.to} on {when(cools.time)} UTC, in {days:.1f} days"
    )
    changes = [(when(change.time), f"{change.type}, {_from_to(change)}") for change in lead.ahead]
    return [Text(text), _pairs("what time alone brings", changes), *points]


def _step(step: Step) -> str:
    name = f"{step.kind} {step.label or step.id or step.place or ''}".rstrip()
    return f"{name} {step.before:+.1f} → {step.after:+.1f}, score {step.score:.1f}"


def _from_to(change: Change) -> str:
    return f"{change.from_ or 'none'} to {change.to or 'none'}" if change.from_ != change.to else f"still {change.to}"


def _ms(time: str) -> float:
    return datetime.fromisoformat(time).timestamp() * 1_000


def when(time: str) -> str:
    """Return an RFC 3339 instant as people read it, to the minute."""
    return time[:16].replace("T", " ")


def _pairs(title: str, pairs: list[tuple[str, str]]) -> Table:
    table = Table(box=None, title=title, title_justify="left", title_style="bold", show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column()
    for name, value in pairs:
        table.add_row(Text(plain(name)), Text(plain(value)))
    return table
