"""What was folded, in a few bytes: whatever differs in a record differs in them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.contract.folded import UNKNOWN, Mark, digest, in_order, is_id, marked
from worker.core.contract.journal import Cut
from worker.core.contract.model import Record, Unread

RECORD = Record("web", 0, 7, 5, b"L", b"{}", (("ce_id", b"1"),))
ID = "B05ww4CeSVa8c5H3BRCNUQ"
CHANGES: dict[str, Callable[[Record], Record]] = {
    "topic": lambda r: r._replace(topic="crm"),
    "offset": lambda r: r._replace(offset=8),
    "timestamp": lambda r: r._replace(timestamp_ms=6),
    "key": lambda r: r._replace(key=b"M"),
    "no key": lambda r: r._replace(key=None),
    "value": lambda r: r._replace(value=b"{ }"),
    "a tombstone": lambda r: r._replace(value=None),
    "an attribute in a header": lambda r: r._replace(headers=(("ce_id", b"2"),)),
    "a byte from the key to the value": lambda r: r._replace(key=b"L{", value=b"}"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_record_has_another_digest(change: str) -> None:
    """Compaction, a deleted record, a topic made again, a record that is read otherwise: all of it shows."""
    other = CHANGES[change](RECORD)
    assert digest([RECORD]) != digest([other])
    assert Mark.of(RECORD) != Mark.of(other)


def test_one_record_less_or_another_order_has_another_digest() -> None:
    """A batch of nothing has one too: it must stay a batch of nothing."""
    two = [RECORD, RECORD._replace(offset=8)]
    assert len({digest(two), digest(two[:1]), digest(two[1:]), digest(two[::-1]), digest([])}) == 5


def test_the_digest_is_the_same_in_every_version() -> None:
    """Journals are folded again by later versions: this value must never change."""
    assert digest([RECORD, RECORD._replace(key=None, value=None, timestamp_ms=None, headers=())]) == "4fa47959b37b73ba"


@given(st.integers(0, 2**63 - 1), st.none() | st.integers(0, 2**53))
def test_a_mark_is_read_back_and_is_no_id(offset: int, timestamp_ms: int | None) -> None:
    """Both stand in the same place of a cut and of a position."""
    mark = Mark.of(RECORD._replace(offset=offset, timestamp_ms=timestamp_ms))
    assert Mark.read(str(mark)) == mark
    assert not is_id(str(mark))
    assert Mark.read(ID) is None
    assert Mark.read(UNKNOWN) is None
    assert is_id(ID)


def test_topics_with_ids_get_no_marks() -> None:
    """The last record of each of the others is its mark; one of which nothing came keeps what it had."""
    records = [RECORD, RECORD._replace(offset=9), RECORD._replace(topic="crm")]
    assert marked({"web": ID, "crm": ID}, records) == {"web": ID, "crm": ID}
    records.append(Unread.at("web", 0, 10, first=10, base=10, reason="batch_damaged", detail=""))  # it may be read later
    held = marked({"web": UNKNOWN, "crm": ID, "mail": "3:4:a"}, records)
    assert held == {"web": str(Mark.of(records[1])), "crm": ID, "mail": "3:4:a"}


def test_a_cut_gives_each_topic_its_id() -> None:
    """In the order of names, whatever that of the offsets; a cut of an older version, or a broken one, gives none."""
    next_ = {"web": 3, "crm": 4}
    assert Cut(1, next_, "g", "w", 1, ids=in_order(next_, {"web": "W", "crm": "C", "mail": "M"})).topic_ids() == {
        "crm": "C",
        "web": "W",
    }
    assert Cut(1, next_, "g", "w", 1).topic_ids() == {}
    assert Cut(1, next_, "g", "w", 1, ids=("C",)).topic_ids() == {}
