"""One partition's recorded log, folded by the core alone: cut by cut, single-threaded, without Redis or an outbox."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import msgspec

from tests.kit.oracle_values import instant
from worker.core.batch.plan import Plan, plan_events, plan_tick
from worker.core.contract.codec import decode
from worker.core.contract.journal import Cut, Cuts, OwnerMessage, Stray, decode_entry, message_output, stray_output
from worker.core.contract.model import Event, Item, Output, Record, Rejected, Unread
from worker.core.contract.partitioner import owner
from worker.core.contract.trace_context import context
from worker.core.contract.unread import as_passed
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.engine.batch_builder import traced
from worker.settings import Settings

Place = tuple[str, int, int]
"""Topic, partition and offset of a record."""


class Wrong(AssertionError):
    """The workers' states or outputs differ from what the core alone makes of the log."""

    def __init__(self, said: str, *, states: int = 0, lost: int = 0, doubled: int = 0) -> None:
        super().__init__(said)
        self.states = states
        """States that differ."""
        self.lost = lost
        """Outputs, dead letters and messages that are missing."""
        self.doubled = doubled
        """Those that are there too often, or that should not be there at all."""


class Recorded(Protocol):
    """A namespace whose log was recorded."""

    settings: Settings
    listed: int
    """How many leads a batch makes due after the grid changed."""
    made_again: list[Record]
    """Records of input topics that were deleted and made again since."""

    def scorer_of(self, cut: Cut) -> CompiledGrid:
        """Return the grid that judged *cut*."""
        ...

    def logs(self) -> str:
        """Return the workers' logs, for messages."""
        ...


@dataclass
class Expected:
    """Everything that the recorded log must have brought about."""

    states: dict[str, bytes] = field(default_factory=dict)
    transitions: Counter[tuple[str, bytes | None, bytes | None, Any]] = field(default_factory=Counter)
    """By topic, key, value and headers."""
    dead: Counter[Place] = field(default_factory=Counter)
    unread: list[Place] = field(default_factory=list)
    """Records whose batch was not read."""
    passed_on: Counter[tuple[int, Any, bytes | None]] = field(default_factory=Counter)
    """Messages between owners, and events forwarded under aliases: by partition of the journal, headers, value."""
    was_passed_on: Counter[tuple[int, Any, bytes | None]] = field(default_factory=Counter)
    """The same, as the journal holds them."""
    strays: int = 0
    refused: int = 0
    ticks: int = 0
    cuts: int = 0


@dataclass(frozen=True)
class Requeue:
    """A change of the grid, after which each batch makes some more leads due."""

    from_ms: int
    rate: int
    listed: int = 0
    last: tuple[float, bytes] = (math.inf, b"\xff")
    """Rank and lead of the last one listed."""

    def onward(self, ranks: Mapping[str, float], due: dict[str, int], count: int) -> Requeue | None:
        """Make the next *count* of *ranks* due in *due*; return what is left to do."""
        below = sorted((place, lead) for lead, rank in ranks.items() if (place := (rank, lead.encode())) < self.last)
        some = below[-count:][::-1]
        for number, (_, lead) in enumerate(some, start=self.listed):
            again_ms = self.from_ms + number * 1_000 // self.rate
            due[lead] = min(again_ms, due.get(lead, again_ms))
        return replace(self, listed=self.listed + len(some), last=some[-1][0]) if len(some) == count else None


