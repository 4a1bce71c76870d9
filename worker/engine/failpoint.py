"""Steps at which a test may kill the worker, as `kill -9` would, or freeze it, as a long pause of its machine would.

`LEADPULSE_FAILPOINT=after_apply:3` kills it the third time that it gets there, `after_apply:3:stop` sends it SIGSTOP.
"""

from __future__ import annotations

import os
import signal

_name, _, _rest = os.environ.get("LEADPULSE_FAILPOINT", "").partition(":")
_count, _, _how = _rest.partition(":")
_left = int(_count or 1)


def failpoint(name: str) -> None:
    """Die or freeze here, with nothing flushed or closed, if the environment asked for this step; else do nothing."""
    global _left
    if name == _name:
        _left -= 1
        if _left == 0:
            if _how == "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            else:
                os._exit(137)
