"""`leadpulse dead`: finds, explains and replays the records that could not be read."""

from __future__ import annotations

import contextlib
import re
import sys
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Any, Final, TypeVar

import click
import msgspec
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from worker.adapters.kafka_sink import KafkaIntake
from worker.cli.common import (
    Complaints,
    instant_option,
    json_line,
    load,
    load_settings,
    opened,
    run_async,
    settings_flags,
    shown_name,
)
from worker.cli.topics import CONNECTION
from worker.core.batch.plan import REFUSED
from worker.core.contract.codec import REASONS
from worker.core.contract.dead_letter import UNSENT, DeadLetter
from worker.core.contract.printable import plain
from worker.core.contract.unread import UNREAD
from worker.core.scoring.calendar import rfc3339
from worker.intake.inbound import HINTS as INBOUND_HINTS
from worker.intake.inbound import REASONS as INBOUND_REASONS
from worker.queries.dead_letters import HINTS, DeadLetterFilter, dead_letters, without_values
from worker.queries.inbound import erased_people, sources_of, without_erased
from worker.queries.resend import Counts, Resend, is_journal, misplaced, resend
from worker.settings import InboundSettings, Settings

_DETAIL_CHARS: Final = 120
_KEY_CHARS: Final = 60
_HEX_BYTES: Final = 32

F = TypeVar("F", bound=Callable[..., Any])


class _Place(click.ParamType):
    """`PARTITION:OFFSET` in the dead-letter topic."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        place = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,18})", str(value))
        if place is None:
            self.fail(f"{value!r} is no place; expected PARTITION:OFFSET, such as 0:17, as `leadpulse dead list` gives it")
        return int(place[1]), int(place[2])


PLACE: Final = _Place()


def _inbound(command: F) -> F:
    text = "Webhooks that could not be mapped, in lead.inbound.dead, in place of records that are no events."
    return click.option("--inbound", is_flag=True, help=text)(command)


def _settings(given: dict[str, Any]) -> Settings:
    """Return the settings; with `--inbound` those by which the collector's letters are read and sent again."""
    inbound = given.pop("inbound")
    settings = load_settings(given)
    if not inbound:
        return settings
    topics = {"output_topics": {"lead.dead": "lead.inbound.dead"}, "input_topics": ("lead.inbound",)}
    return settings.model_copy(update=topics)


