"""The root of the error tree, and how far an error reaches. `worker/errors.py` draws the whole tree."""

from __future__ import annotations

import enum
from typing import ClassVar


class Ends(enum.IntEnum):
    """What an error ends while partitions run. At a start, and in a command, every error ends just that."""

    CALL = 0
    """The call alone. Its caller repeats it, or goes on without it."""
    INCARNATION = 1
    """One incarnation of a partition. The supervisor begins a new one."""
    WORKER = 2
    """The worker. Going on would lose, double or never finish something."""


class LeadPulseError(Exception):
    """An expected error. Its message is one line that gives an operator the fault, its place and the mend."""

    ends: ClassVar[Ends] = Ends.CALL
    mended_by: ClassVar[str] = "operator"
    """Who or what removes the cause: `operator`, `new incarnation`, `repeat`, or `sender` of the data."""
    cause: ClassVar[str] = "error"
    """For an ended incarnation: the label `cause` of the metric that counts incarnations."""

    def line(self) -> str:
        """Return the line that an operator reads where this error ends a program."""
        return str(self)
