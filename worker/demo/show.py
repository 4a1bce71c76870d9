"""One demo: a broker, a Redis-compatible server and a worker are started, watched and ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.request import urlopen

import msgspec
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.live import Live

from worker.adapters.redis_client import connect
from worker.adapters.redis_store import RedisStore
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.demo.board import Board
from worker.demo.servers import PARTITIONS, Broker, Reader, last_lines, start_redis
from worker.demo.traffic import Traffic
from worker.presets import read_grid
from worker.processes import Children, a_worker
from worker.queries.leads import hottest
from worker.settings import PREFIX, Settings

_WATCHED: Final = 60
"""Leads whose scores are followed, so that one that enters the list has a trend."""

_TAKEN: Final = ("events", "unknown_events", "rejected_records", "erased_events", "tombstones")
"""Counters of the worker that together count every record that it has taken."""

_FRAME_S: Final = 0.25
_LINE_S: Final = 5.0
_UP_S: Final = 30.0
_CATCH_UP_S: Final = 10.0


class WorkerFailed(Exception):
    """The worker ended by itself; the message carries the end of its log."""


class Show:
    """One demo, from its servers' start to the last line."""

    def __init__(self, children: Children, folder: Path, seconds: float, seed: int, grid: str) -> None:
        self._children = children
        self._log = folder / "worker.log"
        self._console = Console()
        self._seconds = seconds
        self._say("starting a broker, a Redis-compatible server and a worker…")
        self._broker = Broker()
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)} | {
            PREFIX + "CLOCK": "events",  # the traffic brings ticks in simulated time
            PREFIX + "DEVELOPMENT": "true",
            PREFIX + "GRID": grid,
            PREFIX + "KAFKA": self._broker.address,
            PREFIX + "LOG_FORMAT": "text",  # its end is shown where it fails
            PREFIX + "METRICS_HOST": "127.0.0.1",
            PREFIX + "METRICS_PORT": str(_free_port()),
            PREFIX + "NAMESPACE": "demo",
            PREFIX + "PARTITIONS": str(PARTITIONS),
            PREFIX + "PUBLISH_INTERVAL": "0.05",
            PREFIX + "REDIS": start_redis(children, folder),
        }
        self._settings = Settings.load(self._environment)
        self._pages = f"http://127.0.0.1:{self._settings.metrics_port}"
        self._broker.create([*self._settings.topics, *self._settings.outputs])
        with self._log.open("wb") as log:
            self._worker = children.start(*a_worker(self._environment), log)
        self._board = Board()
        self._traffic = Traffic(self._broker, self._settings, seed, seconds)
        self._told = 0.0

    async def run(self) -> None:
        """Show it, to the end."""
        await self._until_ready()
        settings = self._settings
        client = connect(settings.redis.get_secret_value())
        stores = [RedisStore(client, settings.namespace, p) for p in range(PARTITIONS)]
        scorer = CompiledGrid(read_grid(settings.grid), settings.source)
        reader = self._broker.reader(settings.outputs)
        try:
            sending = asyncio.create_task(self._traffic.run())
            began = time.monotonic()
            with self._live() as live:
                while not sending.done():
                    self._look(reader)
                    now_ms = self._traffic.now_ms
                    self._board.standing(await hottest(stores, [scorer] * len(stores), _WATCHED, now_ms), now_ms)
                    left_s = began + self._seconds - time.monotonic()
                    if live is not None:
                        live.update(self._board.view(now_ms, self._sent, max(0.0, left_s)))
                    elif time.monotonic() - self._told >= _LINE_S:
                        self._told = time.monotonic()
                        self._say(self._board.line(now_ms, self._sent))
                    await asyncio.sleep(_FRAME_S)
                await sending
            await self._caught_up(reader)
            counts = await asyncio.to_thread(self._metrics)
            leads = sum([await client.zcard(f"{{{settings.namespace}:{p}}}:rank") for p in range(PARTITIONS)])
        finally:
            reader.close()
            await client.aclose()
        if await asyncio.to_thread(self.end):
            raise WorkerFailed(f"the worker did not end in good order:\n{last_lines(self._log)}")
        self._sum_up(counts, leads)

    def end(self) -> int:
        """End the worker, if it still runs, and return its exit code."""
        return self._children.end(self._worker)[0]

    @property
    def _sent(self) -> int:
        return self._traffic.sent.total()

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
        """Take what has been published; fail when the worker is gone."""
        for topic, value in reader.read():
            line = self._board.published_one(topic, value)
            if line is not None and not self._console.is_terminal:
                self._say(line)
        if self._worker.poll() is not None:
            raise WorkerFailed(f"the worker has ended:\n{last_lines(self._log)}")

    async def _until_ready(self) -> None:
        deadline = time.monotonic() + _UP_S
        while not await asyncio.to_thread(self._ready):
            if self._worker.poll() is not None or time.monotonic() > deadline:
                raise WorkerFailed(f"the worker did not become ready:\n{last_lines(self._log)}")
            await asyncio.sleep(0.1)

    def _ready(self) -> bool:
        try:
            with urlopen(f"{self._pages}/readyz", timeout=2) as answer:
                return bool(answer.status == 200 and msgspec.json.decode(answer.read())["partitions"])
        except OSError:
            return False

    async def _caught_up(self, reader: Reader) -> None:
        """Wait until everything sent has been taken, and what came of it is read."""
        deadline = time.monotonic() + _CATCH_UP_S
        while time.monotonic() < deadline:
            counts = await asyncio.to_thread(self._metrics)
            self._look(reader)
            taken = sum(
                counts[name] for name in ("events", "unknown_events", "rejected_records", "erased_events", "tombstones")
            )
            if taken >= self._sent and self._board.published.total() >= counts["outputs"]:
                return
            await asyncio.sleep(_FRAME_S)

    def _metrics(self) -> dict[str, int]:
        """Return the worker's counters, summed over their labels."""
        with urlopen(f"{self._pages}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        counts: dict[str, int] = {}
        for family in text_string_to_metric_families(text):
            counts[family.name.removeprefix("leadpulse_")] = sum(
                int(sample.value)
                for sample in family.samples
                # What the worker forwards to itself is nobody else's to read.
                if sample.name.endswith("_total") and sample.labels.get("topic") != self._settings.internal_topic
            )
        return counts

    def _sum_up(self, counts: dict[str, int], leads: int) -> None:
        published = self._board.published
        numbers = {
            "events in": self._sent,
            "leads": leads,
            "mql": published["lead.mql"],
            "sql": published["lead.sql"],
            "cooled": published["lead.cooled"],
            "dead letters": published["lead.dead"],
            "duplicates": counts["duplicate_events"],
        }
        self._say(f"{self._seconds:g} simulated days are over; the worker has drained and everything is cleaned up")
        self._say("  ".join(f"{name}: {number:,}" for name, number in numbers.items()))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
