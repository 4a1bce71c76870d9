"""The `lead.erased` that asks the workers to forget a person."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import msgspec

from worker.core.scoring.calendar import rfc3339
from worker.intake.producer import open_sink
from worker.intake.routes import CONTENT_TYPE, topic_of
from worker.intake_ports import LogIntake


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
