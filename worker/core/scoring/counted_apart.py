"""Counting occurrences that have weights, or that fade one by one. `worker.core.scoring.occurrences` says what is kept."""

from __future__ import annotations

from worker.core.scoring.compiled_rules import RuleCounter
from worker.core.scoring.occurrences import OWN
from worker.core.scoring.state import Count


def count_apart(counter: RuleCounter, count: Count, at_ms: int, value: bytes | None, weight: float) -> None:
    """Count one matching event of *weight*, unless *value* has an earlier occurrence, or at this instant one as heavy."""
    memory, decay = counter.memory, counter.decay
    if at_ms > count.last_ms:
        if decay is not None:
            count.sum *= decay.left(at_ms - count.last_ms)
        count.last_ms = at_ms
    entry = memory.entry(at_ms, weight, OWN if value is None else value)
    place = -1 if value is None else memory.find(count.seen, value)
    if place >= 0:
        if not memory.replaces(entry, count.seen[place : place + memory.width]):
            return
        if counter.summed:
            _take_off(counter, count, count.seen[place : place + memory.width])
        count.seen = memory.without(count.seen, place)
        _renew(counter, count)
    if value is not None or not counter.summed:
        count.seen = memory.with_entry(count.seen, entry)
    if counter.summed:
        count.n += 1
        count.sum = _short(count.sum + (weight if decay is None else weight * decay.left(count.last_ms - at_ms)))
    else:
        count.n = len(count.seen) // memory.width


def merged(counter: RuleCounter, one: Count, other: Count) -> Count:
    """Return both counts as one. A value that both have seen is one occurrence."""
    memory, decay = counter.memory, counter.decay
    both = Count(one.n + other.n, max(one.last_ms, other.last_ms))
    both.seen, doubled = memory.union(one.seen, other.seen)
    if not counter.summed:
        both.n = len(both.seen) // memory.width
        return both
    if decay is None:
        both.sum = one.sum + other.sum
    else:
        both.sum = one.sum * decay.left(both.last_ms - one.last_ms) + other.sum * decay.left(both.last_ms - other.last_ms)
    for entry in doubled:
        _take_off(counter, both, entry)
    _renew(counter, both)
    both.sum = _short(both.sum)
    return both


def _renew(counter: RuleCounter, count: Count) -> None:
    """Add up anew what is remembered, if that is all: no dust remains of what was taken off."""
    memory, decay, seen = counter.memory, counter.decay, count.seen
    if not counter.summed or count.n * memory.width != len(seen):
        return
    total = 0.0
    for at in range(0, len(seen), memory.width):
        weight = memory.weight(seen, at)
        total += weight if decay is None else weight * decay.left(count.last_ms - memory.instant(seen, at))
    count.sum = _short(total)


def _take_off(counter: RuleCounter, count: Count, entry: bytes) -> None:
    """Take the occurrence *entry* out of the sum."""
    memory, decay = counter.memory, counter.decay
    weight = memory.weight(entry, 0)
    count.n -= 1
    count.sum -= weight if decay is None else weight * decay.left(count.last_ms - memory.instant(entry, 0))


def _short(number: float) -> int | float:
    """Return a whole number as an integer, which is packed in fewer bytes."""
    return int(number) if number == int(number) and abs(number) < 1e15 else number
