"""The report of a fit as JSON: everything that it found, in one object with sorted keys."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from worker.learning.evaluate import Judged, Quality
from worker.learning.leaks import Leak
from worker.learning.proposal import Proposal, Row
from worker.learning.tables import TableFacts
from worker.learning.thresholds import Band, Threshold


def report_json(proposal: Proposal, facts: TableFacts, leaks: Sequence[Leak], dropped: Sequence[str]) -> bytes:
    """Return the text of `report.json`. The same table and options give the same bytes."""
    scale = proposal.fitted.scale
    line = proposal.fitted.line
    report = {
        "report": 1,
        "table": table_of(facts),
        "overall": {"rows": proposal.sample.rows, "won": int(proposal.sample.won.sum()), "rate": proposal.fitted.overall},
        "goal": {"kind": proposal.goal.kind, "value": proposal.goal.value, "words": proposal.goal.words},
        "scale": {
            "points_for_a_log_odds": 1 / line.slope if line.slope > 0 else None,
            "double_odds_points": math.log(2) / line.slope if line.slope > 0 else None,
            "ordinary": 1 / (1 + math.exp(-line.intercept)),
            "most": scale.most,
            "least": scale.least,
            "strength": proposal.fitted.strength,
            "handed_over_log_odds": proposal.fitted.handed_over,
        },
        "attributes": [row_json(row) for row in proposal.rows],
        "left_out": [{"name": one.name, "why": one.why} for one in proposal.left_out],
        "dropped": sorted(dropped),
        "leaks": [leak._asdict() for leak in leaks],
        "thresholds": {name: _threshold(one) for name, one in proposal.rungs.items()},
        "least_fit": proposal.least_fit,
        "bands": [_band(band) for band in proposal.bands],
        "quality": judged_json(proposal.judged),
        "model": {
            "written": proposal.model.text is not None,
            "reason": proposal.model.reason or None,
            "quality": judged_json(proposal.model.judged),
        },
        "changes": [{"path": ".".join(map(str, one.path)), "value": one.value, "why": one.words} for one in proposal.changes],
    }
    return as_json(report)


def as_json(value: Any) -> bytes:
    """Return JSON with sorted keys; numbers have nine digits, and what is no number is null."""
    return (json.dumps(_rounded(value), sort_keys=True, ensure_ascii=False, indent=1) + "\n").encode()


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.9g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list | tuple) else value


def table_of(facts: TableFacts) -> dict[str, Any]:
    """Return the facts of the table that a reader of a report needs."""
    return {
        "kind": facts.kind, "source": facts.source, "label": facts.label, "leads": facts.leads, "rows": facts.rows,
        "won_leads": facts.won_leads, "horizon_ms": facts.horizon_ms, "from_ms": facts.from_ms, "to_ms": facts.to_ms,
        "end_ms": facts.end_ms, "design_effect": facts.design_effect, "recording": facts.recording,
        "dropped": [{"why": one.why, "rows": one.rows, "leads": one.leads, "detail": one.detail} for one in facts.dropped],
    }  # fmt: skip


def row_json(row: Row) -> dict[str, Any]:
    """Return one attribute with its counts, word and points."""
    rate = row.rate
    return {
        "field": rate.field, "name": rate.name, "kind": row.attribute.kind, "n": rate.rows, "won": rate.won,
        "rate": rate.rate, "likely": list(rate.likely), "times": rate.times, "word": rate.word, "share": row.share,
        "now": row.now, "points": row.points, "points_range": [row.low, row.high], "ordinary": row.zero,
    }  # fmt: skip


def _threshold(one: Threshold) -> dict[str, Any]:
    return {
        "enter": one.enter, "leave": one.leave, "p": one.p, "rows": one.rows, "won": one.won,
        "as_good": [one.low, one.high], "crossings_a_week": None if one.crossings is None else list(one.crossings),
    }  # fmt: skip


def _band(band: Band) -> dict[str, Any]:
    return {
        "from": band.low, "below": band.high, "rows": band.rows, "won": band.won, "rate": band.rate,
        "likely": list(band.likely), "wins_from_here": band.wins_from_here, "crossings_a_week": band.crossings,
    }  # fmt: skip


def judged_json(judged: Judged | None) -> dict[str, Any] | None:
    """Return the quality of a fit on rows that were not fitted."""
    if judged is None:
        return None
    return {
        "forward": judged.forward,
        "headline": _quality(judged.headline),
        "earlier_cuts": [_quality(one) for one in judged.earlier],
    }


def _quality(one: Quality) -> dict[str, Any]:
    return {
        "words": one.words, "rows": one.rows, "leads": one.leads, "won": one.won, "auc": one.auc,
        "auc_likely": list(one.auc_likely), "brier": one.brier, "brier_skill": one.brier_skill, "log_loss": one.log_loss,
        "slope": one.slope, "slope_likely": list(one.slope_likely), "intercept": one.intercept, "ece": one.ece,
        "deciles": [
            {"rows": d.rows, "won": d.won, "said": d.said, "likely": list(d.likely), "wins_from_here": d.wins_from_here}
            for d in one.deciles
        ],
    }  # fmt: skip
