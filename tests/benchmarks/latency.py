"""How long an event takes under load: from `send` to its lead in Redis, and to `lead.sql` in a consumer's hand.

`python -m tests.benchmarks.latency [--rate R …]`: one worker with the full model and its defaults; another process produces R
events a second, like those of the race's log, as of now. Beside them probes, `demo.requested` of new leads, each of which is
`lead.sql` at once. The consumer reads committed records only.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
import msgspec
from aiokafka.structs import TopicPartition
from confluent_kafka import Producer

from ops.dev.kafka_broker import Kafka, create_topics
from ops.dev.redis_server import Redis
from tests.benchmarks import report
from tests.benchmarks.contestants import Live
from tests.benchmarks.log import lines
from tests.benchmarks.place import AS_DEPLOYED, LOG, PARTITIONS, Place
from tests.kit.shell import ROOT
from tests.kit.site import Site
from worker.core.contract.partitioner import owner

PROBES_A_SECOND = 25
WARM_S = 10.0
LAST_S = 15.0
"""Waited for what is still on its way at the end: a probe that takes longer is not through."""
_STEP_S = 0.005
_LEADS = 50_000


class Seen(msgspec.Struct):
    """Of one probe: when it was sent, was in Redis, was in hand as `lead.sql`; seconds."""

    sent: float
    stored: float = 0.0
    published: float = 0.0


def load(kafka: str, rate: int, seconds: float) -> None:
    """Produce *rate* events a second for so long, as they come due; say how many it was behind at the end."""
    producer = Producer({"bootstrap.servers": kafka, "compression.type": "lz4", "linger.ms": 5, "enable.idempotence": True})
    begin = datetime.now(UTC)
    span = timedelta(seconds=seconds)
    made = lines(int(rate * seconds), _LEADS, end=begin + span, span=span)
    owners: dict[str, int] = {}
    began, sent = time.monotonic(), 0
    while (now := time.monotonic() - began) < seconds:
        due = int(now * rate)
        while sent < due and (line := next(made, None)) is not None:
            home = owners.get(line.lead)
            if home is None:
                home = owners[line.lead] = owner(line.lead, PARTITIONS)
            producer.produce(LOG, line.value, line.lead.encode(), home)
            sent += 1
            if sent % 1_000 == 0:
                producer.poll(0)
        producer.poll(0)
        time.sleep(_STEP_S)
    producer.flush(30)
    click.echo(f"{sent}")


async def probe(site: Site, seconds: float) -> dict[str, Seen]:
    """Send probes for *seconds* and see where they come out."""
    seen: dict[str, Seen] = {}
    waiting: dict[str, str] = {}
    producer = Producer({"bootstrap.servers": site.settings.kafka, "linger.ms": 0})
    done = asyncio.Event()

    async def send() -> None:
        for n in range(int(seconds * PROBES_A_SECOND)):
            lead = f"probe-{n}"
            home = owner(lead, PARTITIONS)
            at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            value = (
                f'{{"specversion":"1.0","id":"{lead}","source":"/probe","type":"demo.requested","subject":"{lead}",'
                f'"time":"{at}","data":{{"form_id":"demo"}}}}'
            )
            seen[lead] = Seen(time.time())
            waiting[lead] = site.key(home, f"lead:{lead}")
            producer.produce(LOG, value, lead, home)
            producer.poll(0)
            await asyncio.sleep(1 / PROBES_A_SECOND)
        producer.flush(5)

    async def stored() -> None:
        async with site.redis() as redis:
            while not done.is_set():
                names = list(waiting)
                if names:
                    pipe = redis.pipeline(transaction=False)
                    for name in names:
                        pipe.exists(waiting[name])
                    now_there: list[Any] = await pipe.execute()
                    now = time.time()
                    for name, there in zip(names, now_there, strict=True):
                        if there:
                            seen[name].stored = now
                            del waiting[name]
                await asyncio.sleep(0.002)

    async def published() -> None:
        topic = site.settings.output_topic("lead.sql")
        async with site.consumer() as consumer:
            tps = [TopicPartition(topic, p) for p in range(PARTITIONS)]
            consumer.assign(tps)
            await consumer.seek_to_beginning(*tps)
            while not done.is_set():
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    now = time.time()
                    for record in records:
                        if record.key.startswith(b"probe-"):
                            seen[record.key.decode()].published = now

    watching = [asyncio.create_task(stored()), asyncio.create_task(published())]
    await send()
    await asyncio.sleep(LAST_S)
    done.set()
    await asyncio.gather(*watching)
    return seen


async def one(rate: int, seconds: float, folder: Path) -> str:
    """Return the table's row for *rate*."""
    with Redis(AS_DEPLOYED) as server, Kafka(heap="1g", lasting=True) as kafka:
        await create_topics(kafka.address, [LOG], PARTITIONS)
        site = Place(kafka, server, folder, 0, {}, {}).site([LOG])
        site.put_grid(files("grids").joinpath("saas-b2b.yaml").read_text())
        await site.prepare()
        worker = Live(site, "", {})
        site.workers.append(worker)
        try:
            await worker.ready(PARTITIONS, 60)
            command = [sys.executable, "-m", "tests.benchmarks.latency", "--load", kafka.address, "--rate", str(rate)]
            whole_s = WARM_S + seconds + 1
            loading = await asyncio.create_subprocess_exec(
                *command, "--seconds", str(whole_s), cwd=ROOT, stdout=subprocess.PIPE
            )
            await asyncio.sleep(WARM_S)
            seen = await probe(site, seconds)
            said, _ = await loading.communicate()
        finally:
            site.close()
    through = [one for one in seen.values() if one.stored and one.published]
    cells = [f"{int(said) / whole_s:,.0f}", f"{len(through):,} of {len(seen):,}"]
    for took in ([1e3 * (x.stored - x.sent) for x in through], [1e3 * (x.published - x.sent) for x in through]):
        cells += [f"{report.quantile(took, share):.0f}" if took else "–" for share in (0.5, 0.99, 0.999)]
    return f"| {rate:,} | {' | '.join(cells)} |"


async def measure(rates: tuple[int, ...], seconds: float) -> str:
    """Return the table."""
    rows = [
        "| events/s asked | produced | probes through | to Redis: p50 ms | p99 | p99.9 | to `lead.sql`: p50 ms | p99 | p99.9 |",
        "|---" * 9 + "|",
    ]
    with tempfile.TemporaryDirectory(prefix="leadpulse-bench-") as folder:
        for rate in rates:
            rows.append(await one(rate, seconds, Path(folder)))
            click.echo(rows[-1], err=True)
    return "\n".join(rows)


@click.command()
@click.option("--rate", "rates", multiple=True, default=(1_000, 5_000, 20_000), show_default=True)
@click.option(
    "--seconds", default=40.0, show_default=True, help="In which probes are sent, 25 a second, after 10 s of load alone."
)
@click.option("--load", "kafka", help="Produce only, to this broker.")
@click.option("--write", "target", type=click.Path(dir_okay=False, path_type=Path), help="Put the table into this page.")
def main(rates: tuple[int, ...], seconds: float, kafka: str | None, target: Path | None) -> None:
    """Measure latency under load."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    if kafka is not None:
        load(kafka, rates[0], seconds)
        return
    text = f"Measured on {report.where()}.\n\n{asyncio.run(measure(rates, seconds))}"
    click.echo(text)
    if target is not None:
        report.write(target, "latency", text)


if __name__ == "__main__":
    main()
