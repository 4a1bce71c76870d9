"""`make bench`: LeadPulse, what a user might pick instead, and the floor, over the same log in turn, several times.

Each run begins at the first record in hand (a started process) and ends when the log is processed and durable: offsets at its
end, outputs committed. Every contestant starts anew, with a group, a state and an output topic of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import IO, Final

import click
import msgspec
import redis
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import TopicPartition

from ops.dev.compiled import compiled as compiled_core
from ops.dev.kafka_broker import Kafka, create_topics, java
from ops.dev.redis_server import Redis, RedisCluster
from tests.benchmarks import report
from tests.benchmarks.log import DAYS, Line, lines
from tests.benchmarks.measure import committed, cpu_s, peak_mb, produce, tree
from tests.benchmarks.report import Result
from tests.benchmarks.rivals import decode, spec
from tests.kit.forks import Process
from tests.kit.shell import ROOT
from tests.kit.site import Site
from tests.kit.workers import Worker

PARTITIONS: Final = 8
RIVALS: Final = Path(__file__).parent / "rivals"
OF_RIVALS: Final = ROOT / ".venv-rivals" / "bin" / "python"
"""The interpreter with the rivals' packages that are none of ours."""
LOG, SHORT = "race", "race-short"
AS_DEPLOYED: Final = {"hash-max-listpack-value": "2048"}
"""What `docker-compose.yml` sets in Redis, beside what its service here sets by itself."""
LONGEST_S: Final = 1_200.0

FULL, SIMPLE = "LeadPulse, full model (saas-b2b)", "LeadPulse, the rivals' scoring"
FULL_COMPILED, SIMPLE_COMPILED = f"{FULL}, compiled", f"{SIMPLE}, compiled"
FLOOR: Final = "floor: decode, one write a lead and batch"

Outputs = Counter[tuple[str, str]]
"""How often each lead has made each type of move."""


class Failed(Exception):
    """A contestant ended, or did not get through; the message says which and has the end of its log."""


@dataclass
class Place:
    """The servers, and what is the same for all runs."""

    kafka: Kafka
    redis: Redis | RedisCluster
    folder: Path
    warm_up: int
    wanted: Mapping[str, Outputs]
    """By the log's name, what the rivals' scoring publishes of it."""
    sizes: Mapping[str, int]
    runs: int = 0

    def site(self, log: Sequence[str], **settings: object) -> Site:
        """Return a new namespace over the topics *log*."""
        self.runs += 1
        told = {
            "partitions": PARTITIONS,
            "input_topics": ",".join(log),
            "clock": "wall",
            "tick_interval": 10,
            "publish_interval": 0.1,
            "session_timeout": 10,
            "metrics_port": 0,
        }
        return Site(self.kafka.address, self.redis.url, f"bench-{self.runs}", self.folder, **(told | settings))

    def servers_cpu_s(self) -> tuple[float, float]:
        """Return what broker and Redis have taken."""
        nodes = self.redis.nodes if isinstance(self.redis, RedisCluster) else [self.redis]
        return cpu_s([self.kafka.pid or 0]), cpu_s([node.pid or 0 for node in nodes])


@dataclass
class Watch:
    """Times and processor time of one run, between the first record and the last."""

    place: Place
    process: Process
    began_s: float = 0.0
    before: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def begin(self) -> None:
        """Note that the first record is in hand."""
        self.began_s = time.time()
        self.before = (cpu_s(tree(self.process.pid)), *self.place.servers_cpu_s())

    def end(self, name: str, events: int) -> Result:
        """Return what the run took until now."""
        seconds = time.time() - self.began_s
        after = (cpu_s(tree(self.process.pid)), *self.place.servers_cpu_s())
        cpu_us, kafka_us, redis_us = ((b - a) / events * 1e6 for a, b in zip(self.before, after, strict=True))
        return Result(name, events, seconds, cpu_us, kafka_us, redis_us, peak_mb(tree(self.process.pid)), 0, None)


class Live(Worker):
    """`leadpulse run`."""

    program = ("worker.cli", "run")


