"""The producer of a partition can be let go of at any moment, and nobody reads of it on stderr."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from tests.kit.site import MakeSite
from tests.kit.waits import HANG_S
from worker.adapters.kafka_clients import free_reader
from worker.adapters.kafka_producer import Producer
from worker.core.contract.model import Output
from worker.ports import LogPartition


async def test_a_producer_closed_in_the_middle_of_anything_says_nothing(
    make_site: MakeSite, caplog: pytest.LogCaptureFixture
) -> None:
    """A rollout that is taken back is no error: aiokafka's sender met given-up records, and left connections open."""
    site = await make_site()
    topics = dict.fromkeys(site.settings.topics, 0)
    outputs = [Output(topic, None, b"{}", (), 0) for topic in site.settings.outputs]
    for attempt in range(40):
        producer = Producer(site.settings, 0)

        async def use(producer: Producer = producer, batch: int = attempt) -> None:
            await producer.start()
            await producer.send(outputs, topics, batch, lambda _: None)

        using = asyncio.create_task(use())
        await asyncio.sleep(0.002 * attempt)
        using.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await using
        await producer.close()
    assert not [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]


async def test_a_consumer_that_is_closed_at_once_ends_quietly(make_site: MakeSite) -> None:
    """`doctor` opens one, and has nothing to read where Redis does not answer."""
    site = await make_site()
    async with free_reader(site.settings, []):
        pass


async def test_a_reader_that_is_assigned_anew_and_closed_at_once_ends(make_site: MakeSite) -> None:
    """A refold that ends with a batch without records does so. A lost cancellation kept it, and the partition, for ever."""
    site = await make_site(partitions=2)
    both = [LogPartition(site.web, p) for p in range(2)]
    async with asyncio.timeout(HANG_S):
        for attempt in range(30):
            async with free_reader(site.settings, []) as reader:
                reader.assign(both[:1])
                reader.seek(both[0], 0)
                await reader.fetch(both[:1], 0.01)
                reader.assign(both)
                await asyncio.sleep(0.001 * (attempt % 4))
