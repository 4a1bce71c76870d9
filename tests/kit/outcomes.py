"""Leads with outcomes whose truth is known: columns as in a CRM's export, and the weight of each value in log-odds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from worker.learning.intervals import Bools, Floats, Ints
from worker.learning.sample import Sample, Texts, in_order_of_content, texts_of
from worker.learning.tables import Feature, Table, TableFacts, own_columns

SOURCES: Final = {"Google": 0.0, "Olark Chat": -0.8, "Reference": 2.4, "Direct Traffic": -0.2, "Welingak": 3.0, "bing": -0.4}
ROLES: Final = {"": -1.2, "Working Professional": 2.2, "Unemployed": 0.4, "Student": 0.0}
CITIES: Final = ("", "Mumbai", "Pune", "Delhi", "Other Cities")


@dataclass(frozen=True)
class Leads:
    """Columns of texts, the outcome, and the log-odds that made it."""

    columns: dict[str, list[str]]
    won: Bools
    truth: Floats

    def table(self, *, order: bool = False) -> Table:
        """Return the leads as a table of a CSV file, in their order if it counts as time."""
        return table_of(self.columns, self.won, order=order)

    def sample(self) -> Sample:
        """Return the leads as rows, a row for each lead."""
        texts: dict[str, Texts] = {name: texts_of(column) for name, column in self.columns.items()}
        return in_order_of_content(Sample(self.won, np.arange(self.won.size, dtype=np.int64), texts))


def table_of(columns: Mapping[str, Sequence[str]], won: Bools, *, order: bool = False) -> Table:
    """Return a table as `leadpulse learn table FILE.csv` writes it."""
    roles = own_columns(["id", "won", *(["order"] if order else [])], list(columns))
    own = {roles["id"]: [str(i) for i in range(won.size)], roles["won"]: won.tolist()}
    if order:
        own[roles["order"]] = [float(i) for i in range(won.size)]
    features = [Feature(name, "column", name) for name in columns]
    facts = TableFacts(
        kind="csv", source="leads.csv", leads=won.size, rows=won.size, won_leads=int(won.sum()), features=features, roles=roles
    )
    return Table(pa.table({**own, **columns}), facts)


def seconds_worth(seconds: Ints) -> Floats:
    """Return the log-odds of a visit's length: 0 means that it was not tracked, which is no bad sign."""
    return np.select([seconds == 0, seconds < 140, seconds < 700], [0.4, -1.4, -0.3], 1.3)


def leads(rows: int, seed: int = 1, level: float = -0.6, copies: int = 0) -> Leads:
    """Make leads. With *copies*, so many columns repeat the source and the role, nine times in ten."""
    random = np.random.default_rng(seed)
    source = random.choice(list(SOURCES), rows, p=[0.35, 0.2, 0.1, 0.28, 0.03, 0.04])
    role = random.choice(list(ROLES), rows, p=[0.3, 0.1, 0.55, 0.05])
    seconds = np.where(random.random(rows) < 0.25, 0, random.exponential(480, rows).astype(np.int64) + 1)
    visits = random.poisson(3, rows)
    truth = level + np.array([SOURCES[one] for one in source]) + np.array([ROLES[one] for one in role])
    truth = truth + seconds_worth(seconds)
    columns = {
        "Prospect": [f"p-{i:05d}" for i in range(rows)],
        "Lead Source": source.tolist(),
        "What is your current occupation": role.tolist(),
        "Time on Website": [str(one) for one in seconds],
        "Total Visits": [str(one) if one < 9 else "" for one in visits],
        "City": random.choice(CITIES, rows).tolist(),
        "Newsletter": ["No"] * rows,
    }
    won = random.random(rows) < 1 / (1 + np.exp(-truth))
    for i in range(copies):
        for name, values in (("Lead Source", source), ("What is your current occupation", role)):
            other = random.permutation(values)
            columns[f"{name} {i + 2}"] = np.where(random.random(rows) < 0.9, values, other).tolist()
    return Leads(columns, won, truth)
