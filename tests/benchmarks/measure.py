"""What the benchmarks measure by: processor time and memory of processes, groups' progress, a log written once."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from confluent_kafka import Producer

from tests.benchmarks.log import Line
from tests.kit.deliver import Produced, deliver
from worker.core.contract.partitioner import owner

_TICKS = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """Return *pid* and the processes below it."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """Return the processor time that *pids*, and their ended children, have taken until now; none is of one that is gone."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(map(int, fields[11:15]))
    return total / _TICKS


def peak_mb(pids: Iterable[int]) -> float:
    """Return the most memory that each of *pids* has held (`VmHWM`), added up."""
    total = 0
    for pid in pids:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(map(int, re.findall(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)))
    return total / 1024


async def committed(admin: AIOKafkaAdminClient, group: str, topic: str) -> int:
    """Return how many records of *topic* the group has committed, over all partitions; each began at 0."""
    offsets = await admin.list_consumer_group_offsets(group)
    return sum(max(meta.offset, 0) for tp, meta in offsets.items() if tp.topic == topic)


def produce(kafka: str, topics: Sequence[str], lines: Iterable[Line], partitions: int) -> int:
    """Write *lines* to their leads' partitions, the topics in turn; return how many there were."""
    # Idempotent for the order: without it, what a new topic's leader refuses at first comes in after what followed.
    settings: dict[str, str | int | float | bool] = {"compression.type": "lz4", "linger.ms": 20, "enable.idempotence": True}
    producer = Producer({"bootstrap.servers": kafka, **settings})
    owners: dict[str, int] = {}

    def records() -> Iterator[Produced]:
        for count, line in enumerate(lines):
            home = owners.get(line.lead)
            if home is None:
                home = owners[line.lead] = owner(line.lead, partitions)
            yield Produced(topics[count % len(topics)], line.value, line.lead.encode(), home, line.arrived_ms)

    return deliver(producer, records())
