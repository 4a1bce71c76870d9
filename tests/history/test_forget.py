"""Erasing persons: nothing of them is in any file afterwards, and everything of others is."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from tests.kit.archives import NOON_MS, add_file, bytes_of, event, places, rows
from worker.adapters.stored_files import files_at
from worker.cli import cli
from worker.core.contract.model import AddressOffer, EraseAlias
from worker.history.erasures import Erasures
from worker.history.forget import _Pass, forget
from worker.history.scrub import ERASED

ANNA, VISITOR, ADDRESS = "anna-0815", "v-17171717", "Anna@Example.com"
LATE_MS = NOON_MS + 10**9
JOURNAL = "leadpulse.default.internal"
ESCAPED = rb'{"specversion":"1.0","id":"7","source":"/s","type":"custom.x","subject":"ben","data":{"who":"\u0061nna-0815"}}'


def filled(archive: Path) -> None:
    """Archive two persons: in subjects, keys, data, links, messages, dead letters, and odd spellings."""
    traits = {"email": ADDRESS, "first_name": "Anna"}
    add_file(
        archive,
        [
            event(0, ANNA, type="profile.updated", data={"traits": traits}),
            event(1, VISITOR),
            event(2, ANNA, type="lead.identified", data={"anonymous_id": VISITOR}),
            event(3, "ben-4711"),
            event(4, "ben-4711", type="crm.lost", data={"reason": f"colleague of {ADDRESS.lower()}", "owner": ANNA}),
            event(5, "ben-4711")._replace(key=ANNA.encode()),
            event(6, "ben-4711", data={"url": "/annals"}),
            event(7, "ben-4711")._replace(value=ESCAPED),
        ],
    )  # fmt: skip
    ours: dict[str, Any] = {"source": "/leadpulse/default"}
    add_file(
        archive,
        [
            event(0, ANNA, topic="lead.sql", type="lead.sql", **ours, data={"lead_id": ANNA, "traits": traits}),
            event(1, "account:example.com", topic="lead.sql", type="account.hot", **ours,
                  data={"members": [{"lead_id": ANNA}, {"lead_id": "ben-4711"}]}),
            event(2, "ben-4711", topic="lead.sql", type="lead.duplicate", **ours,
                  data={"email": ADDRESS, "held_by": [ANNA, "eve-1"]}),
        ],
        "output",
    )  # fmt: skip
    message = msgspec.msgpack.encode(EraseAlias(VISITOR, ANNA, LATE_MS, None))
    offer = msgspec.msgpack.encode(AddressOffer("ben-4711", "email:ben@example.com", 0, None))
    kind = (("lp-kind", b"message"),)
    add_file(
        archive,
        [
            event(0, topic=JOURNAL)._replace(key=None, value=message, headers=kind),
            event(1, topic=JOURNAL)._replace(key=None, value=offer, headers=kind),
            event(2, "other", topic=JOURNAL)._replace(headers=(("lp-kind", b"alias"), ("lp-lead", ANNA.encode()))),
            event(3, topic=JOURNAL)._replace(key=None, value=b"grid: anna-0815", headers=(("lp-kind", b"grid"),)),
        ],
        "journal",
    )
    add_file(
        archive,
        [
            event(0, topic="lead.dead")._replace(key=b"x", value=b'{"broken: ' + ANNA.encode()),
            event(1, topic="lead.dead")._replace(key=b"x", value=b"\xff\x00 nothing"),
        ],
        "dead",
    )


def erased(archive: Path, ids: list[str], at_ms: int = LATE_MS) -> Any:
    """Erase *ids* in one pass."""
    files = files_at(str(archive))
    erasures = Erasures(files)
    erasures.look()
    for id_ in ids:
        erasures.ask(id_, at_ms)
    return forget(files, erasures)


def test_nothing_of_the_person_is_left_in_any_byte(tmp_path: Path) -> None:
    """Pages, dictionaries, statistics, metadata, receipts. A grid is no person's, whatever its words."""
    filled(tmp_path)
    before, wanted = bytes_of(tmp_path).lower(), places(tmp_path)
    assert before.count(ANNA.encode()) > 10
    done = erased(tmp_path, [ANNA, VISITOR])
    held = bytes_of(tmp_path).lower().replace(b"grid: anna-0815", b"")
    assert ANNA.encode() not in held
    assert VISITOR.encode() not in held
    assert rb"\u0061nna" not in held
    mine = [row for row in rows(tmp_path) if row["topic"] == "lead.sql" and row["offset"] == 2]
    assert ADDRESS in mine[0]["data"]  # it is ben's address, too
    assert places(tmp_path) == wanted
    assert (done.ids, done.files) == (2, 4)


