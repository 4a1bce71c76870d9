"""What the demo's board says of what it is told."""

from __future__ import annotations

from worker.demo.board import Board, called
from worker.queries.leads import Hot


def test_the_hottest_are_those_whom_one_may_call() -> None:
    """An excluded competitor may well score highest; a list of whom to call must not begin with it."""
    board = Board("http://127.0.0.1:1")
    board.standing([Hot(name, 90, 40, 50, "A1", stage, "") for name, stage in (("rival", "excluded"), ("ann", "mql"))], 0)
    assert board.line(0).endswith("hottest: ann 90 (mql)")


def test_a_lead_without_a_name_leaves_no_gap_in_its_line() -> None:
    """Profiles come late or never, and grids may have no grades."""
    data = {"lead_id": "ann", "score": 80.0, "grade": None, "traits": {"role": ""}, "reasons": []}
    event = {"time": "2026-03-02T10:00:00Z", "data": data}
    assert called(event).endswith("lead.sql     ann  80.0: ")
    data |= {"grade": "A1", "traits": {"role": "CMO", "company.name": "Acme"}}
    assert called(event).endswith("ann  80.0 A1  CMO  Acme: ")
