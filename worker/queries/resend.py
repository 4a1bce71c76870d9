"""Dead letters sent again: which of them may be, what is sent, and what became of each."""

from __future__ import annotations

import contextlib
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final, NamedTuple

import msgspec

from worker.connections.sources import Source
from worker.core.contract.codec import decode
from worker.core.contract.dead_letter import REPLAYED, DeadLetter
from worker.core.contract.model import Record, Rejected, Tombstone, Unknown
from worker.intake.producer import check_topics, open_sink
from worker.intake.routes import CONTENT_TYPE
from worker.intake_ports import LogIntake
from worker.queries.dead_letters import without_values
from worker.settings import Settings

OURS: Final = "lp-"
"""How the names of our own headers begin. In the journal they tell the kind of a record."""

_JOURNAL: Final = re.compile(r"leadpulse\..*\.internal")


class Resend(NamedTuple):
    """How letters are sent again."""

    to: str | None = None
    """Topic; `None` for the topic that each record came from."""
    replacement: bytes | None = None
    """A structured CloudEvent in place of the original value."""
    force: bool = False
    """Also send records that the worker would reject or skip again."""
    dry_run: bool = False
    """Send nothing, and count what would be sent."""
    sources: Mapping[str, Source] | None = None
    """Of webhooks: the connections' sources. Their maps tell whom a webhook is about."""


class Counts(msgspec.Struct):
    """What became of the letters of a replay."""

    replayed: int = 0
    still_bad: Counter[str] = msgspec.field(default_factory=Counter)
    """By the reason for which they would come back. Records sent by force are not among them."""
    without_value: int = 0
    """Letters that hold no record to send: it was too large to be carried, or had neither key nor value."""
    misplaced: int = 0
    """Letters about a record of no input topic: forged, or of a former input topic. Force does not send them."""
    erased: int = 0
    """Webhooks about people who were erased since. Nothing is sent of them, and they are no fault."""


class _LeftOut(NamedTuple):
    """A letter that is not sent."""

    fault: str
    """`misplaced`, `without_value`, or the reason for which the record is still bad."""
    words: str


async def resend(
    letters: AsyncIterator[DeadLetter],
    settings: Settings,
    log: LogIntake,
    how: Resend,
    counts: Counts,
    left_out: Callable[[str], None],
) -> None:
    """Send those of *letters* that the worker would now take. Count all of them in *counts*.

    *left_out* is called with one line for each letter that is not sent. Returns when the log has acknowledged all records.
    Raises `Undelivered` when it does not. `counts.replayed` is then the number of records that were handed over.
    """
    topics: set[str] = set()
    async with contextlib.AsyncExitStack() as stack:
        sink = None if how.dry_run else await stack.enter_async_context(open_sink(log))
        async for letter in letters:
            record = _to_send(letter, settings, how)
            if isinstance(record, _LeftOut):
                _count(counts, record.fault)
                left_out(f"{letter.place} {record.words}")
                continue
            if record.topic not in topics:
                await check_topics(log, [record.topic])
                topics.add(record.topic)
            if sink is not None:
                await sink.send(record.topic, record.key, record.value, record.headers)
            counts.replayed += 1


def _to_send(letter: DeadLetter, settings: Settings, how: Resend) -> Record | _LeftOut:
    """Return the record that *letter* is sent as, or why it is not sent."""
    elsewhere = misplaced(settings, letter, how.to)
    if elsewhere is not None:
        return _LeftOut("misplaced", f"not sent, {elsewhere}")
    record = resent(letter, int(time.time() * 1000), how.to, how.replacement)
    if (not letter.whole and how.replacement is None) or (record.key is None and record.value is None):
        return _LeftOut("without_value", f"not sent: it holds no record ({letter.reason}); give one with --from")
    fault = None if how.force else still_bad(record)
    if fault is not None:
        reason, detail = fault
        return _LeftOut(reason, f"not sent, it would come back: {reason}: {without_values(detail)}")
    return record


def _count(counts: Counts, fault: str) -> None:
    if fault == "misplaced":
        counts.misplaced += 1
    elif fault == "without_value":
        counts.without_value += 1
    else:
        counts.still_bad[fault] += 1


def resent(letter: DeadLetter, now_ms: int, to: str | None = None, replacement: bytes | None = None) -> Record:
    """Return the record that a replay of *letter* sends: the original with its key, to its own topic or *to*.

    *replacement* is a structured CloudEvent in place of the original value. Headers about the old value (binary mode, content
    type) are then left out. `lp-*` headers are ours, so those of the record are left out too. A header of ours names the
    letter, which tells a second failure from a first.
    """
    headers = tuple((name, value) for name, value in letter.record.headers if not name.lower().startswith(OURS))
    value = letter.record.value
    if replacement is not None:
        kept = [(name, text) for name, text in headers if name.lower() != "content-type" and not name.startswith("ce_")]
        headers = (*kept, *CONTENT_TYPE)
        value = replacement
    return letter.record._replace(
        topic=to or letter.record.topic,
        timestamp_ms=now_ms,
        value=value,
        headers=(*headers, (REPLAYED, letter.place.encode())),
    )


def misplaced(settings: Settings, letter: DeadLetter, to: str | None) -> str | None:
    """Return why *letter* may not be sent to where it says that it came from, or to *to*; `None` where it may.

    Workers take events from input topics only. No worker wrote a letter about a record of a journal or of an output.
    """
    topic = letter.record.topic
    if topic in settings.outputs or is_journal(settings, topic):
        return f"forged: it says that its record came from {topic}, which no worker takes events from; find out who wrote it"
    if to is None and topic not in settings.input_topics:
        return f"its record came from {topic}, which is not among LEADPULSE_INPUT_TOPICS: name an input topic with --to"
    return None


def is_journal(settings: Settings, topic: str) -> bool:
    """Return whether *topic* is this namespace's internal topic, or by its name another's."""
    return topic == settings.internal_topic or _JOURNAL.fullmatch(topic) is not None


def still_bad(record: Record) -> tuple[str, str] | None:
    """Return why a worker of this version would not count *record*, (reason, detail); `None` when it would take it.

    A type that is not known is one more reason here: the worker would pass over it without a word.
    """
    match decode(record):
        case Rejected(reason=reason, detail=detail):
            return reason, detail
        case Unknown(type=name):
            return "unknown_type", f"type: {name}: the worker passes over events of types that it does not know"
        case Tombstone():
            return "tombstone", "value: there is none: the worker passes over records without a value"
        case _:
            return None
