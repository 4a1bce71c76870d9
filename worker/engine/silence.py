"""Outputs about the past: they are folded, numbered and kept in the lead's history, and not announced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from worker.core.contract.model import Output
from worker.core.contract.output_types import HISTORY
from worker.core.scoring.outputs import Transition
from worker.settings import Settings

_ALWAYS_SENT: Final = frozenset({"lead.erased"})
"""Whoever holds a copy of the lead must hear that it was erased, whenever that was."""


def is_silent(move: Transition, before_ms: int) -> bool:
    """Return whether *move* is of the time before *before_ms*. The breach of an SLA is of its `lead.sql`'s time."""
    return move.at_ms < before_ms and move.type not in _ALWAYS_SENT


def announced(
    outputs: Sequence[Output], moves: Sequence[Transition], settings: Settings
) -> tuple[Sequence[Output], Sequence[Transition]]:
    """Return *outputs* and *moves* without those before `silent_before`. The outputs go to `lead.history`, where it is routed.

    *moves* has one for each of *outputs*. A dead letter in place of an output stays.
    """
    before_ms = settings.silent_before_ms
    if not before_ms:
        return outputs, moves
    sent: list[Output] = []
    for output, move in zip(outputs, moves, strict=True):
        if output.topic != move.type or not is_silent(move, before_ms):
            sent.append(output)
        elif HISTORY in settings.output_topics:
            sent.append(msgspec.structs.replace(output, topic=HISTORY))
    return sent, [move for move in moves if not is_silent(move, before_ms)]
