"""A learning table from a log: the file holds what the fold gives, and what was left out is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from tests.kit.archives import add_file, tick
from tests.kit.grids import a_grid, parsed
from tests.kit.landmarks import OURS, folded, rounded
from tests.kit.learning_logs import CHOICE, GRID, PAGE, YOUNG, a_crowd, a_young_log, log_of, made
from tests.kit.oracle_values import instant, rfc3339
from tests.kit.stories import DAY, START, Line, an_event
from worker.core.contract.model import Record
from worker.errors import LearningError
from worker.history.records import open_history
from worker.learning import event_table as module
from worker.learning.event_table import event_table
from worker.learning.intervals import design_effect
from worker.learning.landmarks import Options, first_instant, longest_memory_ms, unpack_features
from worker.learning.table_words import words
from worker.learning.tables import Dropped, Immature, Table, read_table


def rows_of(table: Table) -> list[dict[str, Any]]:
    """Return the rows of a table in the form of `tests.kit.landmarks.shown`."""
    roles = {column: role for role, column in table.facts.roles.items()}
    by_kind = {kind: {one.column: one.id for one in table.features(kind)} for kind in ("signal", "trait", "event")}
    found = []
    for cells in table.arrow.to_pylist():
        row = {role: cells[column] for column, role in roles.items()}
        row["age_days"] = cells["age_days"]
        for kind, columns in by_kind.items():
            row[f"{kind}s"] = {id_: cells[column] for column, id_ in columns.items() if cells[column] not in (None, 0)}
        found.append(rounded(row))
    return found


def test_the_file_holds_the_rows_of_the_fold(tmp_path: Path) -> None:
    """Sorted by lead and instant, with the features of each; signals of rules that nobody met are columns too."""
    lines = a_crowd()
    table = made(tmp_path, lines)
    options = Options(7 * DAY, 2 * DAY, START + 90 * DAY, START)
    rows = folded(lines, GRID, options)
    expected = [rounded(row._asdict() | unpack_features(row.features)._asdict()) for row in rows]
    for row in expected:
        del row["features"], row["days_to_handover"]
    assert rows_of(table) == expected
    facts = table.facts
    assert (facts.rows, facts.leads) == (len(rows), len({row.id for row in rows}))
    assert facts.won_leads == len({row.id for row in rows if row.won})
    assert [one.id for one in table.features("signal")] == ["cto", "page", "demo", "back", "idle_days"]
    assert [one.column for one in table.features("event")] == [
        "event:lead.identified",
        "event:page.viewed",
        "event:profile.updated",
    ]
    assert not table.column("signal:demo").any()
    assert facts.grid is not None
    assert facts.grid.text == GRID.source.decode()
    leads = np.unique(table.role("id"), return_inverse=True)[1]
    assert facts.design_effect == pytest.approx(design_effect(leads, table.role("won")))


def test_the_horizon_is_that_of_most_wins(tmp_path: Path) -> None:
    """Twenty wins, each after seven days: longer horizons would only cost rows. Fewer wins say nothing."""
    assert made(tmp_path, a_crowd()).facts.horizon_ms == 7 * DAY
    assert made(tmp_path, a_crowd(), CHOICE._replace(horizon_ms=3 * DAY)).facts.horizon_ms == 3 * DAY
    assert made(tmp_path, a_crowd(leads=30)).facts.horizon_ms == 10 * DAY


def test_the_left_edge_is_the_longest_memory_of_the_grid(tmp_path: Path) -> None:
    """Four half-lives are 4 days, a rise over 5 days looks back over 10."""
    assert longest_memory_ms(GRID) == 10 * DAY
    facts = made(tmp_path, a_crowd(), CHOICE._replace(complete=False)).facts
    assert facts.from_ms == START + 10 * DAY
    assert "left_edge" in {one.why for one in facts.dropped}


def test_two_processes_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And so does a second run."""
    made(tmp_path, a_crowd())
    first = (tmp_path / "t.parquet").read_bytes()
    monkeypatch.setattr(module, "_ALONE", 0)
    made(tmp_path, a_crowd())
    assert (tmp_path / "t.parquet").read_bytes() == first


