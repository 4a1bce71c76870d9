"""Two states made one: what a visitor did becomes the lead's, as if the lead had done it from the start."""

from __future__ import annotations

import contextlib

from worker.core.scoring import traits as traits_
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.counted_apart import merged
from worker.core.scoring.fold import judge_traits
from worker.core.scoring.once_per import MARK_BYTES, entries, remember
from worker.core.scoring.packing import close, open_
from worker.core.scoring.state import IDS_KEPT, Count, LeadState


def merge(scorer: CompiledGrid, lead: LeadState, visitor: LeadState) -> None:
    """Fold the sums of *visitor* into *lead*. Both must stand under the scorer's grid. *visitor* must not be used afterwards.

    Sums, traits, velocity, activity and exclusions become those of both histories folded as one, whatever their order. The lead
    keeps its own stage, its sequence and the record of its outputs. The caller judges it next. Ids are remembered up to 64 of
    both, the lead's own as the later ones. Where the traits of both would take more than 64 kB, the lead keeps its own alone.
    """
    for key, count in visitor.counts.items():
        held = lead.counts.get(key)
        lead.counts[key] = count if held is None else _counts(scorer, key, held, count)
    for key, window in visitor.velocity.items():
        windows = lead.velocity.get(key)
        lead.velocity[key] = window if windows is None else scorer.velocity_kinds[key].merge(windows, window)
    for key, at_ms in visitor.exclusions.items():
        choose = max if key in scorer.latest_exclusions else min
        lead.exclusions[key] = choose(at_ms, lead.exclusions.get(key, at_ms))
    lead.clock_ms = max(lead.clock_ms, visitor.clock_ms)
    lead.active_ms = max(lead.active_ms, visitor.active_ms)
    lead.ids = (visitor.ids + lead.ids)[-IDS_KEPT * MARK_BYTES :]
    traits = traits_.unpack_traits(lead.traits)
    for path, write in traits_.unpack_traits(visitor.traits).items():
        traits_.take(traits, [(path, write.value)], *write.stamp)
    with contextlib.suppress(traits_.TraitsRefused):
        lead.traits = traits_.pack_traits(traits)
    judge_traits(scorer, lead)
    lead.recent = close([*open_(lead.recent), *open_(visitor.recent)])


def _counts(scorer: CompiledGrid, key: int, one: Count, other: Count) -> Count:
    """Add two counts. A value that both have seen is one occurrence, the earliest."""
    apart = scorer.apart.get(key)
    if apart is not None:
        return merged(apart, one, other)
    decay = next((rule.decay for rule in scorer.readers.get(key, ())), None)
    last_ms = max(one.last_ms, other.last_ms)
    both = Count(one.n + other.n, last_ms)
    if decay is not None:
        # Not by `sum`, which rounds otherwise from Python 3.12 on.
        both.sum = one.sum * decay.left(last_ms - one.last_ms) + other.sum * decay.left(last_ms - other.last_ms)
    firsts = {value: at_ms for at_ms, value in entries(one.seen, one.last_ms)}
    for at_ms, value in entries(other.seen, other.last_ms):
        known = firsts.get(value)
        if known is None:
            firsts[value] = at_ms
            continue
        firsts[value] = min(known, at_ms)
        both.n -= 1
        if decay is not None:
            both.sum -= decay.left(last_ms - max(known, at_ms))
    for value, at_ms in firsts.items():
        both.seen = remember(both.seen, last_ms, value, at_ms)
    return both
