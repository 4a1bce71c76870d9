"""What each word of the grid costs: a small grid with the word and without it, over the same events, in turns.

`python -m tests.benchmarks.bench_words [ROUNDS]` prints a table: unpack, fold, judge and pack, in µs of CPU an event, and the
packed state. Every event here meets the rule that has the word, so these are the most that a word costs.
"""

from __future__ import annotations

import itertools
import statistics
import sys
from functools import partial
from typing import Any, Final, NamedTuple

import click

from tests.benchmarks.bench_core import BATCH, microseconds
from worker.core.batch.plan import plan_events
from worker.core.contract.model import Event
from worker.core.grid.models import parse_grid
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.demo.agenda import DAY_MS, START_MS

ROUNDS: Final = 9
LEADS: Final = 100
EVENTS: Final = 30
"""Of each lead: one `profile.updated`, then page views over 30 days."""


class Case(NamedTuple):
    """A word, with what the grid says instead of it."""

    name: str
    without: str
    with_: str
    lists: bool = False
    """Whether the leads' tags are lists where the word is there."""


def _engagement(rule: str, more: str = "") -> str:
    return f"engagement: {{rules: [{rule}]}}\n{more}"


def _fit(rule: str) -> str:
    return f"fit: {{rules: [{rule}]}}\n"


def _stages(mql: str, sql: str = "enter: 900") -> str:
    return f"{_engagement(_VIEW + ', half_life: 14d}')}stages: {{mql: {{{mql}}}, sql: {{{sql}}}}}\n"


_VIEW: Final = "{id: view, points: 2, on: page.viewed"
_DEMO: Final = "{id: demo, points: 3, on: page.viewed, half_life: 7d"
_SOLD: Final = "exclusions: [{id: client, on: page.viewed, where: {duration_s: {gte: 1000000}}"
_LADDER: Final = "stages: {mql: {enter: 800}, sql: {enter: 900}}\n"
_OPEN: Final = 'hours: {days: mon-fri, from: "09:00", to: "18:00"}'
_ALL: Final = f"""
fit:
  rules:
    - {{id: role, points: {{table: role, values: {{CMO: 12, CEO: 15}}, else: 1}}}}
    - {{id: size, points: {{table: company.size, bands: [[1, -15], [10, 0], [50, 12]]}}}}
    - {{id: marketing, points: 5, where: {{role: {{words: [marketing, growth]}}}}}}
    - {{id: tagged, points: 5, where: {{tags: partner}}}}
engagement:
  decay: {{half_life: 14d}}
  rules:
    - {_VIEW}, weigh: {{path: duration_s, min: 0, max: 60, times: 0.1}}, group: views}}
    - {{id: lines, points: 1, on: page.viewed, decay: {{linear: 60d}}, once_per: [url, session_id], group: views}}
    - {{id: month, points: 1, on: page.viewed, decay: {{window: 30d}}, label: Active this month}}
groups: {{views: {{cap: 40}}}}
velocity: [{{id: deep, on: page.viewed, count: depth, within: 7d, steps: {{3: 5}}}}]
inactivity: [{{after: 14d, points: -5}}, {{after: 30d, points: -10}}]
{_SOLD}, until: form.submitted}}]
phases: {{discovery: 5, consideration: {{enter: 20, leave: 15}}, decision: {{enter: 50, leave: 40}}}}
stages: {{mql: {{enter: 50, min_engagement: 20}}, sql: {{enter: 75, sla: {{within: 4h, {_OPEN}}}}}}}
"""
_NONE: Final = f"""
fit:
  rules:
    - {{id: role, points: 12, where: {{role: CMO}}}}
    - {{id: size, points: 12, where: {{company.size: {{gte: 50}}}}}}
    - {{id: marketing, points: 5, where: {{role: {{matches: "(?i)marketing"}}}}}}
    - {{id: tagged, points: 5, where: {{tags: partner}}}}
engagement:
  half_life: 14d
  rules:
    - {_VIEW}, cap: 40}}
    - {{id: lines, points: 1, on: page.viewed, once_per: session_id}}
    - {{id: month, points: 1, on: page.viewed}}
velocity: [{{id: deep, on: page.viewed, count: sessions, within: 7d, steps: {{3: 5}}}}]
inactivity: {{after: 14d, every: 7d, points: -5, min: -10}}
{_SOLD}}}]
stages: {{mql: {{enter: 50}}, sql: {{enter: 75, sla: 4h}}}}
"""


def _view(with_: str, more: str = "", without: str = ", half_life: 14d") -> tuple[str, str]:
    return _engagement(f"{_VIEW}{without}}}") + _LADDER, _engagement(f"{_VIEW}{with_}}}", more) + _LADDER


_TAGGED: Final = _fit("{id: tag, points: 5, where: {tags: partner}}")


def _grouped(way: str) -> tuple[str, str]:
    plain = _engagement(f"{_VIEW}, half_life: 14d}}, {_DEMO}}}") + _LADDER
    rules = f"{_VIEW}, half_life: 14d, group: g}}, {_DEMO}, group: g}}"
    return plain, _engagement(rules, f"groups: {{g: {{{way}}}}}\n") + _LADDER


def _beside(without: str, with_: str) -> tuple[str, str]:
    base = _engagement(f"{_VIEW}, half_life: 14d}}") + _LADDER
    return base + without + "\n", base + with_ + "\n"


