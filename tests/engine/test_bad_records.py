"""Dead letters, and the share of them that stops a worker."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from worker.core.contract.dead_letter import dead_letter
from worker.core.contract.model import Record, Rejected
from worker.engine.bad_share import BadShare
from worker.errors import WorkerMustStop

WHERE = ("lead.events.web", 3, 1_291, 5)


def letter(record: Record) -> tuple[bytes | None, bytes | None, dict[str, bytes]]:
    """Return key, value and headers of *record*'s dead letter."""
    output = dead_letter("lead.dead", Rejected(record, "not_json", "line 1: oops é"))
    assert output.topic == "lead.dead"
    return output.key, output.value, dict(output.headers)


def test_a_dead_letter_is_the_record_as_it_came_and_says_where_and_why() -> None:
    """Whoever mends the producer can send it again."""
    key, value, headers = letter(Record(*WHERE, b"k", b"{oops", (("h", b"1"),)))
    assert (key, value) == (b"k", b"{oops")
    assert headers == {
        "h": b"1",
        "__connect.errors.topic": b"lead.events.web",
        "__connect.errors.partition": b"3",
        "__connect.errors.offset": b"1291",
        "__connect.errors.stage": b"VALUE_CONVERTER",
        "__connect.errors.exception.class.name": b"leadpulse.Rejected",
        "__connect.errors.exception.message": "line 1: oops é".encode(),
        "lp-reason": b"not_json",
    }


def test_absent_and_empty_stay_apart() -> None:
    """A tombstone is no empty value."""
    assert letter(Record(*WHERE, None, None))[:2] == (None, None)
    assert letter(Record(*WHERE, b"", b""))[:2] == (b"", b"")


@pytest.mark.parametrize(
    "record",
    [
        Record(*WHERE, b"k", b"x" * 900_001),
        Record(*WHERE, b"k" * 900_001, b"x"),
        Record(*WHERE, b"k", b"x", (("h", b"y" * 900_001),)),
        Record(*WHERE, b"k" * 2_000_000, b"x" * 2_000_000, (("h", b"y" * 2_000_000),)),
    ],
    ids=["value", "key", "header", "all"],
)
def test_what_would_not_fit_is_told_by_size_and_digest(record: Record) -> None:
    """A dead letter that the topic refuses would stop the worker at the same record for ever."""
    key, value, headers = letter(record)
    size = len(key or b"") + len(value or b"") + sum(len(name) + len(held) for name, held in headers.items())
    assert size < 1_000_000
    assert "sha256" in json.dumps(json.loads(value or b""))
    assert headers["__connect.errors.offset"] == b"1291"


def bad(count: int) -> Counter[str]:
    """Return *count* bad records of one reason."""
    return Counter({"not_json": count})


def test_half_of_the_last_thousand_is_borne_and_one_more_is_not() -> None:
    """The limit is crossed, not reached."""
    share = BadShare(0.5, 0)
    share.add(500, bad(0))
    share.add(500, bad(500))
    with pytest.raises(WorkerMustStop, match="501 of the last 1001"):
        share.add(1, bad(1))


def test_few_bad_records_never_stop_a_worker() -> None:
    """At a quiet hour the only record may be a bad one."""
    share = BadShare(0.5, 0)
    for _ in range(199):
        share.add(1, bad(1))
    with pytest.raises(WorkerMustStop):
        share.add(1, bad(1))


def test_old_records_are_forgotten() -> None:
    """A year of good records is no credit for a bad deploy."""
    share = BadShare(0.5, 0)
    for _ in range(100):
        share.add(1_000, bad(0))
    with pytest.raises(WorkerMustStop, match="LEADPULSE_MAX_BAD_SHARE"):
        share.add(1_000, bad(501))


def test_a_limit_of_one_never_stops() -> None:
    """For an operator who wants the whole topic in the dead letters."""
    share = BadShare(1, 0)
    for _ in range(10):
        share.add(1_000, bad(1_000))
