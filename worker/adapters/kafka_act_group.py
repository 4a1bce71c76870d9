"""`worker.automation_ports.ActGroup` in Kafka: a member of a group that commits offsets by hand, with a note on each."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

from aiokafka.structs import OffsetAndMetadata, TopicPartition

from worker.adapters.kafka_admin import Admin
from worker.adapters.kafka_clients import KafkaGroup, translated
from worker.ports import Committed, LogPartition
from worker.settings import GroupConnection


class KafkaActGroup(KafkaGroup):
    """This process's member of the group."""

    def __init__(self, settings: GroupConnection, admin: Admin) -> None:
        super().__init__(settings)
        self._group = settings.group
        self._admin = admin

    async def commit(self, offsets: Mapping[LogPartition, int], note: str) -> None:
        """Commit *offsets*, each with *note*; see the port."""
        held = {TopicPartition(*tp): OffsetAndMetadata(offset, note) for tp, offset in offsets.items()}
        # In a task of its own: aiokafka leaves its request behind where its caller is cancelled, and asyncio logs its error.
        committing = asyncio.ensure_future(self._consumer.commit(held))
        with translated():
            await asyncio.shield(committing)

    async def committed(self, topics: Collection[str], partition: int) -> dict[str, Committed]:
        """Return the group's committed offset and note for *partition* of each of *topics* that has one."""
        return await self._admin.committed(self._group, topics, partition)

    async def at(self, partitions: Sequence[LogPartition], time_ms: int) -> dict[LogPartition, int]:
        """Return the first offset at or after *time_ms* of each of *partitions*, or its end."""
        asked = {TopicPartition(*tp): time_ms for tp in partitions}
        with translated():
            found = await self._consumer.offsets_for_times(asked)
        ends = await self.ends(partitions)
        return {tp: found[theirs].offset if found[theirs] else ends[tp] for tp, theirs in zip(partitions, asked, strict=True)}
