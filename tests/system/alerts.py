"""Every alert that a fault can bring about, firing and clearing, on a real Prometheus over two real workers: `make alerts`.

`python -m tests.system.alerts [--factor 10] [--fault NAME]`. The rules are the deployed ones with every window, every `for` and
every age that they compare with divided by the factor, and Prometheus looks that much more often; `--factor 1` is as deployed.
What workers, Kafka and Redis do is not sped up. A fault begins when the alerts of the one before it have cleared, but for those
that look back for long, and both workers have caught up. Prints the timeline as a table; exit code 1 when an alert did not fire
or clear, or when one fires before any fault.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

import click
import msgspec
import redis
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.structs import TopicPartition
from ruamel.yaml import YAML

from ops.dev.kafka_broker import Kafka
from ops.dev.prometheus_server import Prometheus
from ops.dev.redis_server import Redis
from ops.dev.services import HOST, REPOSITORY, free_port
from tests.benchmarks import report

RULES: Final = REPOSITORY / "ops/prometheus/rules/leadpulse.yml"
SCRAPE_S: Final = 15.0
"""Between two looks of Prometheus, where nothing is sped up."""
PARTITIONS: Final = 4
RETENTION_S: Final = 2_000
"""Of the input topics, divided by the factor as well."""
_AT_REST_S: Final = 2.0
"""Age of the oldest event that waits for a worker that has nothing to catch up with."""
UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def sped_up(rules: dict[str, Any], factor: float) -> dict[str, Any]:
    """Return *rules* with every window, `for`, interval and compared age divided by *factor*."""

    def duration(text: str) -> str:
        return f"{round(int(text[:-1]) * UNITS[text[-1]] * 1000 / factor)}ms"

    def expression(text: str) -> str:
        text = re.sub(r"(?<=\[)\d+[smhdw](?=\])|(?<=offset )\d+[smhdw]", lambda found: duration(found[0]), text)
        return re.sub(
            r"((?:lag|fetch_age|pending)_seconds(?::max)?\)? > )(\d+)",
            lambda found: f"{found[1]}{int(found[2]) / factor:g}",
            text,
        )

    groups = []
    for group in rules["groups"]:
        changed = [
            {**rule, "expr": expression(rule["expr"])} | ({"for": duration(rule["for"])} if "for" in rule else {})
            for rule in group["rules"]
        ]
        groups.append({**group, "rules": changed} | ({"interval": duration(group["interval"])} if "interval" in group else {}))
    return {"groups": groups}


class Watcher(Prometheus):
    """A Prometheus with the alerts, sped up by *factor*."""

    def __init__(self, targets: Sequence[str], factor: float) -> None:
        super().__init__(targets, every=f"{round(SCRAPE_S * 1000 / factor)}ms")
        self._factor = factor

    def _command(self) -> Sequence[str]:
        command = super()._command()
        YAML(typ="safe").dump(sped_up(YAML(typ="safe").load(RULES), self._factor), self.folder / "rules.yml")
        config = self.folder / "prometheus.yml"
        told: dict[str, Any] = json.loads(config.read_text())
        every = told["global"]["scrape_interval"]
        told["global"] |= {"evaluation_interval": every, "scrape_timeout": every}
        config.write_text(json.dumps(told | {"rule_files": ["rules.yml"]}))
        return command

    def firing(self) -> dict[str, str]:
        """Return the summaries of the alerts that fire now, by name."""
        with urlopen(f"{self.url}/api/v1/alerts", timeout=10) as answer:
            alerts = json.load(answer)["data"]["alerts"]
        return {one["labels"]["alertname"]: one["annotations"]["summary"] for one in alerts if one["state"] == "firing"}


class Supervised:
    """A worker that is started again 2 s after its end, as an orchestrator does, until `down`."""

    def __init__(self, environ: Mapping[str, str], folder: Path, number: int) -> None:
        self.port = free_port()
        self.grid = folder / f"grid-{number}.yaml"
        self.grid.write_bytes((REPOSITORY / "grids/saas-b2b.yaml").read_bytes())
        self.settings = {"LEADPULSE_METRICS_PORT": str(self.port), "LEADPULSE_GRID": str(self.grid)}
        self._environ = dict(environ)
        self.log = folder / f"worker-{number}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._wanted = False

    def up(self, **more: str) -> None:
        """Start it, with *more* settings for this time."""
        self._wanted = True
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "worker.cli", "run"],
                cwd=REPOSITORY,
                env={**os.environ, **self._environ, **self.settings, **more},
                stdout=log,
                stderr=log,
            )

    def down(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it, for as long as nobody calls `up`."""
        self._wanted = False
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    async def supervise(self) -> None:
        """Start it again whenever it has ended."""
        while True:
            await asyncio.sleep(2)
            if self._wanted and self._process is not None and self._process.poll() is not None:
                self.up()

    def ready(self) -> bool:
        """Return whether it says that it takes the events of all its partitions."""
        try:
            with urlopen(f"http://{HOST}:{self.port}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def lag_s(self) -> float:
        """Return the age of the oldest event that waits for it; infinite when it does not say."""
        try:
            with urlopen(f"http://{HOST}:{self.port}/metrics", timeout=2) as answer:
                page = answer.read().decode()
        except OSError:
            return math.inf
        return max(map(float, re.findall(r"^leadpulse_lag_seconds\{.*\} (\S+)$", page, re.MULTILINE)), default=math.inf)


class Stage:
    """Servers, workers, load and the watcher; faults act on it."""

    def __init__(self, factor: float, kafka: Kafka, store: Redis, folder: Path) -> None:
        self.factor, self.kafka, self.store = factor, kafka, store
        self.environ = {
            "LEADPULSE_KAFKA": kafka.address,
            "LEADPULSE_REDIS": store.url,
            "LEADPULSE_PARTITIONS": str(PARTITIONS),
        }
        self.workers = [Supervised(self.environ, folder, number) for number in range(2)]
        self.watcher = Watcher([f"{HOST}:{worker.port}" for worker in self.workers], factor)
        self.folder = folder

    def command(self, *words: str) -> None:
        """Run a command of leadpulse."""
        line = [sys.executable, "-m", "worker.cli", *words]
        subprocess.run(line, cwd=REPOSITORY, env={**os.environ, **self.environ}, check=True, capture_output=True)

    async def prepare(self) -> None:
        """Make the topics, and let the inputs be kept for as long as the factor says."""
        self.command("topics", "create")
        async with _admin(self.kafka) as admin:
            kept = {"retention.ms": str(round(RETENTION_S * 1000 / self.factor))}
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, kept) for topic in _INPUTS])

    def all_ready(self) -> bool:
        """Return whether both workers take events."""
        return all(worker.ready() for worker in self.workers)

    def at_rest(self) -> bool:
        """Return whether both workers take events, and have taken those that a fault before made wait."""
        return self.all_ready() and all(worker.lag_s() < _AT_REST_S for worker in self.workers)

    async def until(self, told: Callable[[], bool], within_s: float, what: str) -> float:
        """Wait until *told* is true; return how long it took."""
        began = time.monotonic()
        while not await asyncio.to_thread(told):
            if time.monotonic() - began > within_s:
                raise AssertionError(f"not within {within_s:.0f} s: {what}\n{self.said()}")
            await asyncio.sleep(0.25)
        return time.monotonic() - began

    def said(self) -> str:
        """Return the end of each worker's log."""
        return "\n".join(worker.log.read_text(errors="replace")[-1_500:] for worker in self.workers)

    def ask(self, *command: str | int) -> Any:
        """Return what Redis answers to *command*."""
        with redis.Redis(port=self.store.port, decode_responses=True) as client:
            return client.execute_command(*command)


