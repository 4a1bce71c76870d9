"""What a lead costs in Redis: 50 events over 10 rules, traits and the last 20 events included; and where the bytes go.

`python -m tests.benchmarks.bench_memory [LEADS]`: a Redis of its own, once with its default `hash-max-listpack-value` (64) and
once with 4,096; each lead is written through `RedisStore.apply`.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
from collections.abc import Sequence
from typing import Any

import click
import msgspec
import redis

from ops.dev.redis_server import Redis
from tests.benchmarks.typical import leads, scorer, written
from tests.kit.batches import a_batch
from worker.adapters.redis_client import connect
from worker.adapters.redis_store import RedisStore
from worker.core.contract.model import LeadWrite
from worker.core.scoring.state import LeadState

BATCH = 500
PARTS = ("ids", "counts", "velocity", "traits", "recent", "history")


async def write(url: str, writes: Sequence[LeadWrite]) -> None:
    """Write leads as a worker does, in batches whose outputs are published already."""
    client = connect(url)
    store = RedisStore(client, "default", 0)
    await store.acquire("7:1:bench", 8)
    for number, first in enumerate(range(0, len(writes), BATCH), start=1):
        await store.apply("7:1:bench", a_batch(number, writes[first : first + BATCH], send=False))
    await client.aclose()


def bytes_in_redis(port: int, lead: str, count: int) -> tuple[int, float]:
    """Return the bytes of a lead's hash by `MEMORY USAGE`, and its share of `due` and `rank`, *count* leads being held."""
    with redis.Redis(port=port) as client:

        def usage(name: str) -> int:
            used: Any = client.memory_usage("{default:0}:" + name, samples=0)
            return int(used)

        return usage("lead:" + lead), (usage("due") + usage("rank")) / count


def measure(writes: Sequence[LeadWrite], listpack_value: int) -> None:
    """Print what *writes* cost in a Redis with this setting."""
    settings = {"hash-max-listpack-value": str(listpack_value)}
    with Redis(settings, keep=False) as server, redis.Redis(port=server.port) as client:

        def used() -> int:
            memory: Any = client.info("memory")
            return int(memory["used_memory"])

        asyncio.run(write(server.url, writes[:1]))  # loads the functions, which are no lead's
        client.flushdb()
        before = used()
        asyncio.run(write(server.url, writes))
        grown = (used() - before) / len(writes)
        found = [bytes_in_redis(server.port, one.lead, len(writes)) for one in writes]
    hashes, sets = [hash_ for hash_, _ in found], found[0][1]
    click.echo(f"hash-max-listpack-value {listpack_value}:")
    click.echo(f"  hash            {statistics.median(hashes):6.0f} (median) {max(hashes):6} (max)")
    click.echo(f"  due and rank    {sets:6.0f}")
    click.echo(f"  altogether      {statistics.median(hashes) + sets:6.0f} (median) {max(hashes) + sets:6.0f} (max)")
    click.echo(f"  within 2,048    {sum(hash_ + sets <= 2048 for hash_ in hashes) / len(hashes):6.1%} of the leads")
    click.echo(f"  used_memory     {grown:6.0f} (mean growth)")


def main() -> None:
    """Print bytes a lead, by part and altogether."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
    judge = scorer()
    writes = [written(judge, lead, events) for lead, events in leads(count)]
    sizes = [len(one.state) for one in writes]
    click.echo(f"{count:,} leads; bytes a lead")
    click.echo(f"packed state      {statistics.median(sizes):6.0f} (median) {max(sizes):6} (max)")
    parts: dict[str, list[int]] = {}
    for one in writes:
        for name, size in part_sizes(one.state).items():
            parts.setdefault(name, []).append(size)
    for name, all_ in parts.items():
        click.echo(f"  {name:15} {statistics.median(all_):6.0f} (median) {max(all_):6} (max)")
    for value in (64, 4096):
        measure(writes, value)


def part_sizes(packed: bytes) -> dict[str, int]:
    """Return how many bytes each part of a packed state takes."""
    fields: list[msgspec.Raw] = msgspec.msgpack.decode(packed, type=list[msgspec.Raw])
    sizes = {name: len(bytes(raw)) for name, raw in zip(LeadState.__struct_fields__, fields, strict=True)}
    big = {name: sizes[name] for name in PARTS}
    return big | {"everything else": len(packed) - sum(big.values())}


if __name__ == "__main__":
    main()
