"""Histories: archives and files of lines, in order of arrival."""

from __future__ import annotations

import gzip
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kit.archives import NOON_MS, WEB, add_file, event, tick
from worker.core.contract.codec import decode
from worker.core.contract.model import Event
from worker.errors import HistoryError
from worker.history.records import TICK, open_history

CRM = "lead.events.crm"


def offsets(archive: Path, **asked: Any) -> list[tuple[str, int]]:
    """Return the topic and offset of each event, in order."""
    return [(one.topic, one.offset) for one in open_history(str(archive)).events(**asked)]


def test_an_archive_gives_its_events_in_order_of_arrival(tmp_path: Path) -> None:
    """Across topics and files; an event's time counts where it is later than its record, within the usual five minutes."""
    add_file(tmp_path, [event(0), event(1, time="2026-03-05T12:00:30Z"), event(2), event(3, time="2027-01-01T00:00:00Z")])
    add_file(tmp_path, [event(0, topic=CRM, at_ms=NOON_MS + 2_500), event(1, topic=CRM, at_ms=NOON_MS)])
    history = open_history(str(tmp_path))
    found = list(history.events())
    assert [(one.topic, one.offset) for one in found] == [(CRM, 1), (WEB, 0), (WEB, 2), (CRM, 0), (WEB, 3), (WEB, 1)]
    assert [one.arrival_ms for one in found] == sorted(one.arrival_ms for one in found)
    assert history.end_ms == NOON_MS + 30_000


def test_a_backfilled_archive_is_read_by_the_time_of_its_events(tmp_path: Path) -> None:
    """Its records all came at once. With the clock of events they are known one after another, and ticks end nothing."""
    timed: list[dict[str, Any]] = [{"time": "2026-01-03T00:00:00Z"}, {"time": "2026-01-01T00:00:00Z"}, {}]
    add_file(tmp_path, [event(at, **envelope) for at, envelope in enumerate(timed)])
    output = event(0, topic="hot", type="lead.sql", source="/leadpulse/default", time="2026-01-02T00:00:00Z")
    add_file(tmp_path, [output], "output")
    add_file(tmp_path, [tick(0, 0, NOON_MS + 60_000, topic="j")], "journal")
    history = open_history(str(tmp_path), "events")
    found = list(history.events(to_ms=NOON_MS))
    assert [(one.topic, one.offset) for one in found] == [(WEB, 1), ("hot", 0), (WEB, 0)]
    assert {one.arrival_ms % 86_400_000 for one in found} == {0}
    assert history.end_ms == NOON_MS + 2_000


def test_records_come_back_as_they_decode(tmp_path: Path) -> None:
    """Key, headers and timestamp too."""
    records = [event(0), event(1, time="2026-03-05T11:00:00.5Z", sequence="7", mine={"a": [1, None]})]
    add_file(tmp_path, records)
    found = [one.record() for one in open_history(str(tmp_path)).events()]
    assert [decode(one) for one in found] == [decode(one) for one in records]
    assert all(isinstance(decode(one), Event) for one in found)
    assert [one._replace(value=b"") for one in found] == [one._replace(value=b"") for one in records]


def test_overlapping_files_give_each_record_once(tmp_path: Path) -> None:
    """Two processes wrote, or a merged file stands beside its sources."""
    records = [event(offset) for offset in range(20)]
    for first, last in [(0, 4), (0, 7), (5, 9), (8, 12), (13, 19), (0, 3)]:
        add_file(tmp_path, records[first : last + 1])
    assert offsets(tmp_path) == [(WEB, offset) for offset in range(20)]


def test_readers_ask_for_types_leads_and_times(tmp_path: Path) -> None:
    """Each filter alone, and all of them."""
    add_file(
        tmp_path, [event(0, "a"), event(1, "b", type="demo.requested"), event(2, "a", type="demo.requested"), event(3, "a")]
    )
    assert [at for _, at in offsets(tmp_path, types=["demo.requested"])] == [1, 2]
    assert [at for _, at in offsets(tmp_path, types=[])] == []
    assert [at for _, at in offsets(tmp_path, subjects={"a"})] == [0, 2, 3]
    assert [at for _, at in offsets(tmp_path, from_ms=NOON_MS + 1_000, to_ms=NOON_MS + 3_000)] == [1, 2]
    assert [at for _, at in offsets(tmp_path, types=["demo.requested"], subjects=["a"], from_ms=0)] == [2]


def test_outputs_are_marked_and_the_journal_and_dead_letters_are_no_events(tmp_path: Path) -> None:
    """A forwarded event stands in its input topic already."""
    add_file(tmp_path, [event(0)])
    add_file(tmp_path, [event(0, topic="hot", type="lead.sql", source="/leadpulse/default")], "output")
    add_file(
        tmp_path, [event(0, topic="j")._replace(headers=(("lp-kind", b"stray"),)), tick(1, 0, NOON_MS, topic="j")], "journal"
    )
    add_file(tmp_path, [event(0, topic="lead.dead")], "dead")
    assert [(one.topic, one.output) for one in open_history(str(tmp_path)).events()] == [("hot", True), (WEB, False)]


def test_records_that_are_no_event_or_erased_are_left_out(tmp_path: Path) -> None:
    """An archive has them, but no reader of events does."""
    add_file(tmp_path, [event(0), event(1)._replace(value=b"no JSON"), event(2)._replace(value=None)])
    assert offsets(tmp_path) == [(WEB, 0)]


