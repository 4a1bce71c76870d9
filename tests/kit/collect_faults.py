"""Faults of collectors under load on a real broker, and what Kafka holds afterwards. `make webhooks` and tests use them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

import aiohttp

from ops.dev.kafka_broker import Kafka
from tests.kit.collectors import CollectorProcess, DealSender, Park, Sender, whose_deal
from tests.kit.signing import PUBLIC_URL
from tests.kit.vendor_hosts import Apis
from tests.kit.waits import until

QUEUE_BYTES = 8 * 1024 * 1024
_SEEN_S = 60.0
"""Time for Kafka to show what was committed: markers of a transaction reach its partitions one after the other."""
AGAIN = 60
"""Answers that ask to come again, until Kafka is started again."""

How = Literal["suspended", "killed"]


@dataclass
class Row:
    """What one fault gave."""

    name: str
    taken: int = 0
    """Webhooks that were answered with 200."""
    again: int = 0
    """Answers that ask to come again."""
    lost: int = 0
    """Requests without an answer, since the collector died."""
    missing: int = 0
    """Events of answered webhooks that are not in the input topics."""
    doubled: int = 0
    slowest_s: float = 0.0
    """Slowest answer, as the sender saw it."""
    late: float = 0
    """Answers after 2.5 s, as the collector saw it."""
    rest_mb: float = 0.0
    peak_mb: float = 0.0
    seconds: float = 0.0

    @property
    def wrong(self) -> str:
        """What broke the promise; empty for nothing."""
        found = {"missing": self.missing, "doubled": self.doubled, "late": self.late}
        return ", ".join(f"{count:g} {what}" for what, count in found.items() if count)

    def count(self, senders: Sequence[Sender]) -> None:
        """Note what *senders* heard."""
        self.taken = sum(sender.statuses[200] for sender in senders)
        self.again = sum(sender.statuses[429] for sender in senders)
        self.lost = sum(sender.statuses[0] for sender in senders)
        self.slowest_s = max(sender.slowest_s for sender in senders)
        strange = {status for sender in senders for status in sender.statuses} - {0, 200, 429}
        assert not strange, f"statuses {strange}"

    async def compare(self, park: Park, senders: Sequence[Sender]) -> None:
        """Wait until everything is mapped, and compare the topics with what was answered."""
        await park.drained()
        expected = set().union(*(sender.expected() for sender in senders))
        found: Counter[tuple[str, str]] = Counter()

        async def all_there() -> bool:
            nonlocal found
            found = await park.happened()
            return expected <= set(found)

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SEEN_S):
                await until(all_there)
        self.missing = len(expected - set(found))
        self.doubled = sum(count > 1 for count in found.values())


@asynccontextmanager
async def with_deals(park: Park) -> AsyncIterator[None]:
    """Give the park a source whose webhooks need look-ups. Its API answers nine of ten calls."""
    apis = Apis()
    apis.answers = {"/deals/": whose_deal, "/contacts/": {"properties": {}}}
    async with apis.serving():
        park.environ |= {"CRM": DealSender.secret, "API": "a"}
        park.configure(
            f"public_url: {PUBLIC_URL}\nsources:\n"
            '  mailer: {vendor: sendgrid, secrets: ["${KEY}"]}\n'
            f'  crm: {{vendor: hubspot, secrets: ["${{CRM}}"], api: hubspot, stages: {{closedwon: crm.won}}}}\n{apis.targets}'
        )
        yield


async def killed(park: Park, times: int, *, deals: bool, seed: int = 18) -> Row:
    """Kill collector and mapper in turn, at random instants, while webhooks come; with *deals* also such as need look-ups."""
    row, began = Row(f"collector and mapper killed (-9), {times} times in all"), time.monotonic()
    async with with_deals(park):
        http, mapper = park.collector("http"), park.collector("map")
        await http.ready()
        await mapper.ready_by_log()
        senders, stop = [Sender(park, http.port)], asyncio.Event()
        loads = [senders[0].load(itertools.count(), 20, stop)]
        if deals:
            row.name += ", with look-ups"
            senders.append(DealSender(park, http.port))
            loads.append(senders[1].load(itertools.count(1), 1, stop, pause_s=0.1))
        load = asyncio.gather(*loads)
        chance = random.Random(seed)
        for kill in range(times):
            before = senders[0].statuses[200]
            await until(lambda before=before: senders[0].statuses[200] > before + 50)  # type: ignore[misc]
            await asyncio.sleep(chance.random() * 0.7)
            victim = http if kill % 2 else mapper
            victim.kill()
            victim.restart()
            if victim is mapper:
                await mapper.ready_by_log()
        stop.set()
        await load
        row.count(senders)
        await row.compare(park, senders)
    row.seconds = time.monotonic() - began
    return row


async def stopped(park: Park, kafka: Kafka, how: How, seconds: float = 0.0) -> Row:
    """Stop Kafka under load, until many were asked to come again and for *seconds* at least, and start it again."""
    row, began = Row(f"Kafka {how} under load, for {seconds:g} s"), time.monotonic()
    collector = park.collector()
    await collector.ready()
    sender, stop = Sender(park, collector.port), asyncio.Event()
    load = asyncio.create_task(sender.load(itertools.count(), 50, stop))
    await until(lambda: sender.statuses[200] > 500)
    await asyncio.to_thread(kafka.suspend if how == "suspended" else kafka.kill)
    try:
        await asyncio.sleep(seconds)
        await until(lambda: sender.statuses[429] >= AGAIN)
    finally:
        await asyncio.to_thread(kafka.resume if how == "suspended" else kafka.restart)  # else senders wait for its start
    answered = sender.statuses[200]
    await until(lambda: sender.statuses[200] > answered + 500, "taken again")
    stop.set()
    await load
    row.count([sender])
    row.late = await late(collector)
    await row.compare(park, [sender])
    row.peak_mb, row.seconds = collector.memory_mb(), time.monotonic() - began
    assert collector.end() == 0
    return row


async def stalled(
    park: Park, kafka: Kafka, seconds: float, senders: int = 100, size: int = 200_000, again_s: float = 0.05
) -> Row:
    """Suspend Kafka while many large webhooks come, and see what the collector needs of memory."""
    row, began = Row(f"Kafka suspended for {seconds:g} s, {senders} senders of {size // 1000:,} kB each"), time.monotonic()
    collector = park.collector("http", LEADPULSE_COLLECT_QUEUE=str(QUEUE_BYTES))
    await collector.ready()
    large, stop = Large(park, collector.port, size), asyncio.Event()
    large.again_s = again_s
    async with aiohttp.ClientSession() as session:
        await large.send(session, [0])
    row.rest_mb = collector.memory_mb("VmRSS")
    kafka.suspend()
    try:
        load = asyncio.create_task(large.load(itertools.count(1), senders, stop))
        await asyncio.sleep(seconds)
        await until(lambda: large.statuses[429] > senders)
        row.peak_mb = collector.memory_mb()
    finally:
        kafka.resume()
    await until(lambda: large.statuses[200] > senders, "taken again")
    stop.set()
    await load
    row.count([large])
    row.late = await late(collector)
    row.seconds = time.monotonic() - began
    assert collector.end() == 0
    return row


class Large(Sender):
    """Sends large webhooks."""

    def __init__(self, park: Park, port: int, size: int) -> None:
        super().__init__(park, port)
        self._filler = random.Random(1).randbytes(size // 2).hex()

    def raw(self, numbers: object) -> bytes:
        """Return a webhook of the size."""
        return b'[{"event": "processed", "filler": "%b"}]' % self._filler.encode()


async def late(collector: CollectorProcess) -> float:
    """Return how many webhooks were answered after 2.5 s, as the collector saw it."""
    in_time, in_all = await collector.within("2.5")
    return in_all - in_time