def filters(command: F) -> F:
    """Offer the conditions that select letters. The command gets them as `DeadLetterFilter`'s fields."""
    command = _inbound(settings_flags(*CONNECTION, "namespace", "input_topics", "output_topics")(command))
    for option in (
        click.option("--topic", metavar="TOPIC", help="Only records that came from this topic."),
        click.option("--type", "types", multiple=True, metavar="TYPE", help="Only this event type, if it is known.  [many]"),
        click.option("--until", metavar="T", callback=instant_option, help="Only letters written before T (RFC 3339)."),
        click.option("--since", metavar="T", callback=instant_option, help="Only letters written at T (RFC 3339) or later."),
        click.option(
            "--reason", "reasons", multiple=True, type=click.Choice([*HINTS, *INBOUND_HINTS]), metavar="REASON",
            help=f"Only this reason.  [many; {', '.join((*HINTS, *INBOUND_HINTS))}]",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def _filter(given: dict[str, Any]) -> DeadLetterFilter:
    """Take the filters out of a command's options."""
    return DeadLetterFilter(
        reasons=frozenset(given.pop("reasons")),
        since_ms=given.pop("since"),
        until_ms=given.pop("until"),
        types=frozenset(given.pop("types")),
        topic=given.pop("topic"),
    )


@click.group()
def dead() -> None:
    """List, show and replay the records that could not be read.

    A record that is no event goes unchanged to the dead-letter topic: `lead.dead`, or its route in LEADPULSE_OUTPUT_TOPICS.
    Its headers give the origin and the reason. Its partition continues. The letter stays there until the topic's retention
    deletes it. A replay removes nothing.
    """


@dead.command("list")
@click.option("--limit", "-n", type=click.IntRange(1), metavar="N", help="Stop after N letters.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line per letter.")
@filters
def list_letters(limit: int | None, as_json: bool, **given: Any) -> None:
    """List dead letters, partition by partition, oldest first.

    Each line has the letter's place (PARTITION:OFFSET in the dead-letter topic), its time and the reason. Then follow the
    record's origin (TOPIC[PARTITION]@OFFSET), its key, and the fault.

    Payloads are not shown, and quoted values are left out, because they may be personal data. `leadpulse dead show PLACE`
    shows all. The counts by reason go to stderr at the end.
    """
    wanted = _filter(given)
    run_async(_list(_settings(given), wanted, limit, as_json))


async def _list(settings: Settings, wanted: DeadLetterFilter, limit: int | None, as_json: bool) -> None:
    reasons: Counter[str] = Counter()
    topic = await dead_letters(settings, KafkaIntake(settings))
    async with contextlib.aclosing(topic.every(wanted)) as letters:
        async for letter in letters:
            click.echo(json_line(_listed(letter)) if as_json else _line(_listed(letter)))
            if (fault := misplaced(settings, letter, to=letter.record.topic)) is not None:
                click.echo(plain(f"{letter.place} is {fault}"), err=True)
            reasons[letter.reason] += 1
            if reasons.total() == limit:
                break
    click.echo(_summary(topic.topic, reasons, limit, topic.others), err=True)


def _summary(topic: str, reasons: Counter[str], limit: int | None, others: int) -> str:
    total = reasons.total()
    counts = ", ".join(f"{count:,} {plain(reason)}" for reason, count in reasons.most_common())
    summary = f"{total:,} dead letters in {topic}: {counts}" if total else f"no such dead letters in {topic}"
    if total == limit:
        summary += "; stopped at --limit, there may be more"
    return summary + (f"; {others:,} other records passed over" if others else "")


class _Listed(msgspec.Struct, frozen=True):
    """One letter in the output of `list`, without its payload."""

    place: str
    at: str | None
    """When the worker wrote the letter."""
    reason: str
    topic: str
    partition: int
    offset: int
    """Topic, partition and offset where the record first came."""
    key: str | None
    """`None` also for a key that is no text."""
    detail: str
    replayed: str | None
    """Place of the earlier letter that was replayed and failed again."""


def _listed(letter: DeadLetter) -> _Listed:
    record, key = letter.record, _text(letter.record.key)
    return _Listed(
        place=letter.place,
        at=_written_at(letter),
        reason=letter.reason,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=None if key is None else _short(key, _KEY_CHARS),
        detail=_short(without_values(letter.detail), _DETAIL_CHARS),
        replayed=letter.replayed,
    )


def _line(row: _Listed) -> str:
    origin = f"{row.topic}[{row.partition}]@{row.offset}"
    again = f"  (replayed from {row.replayed})" if row.replayed else ""
    key = "-" if row.key is None else row.key
    return plain(f"{row.place:<8}  {row.at or '-'}  {row.reason:<14}  {origin}  {key}  {row.detail}{again}")


def page_of(letter: DeadLetter) -> str:
    """Return everything of *letter*, for people."""
    record = letter.record
    meaning = {**REASONS, **REFUSED, **UNSENT, **UNREAD, **INBOUND_REASONS}.get(letter.reason, "")
    rows = [
        ("letter", letter.place),
        ("written", _written_at(letter) or "-"),
        ("came from", f"{record.topic}[{record.partition}]@{record.offset}"),
        *([("replayed", f"from {letter.replayed}: it failed before")] if letter.replayed else []),
        ("reason", f"{letter.reason}  {meaning}"),
        ("detail", letter.detail),
        ("to do", _hint(letter)),
        ("key", _shown(record.key)),
        *(("header", f"{name}: {_shown(value)}") for name, value in record.headers),
        ("value", _size(letter)),
    ]
    page = [f"{name:<10} {plain(text)}" for name, text in rows]
    return "\n".join(page if record.value is None else [*page, _readable(record.value)])


def _hint(letter: DeadLetter) -> str:
    hint = {**HINTS, **INBOUND_HINTS}.get(
        letter.reason, "This version does not know the reason: use the one that wrote the letter."
    )
    if any(name == "ce_specversion" for name, _ in letter.record.headers):
        hint += (
            " Mind: this value is `data` alone (binary mode); FILE must hold the whole event, with what the ce_ headers say."
        )
    return hint.replace("PLACE", letter.place)


def _size(letter: DeadLetter) -> str:
    if letter.record.value is None:
        return "none"
    return f"{len(letter.record.value):,} bytes" if letter.whole else "not here; in its place:"


def _written_at(letter: DeadLetter) -> str | None:
    return None if letter.timestamp_ms is None else rfc3339(letter.timestamp_ms)


def _readable(value: bytes) -> str:
    """Return *value* as JSON if possible, else as text with escapes, else in hexadecimal."""
    try:
        return "\n".join(map(plain, msgspec.json.format(value).decode().split("\n")))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = _text(value)
    if text is not None:
        return "\n".join(map(plain, text.split("\n")))
    return "\n".join(value[at : at + _HEX_BYTES].hex(" ") for at in range(0, len(value), _HEX_BYTES))


def _shown(value: bytes | None) -> str:
    """Return a key or a header's value on one line."""
    if value is None:
        return "none"
    text = _text(value)
    return value.hex(" ") if text is None else text


def _text(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


@dead.command()
@click.argument("place", type=PLACE)
@click.option("--raw", is_flag=True, help="Write the record's value to stdout, byte for byte, and nothing else.")
@_inbound
@settings_flags(*CONNECTION, "output_topics")
def show(place: tuple[int, int], raw: bool, **flags: Any) -> None:
    """Show everything of the dead letter at PLACE.

    PLACE is PARTITION:OFFSET in the dead-letter topic, as `list` prints it. The output includes what to do about such a
    letter. The value is shown as JSON if possible, else as text with escapes, else in hexadecimal. It may be personal data.
    """
    letter = run_async(_letter_at(_settings(flags), place))
    if not raw:
        click.echo(page_of(letter))
    elif not letter.whole or letter.record.value is None:
        raise click.ClickException(f"the letter at {letter.place} holds no value ({letter.reason})")
    else:
        sys.stdout.buffer.write(letter.record.value)


async def _letter_at(settings: Settings, place: tuple[int, int]) -> DeadLetter:
    async with contextlib.aclosing((await dead_letters(settings, KafkaIntake(settings))).at([place])) as letters:
        return await anext(letters)


@dead.command("replay")
@click.argument("places", nargs=-1, type=PLACE, metavar="[PLACE]...")
@click.option("--all", "every", is_flag=True, help="Select every letter.")
@click.option("--to", metavar="TOPIC", help="Send to TOPIC, not to the topic that each record came from.")
@click.option(
    "--from", "replacement", metavar="FILE", type=click.Path(exists=True, allow_dash=True, dir_okay=False),
    help="Send the CloudEvent (JSON) in FILE (- is stdin) instead of the value of the one PLACE.",
)  # fmt: skip
@click.option(
    "--force",
    is_flag=True,
    help="Also send records that are still bad. They become new letters, and many can stop a worker (LEADPULSE_MAX_BAD_SHARE).",
)
@click.option("--dry-run", is_flag=True, help="Send nothing, and report what would be sent.")
@filters
def replay_letters(places: tuple[tuple[int, int], ...], every: bool, replacement: str | None, **given: Any) -> None:
    """Send dead letters through the normal path again.

    Repair the cause first. Select letters by PLACE (PARTITION:OFFSET), by conditions as for `list`, or with --all. Each
    record goes to the input topic that it came from, with its key, value and headers. A header lp-replayed names the letter,
    and other lp- headers are left out. The timestamp is that of sending.

    Two kinds of letter are not sent. This version would reject the first again, and would skip the second because of its
    unknown type.

    Nothing is sent to the internal topic or to an output. A letter whose record came from there was not written by a worker.
    It is named and not sent, even with --to and --force. A letter of a topic that is no longer an input needs --to.

    Letters stay in their topic, so you can send the same ones twice. If an event's source and id
    are among the last 64 of its lead, the worker drops it as a duplicate. An older event would count again.

    With --inbound, webhooks go to lead.inbound and are mapped again. Their events that were sent before are left out. So are
    people who were erased since; webhooks about them alone are counted under "erased".

    Prints one JSON object: {"replayed", "still_bad" by reason, "without_value", "misplaced"}. Exits with 1 if a letter was
    not sent.
    """
    how = Resend(to=given.pop("to"), force=given.pop("force"), dry_run=given.pop("dry_run"))
    wanted = _filter(given)
    if given["inbound"]:
        if replacement is not None:
            raise click.UsageError("--from gives an event; a webhook cannot be replaced by one")
        how = how._replace(force=True, sources=sources_of(load(InboundSettings, {})))  # the mapper judges it, not the worker
    settings = _settings(given)
    if (bool(places) + every + (wanted != DeadLetterFilter())) != 1:
        raise click.UsageError("select letters: PLACE…, or conditions (--reason, --since, --until, --type, --topic), or --all")
    if replacement is not None and len(set(places)) != 1:
        raise click.UsageError("--from needs exactly one PLACE: a corrected event replaces the value of one letter")
    if how.to is not None and (how.to in settings.outputs or is_journal(settings, how.to)):
        raise click.UsageError(f"--to {how.to}: the worker itself writes that topic; name an input topic")
    counts = Counts()
    try:
        run_async(_replay(settings, wanted, places, how._replace(replacement=_event(replacement)), counts))
    except click.ClickException as err:
        raise click.ClickException(f"{err.message} ({counts.replayed:,} records were handed over before)") from None
    _report(counts, how.dry_run, inbound=how.sources is not None)


def _report(counts: Counts, dry_run: bool, *, inbound: bool) -> None:
    """Print what became of the letters. Exit with 1 if a letter was left out."""
    shown = msgspec.to_builtins(counts)
    if not inbound:
        del shown["erased"]
    click.echo(msgspec.json.encode(shown | ({"dry_run": True} if dry_run else {})))
    left_out = counts.still_bad.total() + counts.without_value + counts.misplaced
    if not counts.replayed and not left_out and not counts.erased:
        click.echo("no letter matches these conditions", err=True)
    done = "would be sent" if dry_run else "sent"
    click.echo(f"{counts.replayed:,} records {done}, {left_out:,} letters left out", err=True)
    if left_out:
        raise click.exceptions.Exit(1)


def _event(name: str | None) -> bytes | None:
    """Return the corrected event in file *name*."""
    if name is None:
        return None
    try:
        with opened(name) as stream:
            return stream.read().strip()
    except (OSError, EOFError) as err:
        raise click.ClickException(f"{shown_name(name)}: {err}") from err


async def _replay(
    settings: Settings, wanted: DeadLetterFilter, places: Sequence[tuple[int, int]], how: Resend, counts: Counts
) -> None:
    log = KafkaIntake(settings)
    topic = await dead_letters(settings, log)
    picked = topic.at(dict.fromkeys(places)) if places else topic.every(wanted)
    if how.sources is not None:
        picked = without_erased(picked, await erased_people(settings, topic.topic), how.sources, counts)
    async with contextlib.aclosing(picked) as letters:
        await resend(_watched(letters), settings, log, how, counts, Complaints("letters left out"))


async def _watched(letters: AsyncGenerator[DeadLetter]) -> AsyncIterator[DeadLetter]:
    """Yield *letters*; on a terminal, show how many have been looked at."""
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("letters", total=None)
        async for letter in letters:
            yield letter
            progress.advance(task)
