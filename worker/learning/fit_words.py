"""What a fit found, in the words of marketing: counts and ranges, no p-values."""

from __future__ import annotations

from collections.abc import Iterator

from worker.learning.evaluate import Judged
from worker.learning.proposal import Proposal, Row
from worker.learning.rates import in_words
from worker.learning.thresholds import Threshold

_TOO_GOOD = 0.95
_VERY_GOOD = 0.92
"""Where many leads are won, an honest best tenth may close nearly always: then the order must be very good as well."""

_REASONS = {
    "too_few_wins": "too few leads were won",
    "too_few_losses": "too few leads were lost",
    "too_few_leads": "there are too few leads",
    "no_signals": "no rule of the grid matches any row",
    "no_forward_test": "there is no forward test",
    "weak_order": "it orders leads hardly better than chance",
    "badly_calibrated": "its probabilities are off",
}


def percent(share: float) -> str:
    """Return a share in whole percent, or with a decimal below ten."""
    return f"{100 * share:.1f} %" if 0 < share < 0.0995 else f"{100 * share:.0f} %"


def points_of(value: float) -> str:
    """Return points with their sign."""
    return f"{value:+g}" if value else "0"


def times(row: Row) -> str:
    """Return how many times as often as everyone an attribute closes."""
    return f"×{row.rate.times:.1f}" if row.rate.rows else "–"


def told(row: Row) -> str:
    """Return one sentence about an attribute."""
    rate = row.rate
    words = f"{rate.field}: {rate.name}: {rate.word}, {in_words(rate)}, {times(row)} as often as everyone"
    if row.zero:
        return f"{words}. This is the ordinary answer, worth 0."
    if row.share < 0.995 and row.points and row.attribute.kind != "signal":  # of what fades, a unit is seldom seen whole
        words += f"; {row.share:.0%} of that is not already told by others"
    before = "" if row.now is None else f" (now {points_of(row.now)})"
    return f"{words}: {points_of(row.points)} points{before}."


def quality(judged: Judged | None) -> str:
    """Return how well the points do on leads that were not fitted."""
    if judged is None:
        return "Too few wins to hold some back, so the points are untested."
    best = judged.headline
    how = "Tested forward in time" if judged.forward else "Tested on leads chosen by chance, as the table has no time"
    top = best.deciles[0]
    return (
        f"{how}, on {best.leads:,} leads with {best.won:,} won rows: of a won and a lost one, the won one scores higher in "
        f"{best.auc:.0%} of pairs ({best.auc_likely.low:.0%}–{best.auc_likely.high:.0%} likely). "
        f"The best tenth closed {percent(top.won / top.rows)}, and {percent(top.said)} was expected."
    )


def too_good(judged: Judged | None) -> str | None:
    """Return a warning where the fit does better than honest tables do; `None`: it does not.

    No honest set that we know passes 0.95. A column that was written after the outcome does.
    """
    if judged is None:
        return None
    best = judged.headline
    top = best.deciles[0]
    rate = best.won / best.rows
    if best.auc > _TOO_GOOD or (top.won / top.rows > _TOO_GOOD and rate < 0.5 and best.auc > _VERY_GOOD):
        return (
            f"This is too good to be true: {best.auc:.0%} of pairs are in order. Something may have been written after the "
            "outcome. Ask of each strong answer when it is written, and by whom, before you use these points."
        )
    return None


def rung(name: str, one: Threshold, rows: int) -> str:
    """Return what a threshold means."""
    closed = percent(one.won / one.rows) if one.rows else "none"
    words = (
        f"{name.upper()} from {one.enter:g} points, left below {one.leave:g}: {one.rows:,} of {rows:,} rows "
        f"({percent(one.rows / rows)}) reach it, and {closed} of them closed. A lead just there closes about {percent(one.p)}."
    )
    if one.low < one.enter or one.high > one.enter:
        words += f" Anything from {one.low:g} to {one.high:g} does about the same."
    if one.crossings is not None:
        low, middle, high = one.crossings
        words += f" {middle:g} leads newly reach it in a usual week ({low:g} to {high:g} in most)."
    return words


def gate(proposal: Proposal) -> str:
    """Return whether there is a model, and why not."""
    if proposal.model.text is not None:
        return "model.json: the chance that a lead closes, tested forward in time."
    code, _, detail = proposal.model.reason.partition(":")
    return f"No model.json: {_REASONS.get(code, code)} ({detail.strip()}). Points need fewer outcomes than probabilities do."


def summary(proposal: Proposal) -> Iterator[str]:
    """Yield the lines that the command prints."""
    sample = proposal.sample
    yield f"{sample.rows:,} rows, {int(sample.won.sum()):,} won: everyone closes {percent(proposal.fitted.overall)}."
    for one in proposal.left_out:
        yield f"left out: {one.name}: {one.why}"
    scored = [row for row in proposal.rows if row.points or row.now]
    for row in sorted(scored, key=lambda row: (-abs(row.points), row.rate.field, row.rate.name))[:_MOST]:
        yield told(row)
    if len(scored) > _MOST:
        yield f"and {len(scored) - _MOST} more, in report.html."
    for name, found in proposal.rungs.items():
        yield rung(name, found, sample.rows)
    yield quality(proposal.judged)
    doubt = too_good(proposal.judged)
    if doubt is not None:
        yield doubt
    yield gate(proposal)


_MOST = 12
