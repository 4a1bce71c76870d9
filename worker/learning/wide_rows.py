"""Rows with packed features made a table: a column for each feature, sorted by lead and instant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa

from worker.learning.landmarks import DAY_MS, Options, Tally, unpack_features
from worker.learning.spool import connected
from worker.learning.tables import Feature, own_columns

ROLES: Final = (
    "id", "at_ms", "won", "why", "handed_over", "company", "score", "fit", "engagement", "days_to_won",
)  # fmt: skip
YOUNG_ROLES: Final = ("followed_days", "days_to_handover")
"""Further ones of a table that keeps rows whose horizon ends after the log."""
_TYPES: Final = {
    "id": pa.string(), "at_ms": pa.int64(), "won": pa.bool_(), "why": pa.string(), "handed_over": pa.bool_(),
    "company": pa.string(), "score": pa.float64(), "fit": pa.float64(), "engagement": pa.float64(),
    "days_to_won": pa.float64(), "followed_days": pa.float64(), "days_to_handover": pa.float64(),
}  # fmt: skip
_FEATURE_TYPES: Final = {"signal": pa.float64(), "trait": pa.string(), "event": pa.int64(), "age_days": pa.float64()}
_PART: Final = 8_192


class Shape(NamedTuple):
    """The columns of a table of events."""

    features: list[Feature]
    roles: dict[str, str]

    @property
    def schema(self) -> pa.Schema:
        """Of the file."""
        own = [(self.roles[role], _TYPES[role]) for role in self.roles]
        return pa.schema([*own, *((feature.column, _FEATURE_TYPES[feature.kind]) for feature in self.features)])


def shape_of(signals: Sequence[str], tally: Tally, roles: Sequence[str] = ROLES) -> Shape:
    """Return the columns for the signals of a grid, and for the traits and types of events that occur."""
    features = [Feature(f"signal:{id_}", "signal", id_) for id_ in signals]
    features += [Feature(f"trait:{path}", "trait", path) for path in sorted(tally.traits)]
    features += [Feature(f"event:{type_}", "event", type_) for type_ in sorted(tally.types)]
    features.append(Feature("age_days", "age_days", "age_days"))
    return Shape(features, own_columns(roles, [feature.column for feature in features]))


class Sums:
    """Figures of all rows, added up while they pass by lead."""

    def __init__(self) -> None:
        self.rows = self.won_rows = self.leads = self.won_leads = 0
        self._rows_squared = self._won_squared = self._product = 0
        self._id: str | None = None
        self._lead_rows = self._lead_won = 0

    def take(self, id_: str, won: bool) -> None:
        """Take the next row. Rows of one lead follow each other."""
        if id_ != self._id:
            self._close()
            self._id = id_
        self._lead_rows += 1
        self._lead_won += won

    def _close(self) -> None:
        n, w = self._lead_rows, self._lead_won
        if n:
            self.rows += n
            self.won_rows += w
            self.leads += 1
            self.won_leads += w > 0
            self._rows_squared += n * n
            self._won_squared += w * w
            self._product += n * w
        self._lead_rows = self._lead_won = 0

    def design_effect(self) -> float:
        """Return `intervals.design_effect` of the rows that were taken."""
        self._close()
        if not 0 < self.won_rows < self.rows:
            return 1.0
        rate = self.won_rows / self.rows
        together = self._won_squared - 2 * rate * self._product + rate * rate * self._rows_squared
        return max(1.0, together / (self.rows * rate * (1 - rate)))


def parts_of(
    folder: Path, shape: Shape, from_ms: int | None, options: Options, sums: Sums, young: Sums
) -> Iterator[dict[str, Any]]:
    """Yield the rows in *folder* from *from_ms* on as columns, sorted by (id, at_ms), some at a time.

    *sums* takes those whose horizon has ended, and *young* the others.
    """
    signals, traits, events = (
        {feature.id: feature.column for feature in shape.features if feature.kind == kind}
        for kind in ("signal", "trait", "event")
    )
    where = "" if from_ms is None else f" WHERE at_ms >= {from_ms}"
    with connected(folder) as db:
        # DuckDB sorts texts by their bytes, as Python does by code points.
        relation = db.sql(f"SELECT * FROM {_rows(folder)}{where} ORDER BY id, at_ms")
        for batch in relation.to_arrow_reader(_PART):
            columns: dict[str, Any] = {shape.roles[role]: batch.column(role) for role in ROLES}
            rows, instants = batch.num_rows, batch.column("at_ms").to_pylist()
            if "followed_days" in shape.roles:
                columns[shape.roles["days_to_handover"]] = batch.column("days_to_handover")
                columns[shape.roles["followed_days"]] = [
                    min(options.horizon_ms, options.end_ms - at_ms) / DAY_MS for at_ms in instants
                ]
            columns |= {column: [0.0] * rows for column in signals.values()}
            columns |= {column: [None] * rows for column in traits.values()}
            columns |= {column: [0] * rows for column in events.values()}
            ages = columns["age_days"] = [0.0] * rows
            for place, packed in enumerate(batch.column("features").to_pylist()):
                features = unpack_features(packed)
                ages[place] = features.age_days
                for named, found in ((signals, features.signals), (traits, features.traits), (events, features.events)):
                    for id_, value in found.items():
                        columns[named[id_]][place] = value
            for id_, won, at_ms in zip(batch.column("id").to_pylist(), batch.column("won").to_pylist(), instants, strict=True):
                (sums if at_ms <= options.mature_ms else young).take(id_, won)
            yield columns


def wins_since(folder: Path, since_ms: int, from_ms: int | None, mature_ms: int) -> tuple[int, int]:
    """Return of how many leads the rows in *folder* hold a win after *since_ms*: rows up to *mature_ms*, and all."""
    with connected(folder) as db:
        ((held, wins),) = db.sql(
            f"SELECT count(DISTINCT id) FILTER (at_ms <= {mature_ms}), count(DISTINCT id) FROM {_rows(folder)}"
            f" WHERE won AND at_ms >= {from_ms or 0} AND at_ms + days_to_won * {DAY_MS} > {since_ms}"
        ).fetchall()
    return held, wins


def counts_before(folder: Path, before_ms: int) -> tuple[int, int]:
    """Return how many of the rows in *folder* stand before an instant, and of how many leads."""
    with connected(folder) as db:
        ((rows, leads),) = db.sql(
            f"SELECT count(*), count(DISTINCT id) FROM {_rows(folder)} WHERE at_ms < {before_ms}"
        ).fetchall()
    return rows, leads


def _rows(folder: Path) -> str:
    files = str(folder / "rows-*.parquet").replace("'", "''")
    return f"read_parquet('{files}')"
