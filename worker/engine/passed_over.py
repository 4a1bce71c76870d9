"""Records that a partition passes over because their batch cannot be read: which ones may be, and their log lines."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence

from worker.core.contract.journal import Passed
from worker.core.contract.model import Record, Unread
from worker.core.contract.unread import DAMAGED, UNREAD
from worker.errors import WorkerMustStop
from worker.logs import fields
from worker.settings import Settings

log = logging.getLogger(__name__)


def check_passed(settings: Settings, records: Iterable[Record]) -> None:
    """Raise `WorkerMustStop` at the first of *records* that is damaged, unless an operator named its batch in the settings.

    A damaged batch may be whole on another replica. A batch that is merely too large never gets smaller.
    """
    for record in records:
        if type(record) is Unread and record.reason == DAMAGED:
            place = f"{record.topic}:{record.partition}:{record.base}"
            if place not in settings.pass_over:
                raise WorkerMustStop(
                    f"partition {record.partition}: the batch of {record.topic}[{record.partition}] that begins at offset"
                    f" {record.base} is damaged ({record.detail}): look at the leader's disk, and let a replica that is whole"
                    f" lead. Without one, pass over exactly this batch with LEADPULSE_PASS_OVER={place}: its records then go to"
                    " the dead letters by their places alone"
                )


def producers_faults(reasons: Counter[str]) -> Counter[str]:
    """Return *reasons* without those that concern a batch as a whole.

    One damaged batch with many records is no bad deploy of a producer, so it must not stop the workers.
    """
    return Counter({reason: count for reason, count in reasons.items() if reason not in UNREAD})


def tell_passed(partition: int, passed: Sequence[Passed]) -> None:
    """Log each range that *partition* has passed over."""
    for one in passed:
        log.error(
            "partition %d: passed over %s offsets %d to %d (%s); the dead letters have their places",
            partition,
            one.topic,
            one.first,
            one.last,
            one.reason,
            extra=fields("partition.passed_over", partition=partition, **{name: getattr(one, name) for name in _PASSED_FIELDS}),
        )


_PASSED_FIELDS = ("topic", "first", "last", "reason")
