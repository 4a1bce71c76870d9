"""What `once_per` remembers: at most 64 values with their occurrences' instants, written short where that tells all."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from worker.core.scoring.once_per import VALUES_KEPT, aged, entries, forget, mark, occurrence, remember

DAY = 86_400_000
NOW = 20_000 * DAY
NEAR = 2**32

instants = st.one_of(
    st.integers(NOW - 3 * NEAR, NOW),
    st.sampled_from([0, NOW, NOW - NEAR, NOW - NEAR + 1, NOW - NEAR - 1, NOW + NEAR - 1, NOW + NEAR, 2**47]),
)
values = st.integers(0, 80).map(lambda number: mark(str(number)))


@given(st.lists(st.tuples(values, instants), max_size=150))
@example([(mark(str(number)), NOW - number * DAY) for number in range(70)])
@example([(mark(str(number)), NOW + number) for number in range(70)] + [(mark("far"), NOW + NEAR + 69)])
def test_values_are_remembered_whole_however_far_apart_they_are(came: list[tuple[bytes, int]]) -> None:
    """Beside a dictionary: the earliest occurrence of each value, of the 64 latest; by rising instant, then mark."""
    seen, last = b"", 0
    model: dict[bytes, int] = {}
    for value, at_ms in came:
        seen, last = aged(seen, last, max(last, at_ms)) if seen else seen, max(last, at_ms)
        known = occurrence(seen, last, value)
        assert known == model.get(value)
        if known is not None and known <= at_ms:
            continue
        if known is not None:
            seen = forget(seen, value)
        seen = remember(seen, last, value, at_ms)
        model[value] = at_ms
        if len(model) > VALUES_KEPT:
            del model[min(model, key=lambda held: (model[held], held))]
        assert entries(seen, last) == sorted((at, held) for held, at in model.items())
        assert len(seen) == (10 * len(model) if last - min(model.values()) < NEAR else 12 * len(model) + 1)
