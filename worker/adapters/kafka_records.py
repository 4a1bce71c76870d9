"""The committed records of one partition, to an end that is known before."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from typing import Final

from worker.adapters.kafka_clients import free_reader
from worker.core.contract.model import Record
from worker.errors import Undelivered
from worker.ports import LogPartition
from worker.settings import GroupConnection

_FETCH_S: Final = 1.0
_FETCH_RECORDS: Final = 500
_PATIENCE_S: Final = 30.0


async def committed_records(
    settings: GroupConnection, tp: LogPartition, until: int | None = None, *, since: int = 0
) -> AsyncGenerator[Record]:
    """Yield the committed records of *tp*, from offset *since* or its start to before *until* or to its end as of now.

    It takes a consumer for a partition. aiokafka's holds back a broker's next answer while records of another partition wait.
    A consumer that is stopped soon after it was assigned anew may never stop.

    Raises `Undelivered` if Kafka gives nothing for too long, and errors of the log.
    """
    async with free_reader(settings, [tp]) as reader:
        start, end = (await reader.starts([tp]))[tp], (await reader.ends([tp]))[tp]
        start, end = max(start, since), end if until is None else min(end, until)
        if start >= end:
            return
        reader.seek(tp, start)
        deadline = time.monotonic() + _PATIENCE_S
        while await reader.position(tp) < end:
            got = (await reader.fetch([tp], _FETCH_S, _FETCH_RECORDS))[tp].records
            for record in got:
                if record.offset < end:
                    yield record
            if got:
                deadline = time.monotonic() + _PATIENCE_S
            elif time.monotonic() > deadline:
                raise Undelivered(f"{tp.topic}[{tp.partition}] gave nothing for {_PATIENCE_S:g} s before offset {end}")
