"""Learning tables of a log that ends early: rows whose horizon has not ended, with outcomes that the truth knows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from msgspec.structs import replace

from tests.kit.weekly_rows import DAY_MS, HORIZON_DAYS, START_MS
from worker.learning.intervals import Bools, Floats
from worker.learning.sample import Sample
from worker.learning.tables import Immature, Table


class Early(NamedTuple):
    """Rows as they are known when the log ends, and what became of them."""

    sample: Sample
    truth: Bools
    """Won within the horizon."""


def early(
    leads: int = 6000, seed: int = 1, end: float = 200.0, odds: float = -2.2, slope: float = 0.8, pace: float = 0.7
) -> Early:
    """Return leads that come faster and faster until the log ends after *end* days. Half of the wins take three weeks.

    Each has one row, the signal `x`, and a horizon of 90 days. The lower *pace*, the more wins come in the first days.
    """
    random = np.random.default_rng(seed)
    begin = end * np.sqrt(random.random(leads))
    x = random.normal(size=leads)
    truth = random.random(leads) < 1 / (1 + np.exp(-(odds + slope * x)))
    days = np.where(truth, 90 * random.beta(pace, 1.8, leads), np.nan)
    followed = np.minimum(90.0, end - begin)
    there = followed >= 7
    days = np.where(days <= followed, days, np.nan)
    sample = Sample(
        won=~np.isnan(days), leads=np.arange(leads), numbers={"x": x}, at_ms=(begin * DAY_MS).astype(np.int64),
        followed=followed, days_to_won=days, days_to_handover=np.full(leads, np.nan), horizon_ms=90 * DAY_MS,
    )  # fmt: skip
    return Early(sample.take(there), truth[there])


def cut_short(table: Table, days: float, seed: int = 1) -> tuple[Table, Floats]:
    """Return the rows of `weekly_rows` as a log of so many days knows them, and which of them will be won."""
    random = np.random.default_rng(seed)
    won = table.role("won").astype(bool)
    took = np.where(won, HORIZON_DAYS * random.beta(0.8, 1.4, won.size), np.nan)
    followed = np.minimum(HORIZON_DAYS, days - (table.role("at_ms") - START_MS) / DAY_MS)
    there = followed >= 7
    known = took <= followed
    handed = np.where(table.role("handed_over"), np.where(won, took / 2, HORIZON_DAYS * random.random(won.size)), np.nan)
    handed = np.where(handed <= followed, handed, np.nan)
    columns = {name: table.arrow.column(name) for name in table.arrow.column_names}
    columns |= {
        "won": pa.array(known), "handed_over": pa.array(~np.isnan(handed)), "followed_days": pa.array(followed),
        "days_to_won": pa.array(np.where(known, took, np.nan)), "days_to_handover": pa.array(handed),
    }  # fmt: skip
    arrow = pa.table(columns).filter(pa.array(there))
    mature = followed[there] >= HORIZON_DAYS
    ids = table.role("id")[there]
    wins = [len(set(ids[known[there] & rows])) for rows in (mature, ~mature)]
    facts = replace(
        table.facts,
        rows=int(mature.sum()),
        leads=len(set(ids[mature])),
        won_leads=wins[0],
        end_ms=START_MS + round(days * DAY_MS),
        roles={**table.facts.roles, **{name: name for name in ("followed_days", "days_to_won", "days_to_handover")}},
        immature=Immature(int((~mature).sum()), len(set(ids[~mature])), wins[1], wins[0], sum(wins)),
    )
    return Table(arrow, facts), won[there].astype(np.float64)
