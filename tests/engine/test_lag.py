"""How far behind a partition says that it is: also where it hangs, and where what waits is old."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from worker.core.contract.model import Record
from worker.core.grid.models import parse_grid
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.engine.grid_file import GridFile
from worker.engine.partition import Context, Partition
from worker.metrics import Metrics
from worker.ports import Fetched
from worker.settings import Settings

GRID = """\
grid: lag
version: 1
engagement: {rules: [{id: page, points: 1, on: page.viewed}]}
stages: {mql: {enter: 10}}
"""
DAY_MS = 86_400_000
TOPIC, OTHER = "lead.events.web", "lead.events.crm"


class Gate:
    """In the place of `PartitionReader`: gives what the test says that Kafka holds."""

    def __init__(self) -> None:
        self.ends: dict[str, int | None] = {TOPIC: None, OTHER: None}
        self.polled_ms: int | None = None

    def polled(self, topic: str) -> tuple[int | None, int | None]:
        """Return the topic's end and when that was asked."""
        return self.ends.get(topic), self.polled_ms


class Unpublished:
    """In the place of `TransitionRecorder`: everything is out."""

    def __init__(self) -> None:
        self.next: dict[str, int] = {}

    def pending_s(self) -> float:
        """Return for how long outputs wait."""
        return 0.0

    def oldest_ms(self) -> int | None:
        """Return the time of the oldest record whose outputs wait."""
        return None


class Hanging:
    """In the place of the batch builder: the load of the first batch never ends."""

    async def events(self, *_: Any) -> Any:
        """Wait for ever."""
        await asyncio.Event().wait()


@pytest.fixture
def partition() -> Any:
    """Return an incarnation that has just taken over and read nothing."""
    settings = Settings.load({"LEADPULSE_INPUT_TOPICS": f"{TOPIC},{OTHER}"})
    compiled = CompiledGrid(parse_grid(GRID.encode(), "lag"), settings.source)
    metrics = Metrics(CollectorRegistry())
    nothing: Any = None
    safe, fold_lock = asyncio.Event(), asyncio.Lock()
    context = Context(
        settings=settings,
        grid=GridFile(settings, compiled, metrics),
        group=nothing,
        cluster=nothing,
        store_of=nothing,
        metrics=metrics,
        neighbours=lambda _: (),
        draining=asyncio.Event(),
        safe=safe,
        fold_lock=fold_lock,
        compacted=(),
    )
    made: Any = Partition(context, 3)
    made.next = {TOPIC: 0, OTHER: 0, settings.internal_topic: 0}
    made._reader, made._publisher, made._builder = Gate(), Unpublished(), Hanging()
    made.ready = True
    return made


def shown(partition: Any, name: str) -> float:
    """Return what the page of metrics says of the partition now."""
    partition.observe()
    value = partition._metrics.registry.get_sample_value(f"leadpulse_{name}", {"partition": "3"})
    assert value is not None
    return float(value)


async def hang(partition: Any, topic: str, timestamp_ms: int) -> None:
    """Let the partition fetch one record of *topic* and never get further."""
    partition._reader.ends[topic] = 10
    partition._reader.polled_ms = int(time.time() * 1000)
    fetched = {topic: Fetched([Record(topic, 3, 0, timestamp_ms, None, b"{}")], 1)}
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(partition._take(fetched), 0.5)


async def test_a_first_batch_that_hangs_is_as_old_as_its_first_record(partition: Any) -> None:
    """Counted from the take-over, a backlog of three days would look like one of seconds, again after each new incarnation."""
    await hang(partition, TOPIC, int(time.time() * 1000) - 3 * DAY_MS)
    assert shown(partition, "lag_records") == 10
    assert shown(partition, "lag_seconds") == pytest.approx(3 * DAY_MS / 1000, abs=3_600)


async def test_what_came_after_everything_was_read_is_not_as_old_as_what_was_read(partition: Any) -> None:
    """A record that waits since now is not as old as the last one taken, yesterday."""
    partition._reader.polled_ms = int(time.time() * 1000)
    partition._reader.ends[TOPIC] = 0
    partition._saw(Record(TOPIC, 3, 0, int(time.time() * 1000) - DAY_MS, None, b"{}"))
    assert shown(partition, "lag_seconds") == 0
    partition._reader.ends[TOPIC] = 1
    assert shown(partition, "lag_seconds") < 3_600


async def test_before_anything_was_read_a_backlog_counts_from_the_take_over(partition: Any) -> None:
    """Its records' times are not known yet; 0 would say that none waits."""
    partition._lag.began_ms -= 90_000
    partition._reader.ends[TOPIC] = 10
    assert shown(partition, "lag_seconds") == pytest.approx(90, abs=60)


async def test_a_kafka_that_answers_no_more_is_seen_though_nothing_is_known_to_wait(partition: Any) -> None:
    """The lag is as of the last fetch: without another figure a Kafka that is away looks like a quiet night."""
    partition._reader.ends |= {TOPIC: 0, OTHER: 0}
    partition._reader.polled_ms = int(time.time() * 1000) - 70_000
    assert shown(partition, "lag_records") == 0
    assert shown(partition, "fetch_age_seconds") == pytest.approx(70, abs=60)
