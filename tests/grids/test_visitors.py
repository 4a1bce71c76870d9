"""The grid for anonymous visitors keeps what its comments promise."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import worker
from worker.core.grid.lint import lint
from worker.core.grid.models import parse_grid
from worker.core.insight.replay import Replay

GRID = parse_grid((Path(worker.__file__).parents[1] / "grids" / "visitors.yaml").read_bytes(), "visitors.yaml")


def visited(*views: tuple[str, str, str]) -> str:
    """Return the stage reached by one visitor who saw these (time, session, path)."""
    replay = Replay(GRID)
    for number, (time, session, path) in enumerate(views):
        replay.line(_event(number, time, session, path))
    replay.finish()
    (lead,) = replay.leads()
    return lead.stage


def _event(number: int, time: str, session: str, path: str) -> bytes:
    data = {"url": f"https://docs.example{path}", "session_id": session, "utm": {"medium": "email"}}
    envelope = {"specversion": "1.0", "id": str(number), "source": "/t", "type": "page.viewed", "subject": "visitor:1"}
    return json.dumps(envelope | {"time": time, "data": data}).encode()


def burst(day: int, session: str, pages: Iterable[str]) -> list[tuple[str, str, str]]:
    """Return one visit that opens *pages* within a minute."""
    return [(f"2026-03-{day:02d}T10:00:{second:02d}Z", session, path) for second, path in enumerate(pages)]


EVERYTHING = [
    *(f"/docs/{number}" for number in range(20)),
    *(f"/projects/{number}" for number in range(10)),
    *(f"/blog/{number}" for number in range(10)),
    "/about",
]


def test_one_visit_is_no_lead_however_many_pages_it_opens() -> None:
    """A scraper that calls itself a browser opens everything once, within a minute."""
    assert visited(*burst(2, "s1", EVERYTHING)) == "contact"


def test_a_page_of_the_offer_makes_the_same_visit_worth_a_look() -> None:
    """Reading in depth and then asking for the price is what the first rung is for."""
    assert visited(*burst(2, "s1", [*EVERYTHING, "/pricing"])) == "mql"


def test_coming_back_over_days_beats_one_burst() -> None:
    """Three pages on each of four days climb to the top; forty-one pages in one minute do not even begin."""
    views = [view for day in (2, 4, 6, 7) for view in burst(day, f"s{day}", ["/docs/a", "/projects/b", "/blog/c"])]
    assert visited(*views) == "sql"


def test_the_grid_has_nothing_to_lint() -> None:
    """A grid that comes along is an example."""
    assert lint(GRID) == []
