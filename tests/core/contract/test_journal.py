"""What the journal holds comes back as it was written, and nothing unknown is passed over."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.contract.journal import (
    Cut,
    Cuts,
    JournalError,
    OwnerMessage,
    Stray,
    Tick,
    cuts_output,
    decode_entry,
    message_output,
    stray_output,
    tick_output,
)
from worker.core.contract.marks import lead_mark
from worker.core.contract.model import Output, Record, VisitorHistory

JOURNAL = "leadpulse.t.internal"
offsets = st.dictionaries(st.text(min_size=1), st.integers(0, 2**62), max_size=3)
cuts = st.builds(
    Cut,
    batch=st.integers(0, 2**53),
    next=offsets,
    grid=st.text(),
    words=st.text(),
    fold=st.integers(0, 99),
    tick_ms=st.none() | st.integers(0, 2**53),
    tick_done=st.booleans(),
    lost=st.booleans(),
    requeued=st.integers(0, 2**31),
)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=5) | st.just("lp-kind")
records = st.builds(
    Record,
    topic=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    partition=st.integers(0, 999),
    offset=st.integers(0, 2**62),
    timestamp_ms=st.none() | st.integers(0, 2**53),
    key=st.none() | st.binary(max_size=9),
    value=st.none() | st.binary(max_size=9),
    headers=st.lists(st.tuples(names, st.binary(max_size=9)), max_size=8).map(tuple),
)


def read_back(output: Output) -> Record:
    """Return *output* as a consumer of the journal gets it."""
    return Record(output.topic, output.partition or 0, 5, 1, output.key, output.value, output.headers)


@given(st.builds(Tick, time_ms=st.integers(0, 2**53), next=offsets))
def test_a_tick_comes_back_as_it_was(tick: Tick) -> None:
    """Its time and what it must not overtake."""
    assert decode_entry(read_back(tick_output(JOURNAL, 3, tick))) == tick


@given(st.lists(cuts, max_size=4).map(tuple))
def test_cuts_come_back_as_they_were(written: tuple[Cut, ...]) -> None:
    """In order: they are folded again one after the other."""
    assert decode_entry(read_back(cuts_output(JOURNAL, 3, written))) == Cuts(written)


@given(records)
def test_a_stray_comes_back_byte_for_byte(record: Record) -> None:
    """With its first coordinates, its timestamp and its own headers, even ones that are named as ours are."""
    assert decode_entry(read_back(stray_output(JOURNAL, 3, record))) == Stray(record)


def test_a_cut_of_an_older_version_is_read_with_todays_defaults() -> None:
    """Fields are only added at the end; a journal outlives the version that wrote it."""
    old = b'[[7,{"a":1},"g","w",1,null,false]]'
    entry = decode_entry(Record(JOURNAL, 0, 5, 1, None, old, (("lp-kind", b"cuts"),)))
    assert entry == Cuts((Cut(7, {"a": 1}, "g", "w", 1),))


def stray(**changes: bytes) -> tuple[tuple[str, bytes], ...]:
    """Return a stray's headers with *changes*."""
    right = {"lp_kind": b"stray", "lp_topic": b"t", "lp_partition": b"1", "lp_offset": b"1", "lp_timestamp": b""}
    return tuple((name.replace("_", "-"), held) for name, held in (right | changes).items())


@pytest.mark.parametrize(
    ("headers", "value"),
    [
        ((("lp-kind", b"prophecy"),), b"{}"),
        ((), b"{}"),
        ((("other", b"x"), ("lp-kind", b"tick")), b"[1,{}]"),
        ((("lp-kind", b"tick"),), None),
        ((("lp-kind", b"tick"),), b'["soon",{}]'),
        ((("lp-kind", b"tick"),), b"[-5,{}]"),
        ((("lp-kind", b"tick"),), b"[%d,{}]" % 2**70),
        ((("lp-kind", b"tick"),), b'[5,{"a":%d}]' % 2**70),
        ((("lp-kind", b"tick"),), b"[" * 100_000),
        ((("lp-kind", b"cuts"),), b"{"),
        ((("lp-kind", b"cuts"),), b'[[7,{"a":%d},"g","w",1]]' % 2**70),
        ((("lp-kind", b"stray"),), b"x"),
        (stray(lp_topic=b"\xff"), b"x"),
        (stray(lp_partition=b"x"), b"x"),
        (stray(lp_partition=b"-1"), b"x"),
        (stray(lp_offset=b"%d" % 2**70), b"x"),
        (stray(lp_offset=b"9" * 5_000), b"x"),
        (stray(lp_timestamp=b"-1"), b"x"),
    ],
)
def test_what_cannot_be_read_stops_with_its_place(headers: tuple[tuple[str, bytes], ...], value: bytes | None) -> None:
    """A newer version wrote it, or another program: the partition must not go on as if it were not there.

    Numbers that Kafka cannot have counted were once taken, and broke the batch after it was folded, without a word on where.
    """
    with pytest.raises(JournalError, match=r"leadpulse\.t\.internal\[2\] offset 41"):
        decode_entry(Record(JOURNAL, 2, 41, 1, None, value, headers))


def test_entries_are_json_that_a_person_can_read() -> None:
    """An operator looks at the journal with a console consumer."""
    written = tick_output(JOURNAL, 3, Tick(9, {"a": 1})).value or b""
    assert msgspec.json.decode(written) == [9, {"a": 1}]


def test_aliases_on_the_way_are_read_as_older_versions_wrote_them() -> None:
    """They wrote ids, of which 25 long ones took more than a record holds; today these are marks."""
    source = Record("events", 1, 2, 3, b"k", b"{}", (("h", b"v"),))
    mine = stray_output(JOURNAL, 0, source, "ann", [lead_mark("v1"), lead_mark("v2")])
    older = tuple((name, b'["v1","v2"]' if name == "lp-visited" else held) for name, held in mine.headers)
    for headers in (mine.headers, older):
        entry = decode_entry(Record(JOURNAL, 0, 5, 1, mine.key, mine.value, headers))
        assert entry == Stray(source, "ann", (lead_mark("v1"), lead_mark("v2")))
    past = VisitorHistory("ann", "v2", None, None, ("v1", "v2"))
    read = decode_entry(read_back(message_output(JOURNAL, 0, past)))
    assert read == OwnerMessage(msgspec.structs.replace(past, visited=(lead_mark("v1"), lead_mark("v2"))))
    assert decode_entry(read_back(message_output(JOURNAL, 0, read.message))) == read