def test_months_without_records_are_refused_by_name(tmp_path: Path) -> None:
    """Won is written down from June on: what came before looks lost, and is left out."""
    lines = [line for line in a_crowd(900, 200) if line["type"] != "crm.won" or line["time"] >= "2026-06-01"]
    table = made(tmp_path, lines)
    months = table.facts.recording["months"]
    assert [month["month"] for month in months] == ["2026-03", "2026-04", "2026-05"]
    (dropped,) = [one for one in table.facts.dropped if one.why == "before_recording"]
    assert dropped.detail == "2026-03, 2026-04, 2026-05"
    assert dropped.rows > 300
    assert min(table.role("at_ms")) >= np.datetime64("2026-06-01", "ms").astype(int)
    assert table.facts.from_ms == np.datetime64("2026-06-01", "ms").astype(int)
    assert any(
        "outcomes were not recorded yet in these months (2026-03, 2026-04, 2026-05)" in line for line in words(table.facts)
    )


def test_recorded_outputs_say_who_was_handed_over(tmp_path: Path) -> None:
    """Not what the grid at hand would have done."""
    lines = log_of((0, "ada", *PAGE), (1, "ada", "demo.requested", {}), (30, "bob", *PAGE))
    assert made(tmp_path, lines).facts.recording["handovers"] == "replayed"
    assert {row["why"] for row in rows_of(made(tmp_path, lines))} == {"every", "sql"}
    sent = an_event("ada", 77, START + 4 * DAY, "lead.sql", {}) | {"source": OURS}
    table = made(tmp_path, [*lines[:2], sent, lines[2]])
    assert table.facts.recording["handovers"] == "recorded"
    flagged = [row for row in rows_of(table) if row["why"] != "every"]
    assert [(row["at_ms"], row["why"], row["handed_over"]) for row in flagged] == [(START + 4 * DAY, "sql", True)]


def test_records_that_are_no_events_are_counted(tmp_path: Path) -> None:
    """One without a subject, and one of which the data is wrong."""
    lines = log_of((0, "ada", *PAGE), (30, "ada", *PAGE))
    nameless = {name: value for name, value in lines[0].items() if name != "subject"}
    table = made(tmp_path, [nameless, lines[0] | {"data": {}}, *lines])
    assert Dropped("bad_record", 2, 0) in table.facts.dropped


def test_addresses_link_ids_where_the_grid_says_so(tmp_path: Path) -> None:
    """What was sent for the address is the lead's, once the lead has that address."""
    lines = log_of(
        (0, "email:ada@acme.example", *PAGE),
        (1, "ada", "profile.updated", {"traits": {"email": "Ada@acme.example"}}),
        (30, "ada", *PAGE),
    )
    linked = parsed(a_grid(engagement="{rules: [{id: page, points: 8, on: page.viewed}]}", identity="{email: link}"))
    plain = parsed(a_grid(engagement="{rules: [{id: page, points: 8, on: page.viewed}]}", identity="{email: report}"))
    assert {row["id"]: row["events"].get("page.viewed", 0) for row in rows_of(made(tmp_path, lines, grid=linked))} == {"ada": 1}
    apart = {row["id"]: row["events"].get("page.viewed", 0) for row in rows_of(made(tmp_path, lines, grid=plain))}
    assert apart == {"ada": 0, "email:ada@acme.example": 1}


def test_a_log_without_rows_is_refused_with_the_reasons(tmp_path: Path) -> None:
    """An empty one too. Nothing is written."""
    with pytest.raises(LearningError, match="there is no event in it"):
        made(tmp_path, [])
    with pytest.raises(LearningError, match=r"no row is left of this log \(3: the horizon ends after the log\): try a shorter"):
        made(tmp_path, log_of((0, "ada", *PAGE), (5, "ada", *PAGE)))
    assert not (tmp_path / "t.parquet").exists()


