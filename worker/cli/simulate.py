"""`leadpulse simulate`: simulated traffic, to a file or to Kafka."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from worker.adapters.kafka_sink import Client, KafkaIntake
from worker.cli.common import load
from worker.cli.simulate_known import known_options, known_outcomes, write_truth
from worker.core.contract.instants import instant
from worker.demo.agenda import DAY_MS
from worker.demo.simulate import Scenario, SimRecord, events, paced
from worker.errors import Undelivered
from worker.intake.producer import open_sink
from worker.intake.routes import TOPICS
from worker.intake_ports import LogIntake
from worker.settings import KafkaConnection

_SHARE: Final = click.FloatRange(0, 1)
_BETWEEN: Final = 200
"""Records between two updates of the progress bar."""


def _start(_: click.Context, param: click.Parameter, text: str) -> int:
    """Read `--start` into ms: an instant, a date (its midnight in UTC), `now`, or `-30d` (so long before now)."""
    now_ms = time.time_ns() // 1_000_000
    if text == "now":
        return now_ms
    if before := re.fullmatch(r"-(\d{1,5})d", text):
        return now_ms - int(before[1]) * DAY_MS
    at_ms = instant(text)
    if at_ms is None:
        with contextlib.suppress(ValueError):
            at_ms = instant(f"{date.fromisoformat(text).isoformat()}T00:00:00Z")
    if at_ms is None:
        raise click.BadParameter(f"{text!r} is not like 2026-01-05, 2026-01-05T08:00:00Z, now or -30d", param=param)
    return at_ms


def _topics(_: click.Context, param: click.Parameter, text: str | None) -> dict[str, str]:
    """Read `web=TOPIC,email=TOPIC` over the default topics."""
    topics = dict(TOPICS)
    for word in (text or "").split(","):
        family, _equals, topic = word.strip().partition("=")
        if word.strip() and (family not in TOPICS or not topic):
            raise click.BadParameter(f"{word!r} is not FAMILY=TOPIC with one of {', '.join(TOPICS)}", param=param)
        if topic:
            topics[family] = topic
    return topics


@click.command()
@click.option(
    "--leads", type=click.IntRange(1), default=500, show_default=True, help="Number of people. Most of them never buy."
)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same traffic.")
@click.option(
    "--start",
    "start_ms",
    callback=_start,
    default="2026-01-05",
    show_default=True,
    metavar="T",
    help="When simulated time begins: a date, an instant (RFC 3339), now, or -30d for thirty days ago.",
)
@click.option(
    "--days",
    type=click.FloatRange(0, min_open=True),
    help="Simulated days.  [default: 30, none with --events, 365 with --truth]",
)
@click.option("--events", "limit", type=click.IntRange(1), metavar="N", help="Stop after N records.")
@click.option("--late", type=_SHARE, default=0.02, show_default=True, help="Share of events that come up to six hours late.")
@click.option("--duplicates", type=_SHARE, default=0.01, show_default=True, help="Share of events that are sent twice.")
@click.option(
    "--bad", type=_SHARE, default=0.0, show_default=True, help="Bad records in addition to the events, as a share of them."
)
@click.option(
    "--keyless", type=_SHARE, default=0.0, show_default=True, help="Share of Kafka records without the lead's id as key."
)
@click.option("--rate", type=click.FloatRange(0), default=0, help="Send at most so many records a second.  [default: no limit]")
@click.option(
    "--compress",
    type=click.FloatRange(0),
    default=0,
    metavar="X",
    help="Send live, X times as fast as real time (86400: a day a second).  [default: no waiting]",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, allow_dash=True),
    default="-",
    metavar="FILE",
    help="Write the records to this file, one a line.  [default: - (stdout)]",
)
@click.option("--kafka", metavar="HOST:PORT", help="Send the records to Kafka instead.")
@click.option(
    "--client",
    type=click.Choice(["aiokafka", "librdkafka"]),
    default="aiokafka",
    show_default=True,
    help="Kafka client. librdkafka uses other partitions than Kafka's own clients: a test that workers forward strays.",
)
@click.option(
    "--topics",
    callback=_topics,
    metavar="FAMILY=TOPIC,…",
    help="Kafka topics of web, email, webinar, profile and crm events.  [default: web=lead.events.web, and so on]",
)
@known_options
def simulate(
    rate: float,
    compress: float,
    out: str,
    kafka: str | None,
    client: Client,
    known: tuple[Path, dict[str, Any]] | None,
    **given: Any,
) -> None:
    """Simulate the traffic of a B2B site.

    Use it to try a grid before real leads come, or to fill a test system. The simulated people visit pages, open mails, join
    webinars, send forms and talk to sales. A few of them buy. The others are researchers, newsletter readers, students,
    competitors and passers-by. Programs that read the site come too.

    As in real life, some events come late or twice. With --bad, some records are no events at all. The same --seed gives the
    same traffic.

    With --truth, outcomes follow from odds that are known, so that `leadpulse learn` can be judged by what it should find.

    Prints one event (a CloudEvent in JSON) a line, in order of arrival. `leadpulse replay` scores such a file. With --kafka,
    the events go to Kafka, and running workers score them.
    """
    if kafka is not None and out != "-":
        raise click.UsageError("use --out or --kafka, not both")
    if given["days"] is None and (known or given["limit"] is None):
        given["days"] = 365 if known else 30
    scenario = Scenario(**given)
    outcomes = None if known is None else known_outcomes(scenario, *known)
    tally = _Tally(scenario, quiet=kafka is None and out == "-" and sys.stdout.isatty())
    flow = paced(events(scenario) if outcomes is None else outcomes.records(), compress=compress, rate=rate)
    if kafka is None:
        sending = _to_file(flow, out, tally, live=bool(rate or compress))
    else:
        log = KafkaIntake(load(KafkaConnection, {"kafka": kafka}), client)
        sending = _to_log(flow, log, scenario.topics.values(), tally)
    _hand_over(sending, tally, out)
    click.echo(tally.words(), err=True)
    if known is not None and outcomes is not None:
        click.echo(write_truth(known[0], outcomes), err=True)
    if kafka is not None and tally.last_ms > time.time_ns() // 1_000_000:
        click.echo("some events are later than now: the worker takes them as of the moment they came (see --start)", err=True)


def _hand_over(sending: Coroutine[Any, Any, None], tally: _Tally, out: str) -> None:
    """Run *sending* to its end, or to Ctrl-C. An error says how many records were handed over before."""
    try:
        with tally:
            asyncio.run(sending)
    except BrokenPipeError:
        raise  # whoever read our output has seen enough
    except OSError as error:
        raise click.ClickException(f"{out}: {error.strerror or error} (after {tally.records:,} records)") from None
    except Undelivered as error:
        raise click.ClickException(f"{error} ({tally.records:,} records were handed over before)") from error
    except KeyboardInterrupt:
        click.echo("stopped", err=True)


class _Tally:
    """What has been handed over so far, with a progress bar on a terminal."""

    def __init__(self, scenario: Scenario, *, quiet: bool) -> None:
        console = Console(stderr=True)
        self._scenario = scenario
        columns = (TextColumn("{task.fields[shown]}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        # *quiet*: the terminal shows the records themselves, and so the progress.
        self._progress = Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True)
        total = scenario.limit or round((scenario.days or 0) * DAY_MS)
        self._task = self._progress.add_task("", total=total, shown="")
        self._notes: Counter[str] = Counter()
        self.records = 0
        self.last_ms = scenario.start_ms

    def __enter__(self) -> None:
        self._progress.start()

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def add(self, record: SimRecord) -> None:
        """Count one record."""
        self.records += 1
        self.last_ms = record.at_ms
        self._notes[record.note] += 1
        if self.records % _BETWEEN == 0:
            done = self.records if self._scenario.limit else record.at_ms - self._scenario.start_ms
            self._progress.update(self._task, completed=done, shown=f"{self.records:,} records")

    def words(self) -> str:
        """Return the summary."""
        n = self._notes
        days = (self.last_ms - self._scenario.start_ms) / DAY_MS
        return (
            f"{self.records:,} records of {self._scenario.leads:,} people over {days:.1f} days:"
            f" {n['event'] + n['late']:,} events ({n['late']:,} late), {n['duplicate']:,} duplicates, {n['bad']:,} bad"
        )


async def _to_file(flow: AsyncIterator[SimRecord], out: str, tally: _Tally, *, live: bool) -> None:
    """Write one record a line; line breaks inside a bad one become spaces, so that it stays one line."""
    with _writer(out) as write:
        async for record in flow:
            write(record.value.replace(b"\n", b" ") + b"\n", live)
            tally.add(record)


@contextlib.contextmanager
def _writer(out: str) -> Iterator[Callable[[bytes, bool], None]]:
    try:
        file: Any = sys.stdout.buffer if out == "-" else Path(out).open("wb")  # noqa: SIM115 - stdout is not ours to close
    except OSError as error:
        raise click.ClickException(f"{out}: {error.strerror}") from error

    def write(line: bytes, now: bool) -> None:
        file.write(line)
        if now:
            file.flush()

    try:
        yield write
    finally:
        file.flush()
        if out != "-":
            file.close()


async def _to_log(flow: AsyncIterator[SimRecord], log: LogIntake, topics: Iterable[str], tally: _Tally) -> None:
    """Send the records. They carry the time of sending, because retention would delete records with times of the past."""
    async with open_sink(log, topics) as sink:
        async for record in flow:
            await sink.send(record.topic, record.key, record.value, record.headers)
            tally.add(record)
