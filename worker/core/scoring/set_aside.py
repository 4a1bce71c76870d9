"""Counts that a lead's grid does not count any more, kept for a while: a grid that comes back finds its past.

They stay in the lead's own counts, where no rule reads them. One more field says since when, in a lead that has such counts.
"""

from __future__ import annotations

from typing import Final

from worker.core.scoring.calendar import DAY_MS
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.state import LeadState

GRACE_MS: Final = 30 * DAY_MS
"""By the lead's clock, from the last change of its grid or tables on."""

MOST_BYTES: Final = 8_192
"""Of all that one lead has set aside; past it the counts with the earliest last event go first."""

SINCE: Final = -1
"""Key in `LeadState.exclusions` of the instant of that change. No rule has it: keys of rules are not negative."""

_COUNT_BYTES: Final = 40
_VELOCITY_BYTES: Final = 25
_EXCLUSION_BYTES: Final = 20


def set_aside(scorer: CompiledGrid, state: LeadState, at_ms: int) -> None:
    """Set aside what the grid of *scorer*, which the lead is judged by from *at_ms* on, does not count."""
    scorer.recognise(state)
    counts, velocity, exclusions = state.counts, state.velocity, state.exclusions
    exclusions.pop(SINCE, None)
    unread = [
        *((one.last_ms, key, len(one.seen) + _COUNT_BYTES) for key, one in counts.items() if key not in scorer.readers),
        *(
            (one.day * DAY_MS, key, len(one.days) + _VELOCITY_BYTES)
            for key, one in velocity.items()
            if key not in scorer.velocity_rules
        ),
        *((first_ms, key, _EXCLUSION_BYTES) for key, first_ms in exclusions.items() if key not in scorer.exclusion_keys),
    ]
    if not unread:
        return
    exclusions[SINCE] = at_ms
    size = 0
    for _, key, bytes_ in sorted(unread, reverse=True):
        size += bytes_
        if size > MOST_BYTES:
            for held in (counts, velocity, exclusions):
                held.pop(key, None)


def drop_if_over(scorer: CompiledGrid, state: LeadState, at_ms: int) -> None:
    """Drop what was set aside once its time is over."""
    if at_ms >= state.exclusions[SINCE] + GRACE_MS:
        keep_counted(scorer, state)


def keep_counted(scorer: CompiledGrid, state: LeadState) -> None:
    """Drop whatever the grid does not count."""
    scorer.recognise(state)
    state.counts = {key: count for key, count in state.counts.items() if key in scorer.readers}
    state.velocity = {key: window for key, window in state.velocity.items() if key in scorer.velocity_rules}
    state.exclusions = {key: at_ms for key, at_ms in state.exclusions.items() if key in scorer.exclusion_keys}
