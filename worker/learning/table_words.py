"""What a learning table holds, and what was left out of it and why, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from worker.core.scoring.calendar import rfc3339
from worker.learning.tables import Dropped, Immature, TableFacts

DAY_MS: Final = 86_400_000

WHY: Final = {
    "anonymous": "the visitor was not identified, or became another lead within the horizon",
    "bad_record": "the record is no event",
    "bad_row": "the row has more cells than the header",
    "before_recording": "outcomes were not recorded yet in these months",
    "closed": "sales had rejected or lost the lead, and the grid's `quiet` had not passed",
    "erased": "the lead was erased",
    "excluded": "the lead was excluded",
    "handed_over": "the lead was in the hands of sales",
    "immature": "the horizon ends after the log",
    "late_outcome": "the outcome was recorded after the instant, but had happened before it",
    "left_edge": "the log begins too late to know what counted then",
    "no_id": "the row has no id",
    "won": "the lead had been won",
}
"""Code of a reason → why rows are not in the table."""


def words(facts: TableFacts) -> Iterator[str]:
    """Yield lines for people: leads and wins, how the rows were made, then rows that were left out."""
    share = facts.won_leads / facts.leads if facts.leads else 0.0
    reached = _REACHED[facts.label]
    yield f"{facts.leads:,} leads, {facts.won_leads:,} of them {reached} ({share:.1%}); {len(facts.features):,} columns"
    if facts.kind == "events":
        yield from _of_events(facts)
    if facts.outcome is not None and facts.outcome["blank"]:
        yield f"{facts.outcome['blank']:,} leads have a blank {facts.outcome['column']!r}: they count as not won"
    for dropped in facts.dropped:
        yield _left_out(dropped, "instants" if facts.kind == "events" else "rows")


_REACHED: Final = {"won": "won", "opportunity": "an opportunity", "accepted": "accepted by sales"}


def _of_events(facts: TableFacts) -> Iterator[str]:
    assert facts.every_ms is not None
    assert facts.horizon_ms is not None
    yield (
        f"{facts.rows:,} rows, one every {_days(facts.every_ms)} for each lead at risk, from {_date(facts.from_ms)} to"
        f" {_date(facts.to_ms)}; {facts.design_effect:.1f} rows tell as much as one"
    )
    yield f"horizon: {_days(facts.horizon_ms)}; the log ends on {_date(facts.end_ms)}"
    if isinstance(facts.immature, Immature):
        kept = facts.immature
        yield (
            f"besides, {kept.rows:,} rows of {kept.leads:,} leads that were not followed for the whole horizon: without them,"
            f" rows hold {kept.held:,} of the last year's {kept.wins:,} wins. Only `leadpulse learn fit` reads them"
        )
    yield f"handovers: {_HANDOVERS[facts.recording['handovers']]}"


_HANDOVERS: Final = {
    "recorded": "the `lead.mql` and `lead.sql` that the log holds",
    "replayed": "the `lead.mql` and `lead.sql` that this grid gives, because the log holds none",
}


def _days(ms: int) -> str:
    return f"{ms / DAY_MS:g} days"


def _date(at_ms: int | None) -> str:
    return "–" if at_ms is None else rfc3339(at_ms)[:10]


def _left_out(dropped: Dropped, things: str) -> str:
    detail = f" ({dropped.detail})" if dropped.detail else ""
    of = f" of {dropped.leads:,} leads" if things == "instants" and dropped.leads else ""
    return f"left out: {dropped.rows:,} {things}{of}, because {WHY[dropped.why]}{detail}"
