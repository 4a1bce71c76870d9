"""How long each call holds Redis among very many leads: `make calls` (`python -m tests.benchmarks.bench_redis [--leads N]`).

One partition with 1,000,000 leads, half of which have the same rank; every call that the worker and the commands make of it;
a table of the longest of each kind, by the CPU time of Redis' main thread (`INFO cpu`) and by the wall clock (`SLOWLOG`). Exit
code 1 when a call takes more CPU than `MOST_MS`: all other partitions wait meanwhile. `LEADPULSE_MAX_BATCH` bounds what a batch
of events takes, so its row is shown and not judged.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import click
import redis

from ops.dev.redis_server import Redis
from tests.benchmarks.place import AS_DEPLOYED
from tests.kit.batches import a_batch, a_write
from worker.adapters import redis_check
from worker.adapters.redis_client import LIBRARY, connect
from worker.adapters.redis_scan import leads_of
from worker.adapters.redis_store import RedisStore
from worker.core.contract.model import LeadWrite, Output
from worker.engine.batch_builder import SLICE

MOST_MS = 20.0
TOKEN = "7:1:bench"
NEXT_TOKEN = "7:2:bench"
DAY_MS = 86_400_000
PAGE = 500
EVENTS = 1_000
BATCH_OF_EVENTS = f", {EVENTS:,} leads of events"


class Calls:
    """The CPU of Redis' main thread that each call takes, by kind; *client* is asked through this."""

    def __init__(self, client: Any, port: int) -> None:
        self._execute = client.execute_command
        self._asking = redis.Redis(port=port)
        self.cpu_ms: dict[str, list[float]] = defaultdict(list)
        client.execute_command = self._timed
        self.kind = ""
        """What sets the calls that follow apart from others of the same function."""

    def _used_ms(self) -> float:
        used: Any = self._asking.info("cpu")
        return 1_000 * float(used["used_cpu_user_main_thread"] + used["used_cpu_sys_main_thread"])

    async def _timed(self, *command: Any, **options: Any) -> Any:
        before = self._used_ms()
        answer = await self._execute(*command, **options)
        name = str(command[1]).removeprefix(LIBRARY + "_") if str(command[0]).startswith("FCALL") else str(command[0])
        self.cpu_ms[name + self.kind].append(self._used_ms() - before)
        return answer


def writes(leads: Iterator[int], rnd: random.Random) -> list[LeadWrite]:
    """Return the writes of *leads*: every second has never done anything, as most leads of a large base."""
    return [
        a_write(f"lead-{n:08d}", b"s" * 200, due_ms=DAY_MS + rnd.randrange(DAY_MS), rank=rnd.uniform(0, 100) if n % 2 else 0.0)
        for n in leads
    ]


async def work(url: str, port: int, count: int) -> Calls:
    """Fill a partition with *count* leads, then make every call of it that there is."""
    rnd = random.Random(7)
    client = connect(url, timeout_s=120)
    store = RedisStore(client, "bench", 0)
    await store.acquire(TOKEN, 8)
    batch = 0
    for first in range(0, count, EVENTS):
        batch += 1
        await store.apply(TOKEN, a_batch(batch, writes(iter(range(first, min(first + EVENTS, count))), rnd), send=False))
    calls = Calls(client, port)

    # A new grid, with events that move leads up and down meanwhile; then another one, before that is through.
    for grid in (b"grid: one", b"grid: other"):
        batch += 1
        await store.apply(TOKEN, a_batch(batch, begins=grid, rate=250, clock_ms=DAY_MS))
        while (await store.due(DAY_MS * 400, 1, TOKEN, batch)).unlisted:
            batch += 1
            some = rnd.sample(range(count), EVENTS) if batch % 7 == 0 else []
            calls.kind = f"{BATCH_OF_EVENTS}, and a new grid's" if some else ", a new grid's leads"
            await store.apply(TOKEN, a_batch(batch, writes(iter(some), rnd), clock_ms=DAY_MS))
            calls.kind = ""
            if grid == b"grid: one" and batch % 1_000 == 0:
                break
    outputs = tuple(Output("lead.sql", b"k" * 20, b"v" * 1_500) for _ in range(50))
    for _ in range(20):  # a tick
        batch += 1
        leads = (await store.due(DAY_MS * 400, SLICE, TOKEN, batch - 1)).leads
        await store.load(leads, TOKEN, batch - 1, 2e6)
        calls.kind = f", {SLICE:,} leads of a tick"
        await store.apply(TOKEN, a_batch(batch, writes((int(lead[5:]) for lead in leads), rnd), outputs=outputs))
        calls.kind = ""
    for _ in range(2_000):
        batch += 1
        await store.apply(TOKEN, a_batch(batch))
    await store.outbox(0)
    await store.trim(TOKEN, batch)
    await store.top(100)
    await store.top(PAGE, max(0, count - PAGE))
    await redis_check.check(client, "bench")
    await redis_check.memory(client)
    with redis.Redis(port=port) as admin:
        admin.hset("{bench:0}:position", "counted", "1")
    await store.acquire(NEXT_TOKEN, 8)
    assert sum((await store.position()).leads.values()) == count
    found = 0
    async for _ in leads_of(client, "bench"):
        found += 1
    assert found == count
    await client.aclose()
    return calls


def walls_ms(port: int) -> dict[str, float]:
    """Return the longest call of each kind by the wall clock, where it was over 0.5 ms."""
    longest: dict[str, float] = defaultdict(float)
    with redis.Redis(port=port) as client:
        entries: Any = client.slowlog_get(1_000_000)
    for entry in entries:
        words = entry["command"].decode(errors="replace").split(" ", 2)
        name = words[1].removeprefix(LIBRARY + "_") if words[0].startswith("FCALL") else words[0]
        longest[name] = max(longest[name], entry["duration"] / 1_000)
    return longest


@click.command()
@click.option("--leads", "count", default=1_000_000, show_default=True, help="How many leads the partition holds.")
def main(count: int) -> None:
    """Print how long each call holds Redis."""
    began = time.monotonic()
    settings = {**AS_DEPLOYED, "slowlog-log-slower-than": "500", "slowlog-max-len": "1000000"}
    with Redis(settings, keep=False) as server:
        calls = asyncio.run(work(server.url, server.port, count))
        walls = walls_ms(server.port)
    click.echo(f"{count:,} leads in one partition, {time.monotonic() - began:.0f} s\n")
    click.echo("| call | times | CPU in all, s | longest, CPU ms | longest, wall ms |\n|---|---|---|---|---|")
    for name, took in sorted(calls.cpu_ms.items(), key=lambda one: -max(one[1])):
        wall = f"{walls[kind]:.1f}" if (kind := name.partition(",")[0]) in walls else "under 0.5"
        click.echo(f"| {name} | {len(took):,} | {sum(took) / 1_000:.2f} | {max(took):.1f} | {wall} |")
    longest = max(max(took) for name, took in calls.cpu_ms.items() if BATCH_OF_EVENTS not in name)
    if longest > MOST_MS:
        click.echo(f"a call takes {longest:.1f} ms of Redis' CPU; {MOST_MS:g} are the most", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
