"""Dead letters, written and read again: nothing of the record is lost, nothing of the letter stays on it."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.core.contract.codec import MAX_BYTES, decode
from worker.core.contract.dead_letter import REPLAYED, DeadLetter, dead_letter, read_letter
from worker.core.contract.model import Record, Rejected

NAMES = st.text(max_size=8) | st.sampled_from(["lp-reason", "__connect.errors.topic", "lp-kind", REPLAYED, "ce_type"])
RECORDS = st.builds(
    Record,
    topic=st.from_regex(r"[a-zA-Z0-9._-]{1,20}", fullmatch=True),
    partition=st.integers(0, 1 << 31),
    offset=st.integers(0, 1 << 62),
    timestamp_ms=st.none(),
    key=st.none() | st.binary(max_size=20),
    value=st.none() | st.binary(max_size=40),
    headers=st.lists(st.tuples(NAMES, st.binary(max_size=8)), max_size=4).map(tuple),
)


def sent(bad: Rejected) -> Record:
    """Return *bad*'s letter as it lies in the dead-letter topic, at 3:17."""
    output = dead_letter("lead.dead", bad)
    return Record(output.topic, 3, 17, 5, output.key, output.value, output.headers)


def read(bad: Rejected) -> DeadLetter:
    """Return *bad*'s letter, written and read."""
    letter = read_letter(sent(bad))
    assert letter is not None
    return letter


@given(RECORDS, st.text(max_size=20))
@example(Record("t", 0, 0, None, None, None, sent(Rejected(Record("s", 1, 2, 3, b"", b""), "empty", "e")).headers), "")
def test_a_letter_gives_its_record_back(record: Record, detail: str) -> None:
    """To the byte, the record's own headers included, even those that are named as a letter's are."""
    letter = read(Rejected(record, "bad_data", detail))
    assert letter == DeadLetter(3, 17, 5, "bad_data", detail, record)
    assert letter.whole


@pytest.mark.parametrize(
    "record",
    [
        Record("t", 0, 0, None, b"k", b"x" * (MAX_BYTES + more), (("é", b"y" * (MAX_BYTES - 2 + also)),))
        for more in (0, 1)
        for also in (0, 1)
    ],
    ids=["fits", "headers too large", "value too large", "both too large"],
)
def test_a_letter_knows_whether_it_holds_its_record(record: Record) -> None:
    """A replay must never send the sizes and digests that stand in for a record."""
    bad = decode(record)
    assert isinstance(bad, Rejected)
    letter = read(bad)
    assert letter.whole == (letter.record == record)
    assert letter.whole == (bad.reason != "too_large")


def test_what_is_no_letter_is_told_apart() -> None:
    """A topic may be shared with other outputs, and with Kafka Connect, which knows no `lp-reason`."""
    letter = sent(Rejected(Record("t", 0, 0, None, b"k", b"{"), "not_json", "why"))
    assert read_letter(letter) is not None
    assert read_letter(letter._replace(headers=())) is None
    assert read_letter(letter._replace(headers=letter.headers[:-1])) is None
    assert read_letter(letter._replace(headers=(*letter.headers, ("x", b"")))) is None
    wrong = tuple((name, b"x" if name.endswith("offset") else held) for name, held in letter.headers)
    assert read_letter(letter._replace(headers=wrong)) is None


def test_a_replayed_record_names_the_letter_that_it_came_from() -> None:
    """The last one, when it was replayed more than once."""
    record = Record("t", 0, 0, None, b"k", b"{", ((REPLAYED, b"0:1"), (REPLAYED, b"0:4")))
    assert read(Rejected(record, "not_json", "why")).replayed == "0:4"
    assert read(Rejected(record._replace(headers=()), "not_json", "why")).replayed is None
