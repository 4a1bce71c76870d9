"""`make bench`: LeadPulse, what a user might pick instead, and the floor, over the same log in turn, several times.

Each run begins at the first record in hand (a started process) and ends when the log is processed and durable: offsets at its
end, outputs committed. Every contestant starts anew, with a group, a state and an output topic of its own.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import click
import msgspec
import redis
from aiokafka.admin import AIOKafkaAdminClient

from ops.dev.kafka_broker import Kafka, create_topics
from ops.dev.redis_server import Redis, RedisCluster
from tests.benchmarks import report
from tests.benchmarks.contestants import CONTESTANTS, FULL, FULL_COMPILED, SIMPLE, SIMPLE_COMPILED
from tests.benchmarks.log import DAYS, Line, lines
from tests.benchmarks.measure import produce
from tests.benchmarks.place import AS_DEPLOYED, LOG, PARTITIONS, SHORT, Failed, Outputs, Place
from tests.benchmarks.report import Result
from tests.benchmarks.rivals import decode, spec


def scored(log: Sequence[Line]) -> Outputs:
    """Return what the rivals' scoring publishes of *log*."""
    leads: dict[str, spec.State] = {}
    found: Outputs = Counter()
    for line in log:
        event = decode.event(line.value)
        state = leads.get(event.subject)
        if state is None:
            state = leads[event.subject] = spec.new(event.at_ms)
        for move in spec.step(state, event.subject, event.id, event.at_ms, event.type, event.data.page_type):
            found[move["subject"], move["type"]] += 1
    return found


async def tidy(place: Place) -> None:
    """Forget the last run: its keys, and every topic but the logs."""
    for node in place.redis.nodes if isinstance(place.redis, RedisCluster) else [place.redis]:
        with redis.Redis(port=node.port) as client:
            client.flushall()
    admin = AIOKafkaAdminClient(bootstrap_servers=place.kafka.address)
    await admin.start()
    try:
        await admin.delete_topics([t for t in await admin.list_topics() if t not in place.sizes and not t.startswith("__")])
    finally:
        await admin.close()


@dataclass(frozen=True)
class Course:
    """The log that contestants go over."""

    events: int
    short: int
    """Events at its beginning, for contestants that would take hours."""
    leads: int
    hours: float
    """Over which the events happened."""
    warm_up: int
    """Events that Kafka Streams reads first."""


async def race(names: Sequence[str], runs: int, course: Course, keep: Callable[[Result], None]) -> dict[str, list[Result]]:
    """Let *names* go over the log in turn, *runs* times; each result goes to *keep* as it comes."""
    results: dict[str, list[Result]] = {name: [] for name in names}
    log = list(lines(course.events, course.leads, span=timedelta(hours=course.hours)))
    wanted = {LOG: scored(log), SHORT: scored(log[: course.short])}
    sizes = {LOG: course.events, SHORT: course.short}
    with (
        tempfile.TemporaryDirectory(prefix="leadpulse-bench-") as folder,
        Redis(AS_DEPLOYED) as server,
        Kafka(heap="1g", lasting=True) as kafka,
    ):
        for topic, size in sizes.items():
            await create_topics(kafka.address, [topic], PARTITIONS, {"retention.ms": "-1"})
            produce(kafka.address, [topic], log[:size], PARTITIONS)
        del log
        place = Place(kafka, server, Path(folder), course.warm_up, wanted, sizes)
        for number in range(runs):
            for name in names:
                result = await CONTESTANTS[name](place, name)
                results[name].append(result)
                keep(result)
                click.echo(
                    f"{number + 1}/{runs} {name}: {result.rate:,.0f}/s, {result.cpu_us:.1f} µs, {result.peak_mb:.0f} MB, "
                    f"{result.outputs:,} outputs{'' if result.same is not False else ', NOT the expected ones'}",
                    err=True,
                )
                await tidy(place)
    return results


def page(results: Mapping[str, Sequence[Result]], course: Course) -> str:
    """Return the section of `docs/benchmarks.md`."""
    ours = [name for name in (FULL, SIMPLE, FULL_COMPILED, SIMPLE_COMPILED) if name in results]
    runs = min(map(len, results.values()))
    return f"""\
Measured on {report.where()}; {runs} rounds in turn: medians (least to greatest). CPU is that of
the contestant's processes from the first record to the last.
The log is of {course.leads:,} leads at most and {course.hours:g} hours;
Kafka Streams has read {course.warm_up:,} events before, to be warm.

{report.table(results)}

{report.compared(results, ours)}
"""


@click.command()
@click.option("--runs", default=5, show_default=True)
@click.option("--events", default=400_000, show_default=True, help="Of the log.")
@click.option("--short", default=40_000, show_default=True, help="Of the log's beginning, for the Faust rivals.")
@click.option("--leads", default=50_000, show_default=True)
@click.option("--hours", default=24.0 * DAYS, show_default=True, help="Over which the events happened.")
@click.option("--warm-up", default=200_000, show_default=True, help="Events that Kafka Streams reads first.")
@click.option("--only", multiple=True, help="Contestants whose name has this in it; may be given again.")
@click.option("--results", type=click.Path(dir_okay=False, path_type=Path), help="Add each run there, a JSON line each.")
@click.option("--write", "target", type=click.Path(dir_okay=False, path_type=Path), help="Put the tables into this page.")
def main(
    runs: int,
    events: int,
    short: int,
    leads: int,
    hours: float,
    warm_up: int,
    only: tuple[str, ...],
    results: Path | None,
    target: Path | None,
) -> None:
    """Race LeadPulse against what a user might pick instead, and print medians, spread and ratios."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    names = [name for name in CONTESTANTS if not only or any(word.lower() in name.lower() for word in only)]

    course = Course(events, min(short, events), leads, hours, min(warm_up, events))

    def keep(result: Result) -> None:
        if results is not None:
            with results.open("ab") as to:
                to.write(msgspec.json.encode(result) + b"\n")

    try:
        found = asyncio.run(race(names, runs, course, keep))
    except Failed as err:
        raise click.ClickException(str(err)) from None
    text = page(found, course)
    click.echo(text)
    if target is not None:
        report.write(target, "race", text)
    if any(result.same is False for all_ in found.values() for result in all_):
        raise click.ClickException("not all contestants published the same")


if __name__ == "__main__":
    main()
