"""One demo: it is started, watched and ended."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.live import Live

from worker.adapters.redis_client import connect
from worker.adapters.redis_store import RedisStore
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.demo.automations import CALL
from worker.demo.board import Board
from worker.demo.browsers import visit_on
from worker.demo.delivery import Arrivals, Sender
from worker.demo.servers import PARTITIONS, Reader
from worker.demo.stage import Stage
from worker.demo.traffic import Traffic, starts_ms
from worker.presets import read_grid
from worker.processes import Children
from worker.queries.leads import hottest

_WATCHED: Final = 60
"""Leads whose scores are followed, so that one that enters the list has a trend."""

_TAKEN: Final = ("events", "unknown_events", "rejected_records", "erased_events", "tombstones")
"""Counters of the worker that together count every record that it has taken."""

_FRAME_S: Final = 0.25
_LINE_S: Final = 5.0
_CATCH_UP_S: Final = 10.0


class Show:
    """One demo, from its servers' start to the last line."""

    def __init__(self, children: Children, folder: Path, seconds: float, seed: int, grid: str) -> None:
        self._console = Console()
        self._seconds = seconds
        self._seed = seed
        self._say("starting a broker, a Redis-compatible server, a worker, a collector and the program that acts…")
        self._stage = stage = Stage(children, folder, grid)
        self._board = Board(stage.shop.address)
        self._arrivals = Arrivals(stage.broker.reader(stage.settings.input_topics))
        self._sender = Sender(stage.collector, stage.secrets, stage.connections.sources, self._arrivals)
        start_ms = starts_ms(time.time_ns() // 1_000_000, seconds)
        self._traffic = Traffic(stage.broker, stage.settings, self._sender, self._arrivals, seed, seconds, start_ms)
        self._told = 0.0

    async def run(self) -> None:
        """Show it, to the end. Raises `ProgramFailed`."""
        stage = self._stage
        await stage.office.open()
        try:
            counts, leads = await self._to_the_end()
            await asyncio.to_thread(stage.end)
            self._went_out()  # the program that acts has drained
        finally:
            await stage.office.close()
        self._sum_up(counts, leads)

    async def _to_the_end(self) -> tuple[dict[str, int], int]:
        """Show it until everything has been taken. Return the worker's counters, and how many leads there are."""
        stage = self._stage
        await stage.until_ready()
        await stage.shop.open()
        self._say(f"demo page: {stage.shop.address}/")
        client = connect(stage.settings.redis.get_secret_value())
        reader = stage.broker.reader({*stage.settings.outputs, stage.act.acted_topic})
        acts = [asyncio.create_task(self._traffic.run()), asyncio.create_task(visit_on(stage.shop.address, self._seed))]
        try:
            await self._watch(client, reader, acts)
            counts = await self._caught_up(reader)
            leads = sum([await client.zcard(f"{{{stage.settings.namespace}:{p}}}:rank") for p in range(PARTITIONS)])
        finally:
            for act in acts:
                act.cancel()
            await asyncio.wait(acts)
            await self._sender.close()
            await stage.shop.close()
            reader.close()
            self._arrivals.close()
            await client.aclose()
        return counts, leads

    async def _watch(self, client: Any, reader: Reader, acts: list[asyncio.Task[None]]) -> None:
        """Show how things stand until the traffic, the first of *acts*, is over."""
        settings = self._stage.settings
        stores = [RedisStore(client, settings.namespace, p) for p in range(PARTITIONS)]
        scorers = [CompiledGrid(read_grid(settings.grid), settings.source)] * PARTITIONS
        began = time.monotonic()
        with self._live() as live:
            while not acts[0].done():
                self._look(reader)
                for act in acts[1:]:
                    if act.done():
                        act.result()
                now_ms = self._traffic.now_ms
                self._board.standing(await hottest(stores, scorers, _WATCHED, now_ms), now_ms)
                self._board.came(self._arrivals.count, self._sender.webhooks)
                left_s = began + self._seconds - time.monotonic()
                if live is not None:
                    live.update(self._board.view(now_ms, max(0.0, left_s)))
                elif time.monotonic() - self._told >= _LINE_S:
                    self._told = time.monotonic()
                    self._say(self._board.line(now_ms))
                await asyncio.sleep(_FRAME_S)
        for act in acts[1:]:
            act.cancel()
        acts[0].result()

    def end(self) -> None:
        """End the programs that still run."""
        with contextlib.suppress(Exception):
            self._stage.end()

    @contextlib.contextmanager
    def _live(self) -> Iterator[Live | None]:
        """Yield the live picture where there is a terminal to show it on."""
        if not self._console.is_terminal:
            yield None
            return
        with Live(console=self._console, refresh_per_second=4) as live:
            yield live

    def _say(self, line: str) -> None:
        self._console.print(line, soft_wrap=True, highlight=False, markup=False)

    def _look(self, reader: Reader) -> None:
        """Take what has been published; fail when a program is gone."""
        for topic, value, at_ms in reader.read_with_times():
            line = self._board.published_one(topic, value, at_ms)
            if line is not None and not self._console.is_terminal:
                self._say(line)
        self._went_out()
        self._stage.check()

    def _went_out(self) -> None:
        """Take the tasks and mails that have gone out."""
        for sent in self._stage.office.taken():
            self._board.outbox.went_out(sent)
        for line in self._board.outbox.lines():
            if not self._console.is_terminal:
                self._say(line)

    async def _caught_up(self, reader: Reader) -> dict[str, int]:
        """Wait until everything sent has been taken, and what came of it is read. Return the worker's counters."""
        deadline = time.monotonic() + _CATCH_UP_S
        while True:
            self._arrivals.look()
            counts = await asyncio.to_thread(self._metrics)
            self._look(reader)
            taken = sum(counts[name] for name in _TAKEN) >= self._arrivals.count
            read = self._board.published.total() >= counts["outputs"]
            called = self._board.outbox.done(CALL) >= self._board.published["lead.sql"]
            if (taken and read and called) or time.monotonic() > deadline:
                return counts
            await asyncio.sleep(_FRAME_S)

    def _metrics(self) -> dict[str, int]:
        """Return the worker's counters, summed over their labels."""
        counts: dict[str, int] = {}
        for family in text_string_to_metric_families(self._stage.metrics().decode()):
            counts[family.name.removeprefix("leadpulse_")] = sum(
                int(sample.value)
                for sample in family.samples
                # What the worker forwards to itself is nobody else's to read.
                if sample.name.endswith("_total") and sample.labels.get("topic") != self._stage.settings.internal_topic
            )
        return counts

    def _sum_up(self, counts: dict[str, int], leads: int) -> None:
        published = self._board.published
        numbers = {
            "events in": self._arrivals.count,
            "webhooks": self._sender.webhooks.total(),
            "leads": leads,
            "mql": published["lead.mql"],
            "sql": published["lead.sql"],
            "cooled": published["lead.cooled"],
            "tasks": self._board.outbox.sent["task"],
            "mails": self._board.outbox.sent["mail"],
            "dead letters": published["lead.dead"],
            "duplicates": counts["duplicate_events"],
        }
        self._say(f"{self._seconds:g} simulated days are over; everything has drained and is cleaned up")
        self._say(self._board.outbox.in_words())
        self._say("  ".join(f"{name}: {number:,}" for name, number in numbers.items()))
