"""The mapper: webhooks in Kafka become events in Kafka, in transactions with its offsets.

Each partition of the inbound topic has a transactional producer of its own, so a new owner fences the old one. Ids that were
seen are marked after the transaction that carried them. A new owner marks those of the last batches again, because the old one
may have died between the two.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from worker.collector.mapping import Made, made_of
from worker.collector.metrics import CollectorMetrics
from worker.collector.source_news import News
from worker.connections.sources import Source
from worker.core.contract.event_types import row_of
from worker.core.contract.model import Output, Record
from worker.errors import LeadPulseError, OffsetsGone, Reassigned, StoreRefused, StoreUnavailable
from worker.intake.erasure import forget_lookups
from worker.intake.vendors.machine_clicks import KEPT_MS, Trace, Traces, decode_trace, encode_trace, joined
from worker.intake_ports import InboundMemory, Wanted
from worker.logs import fields
from worker.ports import Log, LogGroup, LogPartition, LogProducer

log = logging.getLogger(__name__)

MOST_RECORDS: Final = 500
"""Most webhooks of one transaction, and of those that a new owner marks again."""

_FETCH_S: Final = 1.0
_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 15.0

Question = Callable[[str, Made], Sequence[Wanted]]
"""(source, what a record became) → its look-ups, as the memory keeps them."""


class Mapper:
    """Maps the partitions that the group assigns to this process."""

    def __init__(
        self,
        group: LogGroup,
        topics: Log,
        memory: InboundMemory | None,
        sources: Mapping[str, Source],
        metrics: CollectorMetrics,
        questions: Question,
        now_ms: Callable[[], int],
        inbound_topic: str = "lead.inbound",
        dead_topic: str = "lead.inbound.dead",
        news: News | None = None,
    ) -> None:
        self.group = group
        self.topics = topics
        self.memory = memory
        self.sources = sources
        self.metrics = metrics
        self.questions = questions
        self.now_ms = now_ms
        self.inbound_topic = inbound_topic
        self.dead_topic = dead_topic
        self.news = news or News()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._ours: set[int] = set()
        self._forgetful = False

    async def run(self) -> None:
        """Map until cancelled. Raises errors of the group, after which the caller joins anew."""
        try:
            await self.group.join([self.inbound_topic], self._assigned)
            while True:
                await self.group.poll()
        finally:
            self._ours = set()
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _assigned(self, partitions: set[LogPartition]) -> None:
        self._ours = {tp.partition for tp in partitions}
        for p in self._tasks.keys() - self._ours:
            self._tasks[p].cancel()
        for p in self._ours - self._tasks.keys():
            self._begin(p)

    def _begin(self, p: int) -> None:
        task = self._tasks[p] = asyncio.create_task(self._tend(p), name=f"inbound-{p}")
        task.add_done_callback(lambda _: self._ended(p))

    def _ended(self, p: int) -> None:
        del self._tasks[p]
        if p in self._ours:  # revoked and assigned again while it was ending
            self._begin(p)

    async def _tend(self, p: int) -> None:
        """Map partition *p* for as long as it is ours, with a new producer after each error."""
        wait_s = _FIRST_WAIT_S
        while p in self._ours:
            share = Share(self, p)
            try:
                await share.run()
            except LeadPulseError as error:
                log.warning("partition %d of webhooks: beginning anew: %s", p, error, extra=fields("mapper.anew", partition=p))
            except Exception:
                log.exception("partition %d of webhooks: beginning anew", p, extra=fields("mapper.failed", partition=p))
            wait_s = _FIRST_WAIT_S if share.committed else min(2 * wait_s, _LONGEST_WAIT_S)
            await asyncio.sleep(wait_s)

    async def unseen(self, made: Sequence[Made]) -> tuple[list[Output], set[bytes], list[tuple[str, str]], list[str]]:
        """Return the events that were not seen, their marks, their sources with types, and the sources of the others."""
        marks = list(dict.fromkeys(event.mark for one in made for event in one.events))
        known = dict(zip(marks, await self._known(marks), strict=True))
        outputs: list[Output] = []
        sent: set[bytes] = set()
        counted: list[tuple[str, str]] = []
        repeated: list[str] = []
        for one in made:
            for event in one.events:
                if known[event.mark] or event.mark in sent:
                    repeated.append(one.source)
                    continue
                sent.add(event.mark)
                outputs.append(event.output)
                counted.append((one.source, event.type))
        return outputs, sent, counted, repeated

    async def _known(self, marks: Sequence[bytes]) -> list[bool]:
        if self.memory is not None and marks:
            try:
                found = await self.memory.known(marks)
            except (StoreUnavailable, StoreRefused) as error:
                self._forgets(error)
            else:
                self._remembers()
                return found
        return [False] * len(marks)

    async def mark(self, marks: set[bytes]) -> None:
        """Remember ids. Without the memory the worker's own 64 ids are the only net."""
        if self.memory is None or not marks:
            return
        try:
            await self.memory.mark(marks, self.now_ms())
        except (StoreUnavailable, StoreRefused) as error:
            self._forgets(error)

    async def forget(self, erased: Sequence[bytes]) -> None:
        """Take back the look-ups about people who were erased after their webhooks came."""
        if self.memory is None or not erased:
            return
        try:
            await forget_lookups(self.memory, [key.decode(errors="replace") for key in erased])
        except (StoreUnavailable, StoreRefused) as error:
            self._forgets(error)

    async def recall(self, keys: Sequence[str]) -> dict[str, Trace]:
        """Return what is remembered of messages. Without the memory, only webhooks of one batch are compared."""
        if self.memory is None:
            return {}
        try:
            found = await self.memory.recall(keys)
        except (StoreUnavailable, StoreRefused) as error:
            self._forgets(error)
            return {}
        return {key: decode_trace(held) for key, held in zip(keys, found, strict=True) if held is not None}

    async def keep(self, traces: Mapping[str, Trace]) -> None:
        """Remember what happened to messages."""
        if self.memory is None or not traces:
            return
        try:
            await self.memory.keep({key: encode_trace(trace) for key, trace in traces.items()}, KEPT_MS)
        except (StoreUnavailable, StoreRefused) as error:
            self._forgets(error)

    def _forgets(self, error: Exception) -> None:
        self.metrics.memory_up.set(0)
        if not self._forgetful:
            log.warning("mapping without the ids that were seen: %s", error, extra=fields("mapper.forgetful"))
        self._forgetful = True

    def _remembers(self) -> None:
        self.metrics.memory_up.set(1)
        if self._forgetful:
            log.info("the ids that were seen are there again", extra=fields("mapper.remembers"))
        self._forgetful = False