def test_ticks_are_those_that_all_partitions_reached(tmp_path: Path) -> None:
    """One an hour, never ahead of a partition, and the end is the last of them."""
    hour = 3_600_000
    add_file(tmp_path, [event(0), event(1, at_ms=NOON_MS + 5 * hour)])
    add_file(tmp_path, [tick(n, 0, NOON_MS + n * hour // 4) for n in range(1, 9)], "journal")
    add_file(tmp_path, [tick(n, 1, NOON_MS + n * hour // 2) for n in range(1, 4)], "journal")
    history = open_history(str(tmp_path))
    found = [(one.arrival_ms - NOON_MS, one.value) for one in history.events(ticks=True) if one.type == TICK]
    assert [json.loads(value)["tick"] for _, value in found] == ["2026-03-05T12:30:00.000Z", "2026-03-05T13:30:00.000Z"]
    assert history.end_ms == NOON_MS + 3 * hour // 2
    assert TICK not in {one.type for one in open_history(str(tmp_path)).events()}


def test_a_file_of_another_program_needs_no_facts(tmp_path: Path) -> None:
    """The contract's columns suffice."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = add_file(tmp_path, [event(0)])
    table = parquet.read_table(path, partitioning=None).drop_columns(["attributes", "value"]).replace_schema_metadata(None)
    parquet.write_table(pa.table(table), path)
    assert offsets(tmp_path) == [(WEB, 0)]


def test_a_file_that_goes_while_it_is_listed_is_listed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A merge removes the sources of what it wrote."""
    from worker.history.session import Session

    records = [event(offset) for offset in range(10)]
    sources = [add_file(tmp_path, records[:5]), add_file(tmp_path, records[5:])]
    table, left = Session._table, list(sources)

    def merged_meanwhile(self: Session, held: Any) -> str:
        if left:
            add_file(tmp_path, records)
            for source in sources:
                source.unlink()
            left.clear()
        return table(self, held)

    monkeypatch.setattr(Session, "_table", merged_meanwhile)
    assert offsets(tmp_path) == [(WEB, offset) for offset in range(10)]


def line(at: str | None, lead: str = "a", **more: Any) -> str:
    """Return a line with an event."""
    held = {"specversion": "1.0", "id": "1", "source": "/s", "type": "page.viewed", "subject": lead, **more}
    return json.dumps(held if at is None else {**held, "time": at})


LINES = [
    line("2026-03-05T12:00:00Z"),
    line("2026-03-05T11:00:00Z", "b"),
    "",
    '{"tick": "2026-03-05T13:00:00Z"}',
    line(None, "c"),
    "no JSON",
    '{"tick": "soon"}',
    line("2026-03-05T12:30:00Z", "d", type="lead.sql", source="/leadpulse/x", sequence="1"),
    line("2026-03-05T14:00:00Z", "e", type="lead.erased", source="/leadpulse/erase"),
]


@pytest.mark.parametrize("form", ["plain", "gzip", "bom", "stdin", "address"])
def test_lines_keep_their_order(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrival never falls: a later line was known later."""
    text = "\n".join(LINES).encode()
    file = tmp_path / "events.jsonl"
    file.write_bytes(gzip.compress(text) if form == "gzip" else b"\xef\xbb\xbf" + text if form == "bom" else text)
    name = str(file)
    if form == "stdin":
        name = "-"
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    if form == "address":
        import fsspec

        name = "memory://lines/events.jsonl"
        fsspec.filesystem("memory").pipe_file("/lines/events.jsonl", text)
    history = open_history(name)
    found = [(one.offset, one.subject, (one.arrival_ms - NOON_MS) // 60_000, one.output) for one in history.events(ticks=True)]
    assert found == [
        (1, "a", 0, False), (2, "b", 0, False), (4, None, 60, False), (5, "c", 60, False), (8, "d", 60, True),
        (9, "e", 120, False),
    ]  # fmt: skip
    assert history.end_ms == NOON_MS + 7_200_000
    assert [(one.line, one.why.partition(":")[0]) for one in history.refused.first] == [
        (6, "not a CloudEvent"),
        (7, "'soon' is not RFC 3339 with an offset"),
    ]


def test_lines_are_filtered_too(tmp_path: Path) -> None:
    """As archives are."""
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join(LINES))
    history = open_history(str(file))
    assert [one.subject for one in history.events(["lead.sql"])] == ["d"]
    assert [one.subject for one in history.events(subjects=["a", "b"])] == ["a", "b"]
    assert [one.subject for one in history.events(from_ms=NOON_MS + 1, to_ms=NOON_MS + 7_200_000)] == ["c", "d"]


@pytest.mark.parametrize("source", ["gone.jsonl", "memory://gone/x", "nowhere://x"])
def test_a_history_that_is_not_there_is_refused(source: str, tmp_path: Path) -> None:
    """In words that name it."""
    with pytest.raises(HistoryError, match=source.partition(":")[0]):
        open_history(source if ":" in source else str(tmp_path / source))


def test_a_folder_without_files_of_an_archive_is_refused(tmp_path: Path) -> None:
    """With the command that writes them."""
    (tmp_path / "events.jsonl").write_text("{}")
    with pytest.raises(HistoryError, match="leadpulse archive run"):
        list(open_history(str(tmp_path)).events())


def test_damaged_files_are_named(tmp_path: Path) -> None:
    """Lines that are no gzip, and Parquet that is none."""
    file = tmp_path / "events.jsonl.gz"
    file.write_bytes(gzip.compress(b"{}\n" * 10_000)[:60])
    with pytest.raises(HistoryError, match=r"events\.jsonl\.gz"):
        list(open_history(str(file)).events())
    path = add_file(tmp_path / "archive", [event(0)])
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(HistoryError, match=r"0-0-0\.parquet"):
        list(open_history(str(tmp_path / "archive")).events())
