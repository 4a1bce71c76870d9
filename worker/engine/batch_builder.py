"""Builds one batch of a partition, from records or from a tick. Live batches and refolds use the same code."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from math import inf
from typing import Any, NamedTuple

import msgspec

from worker.core.batch.decode import DecodedBatch, decode_batch
from worker.core.batch.plan import Plan, plan_events, plan_tick
from worker.core.batch.sizes import Origin, fits, sendable
from worker.core.contract.dead_letter import LETTER_HEADER, dead_letter, unsent_letter
from worker.core.contract.folded import digest, in_order, marked
from worker.core.contract.journal import Cut, grid_output, message_output, stray_output
from worker.core.contract.model import (
    AccountUpdate,
    AddressRelease,
    Event,
    Headers,
    Item,
    Output,
    Record,
    Rejected,
    Unread,
    VisitorHistory,
)
from worker.core.contract.partitioner import owner
from worker.core.contract.trace_context import context
from worker.core.contract.unread import begins, ranges_passed
from worker.core.grid.tables import TABLES_VERSION
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.outputs import Transition
from worker.core.scoring.state import FOLD_VERSION
from worker.engine.silence import announced
from worker.ports import Batch, OutboxEntry
from worker.settings import Settings

SLICE = 500
"""Most leads that one batch of a tick judges. Among a million leads each costs Redis some 25 µs, and other calls wait."""


class BatchResult(NamedTuple):
    """A batch of records and what it did, for metrics."""

    batch: Batch
    records: int
    """How many of the given records are in the batch. Fewer than all if their results would be too large for one batch."""
    types: Counter[str]
    reasons: Counter[str]
    strays: int
    unknown: int
    tombstones: int
    duplicates: int
    late: int
    erased: int
    merged: int
    dropped: int
    """Histories of visitors whose lead was erased."""
    moved: int
    removed: int
    aliased: int
    """Events forwarded to the lead that their subject is an alias of."""
    messages: Counter[str]
    """Messages to the owners of other ids, by kind."""
    moves: Sequence[Transition]
    seconds: Mapping[str, float]
    """Duration of each step: `decode`, `load` (with the wait for Redis), `fold`, `outputs`."""
    unsent: int = 0
    """Outputs too large for any topic. A dead letter goes out for each."""


class TickResult(NamedTuple):
    """A batch of a tick and what it did, for metrics."""

    batch: Batch
    removed: int
    messages: Counter[str]
    """Messages to the owners of other ids, by kind."""
    moves: Sequence[Transition]
    unsent: int = 0
    """As in `BatchResult`."""


class JudgedBy(NamedTuple):
    """The grid and the tables that judge leads. A change of either judges every lead again."""

    grid: str
    """sha256 of the grid."""
    tables: str
    """`TABLES_VERSION`."""

    @classmethod
    def of(cls, compiled: CompiledGrid) -> JudgedBy:
        """Return what a worker with the grid *compiled* judges by."""
        return cls(compiled.grid.sha256, TABLES_VERSION)


class BatchStart(NamedTuple):
    """The number of a batch, its next offsets, and the state of the partition before it."""

    batch: int
    next: Mapping[str, int]
    """Topic → next offset after the batch."""
    clock_ms: int | None
    """The partition's clock before it."""
    send: bool = True
    ids: Mapping[str, str] = {}
    """Topic → id or mark before the batch. Empty where no ids are kept."""
    fetched_ms: int | None = None
    """When its records were fetched, for events whose record has no usable timestamp."""


class _Outgoing(NamedTuple):
    """Everything that a batch of records sends out."""

    outputs: list[Output]
    rejected: list[Rejected]
    """Records that have a dead letter among `outputs`."""
    moves: Sequence[Transition]
    unsent: int
    """As in `BatchResult`."""


