"""Whatever ids, dossiers and pasts are like: what leaves a batch is what Kafka takes, or a letter in its place."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.examples import examples
from worker.adapters.kafka_topics import MAX_RECORD_BYTES
from worker.adapters.memory import MemoryStore
from worker.core.batch import sizes
from worker.core.contract.codec import MAX_BYTES
from worker.core.contract.dead_letter import DeadLetter, read_letter
from worker.core.contract.envelope import MAX_NAME
from worker.core.contract.journal import Cut, Cuts, OwnerMessage, cuts_outputs, decode_entry
from worker.core.contract.model import Output, Record, VisitorHistory
from worker.core.contract.partitioner import owner
from worker.core.grid.models import parse_grid
from worker.core.scoring.calendar import rfc3339
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.engine.batch_builder import BatchBuilder, BatchResult, BatchStart
from worker.settings import Settings

START = 1_774_400_000_000
WEB = "lead.events.web"
GRID = """
grid: sizes
version: 1
fit: {rules: [{id: cto, points: 3, where: {role: cto}}]}
engagement: {half_life: 6h, rules: [{id: demo, points: 40, on: demo.requested, intent: true}]}
stages: {mql: {enter: 15, leave: 10}, sql: {enter: 30, leave: 20}}
accounts: {enter: 30, leave: 20, active: 1, step: 1}
identity: {email: report}
"""


def scorer_of(grid: str) -> CompiledGrid:
    """Return the grid, compiled."""
    return CompiledGrid(parse_grid(grid, "sizes.yaml"), "/leadpulse/sizes")


SCORER = scorer_of(GRID)


def taken_by_kafka(output: Output) -> bool:
    """Return whether a topic with our `max.message.bytes` takes *output*: as aiokafka writes it, in a batch of its own."""
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=0, is_transactional=1, producer_id=1, producer_epoch=1, base_sequence=0, batch_size=2**30
    )
    assert builder.append(0, START, output.key, output.value, list(output.headers)) is not None
    return len(builder.build()) <= MAX_RECORD_BYTES


def letter_of(output: Output) -> DeadLetter:
    """Return the letter that *output* is."""
    letter = read_letter(Record("lead.dead", 0, 0, None, output.key, output.value, output.headers))
    assert letter is not None
    return letter


def builder_of(settings: Settings, compiled: CompiledGrid, partition: int, store: MemoryStore) -> BatchBuilder:
    """Return the batch builder of *partition*, with its states in *store*."""
    return BatchBuilder(settings, compiled, partition, lambda leads, _, most: store.load(leads, most=most), asyncio.Lock())


class Owners:
    """Every partition of a namespace, at work until nothing is on its way any more."""

    def __init__(self, partitions: int, compiled: CompiledGrid = SCORER) -> None:
        self.settings = Settings.load({"LEADPULSE_PARTITIONS": str(partitions), "LEADPULSE_NAMESPACE": "sizes"})
        self.stores = [MemoryStore() for _ in range(partitions)]
        self.builders = [builder_of(self.settings, compiled, p, store) for p, store in enumerate(self.stores)]
        self.cuts = [0] * partitions
        self.outputs: list[Output] = []
        self.offset = 0

    async def take(self, record: Record, partition: int) -> BatchResult:
        """Take one record as a batch, and all that it brings about after it."""
        self.cuts[partition] += 1
        place = BatchStart(self.cuts[partition], {record.topic: record.offset + 1}, None)
        taken = await self.builders[partition].events([record], place)
        await self.stores[partition].acquire("1:1:t", len(self.stores))
        await self.stores[partition].apply("1:1:t", taken.batch)
        for output in taken.batch.entry.outputs:
            assert taken_by_kafka(output), (output.topic, output.headers[:1])
            self.outputs.append(output)
        for output in taken.batch.entry.outputs:
            if output.topic == self.settings.internal_topic:
                assert output.partition is not None
                await self.take(self._record(output.topic, output), output.partition)
        return taken

    async def say(self, lead: str, type_: str, hours: int = 0, **data: Any) -> BatchResult:
        """Take an event where its lead's owner would not look for it."""
        event = {
            "specversion": "1.0",
            "id": f"{self.offset:x<{MAX_NAME}}",
            "source": "/s",
            "type": type_,
            "subject": lead,
            "time": rfc3339(START + hours * 3_600_000),
            "data": data,
        }
        output = Output(WEB, lead.encode(), json.dumps(event, ensure_ascii=False).encode())
        return await self.take(self._record(WEB, output), (owner(lead, len(self.stores)) + 1) % len(self.stores))

    def _record(self, topic: str, output: Output) -> Record:
        self.offset += 1
        return Record(topic, 0, self.offset, START, output.key, output.value, output.headers)

    def letters(self) -> list[str]:
        """Return the reasons of all dead letters."""
        found = [
            read_letter(Record("lead.dead", 0, 0, None, *o[1:4]))
            for o in map(msgspec.structs.astuple, self.outputs)
            if o[0] == "lead.dead"
        ]
        return [letter.reason for letter in found if letter is not None]


