"""The line that an operator reads where an error ends a program."""

from __future__ import annotations

from aiokafka.errors import KafkaError

from worker.adapters.kafka_clients import in_words
from worker.errors import LeadPulseError


def refusal(err: BaseException) -> str | None:
    """Return the line for *err*; `None` for a fault of the program, which needs its traceback in the log."""
    if isinstance(err, LeadPulseError):
        return err.line()
    return in_words(err) if isinstance(err, KafkaError) else None
