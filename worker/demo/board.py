"""What the demo shows, on a terminal or as plain lines. Pure: it only shows what its caller hands to it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from worker.core.contract.output_types import ACTED
from worker.demo.outbox import Outbox
from worker.queries.leads import Hot

_SHOWN_LEADS: Final = 12
_SHOWN_CALLS: Final = 4
_SHOWN_REASONS: Final = 6
_TREND_MS: Final = 86_400_000
_STEADY: Final = 0.5
"""Points a simulated day below which a score neither rises nor cools."""

_COUNTED: Final = ("lead.mql", "lead.sql", "lead.cooled", "lead.sla_breached", "lead.dead")
_STYLE: Final = {
    "contact": "dim",
    "mql": "yellow",
    "sql": "bold red",
    "opportunity": "bold magenta",
    "client": "bold green",
}


class Board:
    """Keeps what has been published and where the hottest leads stand."""

    def __init__(self, page: str) -> None:
        """*page* is the address of the demo's web site."""
        self._page = page
        self._events = 0
        self._webhooks: Mapping[str, int] = {}
        self.published: Counter[str] = Counter()
        self._calls: deque[Mapping[str, Any]] = deque(maxlen=_SHOWN_CALLS)
        self._cooled: deque[Mapping[str, Any]] = deque(maxlen=_SHOWN_CALLS)
        self._hot: Sequence[Hot] = ()
        self.outbox = Outbox()
        self._past: deque[tuple[int, dict[str, float]]] = deque()

    def published_one(self, topic: str, value: bytes, at_ms: int) -> str | None:
        """Take one record that was published at *at_ms*; return a line about it where it is worth one."""
        if topic == ACTED:  # another program's
            self.outbox.acted(msgspec.json.decode(value))
            return None
        self.published[topic] += 1
        if topic not in ("lead.sql", "lead.cooled"):
            return None
        event = msgspec.json.decode(value)
        (self._calls if topic == "lead.sql" else self._cooled).appendleft(event)
        if topic == "lead.sql":
            self.outbox.published(event, at_ms)
            return called(event)
        return cooled(event)

    def standing(self, hot: Sequence[Hot], now_ms: int) -> None:
        """Take the hottest leads as they stand at the simulated instant *now_ms*."""
        self._hot = [lead for lead in hot if lead.stage != "excluded"]  # nobody is to call them, however high they score
        self._past.append((now_ms, {lead.lead_id: lead.score for lead in hot}))
        while len(self._past) > 1 and self._past[1][0] <= now_ms - _TREND_MS:
            self._past.popleft()

    def came(self, events: int, webhooks: Mapping[str, int]) -> None:
        """Take how many events are in the input topics, and how many webhooks of each vendor brought some of them."""
        self._events, self._webhooks = events, webhooks

    def line(self, now_ms: int) -> str:
        """Return how things stand in one line."""
        hot = ", ".join(f"{lead.lead_id} {lead.score:.0f} ({lead.stage})" for lead in self._hot[:3])
        return f"{day(now_ms)}  {self._events:,} events in; hottest: {hot or 'nobody yet'}"

    def view(self, now_ms: int, left_s: float) -> RenderableType:
        """Return the whole picture for a terminal."""
        counts = "  ".join(f"[b]{self.published[topic]}[/] {topic.removeprefix('lead.')}" for topic in _COUNTED)
        webhooks = "  ".join(f"{vendor} [b]{count:,}[/]" for vendor, count in sorted(self._webhooks.items()))
        head = Text.from_markup(
            f"[b]{day(now_ms)}[/]  a simulated day a second, {left_s:.0f} s left   {self._events:,} events in   {counts}\n"
            f"webhooks: {webhooks or 'none yet'}\npages with the pixel, for you to visit: [b]{self._page}/[/]"
        )
        return Group(
            Panel(head, box=box.SIMPLE),
            self._table(),
            self._panel("lead.sql as published: call them", self._calls, _called_in_two, "red"),
            self._panel("tasks and mails as they went out", self.outbox.shown, str, "green"),
            self._panel("lead.cooled", self._cooled, cooled, "blue"),
        )

    def _table(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD, title="hottest leads", title_justify="left", expand=True)
        for name, justify in (("lead", "left"), ("score", "right"), ("", "left"), ("a day", "right"), ("fit", "right")):
            table.add_column(name, justify=justify)  # type: ignore[arg-type]
        for name in ("engagement", "grade", "stage"):
            table.add_column(name, justify="right" if name == "engagement" else "left")
        for lead in self._hot[:_SHOWN_LEADS]:
            bar = Text("█" * round(lead.score / 5), style=_STYLE.get(lead.stage, ""))
            table.add_row(
                lead.lead_id,
                f"{lead.score:.1f}",
                bar,
                self._trend(lead),
                f"{lead.fit:.1f}",
                f"{lead.engagement:.1f}",
                lead.grade or "",
                Text(lead.stage, style=_STYLE.get(lead.stage, "")),
            )
        return table

    def _trend(self, lead: Hot) -> Text:
        """Return how the score moved over the last simulated day."""
        before = self._past[0][1].get(lead.lead_id) if self._past else None
        if before is None:
            return Text("new", style="green")
        change = lead.score - before
        if abs(change) < _STEADY:
            return Text("·", style="dim")
        return Text(f"▲ {change:+.1f}", style="green") if change > 0 else Text(f"▼ {change:+.1f}", style="blue")

    @staticmethod
    def _panel(title: str, events: Sequence[Any], words: Any, colour: str) -> Panel:
        text = Text("\n".join(words(event) for event in events) or "none yet", overflow="ellipsis", no_wrap=True)
        return Panel(text, title=title, title_align="left", border_style=colour)