async def test_a_chain_of_aliases_with_long_ids_hands_a_page_view_on() -> None:
    """25 ids of 16 kB: a record that named all of them had 2.4 MB of headers, and no worker came past it."""
    owners = Owners(3)
    for filler in ("", "\1" * 16_000):
        chain = [f"v{n}{filler}" for n in range(26)]
        for hours, (visitor, lead) in enumerate(itertools.pairwise(chain)):
            await owners.say(lead, "lead.identified", hours, anonymous_id=visitor)
        before = len(owners.outputs)
        await owners.say(chain[0], "page.viewed", 30, url="/pricing", cta="x" * 700_000)
        assert sum(dict(output.headers).get("lp-kind") == b"alias" for output in owners.outputs[before:]) == 25
    assert owners.letters() == []


async def test_an_address_that_many_leads_with_long_ids_have_is_reported_or_a_letter() -> None:
    """Sixteen ids of the longest kind, written out in JSON, are 1.6 MB; the lead's own comes to it four times."""
    owners = Owners(2)
    traits = {"email": "sales@acme.example"}
    for n in range(18):
        await owners.say(f"{n:\1<{MAX_NAME}}", "profile.updated", n, traits=traits)
    sizes = [len(output.value or b"") for output in owners.outputs if output.topic == "lead.duplicate"]
    assert len(sizes) + len(owners.letters()) >= 17
    assert max(sizes) > 1_000_000


SIZES = st.sampled_from([1, 300, 4_000, MAX_NAME])
CHARS = st.sampled_from(["a", "\1", "é", "\U0001f600", '"'])
NAMES = st.builds(lambda n, char, size: f"{n}" + char * (size - len(f"{n}")), st.integers(0, 5), CHARS, SIZES)


@examples(60)
@given(st.data())
def test_every_kind_of_output_is_one_that_kafka_takes(data: st.DataObject) -> None:
    """Transitions with dossiers, strays, forwarded events, messages, letters, duplicates, accounts: of any ids and values."""
    names = data.draw(st.lists(NAMES, min_size=2, max_size=4, unique=True))
    asyncio.run(_any_life(names, data))


