"""`leadpulse produce`: sends files of events to Kafka."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator
from typing import Any, Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from worker.adapters.kafka_sink import KafkaIntake
from worker.adapters.sent_file import SentFile
from worker.cli.common import Complaints, load, opened, settings_flags, shown_name
from worker.errors import SentFileError, Undelivered
from worker.intake.producer import Counts, LineOptions, LineSender, open_sink
from worker.intake.routes import TOPICS
from worker.intake_ports import LogIntake
from worker.settings import KafkaConnection

_CHUNK_BYTES: Final = 1 << 20


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, allow_dash=True, dir_okay=False))
@settings_flags("kafka")
@click.option("--topic", metavar="TOPIC", help="Send everything to this topic, not to the topic of each event's type.")
@click.option("--raw", is_flag=True, help="Send every line unchanged, events or not, to see how the worker treats bad records.")
@click.option(
    "--sent", "sent_file", metavar="FILE", type=click.Path(dir_okay=False),
    help="Note in FILE which events were sent, and do not send those again: an import can be repeated or resumed.",
)  # fmt: skip
def produce(files: tuple[str, ...], kafka: str | None, topic: str | None, raw: bool, sent_file: str | None) -> None:
    """Send files of events to Kafka.

    Use it to import history, or what `leadpulse convert` made. Running workers score the events.

    FILES hold one event (a CloudEvent in JSON) a line, plain or gzipped. `-` is stdin. The lines are sent in their order. An
    event's type decides its topic (`lead.events.web`, `.email`, `.webinar`, `.profile`, `.crm`). Its key is the subject, which
    is the lead's id. Record timestamps are the times of sending. Ticks are skipped, because a running worker makes its own.

    A line that is no JSON object with a subject is named on stderr and not sent. The command then exits with 1.

    A worker drops a repeated event among its lead's last 64 only. Give every run of an import the same --sent FILE, one for
    each Kafka cluster.
    """
    if raw and sent_file:
        raise click.UsageError("--raw sends lines that are no events, so --sent cannot note them; give one of the two")
    settings = load(KafkaConnection, {"kafka": kafka})
    counts = Counts()
    try:
        with SentFile(sent_file) if sent_file else contextlib.nullcontext() as sent:
            asyncio.run(_produce(files, KafkaIntake(settings), LineOptions(topic, raw, sent), counts))
    except SentFileError as error:
        raise click.ClickException(str(error)) from error
    except Undelivered as error:
        raise click.ClickException(f"{error} ({counts.sent:,} records were handed over before)") from error
    except (OSError, EOFError, zlib.error) as error:  # unreadable, or a gzip that breaks off
        raise click.ClickException(str(error)) from error
    _report(counts, settings.kafka, raw)


def _report(counts: Counts, address: str, raw: bool) -> None:
    """Print what became of the lines. Exit with 1 if a line was bad."""
    skipped = f", {counts.ticks:,} ticks passed over" if counts.ticks else ""
    skipped += f", {counts.repeated:,} sent before" if counts.repeated else ""
    click.echo(f"{counts.sent:,} records sent to Kafka at {address}, {counts.bad:,} bad lines{skipped}", err=True)
    if counts.undated:
        click.echo(f"warning: {counts.undated:,} events have no time: workers take the time of sending", err=True)
    if counts.ahead and not raw:
        click.echo(f"warning: {counts.ahead:,} events lie in the future: workers take the time of sending", err=True)
    if counts.bad:
        raise click.exceptions.Exit(1)


async def _produce(files: tuple[str, ...], log: LogIntake, options: LineOptions, counts: Counts) -> None:
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        async with open_sink(log, [options.topic] if options.topic else TOPICS.values()) as sink:
            sender = LineSender(sink, Complaints("bad lines"), options, counts)
            for name in files:
                task = progress.add_task(shown_name(name), total=None)
                async for number, line in _lines(name):
                    await sender.send(f"{shown_name(name)}:{number}", line)
                    if number % 500 == 0:
                        progress.update(task, completed=number)
            await sender.finish()


async def _lines(name: str) -> AsyncIterator[tuple[int, bytes]]:
    """Yield the lines of a file or stdin with their numbers, without their ends, as soon as they are there.

    Reads in a thread: while a followed log is silent, the client must go on sending what it has.
    """
    with await asyncio.to_thread(opened, name) as stream:
        number, rest = 0, b""
        while chunk := await asyncio.to_thread(_some, stream):
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                number += 1
                yield number, line.removesuffix(b"\r")
        if rest:
            yield number + 1, rest


def _some(stream: Any) -> bytes:
    """Return what is there, waiting only when that is nothing."""
    return bytes(stream.read1(_CHUNK_BYTES))