class Refold:
    """Folds the log of one partition, and adds what it must have brought about to *expected*."""

    def __init__(self, recorded: Recorded, partition: int, expected: Expected) -> None:
        self._recorded = recorded
        self._internal = recorded.settings.internal_topic
        self._count = recorded.settings.partitions
        self._partition = partition
        self._expected = expected
        self._states: dict[str, bytes | None] = {}
        self._due: dict[str, int] = {}
        self._ranks: dict[str, float] = {}
        self._clock_ms: int | None = None
        self._sql: dict[str, str] = {}
        """Lead → the time of its last `lead.sql`."""
        self._requeue: Requeue | None = None

    def fold(self, records: Sequence[Record]) -> None:
        """Fold *records*, which are all of the partition's topics."""
        cuts = self._cuts(records)
        self._expected.cuts += len(cuts)
        log = _Log(records, [r for r in self._recorded.made_again if r.partition == self._partition], cuts[0].next)
        for cut in cuts[1:]:
            self._batch(cut, as_passed(log.upto(cut), self._partition, cut.passed) if cut.passed else log.upto(cut))
            log.at = cut.next
        log.hold_read(self._recorded.settings.input_topics)
        self._expected.states |= {lead: state for lead, state in self._states.items() if state is not None}

    def _cuts(self, records: Sequence[Record]) -> list[Cut]:
        """Return the cuts in the journal, numbered without a gap, and note what was passed on to this partition."""
        cuts: list[Cut] = []
        forwarded: Counter[tuple[Place, bytes | None]] = Counter()
        for record in records:
            if record.topic != self._internal:
                continue
            match decode_entry(record):
                case Cuts(found):
                    cuts += found
                case Stray(original, ""):
                    forwarded[original[:3], original.value] += 1
                case Stray() | OwnerMessage():
                    self._expected.was_passed_on[record.partition, record.headers, record.value] += 1
        twice = forwarded.total() - len(forwarded)
        if twice:
            raise Wrong(f"{twice} strays were forwarded twice\n{self._recorded.logs()}", doubled=twice)
        self._expected.strays += forwarded.total()
        while len(cuts) > 1 and cuts[1].batch == 0:  # an owner that ended before its first batch begins again
            del cuts[0]
        assert [cut.batch for cut in cuts] == list(range(len(cuts))), f"cuts of {self._partition}: {[c.batch for c in cuts]}"
        return cuts

    def _batch(self, cut: Cut, batch: Sequence[Record]) -> None:
        """Fold the one batch that ends at *cut*."""
        scorer = self._recorded.scorer_of(cut)
        if cut.requeued:
            self._requeue = Requeue(self._clock_ms or 0, cut.requeued)
        if self._requeue:
            self._requeue = self._requeue.onward(self._ranks, self._due, self._recorded.listed)
        if cut.tick_ms is None:
            self._events(scorer, batch, cut.fetched_ms)
        else:
            assert not [r for r in batch if r.topic != self._internal], "a tick's batch holds records"
            self._tick(scorer, cut, cut.tick_ms)

    def _events(self, scorer: CompiledGrid, batch: Sequence[Record], fetched_ms: int | None) -> None:
        items, sources = self._items(batch, fetched_ms)
        plan = plan_events(scorer, {item.lead: self._states.get(item.lead) for item in items}, items, self._clock_ms)
        self._expected.refused += len(plan.refused)
        for place, _, _ in plan.refused:
            self._expected.dead[sources[place][:3]] += 1
        for place, item in plan.passed_on:
            self._passed_on(item, sources[place])
        self._keep(plan, sources)

    def _tick(self, scorer: CompiledGrid, cut: Cut, tick_ms: int) -> None:
        """Judge the leads that are due by *tick_ms*, those due first, as many as the slice did."""
        leads = sorted(
            (lead for lead, at_ms in self._due.items() if at_ms <= tick_ms), key=lambda x: (self._due[x], x.encode())
        )
        plan = plan_tick(scorer, {lead: self._states[lead] for lead in leads[: cut.judged or 1_000]}, tick_ms, self._clock_ms)
        if cut.tick_done:
            self._clock_ms = tick_ms
        self._expected.ticks += 1
        for _, item in plan.passed_on:
            self._passed_on(item, None)
        self._keep(plan, ())

    def _keep(self, plan: Plan, sources: Sequence[Record]) -> None:
        """Take over the states and outputs of *plan*."""
        for write in plan.writes:
            self._states[write.lead] = write.state or None
            self._due.pop(write.lead, None)
            self._ranks.pop(write.lead, None)
            if write.rank is not None:
                self._ranks[write.lead] = write.rank
            if write.due_ms is not None:
                self._due[write.lead] = write.due_ms
        for output in traced(plan, sources):
            topic = self._topic_of(output)
            if topic is not None:
                self._expected.transitions[topic, output.key, output.value, output.headers] += 1

    def _topic_of(self, output: Output) -> str | None:
        """Return the topic that *output* goes to; `None`: it is silent, and `lead.history` has no topic."""
        settings = self._recorded.settings
        told = json.loads(output.value or b"")
        if told["type"] == "lead.sql":
            self._sql[told["subject"]] = told["time"]
        # Nobody was called for that lead.sql, so nobody is late.
        of = self._sql[told["subject"]] if told["type"] == "lead.sla_breached" else told["time"]
        if told["type"] != "lead.erased" and settings.silent_before and instant(of) < instant(settings.silent_before):
            return settings.output_topics.get("lead.history")
        return settings.output_topic(output.topic)

    def _passed_on(self, item: Item, source: Record | None) -> None:
        """Note what is for another id's owner."""
        home = owner(item.lead, self._count)
        if isinstance(item, Event):
            assert source is not None
            passed = stray_output(self._internal, home, source, item.lead, item.visited)
        else:
            passed = message_output(self._internal, home, item, () if source is None else context(source))
        self._expected.passed_on[home, passed.headers, passed.value] += 1

    def _items(self, batch: Sequence[Record], fetched_ms: int | None) -> tuple[list[Item], list[Record]]:
        """Return the items of a batch, each with its own record. *fetched_ms*: when it was fetched, where that matters."""
        items: list[Item] = []
        sources: list[Record] = []
        for record in batch:
            if type(record) is Unread:
                self._expected.dead[record[:3]] += 1
                self._expected.unread.append(record[:3])
                continue
            found, source = (
                self._journal_item(record, fetched_ms) if record.topic == self._internal else self._event(record, fetched_ms)
            )
            if found is not None:
                items.append(found)
                sources.append(source)
        return items, sources

    def _journal_item(self, record: Record, fetched_ms: int | None) -> tuple[Item | None, Record]:
        """Return the item in a record of the journal, with the record that it came as first."""
        match decode_entry(record):
            case OwnerMessage(message):
                return message, record
            case Stray(source, lead, visited):
                found, _ = self._event(source, fetched_ms, forwarded=True)
                if lead and isinstance(found, Event):
                    found = msgspec.structs.replace(found, lead=lead, visited=visited)
                return found, source
        return None, record

    def _event(self, record: Record, fetched_ms: int | None, *, forwarded: bool = False) -> tuple[Item | None, Record]:
        """Return the event in *record*, where this partition owns its lead; a refused record is a dead letter."""
        match decode(record, fetched_ms):
            case Event() as event if forwarded or owner(event.lead, self._count) == self._partition:
                return event, record
            case Rejected():
                self._expected.dead[record[:3]] += 1
        return None, record


class _Log:
    """The records of one partition, and how far they are folded."""

    def __init__(self, records: Sequence[Record], older: Sequence[Record], first: Mapping[str, int]) -> None:
        self._records = records
        self._made_again = {r.topic for r in older}
        # A topic that was made again is read as it was before, until a cut says that this was lost.
        self._now = sorted([*older, *(r for r in records if r.topic not in self._made_again)], key=lambda r: r[:3])
        self.at = first

    def upto(self, cut: Cut) -> list[Record]:
        """Return the records of the batch that ends at *cut*."""
        if not cut.lost:
            return [r for r in self._now if r.topic in self.at and self.at[r.topic] <= r.offset < cut.next[r.topic]]
        if any(cut.next.get(topic, 0) < self.at.get(topic, 0) for topic in self._made_again):
            self._now = list(self._records)
        return []

    def hold_read(self, topics: Sequence[str]) -> None:
        """Fail unless everything in *topics* was read."""
        ends = {topic: max((r.offset + 1 for r in self._records if r.topic == topic), default=0) for topic in topics}
        assert all(self.at[topic] >= end for topic, end in ends.items()), f"read up to {self.at} of {ends}"
