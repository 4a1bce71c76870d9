"""Writing the states of many leads: in batches, taken apart by record, and halved where one of them spoils the rest."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from worker.automation_ports import StateEnd, StateRow
from worker.automations.acts import LeadState
from worker.automations.calls import Calls, Lease, Named, NotNow
from worker.automations.requests import Again, Answer, Expired, Refusal, Split, Writes, Written
from worker.automations.requests import Final as Never
from worker.automations.taking import unpack_state
from worker.logs import fields

log = logging.getLogger(__name__)

WINDOW_MS: Final = 24 * 3_600_000
"""A state that could not be written for so long is given up, until a newer one comes."""

_FIRST_WAIT_MS: Final = 2_000
_LONGEST_WAIT_MS: Final = 900_000
_ASKED_AGAIN_MS: Final = 5_000
"""A target that takes nothing is asked again so soon at most: a person may have let it go on."""


async def write_states(calls: Calls, at: Named, rows: Sequence[StateRow], lease: Lease) -> list[StateEnd]:
    """Write the states of *rows* at one target, and return how each ended. States of several rules go apart."""
    ends: list[StateEnd] = []
    for rule in dict.fromkeys(row.rule for row in rows):
        ours = [row for row in rows if row.rule == rule]
        written = await _written(calls, at, [unpack_state(row.packed) for row in ours], lease)
        by_lead = {one.lead_id: one for one in written}
        ends += [_end(row, by_lead.get(row.lead_id), calls.now_ms()) for row in ours]
    return ends


async def _written(calls: Calls, at: Named, states: Sequence[LeadState], lease: Lease) -> list[Written]:
    """Return what became of each of *states*. A refusal of all of them is one of each."""
    try:
        return await _driven(calls, at, states, lease)
    except Split as error:
        if len(states) == 1:
            return _all(states, Never(str(error)))
        half = len(states) // 2
        first = await _written(calls, at, states[:half], lease)
        return first + await _written(calls, at, states[half:], lease)
    except Refusal as error:
        return _all(states, error)


async def _driven(calls: Calls, at: Named, states: Sequence[LeadState], lease: Lease) -> list[Written]:
    write = at.kind.write
    if write is None:
        raise Never(f"a target of kind {at.kind.name} keeps no state of leads")
    steps = write(at.target, states)
    try:
        return await _through(calls, at, steps, lease)
    except (TypeError, KeyError, IndexError, ValueError, AttributeError) as error:
        log.exception("the answer of %s could not be read", at.name, extra=fields("act.unreadable", target=at.name))
        raise Again(f"its answer could not be read ({type(error).__name__})") from error
    finally:
        steps.close()


async def _through(calls: Calls, at: Named, steps: Writes, lease: Lease) -> list[Written]:
    answer, first, begun = Answer(0), True, False
    refusal: Refusal | None = None
    while True:
        try:
            step = next(steps) if first else steps.throw(refusal) if refusal is not None else steps.send(answer)
        except StopIteration as end:
            return list(end.value)
        first, refusal = False, None
        try:
            answer = await calls.call(at, step, lease, begun=begun)
            begun = True
        except NotNow as later:  # thrown into the steps, for some of the batch may be written
            refusal = Again(str(later), min(later.wait_ms, _ASKED_AGAIN_MS) / 1000)
        except Refusal as error:
            refusal = error


def _all(states: Sequence[LeadState], error: Refusal) -> list[Written]:
    return [Written(state.lead_id, state.sequence, error) for state in states]


def _end(row: StateRow, written: Written | None, now_ms: int) -> StateEnd:
    error = written.error if written is not None else Again("the answer leaves it out")
    if error is None:
        return StateEnd(row.rule, row.lead_id, row.sequence)
    if isinstance(error, Never | Split):
        return StateEnd(row.rule, row.lead_id, row.sequence, 0, str(error))
    if now_ms - row.first_ms > WINDOW_MS:
        return StateEnd(row.rule, row.lead_id, row.sequence, 0, f"not written within 24 hours: {error}")
    wait_ms = min(_LONGEST_WAIT_MS, max(_FIRST_WAIT_MS, (now_ms - row.first_ms) // 4))  # not by attempts: most found it closed
    if isinstance(error, Again) and error.after_s:
        wait_ms = int(error.after_s * 1000)
    wait_ms = 0 if isinstance(error, Expired) else wait_ms
    return StateEnd(row.rule, row.lead_id, row.sequence, now_ms + max(200, wait_ms), str(error))
