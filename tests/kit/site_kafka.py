"""What Kafka holds of a namespace: read, deleted as retention would, forgotten offsets."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.errors import GroupIdNotFound, KafkaConnectionError, for_code
from aiokafka.protocol.admin import DeleteGroupsRequest
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from tests.kit.waits import HANG_S
from worker.adapters.fetched import Checks
from worker.adapters.kafka_admin import Admin
from worker.adapters.kafka_clients import to_record
from worker.adapters.stored_files import files_at
from worker.core.contract.journal import Cut, decode_entry
from worker.core.contract.model import Record
from worker.engine.kept import kept
from worker.settings import Settings


class NamespaceInKafka:
    """A namespace's topics and group in Kafka."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.gone: list[Record] = []
        """Records that were in Kafka once, and that `read` still returns: retention or an operator deleted them."""
        self.deleted: list[Record] = []
        """The same, of a topic that Kafka thinned out: all that was read of it, gone or not."""

    @contextlib.asynccontextmanager
    async def consumer(self, isolation: str = "read_committed") -> AsyncIterator[AIOKafkaConsumer]:
        """Yield a consumer outside of any group."""
        consumer = await self._connected(isolation)
        try:
            yield consumer
        finally:
            await consumer.stop()

    async def _connected(self, isolation: str) -> AIOKafkaConsumer:
        """Return a consumer, once there is a broker: one that was just killed may be away for seconds."""
        deadline = time.monotonic() + HANG_S
        while True:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self.settings.kafka,
                group_id=None,
                isolation_level=isolation,
                auto_offset_reset="earliest",
                enable_auto_commit=False,
                max_partition_fetch_bytes=4_000_000,
                check_crcs=Checks(crcs=True, most=self.settings.max_unpacked),
            )
            try:
                await consumer.start()
            except KafkaConnectionError:
                await consumer.stop()
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.2)
            else:
                return consumer

    async def read(self, tps: Sequence[TopicPartition]) -> list[Record]:
        """Return all committed records of *tps*, in order of topic, partition, offset; those of `gone` come first in theirs.

        Those of `deleted` are in their place.
        """
        gone = [r for r in self.gone if TopicPartition(r.topic, r.partition) in tps]
        records: list[Record] = []
        async with self.consumer("read_uncommitted") as consumer:  # a commit is answered before its markers are written
            ends = await consumer.end_offsets(list(tps))
        async with self.consumer() as consumer:
            consumer.assign(list(tps))
            await consumer.seek_to_beginning(*tps)
            while True:
                left = [tp for tp in tps if await consumer.position(tp) < ends[tp]]
                if not left:
                    break
                for raws in (await consumer.getmany(*left, timeout_ms=200)).values():
                    records += map(to_record, raws)
        deleted = {r[:3]: r for r in self.deleted if TopicPartition(r.topic, r.partition) in tps}
        records = [*deleted.values(), *(r for r in records if r[:3] not in deleted)]
        return sorted([*gone, *sorted(records, key=lambda r: r[:3])], key=lambda r: r[:2])

    async def cuts(self, partition: int) -> list[Cut]:
        """Return the cuts in the journal of *partition*, in order."""
        journal = await self.read([TopicPartition(self.settings.internal_topic, partition)])
        return [cut for record in journal for cut in getattr(decode_entry(record), "cuts", ())]

    async def outputs(self) -> list[Record]:
        """Return everything that consumers of the outputs see."""
        async with Admin(self.settings) as admin:
            counts = await admin.partitions(self.settings.outputs)
        return await self.read([TopicPartition(topic, p) for topic, n in counts.items() for p in range(n)])

    async def forget_offsets(self, timeout_s: float = HANG_S) -> None:
        """Delete the workers' group with its offsets, once it is empty. Kafka itself does so after some days."""
        group = self.settings.group
        client = AIOKafkaAdminClient(bootstrap_servers=self.settings.kafka)
        deadline = time.monotonic() + timeout_s
        try:
            await client.start()
            while True:
                coordinator = await client.find_coordinator(group)
                response: Any = await client._send_request(DeleteGroupsRequest([group]), coordinator)
                code = response.results[0][1]
                if code in (0, GroupIdNotFound.errno):
                    return
                assert time.monotonic() < deadline, f"group {group} cannot be deleted: {for_code(code)}"
                await asyncio.sleep(0.2)
        finally:
            await client.close()

    async def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Commit *offsets* under the workers' group, which must be empty, as another program may."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.settings.kafka, group_id=self.settings.group, enable_auto_commit=False
        )
        try:
            await consumer.start()
            consumer.assign(list(offsets))
            await consumer.commit(dict(offsets))
        finally:
            await consumer.stop()

    async def forget_log_before_checkpoints(self, folder: Path) -> None:
        """Delete what the newest checkpoint of each partition does not need of inputs and journal, as retention would."""
        files = files_at(str(folder))
        needed: dict[TopicPartition, int] = {}
        for p in range(self.settings.partitions):
            manifest = kept(files, self.settings.namespace, p)[0].manifest
            needed |= {TopicPartition(topic, p): offset for topic, offset in manifest.next.items()}
        await self._forget(needed)

    async def forget_log(self) -> None:
        """Delete everything from inputs and journal, as retention would."""
        tps = [TopicPartition(topic, p) for topic in self.settings.topics for p in range(self.settings.partitions)]
        async with self.consumer() as consumer:
            await self._forget(await consumer.end_offsets(tps))

    async def _forget(self, before: Mapping[TopicPartition, int]) -> None:
        """Delete the records before these offsets; `read` still returns them."""
        self.gone += [r for r in await self.read(list(before)) if r.offset < before[TopicPartition(r.topic, r.partition)]]
        admin = AIOKafkaAdminClient(bootstrap_servers=self.settings.kafka)
        await admin.start()
        try:
            await admin.delete_records({tp: RecordsToDelete(offset) for tp, offset in before.items() if offset})
        finally:
            await admin.close()
