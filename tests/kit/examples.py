"""How many examples properties try: one measure for all of them."""

from __future__ import annotations

import os
from typing import Final

from hypothesis import HealthCheck, settings

TIMES: Final = float(os.environ.get("EXAMPLES_TIMES", "1"))
"""How many times as many as in `make test`: 20 in `make properties`, 0.1 in `make core`."""


def examples(count: int) -> settings:
    """Return settings for *count* examples; slow machines and the oracle's recounts are no reason to fail."""
    healthy = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(deadline=None, suppress_health_check=healthy, max_examples=max(1, round(count * TIMES)))


def by_default() -> None:
    """Let properties that ask for no number of examples try 100 times `TIMES`."""
    settings.register_profile("leadpulse", examples(100))
    settings.load_profile("leadpulse")
