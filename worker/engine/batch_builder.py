"""One batch of a partition: from records, or from time, to one `Batch` for the store. The same for live, refold and tests."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from math import inf
from typing import NamedTuple

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
    LeadWrite,
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
from worker.ports import Batch, OutboxEntry
from worker.settings import Settings

SLICE = 500
"""Most leads that one batch of a tick judges: among a million leads each costs Redis some 25 µs, and all wait meanwhile."""


class BatchResult(NamedTuple):
    """A batch and what it did, for metrics."""

    batch: Batch
    records: int
    """How many of the records are in it: all, unless what they bring with them is too much for one batch."""
    types: Counter[str]
    reasons: Counter[str]
    strays: int
    unknown: int
    duplicates: int
    late: int
    erased: int
    merged: int
    dropped: int
    """Pasts of visitors whose lead was erased."""
    moved: int
    removed: int
    aliased: int
    """Events forwarded to the lead that their subject is an alias of."""
    said: Counter[str]
    """Messages to the owners of other ids, by kind."""
    moves: Sequence[Transition]
    seconds: Mapping[str, float]
    """What each step took: `decode`, `load` (with the waiting for Redis), `fold`, `outputs`."""
    unsent: int = 0
    """Outputs too large for any topic; a letter goes out for each."""


class TickResult(NamedTuple):
    """A batch of a tick and what it did, for metrics."""

    batch: Batch
    removed: int
    said: Counter[str]
    """Messages to the owners of other ids, by kind."""
    moves: Sequence[Transition]
    unsent: int = 0
    """As of `BatchResult`."""


class JudgedBy(NamedTuple):
    """What leads are judged by. Another one judges every lead again."""

    grid: str
    """sha256 of the grid."""
    words: str
    """`TABLES_VERSION`."""

    @classmethod
    def of(cls, scorer: CompiledGrid) -> JudgedBy:
        """Return what *scorer* judges by."""
        return cls(scorer.grid.sha256, TABLES_VERSION)


class BatchStart(NamedTuple):
    """Where a batch begins and what it is called."""

    batch: int
    next: Mapping[str, int]
    """Topic → next offset after the batch."""
    clock_ms: int | None
    """The partition's clock before it."""
    send: bool = True
    ids: Mapping[str, str] = {}
    """Topic → id or mark before the batch; empty where nobody keeps them."""
    fetched_ms: int | None = None
    """When its records were fetched, for events whose record has no usable timestamp."""


