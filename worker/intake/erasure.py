"""The `lead.erased` that asks the workers to forget a person."""

from __future__ import annotations

import uuid

import msgspec

from worker.core.scoring.calendar import rfc3339
from worker.intake.producer import kafka_sink
from worker.intake.routes import CONTENT_TYPE, topic_of
from worker.settings import Settings


async def send_erasure(settings: Settings, lead: str, at_ms: int) -> None:
    """Send the event to the topic of its family or, where that is no input, to the first input.

    *at_ms*: its time. Earlier events of the person stay dropped. Raises `Undelivered`.
    """
    usual = topic_of("lead.erased")
    topic = usual if usual in settings.input_topics else settings.input_topics[0]
    event = {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": "/leadpulse/erase",
        "type": "lead.erased",
        "subject": lead,
        "time": rfc3339(at_ms),
        "data": {},
    }
    async with kafka_sink(settings, [topic]) as sink:
        await sink.send(topic, lead.encode(), msgspec.json.encode(event), CONTENT_TYPE)