class BatchBuilder:
    """Builds the batches of one partition, by the grid in `compiled`. Writes nothing.

    *load* returns packed states as a given batch left them. A worker's partitions share *fold_lock*, so one folds at a time.
    Between two folds the event loop serves the network. Eight folds in a row would delay each step of an open transaction.
    """

    def __init__(
        self,
        settings: Settings,
        compiled: CompiledGrid,
        partition: int,
        load: Callable[[Sequence[str], int, float], Awaitable[list[bytes | None]]],
        fold_lock: asyncio.Lock,
        compacted: Sequence[str] = (),
    ) -> None:
        self._settings = settings
        self.compiled = compiled
        """The grid of the partition's last batch. `begin` replaces it, between two batches."""
        self._partition = partition
        self._load = load
        self._fold_lock = fold_lock
        self._compacted = compacted

    def begin(self, compiled: CompiledGrid, start: BatchStart, rate: int, order: int) -> Batch:
        """Return a batch without records that begins the grid *compiled*, which judges every lead once more from then on.

        Leads become due at *rate* a second. The grid's text goes into the store, and into the journal before the batch's cut.
        *order* is the grid's number in the namespace's order of grids.
        """
        self.compiled = compiled
        source = compiled.grid.source
        text = grid_output(self._settings.internal_topic, self._partition, source)
        entry = OutboxEntry(self._cut(start, requeued=rate, order=order), (text,))
        return Batch(entry, (), start.clock_ms, start.send, grid=source)

    async def events(self, records: Sequence[Record], start: BatchStart, most: float = inf) -> BatchResult:
        """Fold *records*, in order, until their states or their transitions reach *most* bytes.

        Transitions, dead letters and strays are outputs of the batch. They are sent once, after its state is stored.
        If the batch ends before the last record, its cut has the offsets. So a refold takes the same records.
        """
        async with self._fold_lock:
            began = time.perf_counter()
            decoded = self._decode(records, start.fetched_ms)
            decode_s = time.perf_counter() - began
        before = await self._before(decoded.items, start.batch - 1, most)
        load_s = time.perf_counter() - began - decode_s
        async with self._fold_lock:
            folding = time.perf_counter()
            plan = plan_events(self.compiled, before, decoded.items, start.clock_ms, most)
            if plan.taken < len(decoded.items):
                records, start = _first(records, start, decoded.places[plan.taken])
                decoded = self._decode(records, start.fetched_ms)
        folded = time.perf_counter()
        outgoing = self._outgoing(start, decoded, plan)
        entry = OutboxEntry(self._cut_of(records, start, decoded), tuple(outgoing.outputs))
        batch = Batch(entry, plan.writes, start.clock_ms, start.send, _strayed_ms(records, decoded, plan))
        seconds = {
            "decode": decode_s,
            "load": load_s,
            "fold": folded - folding,
            "outputs": time.perf_counter() - folded,
        }
        aliased = Counter(item.type for _, item in plan.passed_on if type(item) is Event)
        return BatchResult(
            batch=batch,
            records=len(records),
            types=Counter(item.type for item in decoded.items if type(item) is Event) - aliased,
            reasons=Counter(bad.reason for bad in outgoing.rejected),
            strays=len(decoded.strays),
            unknown=decoded.unknown,
            tombstones=decoded.tombstones,
            duplicates=plan.duplicates,
            late=plan.late,
            erased=plan.erased,
            merged=plan.merged,
            dropped=plan.dropped,
            moved=plan.moved,
            removed=plan.removed,
            aliased=aliased.total(),
            messages=plan.messages(),
            moves=outgoing.moves,
            seconds=seconds,
            unsent=outgoing.unsent,
        )

    async def slice(
        self, leads: Sequence[str], tick_ms: int, start: BatchStart, past: Mapping[str, int] | None, most: float = inf
    ) -> TickResult:
        """Judge *leads*, due by *tick_ms*, at each lead's own instants, until the limits of `events`.

        *past* holds the next offsets after the tick, or `None` if more leads are due than *leads*. If *past* is given and all
        *leads* are judged, the tick is done. The partition's clock then moves to *tick_ms*.
        """
        before = dict(zip(leads, await self._load(leads, start.batch - 1, most), strict=False))
        async with self._fold_lock:
            plan = plan_tick(self.compiled, before, tick_ms, start.clock_ms, most)
        done = past is not None and plan.taken == len(leads)
        if past is not None and done:
            start = start._replace(next=past)
        origin = self._origin(start, None, ())
        sent = sendable(plan.outputs, "lead.dead", lambda _: origin)
        passed = [self._message(item, origin) for _, item in plan.passed_on]
        told, moves = announced(sent, plan.moves, self._settings)
        outputs = (*self._routed(told), *(output for outputs in passed for output in outputs))
        cut = self._cut(start, tick_ms=tick_ms, tick_done=done, judged=plan.taken)
        return TickResult(
            batch=Batch(OutboxEntry(cut, outputs), plan.writes, tick_ms if done else start.clock_ms, start.send),
            removed=plan.removed,
            messages=plan.messages(),
            moves=moves,
            unsent=_replaced(plan.outputs, sent) + _letters(passed),
        )

    def _decode(self, records: Sequence[Record], fetched_ms: int | None) -> DecodedBatch:
        return decode_batch(records, self._settings.internal_topic, self._partition, self._settings.partitions, fetched_ms)

    def _outgoing(self, start: BatchStart, decoded: DecodedBatch, plan: Plan) -> _Outgoing:
        """Return the outputs in their order: transitions, dead letters, strays, then items for the owners of other ids."""
        refused = (Rejected(decoded.records[at], reason, why) for at, reason, why in plan.refused)
        rejected = [*decoded.rejected, *refused]
        causes = dict(plan.caused)
        made = traced(plan, decoded.records)
        sent = sendable(made, "lead.dead", lambda at: self._origin(start, causes.get(at), decoded.records))
        passed = [self._passed_on(item, decoded.records[at]) for at, item in plan.passed_on]
        told, moves = announced(sent, plan.moves, self._settings)
        dead_topic = self._settings.output_topic("lead.dead")
        outputs = [
            *self._routed(told),
            *(dead_letter(dead_topic, bad) for bad in rejected),
            *decoded.strays,
            *(output for outputs in passed for output in outputs),
        ]
        return _Outgoing(outputs, rejected, moves, _replaced(made, sent) + _letters(passed))

    def _origin(self, start: BatchStart, item: int | None, records: Sequence[Record]) -> Origin:
        """Return the place of the record of *item*. Without an item time is the cause: return the journal's next place."""
        if item is None:
            journal = self._settings.internal_topic
            return journal, self._partition, start.next.get(journal, 0)
        return records[item][:3]

    def _passed_on(self, item: Item, record: Record) -> list[Output]:
        """Return *item*, which came from *record*, as a record of the journal of its lead's owner."""
        if isinstance(item, Event):
            home = owner(item.lead, self._settings.partitions)
            # Always fits: an event's record is bounded, and so is an id.
            return [stray_output(self._settings.internal_topic, home, record, item.lead, item.visited)]
        return self._message(item, record[:3], context(record))

    def _message(self, item: Item, origin: Origin, trace: Headers = ()) -> list[Output]:
        """Return a message as a record of the journal of its lead's owner.

        A message that is too large is replaced by a dead letter. A history then goes without its state, because the lead waits
        for it.
        """
        assert not isinstance(item, Event), "time alone forwards no event"
        settings = self._settings
        output = message_output(settings.internal_topic, owner(item.lead, settings.partitions), item, trace)
        if fits(output):
            return [output]
        letter = unsent_letter(settings.output_topic("lead.dead"), output, origin, item.lead.encode())
        if isinstance(item, VisitorHistory) and item.state is not None:
            return [letter, *self._message(msgspec.structs.replace(item, state=None), origin, trace)]
        return [letter]

    async def _before(self, items: Sequence[Item], batch: int, most: float) -> dict[str, bytes | None]:
        leads = list(dict.fromkeys(item.lead for item in items))
        return dict(zip(leads, await self._load(leads, batch, most), strict=False)) if leads else {}

    def _routed(self, outputs: Sequence[Output]) -> Sequence[Output]:
        routes = self._settings.output_topics
        if self._compacted:
            outputs = [one for output in outputs for one in self._with_tombstones(output)]
        if not routes:
            return outputs
        return [msgspec.structs.replace(o, topic=routes[o.topic]) if o.topic in routes else o for o in outputs]

    def _with_tombstones(self, output: Output) -> list[Output]:
        """Follow a `lead.erased` by a record without a value in each compacted topic, where Kafka then forgets the key."""
        if output.topic != "lead.erased":
            return [output]
        return [output, *(Output(topic, output.key, None) for topic in self._compacted)]

    def _cut_of(self, records: Sequence[Record], start: BatchStart, decoded: DecodedBatch) -> Cut:
        """Return the cut of a batch of *records*."""
        return self._cut(
            start._replace(ids=marked(start.ids, records)),
            records=len(records),
            digest=digest(records),
            fetched_ms=start.fetched_ms if decoded.held else None,
            passed=ranges_passed(records) if any(type(bad.record) is Unread for bad in decoded.rejected) else (),
        )

    def _cut(self, start: BatchStart, **fields: Any) -> Cut:
        """Return the cut of a batch, with the given *fields* of `Cut` beside those that all batches have."""
        ids = in_order(start.next, start.ids) if start.ids else ()
        return Cut(start.batch, dict(start.next), *JudgedBy.of(self.compiled), FOLD_VERSION, ids=ids, **fields)


