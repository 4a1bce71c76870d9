"""Leaks in tables of events: by when records arrived, and by what the rows say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from worker.core.grid.models import parse_grid
from worker.demo.known import KnownOutcomes, Plan
from worker.demo.simulate import Scenario
from worker.history.records import open_history
from worker.learning.event_table import EventChoice, event_table
from worker.learning.leaks import find_leaks, read_by
from worker.learning.record_times import Arrivals
from worker.learning.tables import Feature, GridFacts, Kind, Table, TableFacts, read_table
from worker.presets import read_grid

GRID = """
grid: g
version: 1
fit:
  rules:
    - {id: band, points: 5, where: {budget_band: A}}
    - {id: size, points: {table: staff, bands: [[0, 5], [100, 15]], else: 2}}
engagement:
  rules:
    - {id: paper, points: 5, on: [custom.contract.signed, content.downloaded]}
    - {id: page, points: 5, on: page.viewed}
"""


def table(columns: dict[str, list[Any]], won: list[bool], records: dict[str, Arrivals], ids: list[str]) -> Table:
    """A table of events with these features, named `KIND:ID`."""
    features = [Feature(name, _kind(name), name.partition(":")[2] or name) for name in columns]
    facts = TableFacts(
        kind="events",
        source="log",
        grid=GridFacts("g", 1, "0", GRID),
        leads=len(set(ids)),
        rows=len(won),
        won_leads=sum(won),
        records=records,
        features=features,
        roles={"id": "id", "won": "won"},
    )
    return Table(pa.table({"id": ids, "won": won} | columns), facts)


def _kind(name: str) -> Kind:
    kind = name.partition(":")[0]
    return kind if kind in ("signal", "trait", "event", "age_days") else "column"  # type: ignore[return-value]


def test_times_decide_and_signals_share_the_verdict_of_what_their_rule_reads() -> None:
    """Every feature is listed, in the order of the table; then what no row has, because it comes too late."""
    random = np.random.default_rng(1)
    won = list(random.random(600) < 0.2)
    names = ["signal:band", "signal:size/100", "signal:paper", "signal:page", "trait:budget_band", "trait:staff"]
    numbers = ["event:custom.contract.signed", "event:page.viewed", "event:crm.no_show", "age_days"]
    columns: dict[str, list[Any]] = {name: list(random.random(600)) for name in [*names, *numbers]}
    columns["trait:budget_band"] = ['"A"', None] * 300
    columns["trait:staff"] = ["100"] * 600
    records = {
        "trait:budget_band": Arrivals(200, 70, 0, 65, {"/crm": 65}),
        "trait:staff": Arrivals(600, 0),
        "event:custom.contract.signed": Arrivals(80, 78),
        "event:page.viewed": Arrivals(4_000, 20),
        "event:content.downloaded": Arrivals(40, 15),
        "event:crm.won": Arrivals(90, 90),
        "event:crm.no_show": Arrivals(30, 1, 29),
        "event:custom.kickoff": Arrivals(60, 60),
        "trait:late_but_rare": Arrivals(3, 3),
    }
    found = find_leaks(table(columns, won, records, [f"l{number // 3}" for number in range(600)]))
    assert [leak.name for leak in found] == [*columns, "event:content.downloaded", "event:custom.kickoff"]
    assert [leak.verdict for leak in found] == [
        "ask", "ok", "refuse", "ok", "ask", "ok", "refuse", "ok", "ask", "ok", "ask", "refuse",
    ]  # fmt: skip
    assert found[2].why.startswith("Its rule reads event:custom.contract.signed. 78 of 80 records (97.5 %) arrived less than")
    assert found[4].figure == 0.35
    assert found[-3].why == "No sign of the outcome, and no record of it came too late."


def test_rows_that_nearly_are_the_outcome_raise_a_question() -> None:
    """They hold only what had arrived, so it may be honest; and one lead's rows do not judge each other."""
    random = np.random.default_rng(2)
    won = np.repeat(random.random(200) < 0.3, 5)
    ids = [f"l{number // 5}" for number in range(1_000)]
    columns = {
        "signal:page": list((won + random.normal(size=1_000) * 0.3).round(3)),
        "event:page.viewed": list((won + random.normal(size=1_000) * 0.3).round(3)),
        "trait:name": [f'"{id_}"' for id_ in ids],
        "trait:state": ['"in contract"' if one and random.random() < 0.5 else '"open"' for one in won],
    }
    found = {leak.name: leak for leak in find_leaks(table(columns, list(won), {}, ids))}
    assert {name: leak.verdict for name, leak in found.items()} == {
        "signal:page": "ok",
        "event:page.viewed": "ask",
        "trait:name": "ok",
        "trait:state": "ask",
    }
    assert found["trait:name"].figure < 0.6
    assert "Every row has only what had arrived by then" in found["trait:state"].why


@pytest.mark.parametrize("called_by", [None, "saas-b2b"])
def test_planted_leaks_are_found_in_a_log_and_nothing_else_is_refused(tmp_path: Path, called_by: str | None) -> None:
    """One of them is back-dated: only its arrival gives it away."""
    grid = read_grid("saas-b2b")
    plan = Plan(grid=grid, won_rate=0.2, leaks=True, called_by=None if called_by is None else read_grid(called_by))
    traffic = KnownOutcomes(Scenario(seed=4, leads=900, days=200, late=0.02, duplicates=0.01), plan)
    log = tmp_path / "log.jsonl"
    log.write_bytes(b"".join(record.value + b"\n" for record in traffic.records()))
    event_table(open_history(str(log)), "log", grid, EventChoice(complete=True), str(tmp_path / "t.parquet"))
    found = {leak.name: leak.verdict for leak in find_leaks(read_table(str(tmp_path / "t.parquet")))}
    planted = [leak["name"] for leak in traffic.truth()["leaks"]]
    assert len(planted) == (4 if called_by is None else 5)
    assert {name: found.get(name) for name in planted if found.get(name) not in ("refuse", "ask")} == {}
    assert [name for name, verdict in found.items() if verdict == "refuse" and name not in planted] == []


def test_what_a_rule_reads() -> None:
    """Traits of conditions and of tables of points, and all event types."""
    assert read_by(parse_grid(GRID.encode(), "g")) == {
        "band": ["trait:budget_band"],
        "size": ["trait:staff"],
        "paper": ["event:custom.contract.signed", "event:content.downloaded"],
        "page": ["event:page.viewed"],
    }