CASES: Final = (
    Case("`weigh`", *_view(", half_life: 14d, weigh: {path: duration_s, min: 0, max: 60, times: 0.1}")),
    Case("`decay: {linear: …}`, beside a half-life", *_view(", decay: {linear: 60d}")),
    Case("`decay: {window: …}`, beside a half-life", *_view(", decay: {window: 30d}")),
    Case(
        "`once_per` with a list, beside one path",
        *_view(", half_life: 14d, once_per: [url, session_id]", without=", half_life: 14d, once_per: url"),
    ),
    Case("`groups` with `cap`, two rules", *_grouped("cap: 20")),
    Case("`groups` with `best`, two rules", *_grouped("best: true")),
    Case(
        "a table of values, beside a `where`",
        *_beside(
            _fit("{id: role, points: 12, where: {role: CMO}}"),
            _fit("{id: role, points: {table: role, values: {CEO: 15, CMO: 12}, else: 1}}"),
        ),
    ),
    Case(
        "a table of bands, beside a `where`",
        *_beside(
            _fit("{id: size, points: 12, where: {company.size: {gte: 50}}}"),
            _fit("{id: size, points: {table: company.size, bands: [[1, -15], [10, 0], [50, 12], [201, 5]]}}"),
        ),
    ),
    Case(
        "`words`, beside `matches`",
        *_beside(
            _fit('{id: role, points: 12, where: {role: {matches: "(?i)marketing"}}}'),
            _fit("{id: role, points: 12, where: {role: {words: [marketing, growth, demand gen]}}}"),
        ),
    ),
    Case(
        "a list of three values, beside one value",
        *_beside(_TAGGED, _TAGGED),
        True,
    ),
    Case(
        "tiers of `inactivity`, beside `every`",
        *_beside(
            "inactivity: {after: 14d, every: 7d, points: -5, min: -10}",
            "inactivity: [{after: 14d, points: -5}, {after: 30d, points: -10}]",
        ),
    ),
    Case("`until` of an exclusion", *_beside(f"{_SOLD}}}]", f"{_SOLD}, until: form.submitted}}]")),
    Case(
        "`depth`, beside `sessions`",
        *_beside(
            *(
                f"velocity: [{{id: v, on: page.viewed, count: {count}, within: 7d, steps: {{3: 5, 6: 9}}}}]"
                for count in ("sessions", "depth")
            )
        ),
    ),
    Case("`phases`", *_beside("", "phases: {discovery: 5, consideration: {enter: 20, leave: 15}, decision: {enter: 40}}")),
    Case("`min_engagement`", _stages("enter: 20"), _stages("enter: 20, min_engagement: 15")),
    Case(
        "`sla` with `hours`, beside `sla: 4h`",
        _stages("enter: 15", "enter: 25, sla: 4h"),
        _stages("enter: 15", f"enter: 25, sla: {{within: 4h, {_OPEN}}}"),
    ),
    Case("all of them, beside a grid of as many rules", _NONE, _ALL, True),
)


def traffic(*, lists: bool) -> list[Event]:
    """Return the leads' events by time. With *lists*, the tags of each lead are a list."""
    made: list[Event] = []
    for lead, number in itertools.product(range(LEADS), range(EVENTS)):
        visit, view = divmod(number, 3)
        at_ms = START_MS + visit * 3 * DAY_MS + view * 60_000 + lead * 1_000
        type_, data = "page.viewed", _page(number, visit, lead)
        if number == 0:
            tags = ["partner", "event", "newsletter"] if lists else "partner"
            traits = {"role": "Head of Marketing", "tags": tags, "company": {"size": 120}}
            type_, data = "profile.updated", {"traits": traits}
        made.append(Event(f"lead-{lead}", type_, at_ms, f"{lead}/{number}", "/bench", data, False, "t", 0, 0))
    return sorted(made, key=lambda event: event.at_ms)


def _page(number: int, visit: int, lead: int) -> dict[str, Any]:
    url = f"https://shop.example/page-{number % 7}"
    return {"url": url, "session_id": f"s-{lead}-{visit}", "duration_s": 5.0 + 10 * (number % 5)}


def planned(scorer: CompiledGrid, events: list[Event]) -> dict[str, bytes | None]:
    """Fold *events* in batches; return the packed states."""
    states: dict[str, bytes | None] = {}
    for first in range(0, len(events), BATCH):
        batch = events[first : first + BATCH]
        plan = plan_events(scorer, {event.lead: states.get(event.lead) for event in batch}, batch, None)
        states.update((write.lead, write.state) for write in plan.writes)
    return states


def row(case: Case, rounds: int) -> str:
    """Return a case's row: medians, with the middle half of the rounds in brackets."""
    grids = [CompiledGrid(parse_grid(f"grid: bench\nversion: 1\n{text}", case.name), "/bench") for text in case[1:3]]
    runs = list(zip(grids, (traffic(lists=False), traffic(lists=case.lists)), strict=True))
    size, size_with = (statistics.median(len(state or b"") for state in planned(*run).values()) for run in runs)
    costs: list[list[float]] = []
    for turn in range(rounds):
        took = [microseconds(partial(planned, *run), len(run[1])) for run in (runs if turn % 2 else reversed(runs))]
        costs.append(took if turn % 2 else took[::-1])
    more = sorted(with_ - without for without, with_ in costs)
    half = more[len(more) // 4 : -(len(more) // 4) or None]
    cells = (
        case.name,
        f"{statistics.median(without for without, _ in costs):.1f}",
        f"{statistics.median(more):+.1f} ({half[0]:+.1f} to {half[-1]:+.1f})",
        f"{size:.0f}",
        f"{size_with - size:+.0f}",
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    click.echo("| word | without it, µs an event | more with it | without it, bytes a lead | more with it |")
    click.echo("|---|---|---|---|---|")
    for case in CASES:
        click.echo(row(case, rounds))


if __name__ == "__main__":
    main()
