"""Records that cannot be read: their places, the cut that names them, and the letters that they become."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.batch.decode import decode_batch
from worker.core.contract.dead_letter import dead_letter, read_letter
from worker.core.contract.journal import Cut, Cuts, JournalError, Passed, cuts_output, decode_entry
from worker.core.contract.model import Record, Unread
from worker.core.contract.unread import DAMAGED, MOST_LETTERS, TOO_LARGE, as_passed, begins, places, ranges_passed, rejected

LAST = 2**31


def test_each_offset_has_a_place_and_very_many_have_one() -> None:
    """The one stands at the last offset, so that reading goes on behind it."""
    few = list(places("web", 3, 5, 8, base=4, reason=TOO_LARGE))
    assert [(place[:4], begins(place)) for place in few] == [(("web", 3, offset, None), offset) for offset in (5, 6, 7, 8)]
    assert len(list(places("web", 3, 1, MOST_LETTERS, base=1, reason=TOO_LARGE))) == MOST_LETTERS
    (one,) = places("web", 3, 1, LAST, base=1, reason=TOO_LARGE)
    assert (begins(one), one.offset) == (1, LAST)


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b"]), st.integers(1, 4), st.sampled_from([None, TOO_LARGE, DAMAGED])), max_size=12
    )
)
def test_what_the_cut_names_makes_the_same_records_of_a_log_that_can_be_read(
    runs: list[tuple[str, int, str | None]],
) -> None:
    """Whatever a refold can read: where the first fold had a place, it has the same place; all else is as it was."""
    folded: list[Record] = []
    readable: list[Record] = []
    ends = {"a": 0, "b": 0}
    for topic, count, reason in runs:
        first = ends[topic]
        ends[topic] += count
        records = [Record(topic, 0, offset, 1, b"k", b"v") for offset in range(first, first + count)]
        readable += records
        folded += records if reason is None else places(topic, 0, first, first + count - 1, base=first, reason=reason)
    folded.sort(key=lambda record: record[:3])
    passed = ranges_passed(folded)
    for log in (readable, folded):
        again = as_passed(log, 0, passed)
        assert again == folded
        assert [getattr(record, "reason", None) for record in again] == [getattr(record, "reason", None) for record in folded]
        assert ranges_passed(again) == passed


def test_one_place_for_very_many_offsets_is_the_same_in_a_refold() -> None:
    """Its range stays apart from the places next to it."""
    folded: list[Record] = [*places("a", 0, 0, 1, base=0, reason=TOO_LARGE), *places("a", 0, 2, LAST, base=2, reason=TOO_LARGE)]
    passed = ranges_passed(folded)
    assert passed == (Passed("a", 0, 1, TOO_LARGE), Passed("a", 2, LAST, TOO_LARGE))
    assert as_passed([], 0, passed) == folded


def test_a_cut_of_before_names_nothing_and_one_of_now_is_read_by_the_programs_of_then() -> None:
    """The field is the last one, and has a default."""
    old = msgspec.json.decode(b'[7,{"a":1},"g","w",5]', type=Cut)
    assert old.passed == ()
    new = msgspec.structs.replace(old, passed=(Passed("a", 1, 2, DAMAGED),))
    output = cuts_output("journal", 0, [new])
    assert decode_entry(Record("journal", 0, 0, 1, None, output.value, output.headers)) == Cuts((new,))


def test_a_place_becomes_a_letter_without_key_value_or_record() -> None:
    """It says which offsets, of which batch, and why; it is not whole, so nobody sends it again as it is."""
    (place,) = places("web", 3, 5, 5, base=4, reason=DAMAGED, detail="its checksum is wrong")
    sifted = decode_batch([place], "journal", 3, 8)
    assert not sifted.items
    assert not sifted.strays
    (bad,) = sifted.rejected
    output = dead_letter("lead.dead", bad)
    assert (output.key, output.value) == (None, None)
    letter = read_letter(Record("lead.dead", 0, 9, 1, None, None, output.headers))
    assert letter is not None
    assert letter.record[:3] == ("web", 3, 5)
    assert (letter.reason, letter.whole) == (DAMAGED, False)
    assert letter.detail == "offset 5, of the batch that begins at 4: its checksum is wrong"
    (many,) = places("web", 3, 5, LAST, base=4, reason=TOO_LARGE)
    assert f"offsets 5 to {LAST}, of the batch that begins at 4: " in rejected(many).detail


def test_a_journal_record_that_cannot_be_read_is_refused_by_name() -> None:
    """What it would have done is not known: it is never passed over."""
    place = Unread.at("journal", 3, 5, first=5, base=4, reason=DAMAGED, detail="its checksum is wrong")
    with pytest.raises(JournalError, match=r"journal\[3\] offset 5: it cannot be read \(its checksum is wrong\)"):
        decode_entry(place)
