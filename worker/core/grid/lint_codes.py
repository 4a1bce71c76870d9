"""What a warning about a grid is about."""

from __future__ import annotations

from typing import Literal

from worker.core.grid.conditions import Path

Code = Literal[
    "everything-scored",
    "no-negative-points",
    "one-signal",
    "no-cap",
    "download-like-demo",
    "open-like-click",
    "leave-above-enter",
    "rungs-swapped",
    "no-decay",
    "inactivity-rewards",
    "no-ladder",
    "unreachable",
    "unknown-field",
    "unknown-trait",
    "unknown-page-type",
    "adjustment-unweighed",
    "page-never-matches",
    "number-in-quotes",
    "curly-quotes",
    "operator-in-text",
    "slow-pattern",
    "bands-out-of-order",
]
"""docs/scoring.md explains each."""

Found = tuple[Path, Code, str]
"""One warning: where, which, why and what to do."""