def test_each_lead_has_its_own_phase() -> None:
    """Instants of leads spread over the week, and stay where they are whenever a lead begins."""
    phases = [first_instant(f"lead-{n}", START, 7 * DAY) - START for n in range(1_000)]
    assert np.histogram(phases, 7, (0, 7 * DAY))[0].min() > 100
    for since in (START, START + 1, START + 3 * DAY):
        at_ms = first_instant("ada", since, 7 * DAY)
        assert since <= at_ms < since + 7 * DAY
        assert (at_ms - first_instant("ada", START, 7 * DAY)) % (7 * DAY) == 0


def test_an_archive_gives_the_table_of_its_lines(tmp_path: Path) -> None:
    """Inputs of one topic, outputs of another, and a tick that ends the log."""
    sent = an_event("lead-001", 9_999, START + 12 * DAY, "lead.sql", {}) | {"source": OURS}
    lines = sorted([*a_crowd(), sent], key=lambda line: instant(line["time"]))
    lines.append({"tick": rfc3339(START + 95 * DAY)})
    expected = made(tmp_path, lines)
    archive, out = tmp_path / "history", str(tmp_path / "archived.parquet")
    inputs = [line for line in lines[:-1] if line is not sent]
    add_file(archive, [record("lead.events.web", offset, line) for offset, line in enumerate(inputs)])
    add_file(archive, [record("lead.sql", 0, sent)], role="output")
    add_file(archive, [tick(0, 0, START + 95 * DAY)], role="journal")
    event_table(open_history(str(archive)), str(archive), GRID, CHOICE, out)
    table = read_table(out)
    assert table.arrow.to_pylist() == expected.arrow.to_pylist()
    assert replace(table.facts, source="") == replace(expected.facts, source="")
    assert (table.facts.source, table.facts.recording["handovers"]) == ("history", "recorded")


def record(topic: str, offset: int, line: Line) -> Record:
    """Return a line as a record of Kafka, written at the time of its event."""
    return Record(topic, 0, offset, instant(line["time"]), line["subject"].encode(), json.dumps(line).encode())


def test_a_young_log_keeps_rows_whose_horizon_has_not_ended(tmp_path: Path) -> None:
    """Mature rows hold under half of the wins. So the others are in the file, for a fit alone, with how long they were seen."""
    plain = made(tmp_path, a_young_log(), YOUNG._replace(young=False))
    table = made(tmp_path, a_young_log(), YOUNG)
    kept = table.facts.immature
    assert isinstance(kept, Immature)
    assert 0 < 2 * kept.held < kept.wins
    assert (table.facts.rows, table.facts.won_leads) == (plain.facts.rows, plain.facts.won_leads)
    ours = [{**row, "followed_days": 0, "days_to_handover": 0} for row in rows_of(plain)]
    assert [{**row, "followed_days": 0, "days_to_handover": 0} for row in rows_of(table)] == ours
    whole = read_table(str(tmp_path / "t.parquet"), immature=True)
    assert whole.arrow.num_rows == whole.facts.rows == table.facts.rows + kept.rows
    horizon, followed = table.facts.horizon_ms, whole.role("followed_days")
    assert horizon is not None
    end_ms = table.facts.end_ms
    assert end_ms is not None
    assert followed.tolist() == [min(horizon, end_ms - at_ms) / DAY for at_ms in whole.role("at_ms").tolist()]
    assert followed.min() >= min(7, horizon / DAY)
    assert (whole.role("days_to_won")[whole.role("won")] <= followed[whole.role("won")]).all()
    assert any("Only `leadpulse learn fit` reads them" in line for line in words(table.facts))


def test_a_log_with_enough_mature_wins_gives_the_bytes_of_before(tmp_path: Path) -> None:
    """Nothing of it is kept, folded twice, or named in the facts."""
    made(tmp_path, a_crowd())
    first = (tmp_path / "t.parquet").read_bytes()
    made(tmp_path, a_crowd(), CHOICE._replace(young=True))
    assert (tmp_path / "t.parquet").read_bytes() == first
