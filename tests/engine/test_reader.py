"""How much of a fetch becomes one batch."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.core.batch.plan import MOST_BYTES
from worker.core.contract.model import Record
from worker.engine.reader import shortened, size
from worker.ports import Fetched


@given(st.lists(st.lists(st.integers(0, 9), max_size=5), min_size=1, max_size=3), st.integers(0, 30))
def test_what_is_cut_off_a_fetch_is_exactly_what_comes_next(sizes: list[list[int]], most: int) -> None:
    """Nothing is passed over, something is always taken, and the limit is kept unless one record alone is over it."""
    fetched = {
        str(n): Fetched([Record(str(n), 0, 10 + 2 * i, 1, None, b"x" * size) for i, size in enumerate(topic)], 99)
        for n, topic in enumerate(sizes)
    }
    short = shortened(fetched, most)
    assert short.keys() == fetched.keys()
    for topic, part in fetched.items():
        kept = short[topic].records
        assert kept == part.records[: len(kept)]
        assert short[topic].next == (part.next if kept == part.records else part.records[len(kept)].offset)
    taken = [len(r.value or b"") for part in short.values() for r in part.records]
    assert bool(taken) == any(part.records for part in fetched.values())
    assert sum(taken) <= most or len([size for size in taken if size]) == 1


def test_keys_and_headers_count() -> None:
    """They go out with a dead letter or a stray as the value does; six hundred big keys passed what Redis takes in one call."""
    key, header = Record("web", 0, 1, 1, b"k" * 890_000, None), Record("web", 0, 2, 1, None, None, (("h", b"x" * 890_000),))
    assert (size(key), size(header)) == (890_000, 890_007)
    part = Fetched([(key, header)[n % 2]._replace(offset=n) for n in range(620)], 620)
    short = shortened({"web": part}, MOST_BYTES)["web"]
    assert short.next == len(short.records) == 2
