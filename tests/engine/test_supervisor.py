"""Who works on which partition, without Kafka."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from worker.engine import supervisor
from worker.engine.supervisor import Supervisor
from worker.metrics import Metrics
from worker.ports import LogPartition
from worker.settings import Settings


class FailsAsItIsTakenAway:
    """An incarnation whose task fails in the moment in which it is cancelled, as a group of tasks reports it."""

    made = 0

    def __init__(self, *_: Any) -> None:
        type(self).made += 1
        self.ready, self.batch = False, 0
        self.next: dict[str, int] = {}

    async def run(self) -> None:
        """Wait until cancelled, and raise another error then."""
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise RuntimeError("the store refused") from None

    def standing(self) -> dict[str, Any]:
        """Return nothing."""
        return {}


async def test_a_partition_that_fails_as_it_is_taken_away_does_not_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its next incarnation would fence the partition's owner, on another worker."""
    monkeypatch.setattr(supervisor, "Partition", FailsAsItIsTakenAway)
    monkeypatch.setattr(supervisor, "_FIRST_WAIT_S", 0.0)
    settings = Settings.load({"LEADPULSE_INPUT_TOPICS": "web", "LEADPULSE_PARTITIONS": "1"})
    context: Any = SimpleNamespace(settings=settings, draining=asyncio.Event(), metrics=Metrics(CollectorRegistry()))
    errors: list[BaseException] = []
    pump = Supervisor(context, errors.append)
    pump.assigned({LogPartition(topic, 0) for topic in settings.topics})
    (task,) = pump.running()
    await asyncio.sleep(0)
    pump.assigned(set())
    await asyncio.wait([task], timeout=5)
    assert task.done()
    assert FailsAsItIsTakenAway.made == 1
    assert errors == []