def _first(records: Sequence[Record], start: BatchStart, count: int) -> tuple[Sequence[Record], BatchStart]:
    """Return the first *count* of *records*, and *start* with the next offsets after them."""
    next_ = {record.topic: begins(record) for record in reversed(records[count:])}
    return records[:count], start._replace(next={**start.next, **next_})


def _strayed_ms(records: Sequence[Record], decoded: DecodedBatch, plan: Plan) -> int | None:
    """Return the newest log time among the records that the batch forwards; `None` if it forwards none.

    Account updates and address releases do not count: no tick of their receiver needs to wait for them.
    """
    forwarded = (at for at, item in plan.passed_on if not isinstance(item, AccountUpdate | AddressRelease))
    times_ms = (records[decoded.places[at]].timestamp_ms or 0 for at in forwarded)
    return max([decoded.strayed_ms or 0, *times_ms]) or None


def _replaced(made: Sequence[Output], sent: Sequence[Output]) -> int:
    return sum(one is not other for one, other in zip(made, sent, strict=True))


def _letters(passed: Sequence[Sequence[Output]]) -> int:
    """Return how many messages were too large. Their dead letter comes first, and only dead letters have that header."""
    return sum(outputs[0].headers[0][0] == LETTER_HEADER for outputs in passed)


def traced(plan: Plan, records: Sequence[Record]) -> list[Output]:
    """Return the outputs of *plan*, each with the trace context of its cause. *records* are those of the plan's items."""
    outputs = list(plan.outputs)
    for place, item in plan.caused:
        headers = context(records[item])
        if headers:
            output = outputs[place]
            outputs[place] = msgspec.structs.replace(output, headers=output.headers + headers)
    return outputs
