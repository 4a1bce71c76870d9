"""A dry run: each request that would be sent is printed, one JSON object a line. Nothing is sent, and Redis keeps nothing."""

from __future__ import annotations

import sys
from typing import Final

import msgspec

from worker.adapters.kafka_act_group import KafkaActGroup
from worker.automations.live import Files, checked_topics, joining, now_ms
from worker.automations.preview import Preview
from worker.automations.taking import Taking
from worker.automations.targets.registry import KINDS
from worker.errors import OffsetsGone, Reassigned
from worker.ports import LogPartition
from worker.settings import ActSettings

_FETCH_S: Final = 1.0


async def dry_run(settings: ActSettings, files: Files) -> None:
    """Print what would be sent until cancelled. A new group begins at each topic's end."""
    topics = await checked_topics(settings, files.rules, acted=False)
    await joining(settings, lambda group: _read(settings, files, topics, group))


async def _read(settings: ActSettings, files: Files, topics: tuple[str, ...], group: KafkaActGroup) -> None:
    preview = Preview(files.rules, files.connections.targets, KINDS)
    taking = Taking(files.rules, settings.source, settings.input_topics, (), _nobody, now_ms)
    await group.join(topics, lambda _: None)
    sought: object = None
    while True:
        assignment = group.assignment()
        if not assignment:
            await group.poll()
            continue
        try:
            if assignment is not sought:
                await _seek(group, topics, [LogPartition(*tp) for tp in assignment])
                sought = assignment
            found = await group.fetch(list(assignment), _FETCH_S)
        except (Reassigned, OffsetsGone):
            sought = None
            continue
        records = [record for one in found.values() for record in one.records]
        for record in sorted(records, key=lambda one: one.timestamp_ms or 0):
            output = taking.read(record)
            for line in preview.lines(output) if output is not None else ():
                sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
        sys.stdout.flush()
        if records:
            await group.commit({tp: one.next for tp, one in found.items()}, "")


async def _seek(group: KafkaActGroup, topics: tuple[str, ...], places: list[LogPartition]) -> None:
    """Seek to what was committed, or to the end of what was never read."""
    starts, ends = await group.starts(places), await group.ends(places)
    for p in sorted({tp.partition for tp in places}):
        held = await group.committed(topics, p)
        for tp in (one for one in places if one.partition == p):
            read = held[tp.topic].offset if tp.topic in held else ends[tp]
            group.seek(tp, min(max(read, starts[tp]), ends[tp]))


async def _nobody(_: str) -> str:
    return ""
