"""Steps at which a test may kill or freeze the worker.

`LEADPULSE_FAILPOINT=after_apply:3` ends the process at the third such step, as `kill -9` does. `after_apply:3:stop` sends
SIGSTOP instead, like a long pause of the machine.
"""

from __future__ import annotations

import os
import signal

_name, _, _rest = os.environ.get("LEADPULSE_FAILPOINT", "").partition(":")
_count, _, _how = _rest.partition(":")
_left = int(_count or 1)


def failpoint(name: str) -> None:
    """End or freeze the process if the environment names this step. Nothing is flushed or closed."""
    global _left
    if name == _name:
        _left -= 1
        if _left == 0:
            if _how == "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            else:
                os._exit(137)