async def leadpulse(
    place: Place, name: str, grid: str, log: Sequence[str] = (LOG,), workers: int = 1, home: Path = ROOT, **settings: object
) -> tuple[Result, Site]:
    """Drain the topics *log* with so many worker processes; return the measurements and the namespace, workers ended.

    *home* is where the program is, which may be another form of it than the one here.
    """
    site = place.site(log, **settings)
    site.put_grid(grid)
    await site.prepare()
    events = sum(place.sizes[topic] for topic in log)
    Live.program = ("worker.cli", "run", *(("--workers", str(workers)) if workers > 1 else ()))
    Live.home = home
    worker = Live(site, "", {})
    site.workers.append(worker)
    watch = Watch(place, worker.process)
    try:
        await worker.ready(1, 60)
        watch.begin()
        while True:
            applied = [await site.position(p) for p in range(PARTITIONS)]
            if sum(int(at.get(f"next:{topic}", 0)) for at in applied for topic in log) >= events:
                break
            _alive(name, worker.process, watch.began_s, worker.log)
            await asyncio.sleep(0.1)
        result = watch.end(name, events)
        # What is applied is durable; what it made is seen a moment later, and the run ends when the last of it is.
        await asyncio.sleep(2)
        records = await site.outputs()
        sent_s = max((record.timestamp_ms or 0 for record in records), default=0) / 1_000
        seconds = max(result.seconds, min(sent_s - watch.began_s, result.seconds + 2))
        found = moves([record.value or b"" for record in records])
    finally:
        with_workers = tree(worker.process.pid)
        worker.process.send_signal(signal.SIGTERM)
        try:
            await worker.ended(20)
        except subprocess.TimeoutExpired:
            for pid in reversed(with_workers):
                os.kill(pid, signal.SIGKILL)
        worker.kill()
    return msgspec.structs.replace(result, seconds=seconds, outputs=found.total()), site


async def rival(place: Place, name: str, command: Sequence[str], log: str = LOG, published: bool = True) -> Result:
    """Let one rival go over *log*."""
    site = place.site([log])
    group, output = site.settings.namespace, f"{site.settings.namespace}.out"
    topics = [output, f"{output}.warm"]
    await create_topics(place.kafka.address, topics, PARTITIONS, {"retention.ms": "-1"})
    folder = Path(tempfile.mkdtemp(prefix="rival-", dir=place.folder))
    told = {
        "RACE_KAFKA": place.kafka.address,
        "RACE_REDIS": place.redis.url,
        "RACE_NAME": group,
        "RACE_INPUT": log,
        "RACE_OUTPUT": output,
        "RACE_FOLDER": str(folder),
        "RACE_PARTITIONS": str(PARTITIONS),
    }
    said = folder / "log.txt"
    with said.open("wb") as to:
        process = _started(command, told, to)
    admin = AIOKafkaAdminClient(bootstrap_servers=place.kafka.address)
    await admin.start()
    watch = Watch(place, process)
    try:
        started_s = time.time()
        while b"FIRST" not in said.read_bytes():
            _alive(name, process, started_s, said)
            await asyncio.sleep(0.02)
        watch.begin()
        while await committed(admin, group, log) < place.sizes[log]:
            _alive(name, process, watch.began_s, said)
            await asyncio.sleep(0.1)
        result = watch.end(name, place.sizes[log])
    finally:
        await admin.close()
        _end(process)
        shutil.rmtree(folder, ignore_errors=True)
    if not published:
        return result
    found = moves([r.value or b"" for r in await site.read([TopicPartition(output, p) for p in range(PARTITIONS)])])
    return msgspec.structs.replace(result, outputs=found.total(), same=found == place.wanted[log])


def _started(command: Sequence[str], told: Mapping[str, str], to: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | told, stdout=to, stderr=to, start_new_session=True)


def _alive(name: str, process: Process, began_s: float, log: Path) -> None:
    ended = process.poll()
    if ended is not None or time.time() - began_s > LONGEST_S:
        why = f"not through after {LONGEST_S:.0f} s" if ended is None else f"ended with {ended}"
        raise Failed(f"{name}: {why}\n{log.read_text(errors='replace')[-3_000:]}")


def _end(process: Process) -> None:
    """End the process group of a rival."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def moves(values: Sequence[bytes]) -> Outputs:
    """Count the outputs by lead and type."""
    found: Outputs = Counter()
    for value in values:
        output = json.loads(value)
        found[output["subject"], output["type"]] += 1
    return found


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


def compiled() -> Path:
    """Return the folder with the Kafka Streams rival, compiled and with its jars; made once for each of its versions."""
    source = RIVALS / "streams"
    texts = [(source / name).read_bytes() for name in ("pom.xml", "Race.java")]
    folder = ROOT / ".cache" / f"race-streams-{hashlib.sha256(b''.join(texts)).hexdigest()[:12]}"
    if not (folder / "Race.class").exists():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / "pom.xml", folder)
        for command in (
            ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=jars", "-DincludeScope=runtime"],
            ["javac", "-cp", "jars/*", "-d", ".", str(source / "Race.java")],
        ):
            try:
                subprocess.run(command, cwd=folder, check=True)
            except FileNotFoundError:
                raise Failed(f"Kafka Streams: no `{command[0]}` on PATH (Debian: apt install maven openjdk-17-jdk)") from None
    return folder


def streams(place: Place, name: str, threads: int) -> Awaitable[Result]:
    """Let Kafka Streams go over the log with so many threads, its virtual machine warm."""
    folder = compiled()
    command = [java(), "-Xmx1g", "-cp", f"{folder}:{folder}/jars/*", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "Race"]
    return rival(place, name, [*command, str(threads), str(place.warm_up)])


def python(
    place: Place, name: str, module: str, log: str = LOG, *, theirs: bool = False, published: bool = True
) -> Awaitable[Result]:
    """Let a Python rival go over *log*; *theirs*: in the rivals' environment."""
    interpreter = str(OF_RIVALS) if theirs else sys.executable
    words = ["worker", "-l", "warn", "--without-web"] if module.startswith("faust") else []
    return rival(place, name, [interpreter, "-m", f"tests.benchmarks.rivals.{module}", *words], log, published)