def called(event: Mapping[str, Any]) -> str:
    """Return a `lead.sql` in one line: who, how hot, until when to call, where the points come from."""
    data = event["data"]
    who = "".join(f"  {data['traits'][name]}" for name in ("role", "company.name") if data["traits"].get(name))
    grade = f" {data['grade']}" if data["grade"] else ""
    until = f", call by {moment(data['respond_by'])}" if "respond_by" in data else ""
    return (
        f"{moment(event['time'])}  lead.sql     {data['lead_id']}  {data['score']:.1f}{grade}{who}{until}:"
        f" {because(data['reasons'])}"
    )


def _called_in_two(event: Mapping[str, Any]) -> str:
    head, _, reasons = called(event).partition(": ")
    return f"{head}\n                  {reasons}"


def cooled(event: Mapping[str, Any]) -> str:
    """Return a `lead.cooled` in one line."""
    data = event["data"]
    return f"{moment(event['time'])}  lead.cooled  {data['lead_id']}  {data['score']:.1f}, {data['from']} → {data['to']}"


def because(reasons: Sequence[Mapping[str, Any]]) -> str:
    """Return the reasons that weigh most, as `+16.2 pricing-page`, most first, and the sum of the others."""
    ordered = sorted(reasons, key=lambda reason: -abs(reason["points"]))
    first, rest = ordered[:_SHOWN_REASONS], ordered[_SHOWN_REASONS:]
    words = [f"{reason['points']:+.1f} {_name(reason)}" for reason in first]
    if rest:
        words.append(f"{sum(reason['points'] for reason in rest):+.1f} others")
    return ", ".join(words)


def _name(reason: Mapping[str, Any]) -> str:
    return f"{reason['id']} limit" if reason["kind"] == "clamp" else str(reason.get("id", reason["kind"]))


def moment(time: str) -> str:
    """Return an instant of an event as people read it."""
    return f"{datetime.fromisoformat(time):%a %d %b %H:%M}"


def day(at_ms: int) -> str:
    """Return the simulated day and hour."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%a %d %b %H:%M}"
