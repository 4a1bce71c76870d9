"""A grid in words, and what changes between two."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from tests.kit.grids import changed, parsed
from worker.core.grid.diff import Change, compare
from worker.core.grid.models import Grid
from worker.core.grid.report import show_html, show_markdown
from worker.core.grid.words import duration, number, points

GRID = """\
grid: g
version: 1
timezone: UTC
pages: {pricing: "/pricing*", product: "/product*"}
score: {min: 0, max: 100}
fit:
  rules:
    - {id: size, points: 10, where: {company.size: {gte: 50, lte: 200}}}
    - {id: abroad, points: -15, where: {country: {not: [FR, BE]}}}
    - {id: odd, points: 1, where: {tag: "a|b <script>alert(1)</script> *x* `y`"}}
engagement:
  max: 80
  half_life: 14d
  rules:
    - id: pricing
      points: 8
      on: page.viewed
      where: {page_type: pricing}
      once_per: session_id
      half_life: 7d
      cap: 24
      intent: true
    - {id: daily, points: 1, on: page.viewed, once_per: day, cap: 3}
    - {id: no-show, points: -10, on: [webinar.no_show, crm.no_show], half_life: none}
velocity:
  - {id: comes-back, on: page.viewed, count: days, within: 7d, steps: {3: 5, 5: 10}}
inactivity: {after: 14d, every: 7d, points: -5, min: -30}
exclusions:
  - {id: competitor, where: {company.domain: [rival.example]}}
  - {id: unsubscribed, on: email.unsubscribed}