class Share:
    """One partition of the inbound topic, from its producer's start to the first error."""

    def __init__(self, mapper: Mapper, partition: int) -> None:
        self._mapper = mapper
        self._at = LogPartition(mapper.inbound_topic, partition)
        self._next = 0
        self._assignment: object = None
        self.committed = False
        """Whether a transaction was committed."""

    async def run(self) -> None:
        """Take the partition over, and map it until an error."""
        producer = self._mapper.topics.producer(self._at.partition)
        try:
            await producer.start()
            await self._take_over()
            while True:
                records = await self._fetch(self._next)
                if records:
                    await self._map(producer, records)
        finally:
            await producer.close()

    async def _take_over(self) -> None:
        """Find where the last owner stopped, and mark the ids of its last batch."""
        topics, at = self._mapper.topics, self._at
        start = (await topics.starts([at]))[at]
        committed = (await topics.committed(at.partition)).get(at.topic)
        until = max(start, committed.offset) if committed is not None else start
        self._next = max(start, until - MOST_RECORDS)
        self._assignment = None
        while self._next < until:
            records = await self._fetch(self._next)
            marks = {event.mark for one in self._made([r for r in records if r.offset < until]) for event in one.events}
            await self._mapper.mark(marks)
        self._next, self._assignment = until, None
        log.info(
            "partition %d of webhooks: mapping from offset %d", at.partition, until,
            extra=fields("mapper.ready", partition=at.partition, offset=until),
        )  # fmt: skip

    def _made(self, records: Sequence[Record], traces: Traces | None = None) -> list[Made]:
        return [made_of(record, self._mapper.sources, self._mapper.dead_topic, traces) for record in records]

    async def _judged(self, records: Sequence[Record]) -> tuple[list[Made], Traces]:
        """Map *records*. Where a source asks for guesses at machines, map again with what is known of their messages."""
        traces: Traces = {}
        made = self._made(records, traces)
        if traces:
            joined(traces, await self._mapper.recall(list(traces)))
            made = self._made(records, traces)
        return made, traces

    async def _fetch(self, position: int) -> list[Record]:
        """Return records from *position* on, and move past them. Seeks after a rebalance."""
        group, at = self._mapper.group, self._at
        assignment = group.assignment()
        if at not in assignment:
            raise Reassigned("the partition is not ours any more", "the partition is not ours any more")
        if assignment is not self._assignment:
            group.seek(at, position)
            self._assignment = assignment
        try:
            found = (await group.fetch([at], _FETCH_S, MOST_RECORDS))[at]
        except OffsetsGone as error:
            log.error("webhooks were lost: %s", error.line(), extra=fields("mapper.lost", partition=at.partition))  # noqa: TRY400
            self._next = (await self._mapper.topics.starts([at]))[at]
            self._assignment = None
            return []
        except Reassigned:
            self._assignment = None
            return []
        if found.records and found.records[0].offset < position:  # the consumer was set back in between
            self._assignment = None
            return []
        self._next = found.next
        end = group.end(at)
        if end is not None:
            self._mapper.metrics.map_lag.labels(str(at.partition)).set(max(0, end - found.next))
        return found.records

    async def _map(self, producer: LogProducer, records: Sequence[Record]) -> None:
        """Map *records*, and commit their events with the offset behind them."""
        mapper, metrics = self._mapper, self._mapper.metrics
        made, traces = await self._judged(records)
        outputs, marks, counted, repeated = await mapper.unseen(made)
        dead = [one.dead for one in made if one.dead is not None]
        wanted = [question for one in made if one.lookups for question in mapper.questions(one.source, one)]
        if wanted and mapper.memory is not None:
            await mapper.memory.schedule(wanted)  # before the commit: one that is asked twice is harmless, a lost one is not
        await mapper.forget([record.key for record in records if record.value is None and record.key is not None])
        erased = [output.key for output, (_, kind) in zip(outputs, counted, strict=True) if kind == "lead.erased"]
        forgotten = [Output(topic, key, None) for key in erased for topic in (mapper.inbound_topic, mapper.dead_topic)]
        await producer.send([*outputs, *dead, *forgotten], {self._at.topic: self._next}, 0, lambda _: None)
        self.committed = True
        await mapper.mark(marks)
        await mapper.keep(traces)
        for source, kind in counted:
            metrics.mapped.labels(source, row_of(kind) or "other").inc()
        for source in repeated:
            metrics.repeated.labels(source).inc()
        for one in made:
            if one.source in mapper.sources:
                metrics.passed_over.labels(one.source).inc(one.passed_over)
                metrics.dead.labels(one.source).inc(one.dead is not None)
                if one.dead is not None:
                    mapper.news.failed(one.source, mapper.now_ms(), "a webhook, or a part of one, could not be mapped")
                for reason, number in one.machines.items():
                    metrics.machines.labels(one.source, reason).inc(number)
        received_ms = min((one.received_ms for one in made if one.received_ms), default=0)
        if received_ms:
            metrics.map_age_seconds.observe(max(0, mapper.now_ms() - received_ms) / 1000)
