"""The verdict: the core alone folds the recorded log, and all that the workers did is compared with it."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec

from worker.core.batch.plan import plan_events, plan_tick
from worker.core.contract.codec import decode
from worker.core.contract.journal import Cut, Cuts, OwnerMessage, Stray, decode_entry, message_output, stray_output
from worker.core.contract.model import Event, Item, Record, Rejected, Unread
from worker.core.contract.partitioner import owner
from worker.core.contract.trace_context import context
from worker.core.contract.unread import as_passed
from worker.core.scoring.state import unpack
from worker.engine.batch_builder import traced

if TYPE_CHECKING:
    from tests.kit.site import Site


class Wrong(AssertionError):
    """What the workers did is not what the core alone makes of the log."""

    def __init__(self, said: str, *, states: int = 0, lost: int = 0, doubled: int = 0) -> None:
        super().__init__(said)
        self.states = states
        """States that differ."""
        self.lost = lost
        """Outputs and dead letters that nobody can see."""
        self.doubled = doubled
        """And those that are seen too often, or should not be seen at all."""


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


class Verdict:
    """What the core makes of the recorded log when nothing goes wrong."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.states: dict[str, bytes] = {}
        self.transitions: Counter[tuple[str, bytes | None, bytes | None, Any]] = Counter()
        self.in_order: dict[bytes, list[int]] = {}
        self.dead: Counter[tuple[str, int, int]] = Counter()
        self.unread: list[tuple[str, int, int]] = []
        """Places of records whose batch was not read."""
        self.strays = 0
        self.passed_on: Counter[tuple[int, Any, bytes | None]] = Counter()
        """What owners of ids say to each other and forward under aliases: by partition of the journal, headers, value."""
        self.was_passed_on: Counter[tuple[int, Any, bytes | None]] = Counter()
        self.refused = 0
        self.ticks = 0
        self.cuts = 0

    def fold(self, partition: int, records: Sequence[Record]) -> None:
        """Fold partition *partition*: *records* are all of its topics'."""
        settings = self.site.settings
        internal = settings.internal_topic
        cuts: list[Cut] = []
        forwarded: Counter[tuple[str, int, int, bytes | None]] = Counter()
        for record in records:
            if record.topic == internal:
                match decode_entry(record):
                    case Cuts(found):
                        cuts += found
                    case Stray(original, ""):
                        forwarded[*original[:3], original.value] += 1
                    case Stray() | OwnerMessage():
                        self.was_passed_on[record.partition, record.headers, record.value] += 1
        twice = forwarded.total() - len(forwarded)
        if twice:
            raise Wrong(f"{twice} strays were forwarded twice\n{self.site.logs()}", doubled=twice)
        self.strays += forwarded.total()
        while len(cuts) > 1 and cuts[1].batch == 0:  # an owner that ended before its first batch begins again
            del cuts[0]
        assert [cut.batch for cut in cuts] == list(range(len(cuts))), f"cuts of {partition}: {[cut.batch for cut in cuts]}"
        self.cuts += len(cuts)
        states: dict[str, bytes | None] = {}
        due: dict[str, int] = {}
        ranks: dict[str, float] = {}
        clock_ms: int | None = None
        requeue: Requeue | None = None
        at = cuts[0].next
        older = [r for r in self.site.made_again if r.partition == partition]
        made_again = {r.topic for r in older}
        now = sorted([*older, *(r for r in records if r.topic not in made_again)], key=lambda r: r[:3])
        for cut in cuts[1:]:
            scorer = self.site.scorer_of(cut)
            if cut.lost and any(cut.next.get(topic, 0) < at.get(topic, 0) for topic in made_again):
                now = list(records)
            batch = [] if cut.lost else [r for r in now if r.topic in at and at[r.topic] <= r.offset < cut.next[r.topic]]
            batch = as_passed(batch, partition, cut.passed) if cut.passed else batch
            at = cut.next
            if cut.requeued:
                requeue = Requeue(clock_ms or 0, cut.requeued)
            requeue = requeue and requeue.onward(ranks, due, self.site.listed)
            sources: list[Record] = []
            if cut.tick_ms is None:
                items, sources = self._items(partition, batch, cut.fetched_ms)
                plan = plan_events(scorer, {item.lead: states.get(item.lead) for item in items}, items, clock_ms)
                self.refused += len(plan.refused)
                for place, _, _ in plan.refused:
                    self.dead[sources[place][:3]] += 1
                for place, item in plan.passed_on:
                    self._passed_on(item, sources[place])
            else:
                assert not [r for r in batch if r.topic != internal], "a tick's batch holds records"
                leads = sorted(
                    (lead for lead, at_ms in due.items() if at_ms <= cut.tick_ms), key=lambda x: (due[x], x.encode())
                )
                plan = plan_tick(scorer, {lead: states[lead] for lead in leads[: cut.judged or 1_000]}, cut.tick_ms, clock_ms)
                clock_ms = cut.tick_ms if cut.tick_done else clock_ms
                self.ticks += 1
                for _, item in plan.passed_on:
                    self._passed_on(item, None)
            for write in plan.writes:
                states[write.lead] = write.state or None
                due.pop(write.lead, None)
                ranks.pop(write.lead, None)
                if write.rank is not None:
                    ranks[write.lead] = write.rank
                if write.due_ms is not None:
                    due[write.lead] = write.due_ms
            for output in traced(plan, sources):
                self.transitions[settings.output_topic(output.topic), output.key, output.value, output.headers] += 1
        ends = {topic: max((r.offset + 1 for r in records if r.topic == topic), default=0) for topic in settings.input_topics}
        assert all(at[topic] >= end for topic, end in ends.items()), f"read up to {at} of {ends}"
        self.states |= {lead: state for lead, state in states.items() if state is not None}

    def _passed_on(self, item: Item, source: Record | None) -> None:
        """Note what is for another id's owner."""
        internal, home = self.site.settings.internal_topic, owner(item.lead, self.site.settings.partitions)
        if isinstance(item, Event):
            assert source is not None
            passed = stray_output(internal, home, source, item.lead, item.visited)
        else:
            passed = message_output(internal, home, item, () if source is None else context(source))
        self.passed_on[home, passed.headers, passed.value] += 1

    def _items(self, partition: int, batch: Sequence[Record], fetched_ms: int | None) -> tuple[list[Item], list[Record]]:
        """Return what a batch, fetched at *fetched_ms* where that matters, folds, each with its own record."""
        items: list[Item] = []
        sources: list[Record] = []
        for record in batch:
            if type(record) is Unread:
                self.dead[record[:3]] += 1
                self.unread.append(record[:3])
                continue
            forwarded, source, lead = record.topic == self.site.settings.internal_topic, record, ""
            visited: tuple[int, ...] = ()
            if forwarded:
                match decode_entry(record):
                    case Stray(source, lead, visited):
                        pass
                    case OwnerMessage(message):
                        items.append(message)
                        sources.append(record)
                        continue
                    case _:
                        continue
            match decode(source, fetched_ms):
                case Event() as event:
                    if forwarded or owner(event.lead, self.site.settings.partitions) == partition:
                        items.append(msgspec.structs.replace(event, lead=lead, visited=visited) if lead else event)
                        sources.append(source)
                case Rejected():
                    self.dead[source[:3]] += 1
        return items, sources

    def hold_passed_on(self) -> None:
        """Compare what is said between owners, as multisets."""
        lacking, extra = self.passed_on - self.was_passed_on, self.was_passed_on - self.passed_on
        if lacking or extra:
            said = f"{lacking.total()} messages lost, {extra.total()} too many: {[*lacking, *extra][:3]}\n{self.site.logs()}"
            raise Wrong(said, lost=lacking.total(), doubled=extra.total())

    def hold_outputs(self, outputs: Sequence[Record]) -> None:
        """Compare as multisets; each lead's own outputs must also be in its order."""
        dead_topic = self.site.settings.output_topic("lead.dead")
        dead: Counter[tuple[str, int, int]] = Counter()
        seen: Counter[tuple[str, bytes | None, bytes | None, Any]] = Counter()
        orders: dict[tuple[str, bytes | None], list[int]] = {}
        for record in outputs:
            if record.topic == dead_topic:
                told = dict(record.headers)
                where = (
                    told["__connect.errors.topic"].decode(),
                    told["__connect.errors.partition"],
                    told["__connect.errors.offset"],
                )
                dead[where[0], int(where[1]), int(where[2])] += 1
            else:
                seen[record.topic, record.key, record.value, record.headers] += 1
                sequence = int(json.loads(record.value or b"")["sequence"])
                orders.setdefault((record.topic, record.key), []).append(sequence)
        extra, lacking = seen - self.transitions, self.transitions - seen
        lost, doubled = lacking.total() + (self.dead - dead).total(), extra.total() + (dead - self.dead).total()
        if lost or doubled:
            examples = [*lacking, *extra, *(self.dead - dead), *(dead - self.dead)][:3]
            raise Wrong(f"{lost} outputs lost, {doubled} too many: {examples}\n{self.site.logs()}", lost=lost, doubled=doubled)
        assert all(order == sorted(order) for order in orders.values()), "a lead's outputs are not in order"
        ids = Counter(json.loads(value or b"")["id"] for _, _, value, _ in seen.elements())
        assert max(ids.values(), default=1) == 1, f"an id was given twice: {ids.most_common(1)}"


def readable(packed: bytes | None) -> str:
    """Return a packed state as a text for messages."""
    return "nothing" if packed is None else repr(unpack(packed))