async def _any_life(names: Sequence[str], data: st.DataObject) -> None:
    owners = Owners(2)
    for hours in range(data.draw(st.integers(3, 8))):
        lead = data.draw(st.sampled_from(names))
        char, size = data.draw(CHARS), data.draw(st.sampled_from([1, 900, 60_000]))
        match data.draw(st.integers(0, 6)):
            case 0 | 1:
                await owners.say(lead, "demo.requested", hours, form_id=char * size)
            case 2:
                traits = {"email": "a@acme.example", "company.domain": "acme.example", "role": "cto"}
                await owners.say(
                    lead, "profile.updated", hours, traits=traits | {f"t{n}": char * (size // 60) for n in range(60)}
                )
            case 3:
                await owners.say(lead, "lead.identified", hours, anonymous_id=data.draw(st.sampled_from(names)))
            case 4:
                await owners.say(lead, "lead.erased", hours)
            case 5:
                await owners.say(lead, "page.viewed", hours, url=char * data.draw(st.sampled_from([1, 100_000, 400_000])))
            case _:
                headers = (("h" * 900, char.encode() * (size * 10)),)
                key = char.encode() * data.draw(st.sampled_from([1, 800_000]))
                await owners.take(Record(WEB, 0, 10**6 + hours, START, key, b"{" * min(size * 15, MAX_BYTES), headers), 0)


HEAVY = f"""
grid: heavy
version: 1
engagement:
  half_life: 6h
  rules: [{", ".join(f"{{id: r{n}, points: 2, on: demo.requested}}" for n in range(100))}]
stages: {{mql: {{enter: 1}}}}
"""
SMALL = 8_000
"""Bytes of an output, in place of 2,000,000: a grid of 1 MB, the largest there is, would make reasons of 3 MB, in a minute."""


async def test_a_transition_that_no_topic_takes_is_a_dead_letter_and_the_lead_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Some twenty thousand rules that all count: the partition would stop for good."""
    monkeypatch.setattr(sizes, "MOST_OUTPUT_BYTES", SMALL)
    owners = Owners(1, scorer_of(HEAVY))
    taken = await owners.say("L", "demo.requested", form_id="f")
    (output,) = taken.batch.entry.outputs
    letter = letter_of(output)
    assert (letter.reason, letter.whole, letter.record.topic, letter.record.key) == ("output_too_large", False, WEB, b"L")
    assert letter.record.offset == owners.offset
    assert "an output to lead.mql" in letter.detail
    assert (taken.unsent, taken.batch.writes[0].stage) == (1, "mql")
    # By time alone as well: the letter's place is the journal's.
    cooled = await owners.builders[0].slice(["L"], START + 10**9, BatchStart(2, {}, None), {})
    assert [(o.topic, dict(o.headers)["lp-reason"]) for o in cooled.batch.entry.outputs] == [("lead.dead", b"output_too_large")]
    assert (cooled.unsent, cooled.batch.writes[0].stage) == (1, "contact")


async def test_a_past_that_no_topic_takes_comes_without_its_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lead waits for an answer: without one, time would never move it again."""
    owners = Owners(1)
    await owners.say("V", "profile.updated", traits={f"t{n}": "x" * 900 for n in range(20)})
    monkeypatch.setattr(sizes, "MOST_OUTPUT_BYTES", 20_000)
    await owners.say("L", "lead.identified", 1, anonymous_id="V")
    assert set(owners.letters()) == {"output_too_large"}
    (past,) = [
        entry.message
        for output in owners.outputs
        if output.topic == owners.settings.internal_topic
        and isinstance(entry := decode_entry(owners._record(output.topic, output)), OwnerMessage)
        and isinstance(entry.message, VisitorHistory)
    ]
    assert (past.lead, past.visitor, past.state) == ("L", "V", None)


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 249)), min_size=1, max_size=40), st.integers(1, 20_000))
def test_cuts_are_split_into_records_that_are_read_as_one(sizes: list[tuple[int, int]], most: int) -> None:
    """25 topics with long names and 2,000 cuts made one record of 4 MB, and neither the worker nor its heir came past it."""
    cuts = [
        Cut(batch, {f"{n}" * (chars // len(f"{n}") or 1): 2**60 for n in range(topics)}, "g" * 64, "w", 6)
        for batch, (topics, chars) in enumerate(sizes, start=1)
    ]
    read: list[Cut] = []
    for output in cuts_outputs("j", 0, cuts, most):
        entry = decode_entry(Record("j", 0, 0, 1, None, output.value, output.headers))
        assert isinstance(entry, Cuts)
        assert len(output.value or b"") <= most or len(entry.cuts) == 1
        read += entry.cuts
    assert read == cuts
    assert cuts_outputs("j", 0, []) == []


def test_a_whole_transactions_cuts_are_taken_by_kafka() -> None:
    """As many as one may have, of as many topics as people have, with the longest names."""
    topics = {f"{n:x<249}": 2**60 for n in range(100)}
    cuts = [Cut(batch, topics, "g" * 64, "w" * 200, 6) for batch in range(2_000)]
    assert all(taken_by_kafka(output) for output in cuts_outputs("j", 0, cuts))
