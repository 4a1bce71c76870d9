"""The errors that pass from one module to another, as one tree. Each has two attributes: what it ends, and what mends it.

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
    ├── HistoryError               call         operator
    ├── GridNotFound               call         operator
    ├── SettingsError              call         operator
    ├── OtherPartitions            call         operator
    ├── LeadNotHeld                call         operator
    ├── DeadLetterError            call         operator
    ├── SentFileError              call         operator
    ├── ConnectionsError           call         operator
    ├── AutomationsError           call         operator
    ├── LearningError              call         operator
    └── Undelivered                call         operator

The core imports only the core. Its errors derive from the root in `worker/core/contract/errors.py`.
`worker/adapters/refusals.py` maps errors of aiokafka to a line, `TokenFailed` among them.
Every other error is a fault of the program. An incarnation ends with its traceback in the log, and so does a command.

Errors that a module raises for its direct caller only are not in the tree. They are `WhereError`, `TraitsRefused`, `BadLine`,
`BadRow`, `CsvError`, `MapError`, `Unmapped`, `Malformed`, `TooLarge`, `Unreadable`, `NoAnswer`, `MailRefused`, and those of
the demo. In the collector they are `BadSignature`, `Unverified`, `Full` and `Answer`. In automations they are `CannotWrite`,
`TemplateMistake`, `NotAnOutput`, `NotNow`, `NotOurs`, `TooOld`, and `Refusal` with its kinds. Their senders raise `NotSent`,
`LeaseEnded` and `AnswerLost`. Readers of an archive meet `FilesChanged`, and its writers `Busy`.
"""

from __future__ import annotations

from worker.core.contract.errors import Ends as Ends
from worker.core.contract.errors import LeadPulseError as LeadPulseError

NEW_INCARNATION = "new incarnation"
REPEAT = "repeat"


class WorkerMustStop(LeadPulseError):
    """The worker must stop, because going on would lose, double or never finish something. The message has the remedy."""

    ends = Ends.WORKER


class KafkaRefused(LeadPulseError):
    """Kafka refuses a record, the client or a setting, and would refuse a repeat: too large, not allowed, no such topic."""

    ends = Ends.WORKER


class Fenced(LeadPulseError):
    """Another owner, or a newer epoch of our own producer, has taken the partition over."""

    ends = Ends.INCARNATION
    mended_by = NEW_INCARNATION
    cause = "fenced"


class StoreRefused(LeadPulseError):
    """The store answered with an error, and would do so again (out of memory, wrong type, no rights)."""

    ends = Ends.INCARNATION
    cause = "store"


class StoreFull(StoreRefused):
    """The store has no memory for this call, and wrote nothing. Calls that need no more memory still succeed."""


class IncarnationEnded(LeadPulseError):
    """One incarnation of a partition cannot go on. The store went back in time, or Kafka lacks records that it must read."""

    ends = Ends.INCARNATION
    mended_by = NEW_INCARNATION
    cause = "lost"


class StaleStore(IncarnationEnded):
    """The store is at another batch, or has another owner. It went back in time, or the partition was taken over."""


class ProducerFailed(LeadPulseError):
    """A transaction failed, and it is unknown whether it is committed. The producer cannot be used any more."""

    ends = Ends.INCARNATION
    mended_by = NEW_INCARNATION
    cause = "transaction"


class OutOfTime(ProducerFailed):
    """A transaction did not end within its deadline."""


class StoreUnavailable(LeadPulseError):
    """The store did not answer. The call may have taken effect. Repeat it."""

    mended_by = REPEAT

    def line(self) -> str:
        """Return the message with the setting to check."""
        return f"no answer from Redis: {self}: check LEADPULSE_REDIS"


class LogUnavailable(LeadPulseError):
    """The brokers did not answer, or answered with an error. The message is that of the client."""

    mended_by = REPEAT

    def __init__(self, detail: str, line: str, *, retriable: bool = True, unreachable: bool = False) -> None:
        super().__init__(detail)
        self._line = line
        self.retriable = retriable
        """Whether the same request may succeed later."""
        self.unreachable = unreachable
        """No broker accepts the log-in, or none answers."""

    def __repr__(self) -> str:
        return str(self)

    def line(self) -> str:
        """Return the fault and the remedy."""
        return self._line


class NoRight(LogUnavailable):
    """The brokers do not allow us to read a topic, or to join the group."""


class Reassigned(LogUnavailable):
    """The group revoked the partition during a call."""


class OffsetsGone(LogUnavailable):
    """The log no longer has the offsets to read from."""

    def __init__(self, detail: str, line: str, where: str) -> None:
        super().__init__(detail, line)
        self.where = where
        """The partitions and their missing offsets."""


class CopyOver(LeadPulseError):
    """A copy cannot be finished, because the partition got another owner or grid, or went back in time. Begin another."""

    mended_by = REPEAT


class NotTaken(LeadPulseError):
    """A checkpoint was not written. The worker goes on. The message has the reason."""

    mended_by = REPEAT


class FilesError(LeadPulseError):
    """A folder or address of checkpoints or of an archive cannot be used. The message has the remedy."""


class HistoryError(LeadPulseError):
    """An archive, or a file of events, cannot be read. The message has the place and the remedy."""


class GridNotFound(LeadPulseError):
    """A grid that cannot be read, by its *name*. The message lists the presets."""

    def __init__(self, name: str, why: str) -> None:
        self.why = why
        super().__init__(f"grid {name}: {why}")


class SettingsError(LeadPulseError):
    """Settings that cannot be used. The message names each setting, its value and the expected values."""


class OtherPartitions(LeadPulseError):
    """The namespace in Redis has another partition count than the settings."""


class LeadNotHeld(LeadPulseError):
    """A lead that is not in Redis or in the replayed files. The message has the place, and reasons why it may be gone."""


class DeadLetterError(LeadPulseError):
    """A dead letter that does not exist or cannot be read. The message is for the person who asked for it."""


class ConnectionsError(LeadPulseError):
    """The file of connections, or a secret that it refers to, cannot be used. The message names every mistake by line."""


class AutomationsError(LeadPulseError):
    """The file of automations, or a template that it names, cannot be used. The message names every mistake by line."""


class LearningError(LeadPulseError):
    """A table of outcomes, or an option, from which nothing can be learnt. The message has the remedy."""


class SentFileError(LeadPulseError):
    """The file of `produce --sent` cannot be read or written. The message names it and the reason."""


class Undelivered(LeadPulseError):
    """Kafka refused a record, or cannot be reached. The message has the place, the reason and the remedy."""