_INPUTS: Final = ("lead.events.web", "lead.events.email", "lead.events.webinar", "lead.events.profile", "lead.events.crm")


@asynccontextmanager
async def _admin(kafka: Kafka) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


@contextlib.contextmanager
def _load(stage: Stage, rate: int) -> Iterator[None]:
    """Send made-up traffic, *rate* records a second."""
    words = [
        "simulate",
        "--kafka",
        stage.kafka.address,
        "--rate",
        str(rate),
        "--days",
        "3650",
        "--start",
        "now",
        "--leads",
        "2000",
    ]
    with (stage.folder / "load.log").open("wb") as log:
        load = subprocess.Popen([sys.executable, "-m", "worker.cli", *words], cwd=REPOSITORY, stdout=log, stderr=log)
    try:
        yield
    finally:
        load.kill()
        load.wait()


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Let *work* go on until the block is left."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def _flood(stage: Stage, value: bytes, rate: int) -> AsyncIterator[None]:
    """Send records of *value*, *rate* a second, beside the load."""

    async def send() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=stage.kafka.address)
        await producer.start()
        try:
            number = 0
            while True:
                for _ in range(max(1, rate // 10)):
                    number += 1
                    await producer.send(_INPUTS[0], value.replace(b"NUMBER", str(number).encode()), b"lead-%d" % (number % 500))
                await asyncio.sleep(0.1)
        finally:
            await producer.stop()

    async with _beside(send()):
        yield


@asynccontextmanager
async def redis_stopped(stage: Stage) -> AsyncIterator[None]:
    """Redis stopped (SIGTERM), then started again with its data."""
    await asyncio.to_thread(stage.store.stop)
    yield
    await asyncio.to_thread(stage.store.start)


@asynccontextmanager
async def worker_killed(stage: Stage) -> AsyncIterator[None]:
    """One of two workers killed (-9), then started again."""
    stage.workers[0].down(signal.SIGKILL)
    yield
    stage.workers[0].up()


@asynccontextmanager
async def all_workers_killed(stage: Stage) -> AsyncIterator[None]:
    """Both workers killed (-9), then started again."""
    for worker in stage.workers:
        worker.down(signal.SIGKILL)
    yield
    for worker in stage.workers:
        worker.up()


@asynccontextmanager
async def poison(stage: Stage) -> AsyncIterator[None]:
    """One of three records is no JSON."""
    async with _flood(stage, b'{"oops": NUMBER', 50):
        yield


@asynccontextmanager
async def poison_past_the_limit(stage: Stage) -> AsyncIterator[None]:
    """Nine of ten records are no JSON: the workers refuse. After the flood they start with LEADPULSE_MAX_BAD_SHARE=1."""
    async with _flood(stage, b'{"oops": NUMBER', 1_500):
        yield
    for worker in stage.workers:
        worker.down()
    for worker in stage.workers:
        worker.up(LEADPULSE_MAX_BAD_SHARE="1")
    await stage.until(stage.all_ready, 60, "the workers are ready with LEADPULSE_MAX_BAD_SHARE=1")


@asynccontextmanager
async def typo(stage: Stage) -> AsyncIterator[None]:
    """A producer writes `page.view`."""
    event = {"specversion": "1.0", "id": "NUMBER", "source": "/typo", "type": "page.view", "subject": "a", "data": {"url": "/"}}
    event["time"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    async with _flood(stage, json.dumps(event).encode(), 60):
        yield


@asynccontextmanager
async def redis_full(stage: Stage) -> AsyncIterator[None]:
    """`maxmemory` set to what Redis uses, then taken away."""
    stage.ask("CONFIG", "SET", "maxmemory", int(stage.ask("INFO", "memory")["used_memory"]))
    yield
    stage.ask("CONFIG", "SET", "maxmemory", 0)


@asynccontextmanager
async def broken_grid(stage: Stage) -> AsyncIterator[None]:
    """One worker's grid file with a mistake, then as before."""
    good = stage.workers[0].grid.read_text()
    stage.workers[0].grid.write_text(re.sub(r"enter: \d+", "enter: fifty", good, count=1))
    yield
    stage.workers[0].grid.write_text(good)


@asynccontextmanager
async def kafka_frozen(stage: Stage) -> AsyncIterator[None]:
    """The broker stopped in its tracks (SIGSTOP), then let go on."""
    stage.kafka.suspend()
    yield
    stage.kafka.resume()


@asynccontextmanager
async def kafka_slow(stage: Stage) -> AsyncIterator[None]:
    """The broker stopped for 0.7 s (SIGSTOP), again and again, with time for one answer between: so slow is each step."""

    async def pulse() -> None:
        try:
            while True:
                stage.kafka.suspend()
                await asyncio.sleep(0.7)
                stage.kafka.resume()
                await asyncio.sleep(0.015)
        finally:
            stage.kafka.resume()

    async with _beside(pulse()):
        yield


@asynccontextmanager
async def records_deleted(stage: Stage) -> AsyncIterator[None]:
    """Events deleted while no worker ran: they refuse; started with LEADPULSE_ACCEPT_LOSS=true; at the end without it again."""
    for worker in stage.workers:
        worker.down()
    await asyncio.sleep(5)
    tps = [TopicPartition(_INPUTS[0], p) for p in range(PARTITIONS)]
    async with _admin(stage.kafka) as admin:
        await admin.delete_records({tp: RecordsToDelete(-1) for tp in tps})
    for worker in stage.workers:
        worker.up()
    refused = "retention deleted records before they were read"
    told = [worker.log.stat().st_size for worker in stage.workers]
    await stage.until(
        lambda: any(refused in w.log.read_text(errors="replace")[at:] for w, at in zip(stage.workers, told, strict=True)),
        60,
        "a worker refuses",
    )
    for worker in stage.workers:
        worker.down()
    for worker in stage.workers:
        worker.up(LEADPULSE_ACCEPT_LOSS="true")
    yield
    for worker in stage.workers:
        worker.down()
    for worker in stage.workers:
        worker.up()


Fault = Callable[[Stage], contextlib.AbstractAsyncContextManager[None]]
FAULTS: dict[str, tuple[Fault, tuple[str, ...]]] = {
    "poison, one record of three": (poison, ("LeadPulseDeadLetterFlood", "LeadPulseDeadLetters")),
    "an unknown type": (typo, ("LeadPulseUnknownEvents",)),
    "poison, nine records of ten": (poison_past_the_limit, ("LeadPulseWorkerRestarting",)),
    "a grid file with a mistake": (broken_grid, ("LeadPulseGridRefused",)),
    "Redis full": (redis_full, ("LeadPulseRedisFull", "LeadPulseRedisNearlyFull")),
    "Redis stopped": (
        redis_stopped,
        ("LeadPulseRedisNotAnswering", "LeadPulseEventsStuck", "LeadPulseScoresStale", "LeadPulseRetentionHeadroom"),
    ),
    "one worker killed": (worker_killed, ("LeadPulseWorkerDown",)),
    "both workers killed": (all_workers_killed, ("LeadPulseNoWorker", "LeadPulseWorkerDown")),
    "Kafka slow": (kafka_slow, ("LeadPulseOutboxStuck",)),
    "Kafka frozen": (kafka_frozen, ("LeadPulsePartitionWithoutOwner",)),
    "events deleted before they were read": (records_deleted, ("LeadPulseRecordsLost",)),
}
"""What is done, and the alerts that it must bring about; others may fire with them, and are in the table too."""

_LOOK_BACK: Final = {"LeadPulseDeadLetters", "LeadPulseUnknownEvents", "LeadPulseWorkerRestarting"}
"""Alerts whose windows outlive by minutes what they fired for: another fault need not wait for them."""


@dataclass
class Spell:
    """One time that an alert fired, by the clock of who looks twice a second."""

    alert: str
    summary: str
    fired: float
    cleared: float | None = None


class Timeline:
    """What fired and cleared, and when."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self.spells: list[Spell] = []
        self.begins: list[float] = []
        """Of the faults."""

    def now(self) -> set[str]:
        """Return the alerts that fire."""
        return {spell.alert for spell in self.spells if spell.cleared is None}

    async def look(self) -> None:
        """Look for ever."""
        while True:
            with contextlib.suppress(OSError):
                found = await asyncio.to_thread(self._watcher.firing)
                at = time.monotonic()
                for spell in self.spells:
                    if spell.cleared is None and spell.alert not in found:
                        spell.cleared = at
                now = self.now()
                self.spells += [Spell(alert, words, at) for alert, words in found.items() if alert not in now]
            await asyncio.sleep(0.5)


class Seen(msgspec.Struct):
    """One fault, and what fired between its beginning and the next one's."""

    fault: str
    factor: float
    where: str
    """Date and machine."""
    alerts: dict[str, tuple[float, float]]
    """Alert → seconds from the fault's beginning to its firing, and from the fault's end to its clearing."""


@dataclass
class Brought:
    """One fault while it is watched."""

    fault: str
    began: float
    ended: float = 0.0

    def seen(self, timeline: Timeline, factor: float) -> Seen:
        """Return what it brought about before the next fault, as far as it has cleared."""
        until = min((at for at in timeline.begins if at > self.began), default=float("inf"))
        alerts: dict[str, tuple[float, float]] = {}
        for spell in timeline.spells:
            if self.began <= spell.fired < until and spell.cleared is not None:
                first, _ = alerts.get(spell.alert, (round(spell.fired - self.began), 0))
                alerts[spell.alert] = first, round(spell.cleared - self.ended)
        return Seen(self.fault, factor, report.where(), alerts)


async def bring_about(stage: Stage, timeline: Timeline, name: str) -> Brought:
    """Bring about fault *name* and see its alerts fire. Raises `AssertionError` when one does not, the fault undone."""
    fault, wanted = FAULTS[name]
    limit_s = 4_500 / stage.factor + 120
    waited_for = f"{name}: no alert fires and the workers have caught up before it begins"
    await stage.until(lambda: timeline.now() <= _LOOK_BACK - set(wanted) and stage.at_rest(), limit_s, waited_for)
    done = Brought(name, time.monotonic())
    timeline.begins.append(done.began)
    failed: AssertionError | None = None

    def missing() -> list[str]:
        return sorted(set(wanted) - {spell.alert for spell in timeline.spells if spell.fired >= done.began})

    async with fault(stage):
        try:
            await stage.until(lambda: not missing(), limit_s, f"{name}: all of {', '.join(wanted)} fire")
        except AssertionError as wrong:
            failed = wrong
    done.ended = time.monotonic()
    fired = [f"{s.alert} {s.fired - done.began:.0f} s" for s in timeline.spells if s.fired >= done.began]
    click.echo(f"  {name}: {', '.join(fired)}", err=True)
    if failed is not None:
        raise failed
    return done


def table(seen: Sequence[Seen]) -> str:
    """Return the timeline as it stands in the runbook; of each fault the newest run."""
    newest = {one.fault: one for one in seen}
    runs = dict.fromkeys(f"{one.where}; windows divided by {one.factor:g}" for one in newest.values())
    lines = [
        f"{'; '.join(runs)}.",
        "",
        "| fault | alert | fired after the fault began | cleared after it ended |",
        "|---|---|---|---|",
    ]
    for fault in FAULTS:
        if fault in newest:
            for place, (alert, (fired, cleared)) in enumerate(newest[fault].alerts.items()):
                after = f"{cleared:.0f} s" if cleared >= 0 else f"{-cleared:.0f} s before its end"
                lines.append(f"| {'' if place else fault} | {alert} | {fired:.0f} s | {after} |")
    return "\n".join(lines)


async def run(factor: float, names: Sequence[str]) -> tuple[list[Seen], list[str]]:
    """Run the faults *names* one after the other; return what was seen, and what should have been and was not."""
    # A segment is looked at for retention every 5 minutes: sped up, topics would lose what the faults leave unread.
    settings = {"log.retention.check.interval.ms": "86400000", "group.min.session.timeout.ms": "1000"}
    wrong: list[str] = []
    brought: list[Brought] = []
    with (
        tempfile.TemporaryDirectory(prefix="leadpulse-alerts-") as folder,
        Kafka(settings, lasting=True) as kafka,
        Redis() as store,
    ):
        stage = Stage(factor, kafka, store, Path(folder))
        await stage.prepare()
        background: list[asyncio.Task[None]] = []
        try:
            for worker in stage.workers:
                worker.up()
                background.append(asyncio.create_task(worker.supervise()))
            await stage.until(stage.all_ready, 60, "both workers are ready")
            with stage.watcher, _load(stage, 100):
                timeline = Timeline(stage.watcher)
                background.append(asyncio.create_task(timeline.look()))
                quiet_s = 120 / factor + 20
                await asyncio.sleep(quiet_s)
                if timeline.spells:
                    raise AssertionError(f"fired without a fault: {timeline.spells}")
                click.echo(f"  quiet for {quiet_s:.0f} s under load", err=True)
                for name in names:
                    try:
                        brought.append(await bring_about(stage, timeline, name))
                    except AssertionError as err:
                        wrong.append(str(err))
                        click.echo(f"  {err}", err=True)
                with contextlib.suppress(AssertionError):
                    await stage.until(lambda: not timeline.now(), 4_500 / factor + 120, "all clears")
                wrong += [f"did not clear: {spell.summary}" for spell in timeline.spells if spell.cleared is None]
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            for worker in stage.workers:
                worker.down()
            stage.watcher.close()
    return [one.seen(timeline, factor) for one in brought], wrong


@click.command(help=__doc__)
@click.option("--factor", type=click.FloatRange(1, 15), default=10.0, show_default=True)
@click.option("--fault", "faults", type=click.Choice(list(FAULTS)), multiple=True, help="These alone.")
@click.option("--results", type=click.Path(dir_okay=False, path_type=Path), help="Add each fault there, a JSON line each.")
@click.option(
    "--write", "page", type=click.Path(dir_okay=False, path_type=Path), help="Put the table of all results into this page."
)
def main(factor: float, faults: Sequence[str], results: Path | None, page: Path | None) -> None:
    """Run and print the table."""
    try:
        seen, wrong = asyncio.run(run(factor, faults or list(FAULTS)))
    except AssertionError as err:
        raise click.ClickException(str(err)) from None
    if results is not None:
        results.parent.mkdir(exist_ok=True)
        with results.open("ab") as to:
            to.writelines(msgspec.json.encode(one) + b"\n" for one in seen)
        seen = [msgspec.json.decode(line, type=Seen) for line in results.read_bytes().splitlines()]
    if page is not None:
        report.write(page, "alerts", table(seen))
    click.echo(table(seen))
    if wrong:
        raise click.ClickException("\n".join(wrong))


if __name__ == "__main__":
    main()
