"""The report of a fit as a page for marketing and sales, without scripts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from worker.learning.fit_words import gate, percent, points_of, quality, rung, times, too_good
from worker.learning.leaks import Leak
from worker.learning.pages import page, paragraph, table_of_cells
from worker.learning.pictures import Bar, bars, curve
from worker.learning.proposal import Proposal, Row
from worker.learning.rates import MEANING, in_words
from worker.learning.tables import TableFacts

_MOST_BARS: Final = 25


def report_html(proposal: Proposal, facts: TableFacts, leaks: Sequence[Leak]) -> str:
    """Return the page. The same table and options give the same bytes."""
    return page(f"Proposed points: {proposal.grid.grid}", "\n".join(_sections(proposal, facts, leaks)))


def _sections(proposal: Proposal, facts: TableFacts, leaks: Sequence[Leak]) -> Iterator[str]:
    sample = proposal.sample
    won = int(sample.won.sum())
    yield paragraph(
        f"{facts.leads:,} leads of {facts.source}, {sample.rows:,} rows, {won:,} of them won: everyone closes "
        f"{percent(proposal.fitted.overall)}. SQL was asked for as: {proposal.goal.words}. "
        "Nothing here is in force: a person decides."
    )
    if sample.at_ms is not None:
        yield paragraph(f"A lead has several rows; {sample.design_effect:.1f} rows tell as much as one lead that stands alone.")
    for one in facts.dropped:
        detail = f" ({one.detail})" if one.detail else ""
        yield paragraph(f"Left out of the table: {one.rows:,} rows, {one.why}{detail}.")
    yield "<h2>Thresholds</h2>"
    for name, threshold in proposal.rungs.items():
        yield paragraph(rung(name, threshold, sample.rows))
    if proposal.least_fit is not None:
        yield paragraph(f"Leads that reach SQL with a fit below {proposal.least_fit:g} close less often than SQL promises.")
    yield _bands(proposal)
    yield "<h2>How good is it?</h2>"
    yield paragraph(quality(proposal.judged))
    doubt = too_good(proposal.judged)
    if doubt is not None:
        yield paragraph(doubt)
    if proposal.judged is not None:
        yield _deciles(proposal)
        for quality_then in proposal.judged.earlier:
            low, high = quality_then.auc_likely
            yield paragraph(
                f"{quality_then.words.capitalize()}: {quality_then.auc:.0%} of pairs in order ({low:.0%}–{high:.0%} likely), "
                f"{quality_then.won:,} won."
            )
    yield paragraph(gate(proposal))
    yield "<h2>Which answers close</h2>"
    yield paragraph("Bars are rates, black lines their likely ranges, and the red line is everyone.")
    yield _rate_bars(proposal)
    yield "<h2>Points</h2>"
    yield _points(proposal.rows)
    yield "<ul>" + "".join(f"<li><b>{word}</b>: {escape(meaning)}</li>" for word, meaning in MEANING.items()) + "</ul>"
    yield from _doubts(proposal, leaks)


def _bands(proposal: Proposal) -> str:
    rows = [
        (
            f"{band.low:g} to below {band.high:g}", f"{band.rows:,}", f"{band.won:,}", percent(band.rate),
            f"{band.likely.low:.0%}–{band.likely.high:.0%}", percent(band.wins_from_here),
            "–" if band.crossings is None else f"{band.crossings:.1f}",
        )
        for band in proposal.bands
    ]  # fmt: skip
    head = ("score", "rows", "won", "closed", "likely", "wins from here up", "new leads a week")
    return table_of_cells(head, rows)


def _deciles(proposal: Proposal) -> str:
    assert proposal.judged is not None
    deciles = proposal.judged.headline.deciles
    rows = [
        (f"{i}", f"{d.rows:,}", f"{d.won:,}", percent(d.won / d.rows), percent(d.said), percent(d.wins_from_here))
        for i, d in enumerate(deciles, start=1)
    ]
    points = [(d.said, d.won / d.rows, d.likely.low, d.likely.high) for d in deciles]
    head = ("tenth, from the best", "rows", "won", "closed", "expected", "wins from here up")
    return table_of_cells(head, rows) + curve("Expected and seen closing rates of tenths", points)


def _rate_bars(proposal: Proposal) -> str:
    told = [row for row in proposal.rows if row.rate.rows >= 5 and (row.points or row.now)]
    told = sorted(told, key=lambda row: (-row.rate.rate, row.rate.field, row.rate.name))
    if len(told) > _MOST_BARS:
        told = [*told[: _MOST_BARS - 10], *told[-10:]]
    rows = [
        Bar(f"{row.rate.field}: {row.rate.name}", row.rate.rate, *row.rate.likely, f"{times(row)}, {points_of(row.points)}")
        for row in told
    ]
    return bars("Closing rates by answer", rows, proposal.fitted.overall)


def _points(rows: Sequence[Row]) -> str:
    cells = [
        (
            row.rate.field, row.rate.name, in_words(row.rate), times(row), row.rate.word, percent(row.share),
            "–" if row.now is None else points_of(row.now), "0, ordinary" if row.zero else points_of(row.points),
            f"{row.low} … {row.high}" if row.rate.word == "leaning" else "",
        )
        for row in rows
    ]  # fmt: skip
    head = ("field", "answer", "outcomes", "as often as everyone", "word", "not told by others", "now", "proposed", "range")
    return table_of_cells(head, cells)


def _doubts(proposal: Proposal, leaks: Sequence[Leak]) -> Iterator[str]:
    asked = [leak for leak in leaks if leak.verdict != "ok"]
    if asked or proposal.left_out:
        yield "<h2>Questions, and columns left out</h2>"
    for leak in asked:
        yield f'<p class="ask"><b>{escape(leak.name)}</b> ({leak.verdict}): {escape(leak.why)}</p>'
    for one in proposal.left_out:
        yield paragraph(f"{one.name} is left out: {one.why}.")