stages: {mql: {enter: 50, leave: 40}, sql: {enter: 75, sla: 4h}, quiet: 7d}
grades: {fit: {A: 20, B: 0}, engagement: {1: 40, 2: 20, 3: 0}}
mail: {free: [provider.example]}
"""


def grid(changes: Mapping[str, object] | None = None) -> Grid:
    """Return the grid with *changes*, by path."""
    return parsed(changed(GRID, changes or {}))


def replayed(changes: Mapping[str, object]) -> dict[str, str]:
    """Return which rules of the grid with *changes* need their past replayed, and why."""
    return {one.id: one.why for one in compare(grid(), grid(changes)).replay}


@pytest.mark.parametrize(
    ("ms", "words"),
    [(14 * 86_400_000, "14 days"), (86_400_000, "1 day"), (90_000, "90 seconds"), (14_400_000, "4 hours"), (None, "never")],
)
def test_durations_are_shown_in_their_largest_whole_unit(ms: int | None, words: str) -> None:
    """As people say them."""
    assert duration(ms) == words


def test_numbers_have_no_needless_fraction_and_points_their_sign() -> None:
    """A page of points is read down a column."""
    assert [number(0.5), number(8.0), number(-3.0), number(1234567.0)] == ["0.5", "8", "−3", "1234567"]
    assert [points(8), points(-15), points(0)] == ["+8", "−15", "0"]


def test_the_page_names_every_rule_rung_and_page() -> None:
    """What is not on it cannot be discussed with sales."""
    page = show_markdown(grid())
    for name in ("size", "abroad", "pricing", "no-show", "comes-back", "competitor", "unsubscribed", "MQL", "SQL", "product"):
        assert re.search(rf"^\| {name} \|", page, re.MULTILINE), name
    assert "company.size is at least 50 and is at most 200" in page
    assert "country is there and not FR or BE" in page
    assert "half after 7 days (5% after 30 days)" in page
    assert "−5 once the lead has done nothing for 14 days and −5 every 7 days after that, at least −30 in all." in page
    assert "4 hours" in page
    assert "provider.example" in page


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "td":
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.cells:
            self.cells[-1] += data


def test_the_html_page_shows_what_was_written_and_runs_nothing() -> None:
    """A grid is often written by one and read by many: a value cannot become markup."""
    reader = _Reader()
    reader.feed(show_html(grid()))
    assert "script" not in reader.tags
    assert any("tag is a|b <script>alert(1)</script> *x* `y`" in cell for cell in reader.cells)
    assert not {"link", "img", "iframe"} & set(reader.tags)


def test_every_row_of_a_table_has_as_many_cells_as_its_head() -> None:
    """A `|` in a value must not move the columns."""
    for token in MarkdownIt("commonmark").enable("table").parse(show_markdown(grid())):
        assert not (token.type == "paragraph_open" and token.level > 0)
    rows = [line for line in show_markdown(grid()).splitlines() if line.startswith("|")]
    widths = [len(re.findall(r"(?<!\\)\|", row)) for row in rows]
    heads = [width for row, width in zip(rows, widths, strict=True) if set(row) <= set("| -")]
    assert set(widths) == set(heads)


def test_the_same_grid_differs_in_nothing() -> None:
    """However it is laid out."""
    same = parsed("".join(f"{line}  # note\n" for line in GRID.splitlines()))
    assert compare(grid(), same) == ([], [])


def test_what_is_applied_when_a_score_is_read_needs_no_replay() -> None:
    """Points, caps, clamps, steps, thresholds and names are in force at once, for the past too."""
    changes = {
        "version": 2,
        "engagement.rules.pricing.points": 9,
        "engagement.rules.pricing.cap": 30,
        "score": "{max: 90}",
        "engagement.max": 70,
        "velocity.comes-back.steps": "{3: 6}",
        "stages.mql.enter": 55,
        "stages.sql.sla": "2h",
        "stages.mql.min_engagement": 10,
        "stages.mql.intent_within": "14d",
        "phases": "{early: 10, late: {enter: 60, leave: 50}}",
        "stages.quiet": "5d",
        "inactivity.after": "21d",
        "engagement.rules.pricing.intent": False,
        "fit.rules.size.where.company.size.gte": 40,
        "grades.fit.A": 30,
        "engagement.rules.no-show.id": "did-not-come",
        "velocity.comes-back.within": "14d",
        "velocity.comes-back.count": "rise",
    }
    assert replayed(changes) == {}
    assert len(compare(grid(), grid(changes)).changes) >= len(changes)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("engagement.rules.no-show.on", "crm.no_show", {"no-show": "its on changes"}),
        ("engagement.rules.pricing.where", "{page_type: product}", {"pricing": "its where changes"}),
        ("engagement.rules.pricing.where", "{page_type: [pricing]}", {"pricing": "its where changes"}),
        ("engagement.rules.pricing.once_per", "url", {"pricing": "its once_per changes"}),
        ("engagement.rules.pricing.half_life", "8d", {"pricing": "its half_life changes"}),
        ("engagement.half_life", "15d", {"daily": "its half_life changes"}),
        ("velocity.comes-back.count", "events", {"comes-back": "its count changes"}),
        ("velocity.+", "{id: n, on: page.viewed, count: events, within: 1d, steps: {1: 1}}", {"n": "new"}),
        ("exclusions.unsubscribed.on", "email.complained", {"unsubscribed": "its on changes"}),
        ("exclusions.competitor.where", "{company.domain: [other.example]}", {"competitor": "its where changes"}),
        ("timezone", "Europe/Paris", {"daily": "days", "comes-back": "days"}),
        ("pages.pricing", "/tarifs*", {"pricing": "page type"}),
        ("hash_routes", "true", {"pricing": "`hash_routes` changes"}),
    ],
)
def test_what_is_counted_otherwise_needs_a_replay(path: str, value: str, expected: dict[str, str]) -> None:
    """The state holds counts, not events: it cannot count the past anew."""
    found = replayed({path: value})
    assert found.keys() == expected.keys()
    assert all(why in found[name] for name, why in expected.items())


def test_the_order_of_pages_counts() -> None:
    """The first type that fits wins, so the same pages in another order are other page types."""
    order = {"pages": '{product: "/product*", pricing: "/pricing*"}'}
    assert replayed(order).keys() == {"pricing"}
    assert compare(grid(), grid(order)).changes == [
        Change("changed", "pages", "order pricing, product", "order product, pricing")
    ]


def test_two_rules_that_trade_names_need_no_replay() -> None:
    """What they count is held under what is counted, not under the name."""
    names = {"engagement.rules.pricing.id": "x", "engagement.rules.daily.id": "pricing", "engagement.rules.x.id": "daily"}
    assert replayed(names) == {}


def test_changes_are_said_in_words() -> None:
    """As marketing would say them to sales."""
    changes = {"engagement.rules.pricing.points": 9, "stages.sql.sla": "2h", "exclusions.unsubscribed": None}
    found = compare(grid(), grid(changes))
    assert [str(change) for change in found.changes] == [
        "stages.sql.sla: 4 hours → 2 hours",
        "engagement.pricing.points: +8 → +9",
        "exclusions.unsubscribed is gone; it was when email.unsubscribed",
    ]


HOURS = '{within: 4h, hours: {days: [mon-wed, fri], from: "09:00", to: "24:00", off: [2026-12-25]}}'


def test_changes_of_rungs_hours_and_phases_are_said_in_words() -> None:
    """They are in force at once."""
    changes = {"stages.mql.min_engagement": 10, "stages.sql.sla": HOURS, "phases": "{early: 10, late: 60}"}
    found = compare(grid(changes), grid(changes | {"stages.sql.sla": "4h", "phases": "{early: {enter: 10, leave: 5}}"}))
    assert (found.replay, [str(change) for change in found.changes]) == (
        [],
        [
            "stages.sql.sla: 4 hours of mon-wed, fri 09:00 to 24:00, not on 2026-12-25 → 4 hours",
            "phases.late is gone; it was enter 60; leave 60",
            "phases.early.leave: 10 → 5",
        ],
    )


def test_the_page_shows_phases_and_hours() -> None:
    """Marketing reads when its mails change, sales by when to call."""
    page = show_markdown(grid({"phases": "{early: 10, late: {enter: 60, leave: 50}}", "stages.sql.sla": HOURS}))
    assert "## Buying phases" in page
    assert "| late | 60 | 50 |" in page
    assert "4 hours of mon-wed, fri 09:00 to 24:00, not on 2026-12-25" in page
    assert "Buying phases" not in show_markdown(grid())
