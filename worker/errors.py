"""The errors that pass from one module to another: one tree, with what each ends and what mends it.

    LeadPulseError                 ends         mended by
    ├── WorkerMustStop             worker       operator
    ├── KafkaRefused               worker       operator
    ├── JournalError (core)        worker       operator
    ├── UnreadableState (core)     worker       operator
    ├── Fenced                     incarnation  new incarnation
    ├── StoreRefused               incarnation  operator
    │   └── StoreFull              incarnation  operator
    ├── IncarnationEnded           incarnation  new incarnation
    │   └── StaleStore             incarnation  new incarnation
    ├── ProducerFailed             incarnation  new incarnation
    │   └── OutOfTime              incarnation  new incarnation
    ├── StoreUnavailable           call         repeat
    ├── LogUnavailable             call         repeat
    │   ├── NoRight                call         repeat
    │   ├── Reassigned             call         repeat
    │   └── OffsetsGone            call         repeat
    ├── CopyOver                   call         repeat
    ├── NotTaken                   call         repeat
    ├── GridError (core)           call         operator
    ├── CheckpointError (core)     call         operator
    ├── FilesError                 call         operator
    ├── GridNotFound               call         operator
    ├── SettingsError              call         operator
    ├── OtherPartitions            call         operator
    ├── LeadNotHeld                call         operator
    ├── DeadLetterError            call         operator
    ├── SentFileError              call         operator
    └── Undelivered                call         operator

The core imports only the core. Its errors derive from the root in `worker/core/contract/errors.py`.
`worker/adapters/refusals.py` maps errors of aiokafka to a line, `TokenFailed` among them.
Every other error is a fault of the program. An incarnation ends with its traceback in the log, and so does a command.

Errors that stay between a module and its caller are not in the tree: `WhereError`, `TraitsRefused`, `BadLine`, `Malformed`,
`TooLarge`, `Unreadable`, and those of the demo.
"""

from __future__ import annotations

from worker.core.contract.errors import Ends as Ends
from worker.core.contract.errors import LeadPulseError as LeadPulseError

NEW_INCARNATION = "new incarnation"
REPEAT = "repeat"


class WorkerMustStop(LeadPulseError):
    """The worker must stop: going on would lose, double or never finish something. The message says what mends it."""

    ends = Ends.WORKER


class KafkaRefused(LeadPulseError):
    """Kafka refuses what we write or who we are, and would again: too large, not allowed, no such topic, a wrong setting."""

    ends = Ends.WORKER


class Fenced(LeadPulseError):
    """Another owner has taken the partition over, or a newer epoch of our own producer has."""

    ends = Ends.INCARNATION
    mended_by = NEW_INCARNATION
    cause = "fenced"


class StoreRefused(LeadPulseError):
    """The store answered with an error that a repeat does not mend (out of memory, wrong type, no rights)."""

    ends = Ends.INCARNATION
    cause = "store"


class StoreFull(StoreRefused):
    """The store has no memory left for this call, and wrote nothing of it. Calls that need no more memory still succeed."""


class IncarnationEnded(LeadPulseError):
    """One incarnation of a partition cannot go on: the store went back in time, or Kafka lacks records that it must read."""

    ends = Ends.INCARNATION
    mended_by = NEW_INCARNATION
    cause = "lost"


class StaleStore(IncarnationEnded):
    """The store is at another batch than the caller, or another's: it went back in time, or was taken over."""


class ProducerFailed(LeadPulseError):
    """A transaction did not end well; whether it is committed is not known. The producer is of no more use."""

    ends = Ends.INCARNATION
    mended_by = NEW_INCARNATION
    cause = "transaction"


class OutOfTime(ProducerFailed):
    """A transaction did not end within its deadline."""


class StoreUnavailable(LeadPulseError):
    """No answer: the call may or may not have taken effect. Repeat it."""

    mended_by = REPEAT

    def line(self) -> str:
        """Return the message with the setting to check."""
        return f"no answer from Redis: {self}: check LEADPULSE_REDIS"


class LogUnavailable(LeadPulseError):
    """The brokers did not answer, or answered with an error. Its words are those of the client."""

    mended_by = REPEAT

    def __init__(self, detail: str, line: str, *, retriable: bool = True, unreachable: bool = False) -> None:
        super().__init__(detail)
        self._line = line
        self.retriable = retriable
        """Whether the same request may succeed later."""
        self.unreachable = unreachable
        """No broker lets us in, or none answers."""

    def __repr__(self) -> str:
        return str(self)

    def line(self) -> str:
        """Return what is wrong and what to do."""
        return self._line


class NoRight(LogUnavailable):
    """The brokers do not let us read a topic, or as the group."""


class Reassigned(LogUnavailable):
    """The group took the partition away while it was asked for."""


class OffsetsGone(LogUnavailable):
    """The log does not hold the positions to read from any more."""

    def __init__(self, detail: str, line: str, where: str) -> None:
        super().__init__(detail, line)
        self.where = where
        """The partitions with the offsets that are gone."""


class CopyOver(LeadPulseError):
    """The copy cannot be finished: the partition took another owner or grid, or went back in time. Begin another."""

    mended_by = REPEAT


class NotTaken(LeadPulseError):
    """A checkpoint that did not come about; the worker is not concerned. The message says why."""

    mended_by = REPEAT


class FilesError(LeadPulseError):
    """The place of checkpoints cannot be used as it is given. The message says what to do."""


class GridNotFound(LeadPulseError):
    """A grid that cannot be read, by its *name*. The message lists the presets."""

    def __init__(self, name: str, why: str) -> None:
        self.why = why
        super().__init__(f"grid {name}: {why}")


class SettingsError(LeadPulseError):
    """A setting that cannot be used. The message names each one, what was given and what is expected."""


class OtherPartitions(LeadPulseError):
    """Redis holds the namespace with another number of partitions than the settings say."""


class LeadNotHeld(LeadPulseError):
    """A lead that Redis or the replayed files do not hold. The message says where it was sought, and why it may be gone."""


class DeadLetterError(LeadPulseError):
    """A dead letter that is not there, or cannot be read. The message is for the person who asked for it."""


class SentFileError(LeadPulseError):
    """The file of `produce --sent` cannot be read or written. The message names it and the reason."""


class Undelivered(LeadPulseError):
    """Kafka did not take what was sent, or cannot be reached; the message says where, why and what to do."""