def test_everything_of_others_is_left(tmp_path: Path) -> None:
    """With `(erased)` where the person was named."""
    filled(tmp_path)
    untouched = {(row["topic"], row["offset"]): row for row in rows(tmp_path)}
    done = erased(tmp_path, [ANNA, VISITOR])
    blank, changed = set(), {}
    for row in rows(tmp_path):
        place = (row["topic"], row["offset"])
        if row["timestamp_ms"] is not None and row["type"] is None and row["value"] is None:
            blank.add(place)
            assert {name for name, value in row.items() if value} <= {"partition", "offset", "timestamp_ms", "topic", "file"}
        elif row != untouched[place]:
            changed[place] = json.loads(row["data"])
            assert {**row, "data": ""} == {**untouched[place], "data": ""}
    web = "lead.events.web"
    assert blank == {(web, 0), (web, 1), (web, 2), (web, 5), ("lead.sql", 0), (JOURNAL, 0), (JOURNAL, 2), ("lead.dead", 0)}
    assert changed == {
        (web, 4): {"reason": ERASED, "owner": ERASED},
        (web, 7): {"who": ERASED},
        ("lead.sql", 1): {"members": [{"lead_id": ERASED}, {"lead_id": "ben-4711"}]},
        ("lead.sql", 2): {"email": ADDRESS, "held_by": [ERASED, "eve-1"]},
    }
    assert done.records == len(blank) + len(changed)


def test_records_after_the_erasure_stay(tmp_path: Path) -> None:
    """The person came back."""
    add_file(tmp_path, [event(0, ANNA), event(1, ANNA), event(2, ANNA, time="2026-03-05T11:00:00Z")])
    erased(tmp_path, [ANNA], NOON_MS)
    assert [row["subject"] for row in rows(tmp_path)] == [None, ANNA, None]


def test_short_ids_name_the_person_only_where_ids_stand(tmp_path: Path) -> None:
    """Any number is an id somewhere."""
    data = {"url": "/7", "utm": {"source": "7"}}
    add_file(
        tmp_path, [event(0, "7"), event(1, "8", data=data), event(2, "8", type="lead.identified", data={"anonymous_id": "7"})]
    )
    erased(tmp_path, ["7"])
    assert [row["data"] and json.loads(row["data"]) for row in rows(tmp_path)] == [None, data, {"anonymous_id": ERASED}]


def test_receipts_name_nobody_and_are_kept(tmp_path: Path) -> None:
    """A second pass has nothing to do."""
    filled(tmp_path)
    done = erased(tmp_path, [ANNA])
    (receipt,) = (tmp_path / "erasures").iterdir()
    held = json.loads(receipt.read_text())
    assert (held["files"], held["records"], held["at_ms"]) == (done.files, done.records, LATE_MS)
    assert set(held) == {"mark", "at_ms", "done_ms", "files", "records"}
    assert erased(tmp_path, [ANNA]).ids == 0


def test_a_crash_at_any_step_is_made_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file is whole at any moment, and the next pass ends the work."""
    files = type(files_at("."))
    put, count = files.put, 0
    for dies_at in range(2, 8):
        archive = tmp_path / str(dies_at)
        filled(archive)
        wanted, left = places(archive), [dies_at]

        def sometimes(self: Any, name: str, held: bytes, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
            put(self, name, held)

        monkeypatch.setattr(files, "put", sometimes)
        try:
            erased(archive, [ANNA])
        except KeyboardInterrupt:
            count += 1
        monkeypatch.undo()
        assert places(archive) == wanted
        store = files_at(str(archive))
        assert forget(store, Erasures(store)) is not None
        assert ANNA.encode() not in bytes_of(archive).replace(b"grid: anna-0815", b"")
    assert count == 5


def test_files_that_come_during_a_pass_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """New ones, and those that another process wrote again under the same name."""
    add_file(tmp_path, [event(0, "ben-4711")])
    listed, count = _Pass._new, [0]

    def meanwhile(self: _Pass) -> Any:
        count[0] += 1
        if count[0] == 2:
            add_file(tmp_path, [event(0, ANNA)])
            add_file(tmp_path, [event(1, ANNA)])
        return listed(self)

    monkeypatch.setattr(_Pass, "_new", meanwhile)
    assert erased(tmp_path, [ANNA]).files == 2
    assert ANNA.encode() not in bytes_of(tmp_path)


def test_a_pass_that_is_stopped_is_ended_by_the_next(tmp_path: Path) -> None:
    """On SIGTERM."""
    filled(tmp_path)
    store, stop = files_at(str(tmp_path)), threading.Event()
    erasures = Erasures(store)
    erasures.ask(ANNA, LATE_MS)
    stop.set()
    assert forget(store, erasures, stop) is None
    assert forget(store, Erasures(store)) is not None


def test_the_command_finds_all_ids_in_the_archive(tmp_path: Path) -> None:
    """By `lead.identified`, whichever of the ids is named."""
    filled(tmp_path)
    done = CliRunner().invoke(cli, ["archive", "forget", VISITOR, "--to", str(tmp_path), "--yes", "--no-redis"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["ids"], said["files"]) == ([VISITOR, ANNA], 4)
    assert ANNA.encode() not in bytes_of(tmp_path).replace(b"grid: anna-0815", b"")