class BatchBuilder:
    """Folds batches of one partition, by the grid of `scorer`. *load* gives it states as a batch left them; it writes nothing.

    *turn* is shared by the partitions of a worker: one folds at a time, and between two the event loop sees to the network.
    Eight that fold one after the other would keep an open transaction, and its readers, waiting at each of its steps.
    """

    def __init__(
        self,
        settings: Settings,
        scorer: CompiledGrid,
        partition: int,
        load: Callable[[Sequence[str], int, float], Awaitable[list[bytes | None]]],
        turn: asyncio.Lock,
        compacted: Sequence[str] = (),
    ) -> None:
        self._settings = settings
        self.scorer = scorer
        """Of the partition's last batch: `begin` takes another, between two batches."""
        self._partition = partition
        self._load = load
        self._turn = turn
        self._compacted = compacted

    def begin(self, scorer: CompiledGrid, place: BatchStart, rate: int, order: int) -> Batch:
        """Return a batch without records that begins another grid: from then on *scorer* judges, and all leads once more.

        They become due *rate* a second. The grid's text goes into the journal before the batch's cut, and into the store.
        *order*: its number in the namespace's order of grids.
        """
        self.scorer = scorer
        source = scorer.grid.source
        batch = self._batch(place, (), [grid_output(self._settings.internal_topic, self._partition, source)])
        cut = msgspec.structs.replace(batch.entry.cut, requeued=rate, order=order)
        return msgspec.structs.replace(batch, entry=msgspec.structs.replace(batch.entry, cut=cut), grid=source)

    async def events(self, records: Sequence[Record], place: BatchStart, most: float = inf) -> BatchResult:
        """Fold *records*, in order, as many as bring no more than *most* bytes of states and make no more of transitions.

        Transitions, dead letters and strays are outputs of the batch: they go out when its state is in, once. A batch cut
        short ends where its cut says, so whoever folds it again has the same records.
        """
        async with self._turn:
            began = time.perf_counter()
            sifted = self._sifted(records, place.fetched_ms)
            decoded = time.perf_counter()
        before = await self._before(sifted.items, place.batch - 1, most)
        loaded = time.perf_counter()
        async with self._turn:
            folding = time.perf_counter()
            plan = plan_events(self.scorer, before, sifted.items, place.clock_ms, most)
            if plan.taken < len(sifted.items):
                left = records[sifted.places[plan.taken] :]
                records = records[: len(records) - len(left)]
                place = place._replace(next={**place.next, **{record.topic: begins(record) for record in reversed(left)}})
                sifted = self._sifted(records, place.fetched_ms)
        folded = time.perf_counter()
        refused = (Rejected(sifted.records[at], reason, why) for at, reason, why in plan.refused)
        rejected = [*sifted.rejected, *refused]
        causes = dict(plan.caused)
        made = traced(plan, sifted.records)
        sent = sendable(made, "lead.dead", lambda at: self._origin(place, causes.get(at), sifted.records))
        passed = [self._passed_on(item, sifted.records[at]) for at, item in plan.passed_on]
        outputs = [
            *self._routed(sent),
            *(dead_letter(self._settings.output_topic("lead.dead"), bad) for bad in rejected),
            *sifted.strays,
            *(output for outputs in passed for output in outputs),
        ]
        # What accounts and addresses hear waits for no tick, so it holds none back.
        passed_on = (at for at, item in plan.passed_on if not isinstance(item, AccountUpdate | AddressRelease))
        stamps = [sifted.strayed_ms or 0, *(records[sifted.places[at]].timestamp_ms or 0 for at in passed_on)]
        aliased = Counter(item.type for _, item in plan.passed_on if type(item) is Event)
        place = place._replace(ids=marked(place.ids, records))
        held_ms = place.fetched_ms if sifted.held else None
        batch = self._batch(place, plan.writes, outputs, strayed_ms=max(stamps) or None, folded=records, fetched_ms=held_ms)
        if any(type(bad.record) is Unread for bad in sifted.rejected):
            cut = msgspec.structs.replace(batch.entry.cut, passed=ranges_passed(records))
            batch = msgspec.structs.replace(batch, entry=msgspec.structs.replace(batch.entry, cut=cut))
        seconds = {
            "decode": decoded - began,
            "load": loaded - decoded,
            "fold": folded - folding,
            "outputs": time.perf_counter() - folded,
        }
        return BatchResult(
            batch=batch,
            records=len(records),
            types=Counter(item.type for item in sifted.items if type(item) is Event) - aliased,
            reasons=Counter(bad.reason for bad in rejected),
            strays=len(sifted.strays),
            unknown=sifted.unknown,
            duplicates=plan.duplicates,
            late=plan.late,
            erased=plan.erased,
            merged=plan.merged,
            dropped=plan.dropped,
            moved=plan.moved,
            removed=plan.removed,
            aliased=aliased.total(),
            said=plan.messages(),
            moves=plan.moves,
            seconds=seconds,
            unsent=_replaced(made, sent) + _letters(passed),
        )

    async def slice(
        self, leads: Sequence[str], tick_ms: int, place: BatchStart, past: Mapping[str, int] | None, most: float = inf
    ) -> TickResult:
        """Judge *leads*, due by *tick_ms*, at each one's own instants up to it, as many as `events` would take.

        *past*: what is next once all who are due are judged, if these are all; with them the partition's clock moves there.
        """
        before = dict(zip(leads, await self._load(leads, place.batch - 1, most), strict=False))
        async with self._turn:
            plan = plan_tick(self.scorer, before, tick_ms, place.clock_ms, most)
        done = past is not None and plan.taken == len(leads)
        if past is not None and done:
            place = place._replace(next=past)
        sent = sendable(plan.outputs, "lead.dead", lambda _: self._origin(place, None, ()))
        passed = [self._message(item, self._origin(place, None, ())) for _, item in plan.passed_on]
        outputs = [*self._routed(sent), *(output for outputs in passed for output in outputs)]
        batch = self._batch(place, plan.writes, outputs, tick_ms=tick_ms, tick_done=done)
        cut = msgspec.structs.replace(batch.entry.cut, judged=plan.taken)
        batch = msgspec.structs.replace(batch, entry=msgspec.structs.replace(batch.entry, cut=cut))
        return TickResult(
            batch=batch,
            removed=plan.removed,
            said=plan.messages(),
            moves=plan.moves,
            unsent=_replaced(plan.outputs, sent) + _letters(passed),
        )

    def _sifted(self, records: Sequence[Record], fetched_ms: int | None) -> DecodedBatch:
        return decode_batch(records, self._settings.internal_topic, self._partition, self._settings.partitions, fetched_ms)

    def _origin(self, place: BatchStart, item: int | None, records: Sequence[Record]) -> Origin:
        """Return where the record of *item* lies; of what time alone brought about, where the journal's next record does."""
        if item is None:
            journal = self._settings.internal_topic
            return journal, self._partition, place.next.get(journal, 0)
        return records[item][:3]

    def _passed_on(self, item: Item, record: Record) -> list[Output]:
        """Return *item*, which came of *record*, as a record of the journal of its lead's owner."""
        if isinstance(item, Event):
            home = owner(item.lead, self._settings.partitions)
            # Always fits: an event's record is bounded, and so is an id.
            return [stray_output(self._settings.internal_topic, home, record, item.lead, item.visited)]
        return self._message(item, record[:3], context(record))

    def _message(self, item: Item, origin: Origin, trace: Headers = ()) -> list[Output]:
        """Return a message as a record of the journal of its lead's owner.

        In place of one that is too large goes a letter. A past goes without its state then, since the lead waits for it.
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
        """Follow a `lead.erased` by a record without a value in each compacted topic: Kafka forgets the key there."""
        if output.topic != "lead.erased":
            return [output]
        return [output, *(Output(topic, output.key, None) for topic in self._compacted)]

    def _batch(
        self,
        place: BatchStart,
        writes: Sequence[LeadWrite],
        outputs: Sequence[Output],
        *,
        tick_ms: int | None = None,
        tick_done: bool = False,
        strayed_ms: int | None = None,
        folded: Sequence[Record] | None = None,
        fetched_ms: int | None = None,
    ) -> Batch:
        ids = in_order(place.next, place.ids) if place.ids else ()
        count, of_them = (0, "") if folded is None else (len(folded), digest(folded))
        cut = Cut(
            place.batch,
            dict(place.next),
            *JudgedBy.of(self.scorer),
            FOLD_VERSION,
            tick_ms,
            tick_done,
            ids=ids,
            records=count,
            digest=of_them,
            fetched_ms=fetched_ms,
        )
        clock_ms = tick_ms if tick_done else place.clock_ms
        return Batch(OutboxEntry(cut, tuple(outputs)), writes, clock_ms, place.send, strayed_ms)


def _replaced(made: Sequence[Output], sent: Sequence[Output]) -> int:
    return sum(one is not other for one, other in zip(made, sent, strict=True))


def _letters(passed: Sequence[Sequence[Output]]) -> int:
    """Return how many of the messages *passed* on were too large: their letter comes first, and only letters have that name."""
    return sum(outputs[0].headers[0][0] == LETTER_HEADER for outputs in passed)


def traced(plan: Plan, records: Sequence[Record]) -> list[Output]:
    """Return the outputs of *plan*, each with the trace context of its cause; *records* are those of the plan's items."""
    outputs = list(plan.outputs)
    for place, item in plan.caused:
        headers = context(records[item])
        if headers:
            output = outputs[place]
            outputs[place] = msgspec.structs.replace(output, headers=output.headers + headers)
    return outputs