async def _full(place: Place, name: str, home: Path = ROOT) -> Result:
    result, _ = await leadpulse(place, name, files("grids").joinpath("saas-b2b.yaml").read_text(), home=home)
    return result


async def _simple(place: Place, name: str, home: Path = ROOT) -> Result:
    result, site = await leadpulse(place, name, (RIVALS / "race.yaml").read_text(), home=home, clock="events")
    found = moves([record.value or b"" for record in await site.outputs()])
    return msgspec.structs.replace(result, same=found == place.wanted[LOG])


CONTESTANTS: Final[dict[str, Callable[[Place, str], Awaitable[Result]]]] = {
    FULL: _full,
    SIMPLE: _simple,
    FULL_COMPILED: lambda place, name: _full(place, name, compiled_core()),
    SIMPLE_COMPILED: lambda place, name: _simple(place, name, compiled_core()),
    FLOOR: lambda place, name: python(place, name, "floor", published=False),
    "Kafka Streams 4.1, 1 thread": lambda place, name: streams(place, name, 1),
    "Kafka Streams 4.1, 2 threads": lambda place, name: streams(place, name, 2),
    "Quix Streams, exactly-once": lambda place, name: python(place, name, "quix", theirs=True),
    "Faust Table": lambda place, name: python(place, name, "faust_table", SHORT),
    "Faust agent with Redis": lambda place, name: python(place, name, "faust_redis", SHORT),
}


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


async def race(
    names: Sequence[str],
    runs: int,
    events: int,
    short: int,
    leads: int,
    hours: float,
    warm_up: int,
    keep: Callable[[Result], None],
) -> dict[str, list[Result]]:
    """Let *names* go over the log in turn, *runs* times; each result goes to *keep* as it comes."""
    results: dict[str, list[Result]] = {name: [] for name in names}
    log = list(lines(events, leads, span=timedelta(hours=hours)))
    wanted = {LOG: scored(log), SHORT: scored(log[:short])}
    sizes = {LOG: events, SHORT: short}
    with (
        tempfile.TemporaryDirectory(prefix="leadpulse-bench-") as folder,
        Redis(AS_DEPLOYED) as server,
        Kafka(heap="1g", lasting=True) as kafka,
    ):
        for topic, size in sizes.items():
            await create_topics(kafka.address, [topic], PARTITIONS, {"retention.ms": "-1"})
            produce(kafka.address, [topic], log[:size], PARTITIONS)
        del log
        place = Place(kafka, server, Path(folder), warm_up, wanted, sizes)
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


def page(results: Mapping[str, Sequence[Result]], leads: int, hours: float, warm_up: int) -> str:
    """Return the section of `docs/benchmarks.md`."""
    ours = [name for name in (FULL, SIMPLE, FULL_COMPILED, SIMPLE_COMPILED) if name in results]
    runs = min(map(len, results.values()))
    return f"""\
Measured on {report.where()}; {runs} rounds in turn: medians (least to greatest). CPU is that of
the contestant's processes from the first record to the last. The log is of {leads:,} leads at most and {hours:g} hours;
Kafka Streams has read {warm_up:,} events before, to be warm.

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

    def keep(result: Result) -> None:
        if results is not None:
            with results.open("ab") as to:
                to.write(msgspec.json.encode(result) + b"\n")

    try:
        found = asyncio.run(race(names, runs, events, min(short, events), leads, hours, min(warm_up, events), keep))
    except Failed as err:
        raise click.ClickException(str(err)) from None
    text = page(found, leads, hours, min(warm_up, events))
    click.echo(text)
    if target is not None:
        report.write(target, "race", text)
    if any(result.same is False for all_ in found.values() for result in all_):
        raise click.ClickException("not all contestants published the same")


if __name__ == "__main__":
    main()
