"""What a comparison of two grids shows, in the words of marketing: counts and ranges, no p-values."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from worker.learning.compare import Calls, Comparison, Difference, Handovers, Moved
from worker.learning.fit_words import percent
from worker.learning.pages import page, paragraph, table_of_cells

_SHOWN_DAYS: Final = 0.05
HEAD: Final = ("leads that …", "leads", "won", "closed", "likely", "never given to sales", "of those won")


def opening(found: Comparison) -> str:
    """Return what was compared."""
    return (
        f"A is {found.grid_a}, B is {found.grid_b}. {found.leads:,} leads from {_day(found.from_ms)} to {_day(found.to_ms)}, "
        f"{found.won:,} of them won within {found.horizon_days:g} days."
    )


def sections(found: Comparison) -> Iterator[tuple[str, list[str], list[tuple[str, ...]]]]:
    """Yield title, sentences and rows under `HEAD` of each part."""
    as_written, near = found.as_written, found.at_capacity
    yield "As the grids are written", [*_sides(as_written), *_wins(as_written), *_days(as_written)], rows(as_written)
    title = f"At the same number of calls: {near.a_week:.1f} a week"
    thresholds = f"A calls from {near.threshold_a:.1f} points, B from {near.threshold_b:.1f}."
    yield title, [thresholds, *_sides(near.handovers), *_wins(near.handovers), *_days(near.handovers)], rows(near.handovers)
    yield "The order of the leads", [_order(found)], []


def rows(found: Handovers) -> list[tuple[str, ...]]:
    """Return a row for the leads of both grids, and of each alone."""
    groups = (("both call", found.both), ("A alone calls", found.only_a), ("B alone calls", found.only_b))
    return [_row(name, group) for name, group in groups]


def warning(found: Comparison) -> str | None:
    """Return what the history cannot tell about the leads that B alone calls, if there are such leads."""
    apart = found.as_written.only_b
    if not apart.never_given:
        return None
    return (
        f"Sales were never given {apart.never_given:,} of the {apart.leads:,} leads that B alone calls. A call helps, so these "
        "leads would close more often than this history shows. `explore` in the grid finds out."
    )


def comparison_html(found: Comparison) -> str:
    """Return the page. The same history and grids give the same bytes."""
    parts = [paragraph(opening(found))]
    for title, sentences, cells in sections(found):
        parts += [f"<h2>{title}</h2>", *map(paragraph, sentences)]
        if cells:
            parts.append(table_of_cells(HEAD, cells))
    said = warning(found)
    if said is not None:
        parts.append(paragraph(said))
    return page("Two grids on one history", "\n".join(parts))


def _sides(found: Handovers) -> Iterator[str]:
    for name, side in (("A", found.a), ("B", found.b)):
        yield f"{name} calls {_calls(side)}"


def _calls(side: Calls) -> str:
    low, middle, high = side.a_week
    closed = "none" if side.rate is None else percent(side.rate)
    share = "" if side.wins_found is None else f" That is {percent(side.wins_found)} of all wins."
    return (
        f"{side.leads:,} leads, {middle:g} in a usual week ({low:g} to {high:g} in most). {side.won:,} of them were won "
        f"({closed}).{share}"
    )


def _wins(found: Handovers) -> Iterator[str]:
    moved = f"A alone finds {found.wins_only_a:,} wins, B alone {found.wins_only_b:,}"
    likely = f"a difference of {found.wins.value:+.0f} ({found.wins.low:+.0f} to {found.wins.high:+.0f} likely)"
    if found.wins.shown:
        yield f"{moved}: {likely}."
    else:
        yield f"{moved}: {likely}. This history can show no difference in wins."


def _days(found: Handovers) -> Iterator[str]:
    days = found.later_days
    if days is None:
        return
    word = "later" if days.value > 0 else "earlier"
    if abs(days.value) >= _SHOWN_DAYS:
        yield f"Wins that both find: B calls {abs(days.value):.1f} days {word}{_likely_days(days)}."
    else:
        yield "Wins that both find: both call at the same time."


def _likely_days(days: Difference) -> str:
    return f" ({days.low:+.1f} to {days.high:+.1f} likely)"


def _order(found: Comparison) -> str:
    words = (
        f"Of a won and a lost lead, A has the won one higher in {found.auc_a:.1%} of pairs and B in {found.auc_b:.1%}: "
        f"a difference of {100 * found.auc.value:+.1f} points "
        f"({100 * found.auc.low:+.1f} to {100 * found.auc.high:+.1f} likely)."
    )
    return words if found.auc.shown else f"{words} This history can show no difference."


def _row(name: str, group: Moved) -> tuple[str, ...]:
    closed = "–" if group.rate is None else percent(group.rate)
    likely = "–" if group.low is None or group.high is None else f"{group.low:.0%}–{group.high:.0%}"
    counts = f"{group.leads:,}", f"{group.won:,}"
    return (name, *counts, closed, likely, f"{group.never_given:,}", f"{group.never_given_won:,}")


def _day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d")
