"""`worker.ports.Log` in Kafka, through aiokafka: readers, producers, and questions to the brokers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager

from worker.adapters.kafka_admin import Admin
from worker.adapters.kafka_clients import KafkaReader, free_reader
from worker.adapters.kafka_producer import Producer
from worker.ports import Committed, LogPartition
from worker.settings import GroupConnection


class KafkaLog:
    """The namespace's topics in Kafka. *reader* may be any open reader. It returns the start and end of logs."""

    def __init__(self, settings: GroupConnection, admin: Admin, reader: KafkaReader) -> None:
        self._settings = settings
        self._admin = admin
        self._reader = reader

    def reader(self, partitions: Sequence[LogPartition], wait_ms: int = 200) -> AbstractAsyncContextManager[KafkaReader]:
        """Open a reader of *partitions* outside of any group."""
        return free_reader(self._settings, partitions, wait_ms)

    def producer(self, partition: int) -> Producer:
        """Return a producer for the next incarnation of *partition*, not started."""
        return Producer(self._settings, partition)

    async def starts(self, partitions: Sequence[LogPartition]) -> dict[LogPartition, int]:
        """Return where the log of each of *partitions* begins."""
        return await self._reader.starts(partitions)

    async def ends(self, partitions: Sequence[LogPartition]) -> dict[LogPartition, int]:
        """Return the last stable offset of each of *partitions*."""
        return await self._reader.ends(partitions)

    async def partitions(self, topics: Iterable[str]) -> dict[str, int]:
        """Return the number of partitions of each of *topics*; 0 for a topic that does not exist."""
        return await self._admin.partitions(topics)

    async def ids(self, topics: Collection[str]) -> dict[str, str]:
        """Return the id of each of *topics* that exists."""
        return await self._admin.ids(topics)

    async def configs(self, topics: Iterable[str]) -> dict[str, dict[str, str]]:
        """Return each topic's configuration in force."""
        return await self._admin.configs(topics)

    async def committed(self, partition: int) -> dict[str, Committed]:
        """Return the group's committed offset for *partition* of each topic that has one."""
        return await self._admin.committed(self._settings.group, self._settings.topics, partition)
