"""The `lead.erased` that asks the workers to forget a person, and the same for webhooks and look-ups.

A record of these topics that has a key and no value says that the person with this id was erased.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterable, Sequence

import msgspec

from worker.core.contract.model import Record
from worker.core.scoring.calendar import rfc3339
from worker.intake.person_names import PersonNames
from worker.intake.producer import open_sink
from worker.intake.questions import asks_about, decode_question, encode_question, without_person
from worker.intake.routes import CONTENT_TYPE, topic_of
from worker.intake_ports import InboundMemory, LogIntake


async def send_erasure(log: LogIntake, input_topics: Sequence[str], lead: str, at_ms: int) -> None:
    """Send the event to the topic of its family or, where that is no input, to the first of *input_topics*.

    *at_ms*: its time. Earlier events of the person stay dropped. Raises `Undelivered`.
    """
    usual = topic_of("lead.erased")
    topic = usual if usual in input_topics else input_topics[0]
    event = {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": "/leadpulse/erase",
        "type": "lead.erased",
        "subject": lead,
        "time": rfc3339(at_ms),
        "data": {},
    }
    async with open_sink(log, [topic]) as sink:
        await sink.send(topic, lead.encode(), msgspec.json.encode(event), CONTENT_TYPE)


def note_erasure(record: Record, erased: dict[str, int]) -> bool:
    """Return whether *record* says that a person was erased, and note that in *erased*."""
    if record.value is not None or record.key is None:
        return False
    id_ = record.key.decode(errors="replace")
    erased[id_] = max(erased.get(id_, 0), record.timestamp_ms or 0)
    return True


async def forget_lookups(memory: InboundMemory, ids: Iterable[str]) -> int:
    """Take back the questions about the person with *ids*, and take them out of others; return how many those were."""
    names, changed = PersonNames(ids), 0
    for held in await memory.questions():
        with contextlib.suppress(msgspec.DecodeError):
            question = decode_question(held)
            if asks_about(question, names):
                rest = without_person(question, names)
                await memory.replace(held, None if rest is None else encode_question(rest))
                changed += 1
    return changed
