"""Steps at which a test may kill the worker, as `kill -9` would: `LEADPULSE_FAILPOINT=after_apply:3` at the third time."""

from __future__ import annotations

import os

_name, _, _count = os.environ.get("LEADPULSE_FAILPOINT", "").partition(":")
_left = int(_count or 1)


def failpoint(name: str) -> None:
    """Die here, with nothing flushed or closed, if the environment asked for this step; else do nothing."""
    global _left
    if name == _name:
        _left -= 1
        if _left <= 0:
            os._exit(137)
