"""Who goes over the log: LeadPulse, what a user might pick instead, and the floor."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import IO, Final

import msgspec
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import TopicPartition

from ops.dev.compiled import compiled as compiled_core
from ops.dev.kafka_broker import create_topics, java
from tests.benchmarks.measure import committed, tree
from tests.benchmarks.place import LOG, PARTITIONS, SHORT, Failed, Place, Watch, alive, moves
from tests.benchmarks.report import Result
from tests.kit.forks import Process
from tests.kit.shell import ROOT
from tests.kit.site import Site
from tests.kit.workers import Worker

RIVALS: Final = Path(__file__).parent / "rivals"


OF_RIVALS: Final = ROOT / ".venv-rivals" / "bin" / "python"
"""The interpreter with the rivals' packages that are none of ours."""


FULL, SIMPLE = "LeadPulse, full model (saas-b2b)", "LeadPulse, the rivals' scoring"


FULL_COMPILED, SIMPLE_COMPILED = f"{FULL}, compiled", f"{SIMPLE}, compiled"


FLOOR: Final = "floor: decode, one write a lead and batch"


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
            alive(name, worker.process, watch.began_s, worker.log)
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
            alive(name, process, started_s, said)
            await asyncio.sleep(0.02)
        watch.begin()
        while await committed(admin, group, log) < place.sizes[log]:
            alive(name, process, watch.began_s, said)
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


def _end(process: Process) -> None:
    """End the process group of a rival."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


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
