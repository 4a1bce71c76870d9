"""Names of files, and from which file each record is read."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.history.form import Facts, FileName, Source, date_of, extents, facts_of, next_offsets
from worker.history.writing import parquet_of

RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)).map(lambda one: (one[0], one[0] + one[1])), max_size=12)


def a_file(first: int, last: int, partition: int = 0, topic: str = "t") -> FileName:
    """Return the name of a file with these offsets."""
    return FileName(topic, "2026-03-05", partition, first, last)


def test_a_name_is_read_as_it_is_written() -> None:
    """Topics may have dots, and numbers may be large."""
    name = FileName("lead.events.web", "2026-03-05", 17, 0, 9_007_199_254_740_993)
    assert str(name) == "topic=lead.events.web/date=2026-03-05/17-0-9007199254740993.parquet"
    assert FileName.parse(str(name)) == name


@pytest.mark.parametrize(
    "name",
    [
        "topic=t/date=2026-03-05/.0-1-2.parquet.77.part",  # still being written
        "topic=t/date=2026-03-05/0-2-1.parquet",
        "topic=t/0-1-2.parquet",
        "forgotten/a.json",
        "topic=t/date=2026-03-05/0-1-2.csv",
    ],
)
def test_other_files_are_none_of_an_archive(name: str) -> None:
    """A folder may hold more."""
    assert FileName.parse(name) is None


@given(RANGES)
def test_each_offset_is_read_from_exactly_one_file(ranges: list[tuple[int, int]]) -> None:
    """Whatever files overlap."""
    files = [a_file(first, last) for first, last in ranges]
    read = [offset for file, start in extents(files) for offset in range(start, file.last + 1)]
    assert sorted({offset for first, last in ranges for offset in range(first, last + 1)}) == read


@given(RANGES)
def test_the_choice_does_not_depend_on_the_order_of_a_listing(ranges: list[tuple[int, int]]) -> None:
    """All readers choose the same."""
    files = [a_file(first, last) for first, last in ranges]
    assert extents(files) == extents(reversed(files))


def test_a_merged_file_hides_its_sources() -> None:
    """They are left out whole, so that they may go at any time."""
    merged = a_file(0, 9)
    assert [one.file for one in extents([a_file(0, 4), a_file(5, 9), merged])] == [merged]


def test_partitions_and_topics_are_apart() -> None:
    """Offsets count within one partition of one topic."""
    files = [a_file(0, 4), a_file(0, 4, partition=1), a_file(0, 4, topic="u")]
    assert len(extents(files)) == 3
    assert next_offsets([*files, a_file(5, 7), a_file(2, 3)]) == {Source("t", 0): 8, Source("t", 1): 5, Source("u", 0): 5}


def test_dates_are_those_of_utc() -> None:
    """A record without a timestamp has the first date that there is."""
    assert date_of(1_772_712_000_000) == "2026-03-05"
    assert date_of(1_772_755_199_999) == "2026-03-05"
    assert date_of(1_772_755_200_000) == "2026-03-06"
    assert date_of(None) == "1970-01-01"


def test_facts_travel_in_the_metadata() -> None:
    """Files of other programs have none."""
    from pyarrow import parquet

    facts = Facts("journal", 3, 9, 2)
    assert facts_of(parquet.read_metadata(io.BytesIO(parquet_of([], facts))).metadata) == facts
    assert facts_of(None) is None
    assert facts_of({b"leadpulse": b"{"}) is None
