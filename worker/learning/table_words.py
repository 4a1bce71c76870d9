"""What a learning table holds, and what was left out of it and why, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from worker.learning.tables import Dropped, TableFacts

WHY: Final = {
    "bad_row": "the row has more cells than the header",
    "no_id": "the row has no id",
}
"""Code of a reason → why rows are not in the table."""


def words(facts: TableFacts) -> Iterator[str]:
    """Yield lines for people: leads and wins, then rows that were left out."""
    share = facts.won_leads / facts.leads if facts.leads else 0.0
    yield f"{facts.leads:,} leads, {facts.won_leads:,} of them won ({share:.1%}); {len(facts.features):,} columns"
    if facts.outcome is not None and facts.outcome["blank"]:
        yield f"{facts.outcome['blank']:,} leads have a blank {facts.outcome['column']!r}: they count as not won"
    for dropped in facts.dropped:
        yield _left_out(dropped)


def _left_out(dropped: Dropped) -> str:
    detail = f" ({dropped.detail})" if dropped.detail else ""
    return f"left out: {dropped.rows:,} rows, because {WHY[dropped.why]}{detail}"
