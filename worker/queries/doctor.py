"""Findings about everything that would keep the worker from doing its work, each with what to do."""

from __future__ import annotations

import difflib
import os
import platform
import time
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from importlib import metadata
from typing import Any, Final, Literal

import msgspec

from worker.adapters import redis_check
from worker.adapters.kafka_admin import Admin
from worker.adapters.kafka_clients import CHECK_CONNECTION, free_reader
from worker.adapters.kafka_log import KafkaLog
from worker.adapters.kafka_login import why_not
from worker.adapters.redis_client import Client, connect, redacted
from worker.adapters.redis_store import RedisStore
from worker.build_flavour import form
from worker.core.contract.journal import JournalError
from worker.core.grid.lint import lint
from worker.core.grid.messages import GridError
from worker.core.grid.models import Grid
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.engine.checks import CLEAN, MISSING, UNCLEAN, Topics, look_at_topics
from worker.engine.standing import look
from worker.engine.witnesses import Witnesses, group_published
from worker.errors import (
    GridNotFound,
    IncarnationEnded,
    KafkaRefused,
    LogUnavailable,
    StoreRefused,
    StoreUnavailable,
    WorkerMustStop,
)
from worker.ports import Position
from worker.presets import read_grid
from worker.queries.connection_findings import connection_findings, connections_file
from worker.queries.rebuilds import rebuilds
from worker.queries.topic_findings import of_the_collector, on_few_disks
from worker.settings import ASKED_FOR_TYPES, PREFIX, PROGRAMS, Settings

Level = Literal["ok", "hint", "warning", "error"]

_PACKAGES: Final = ("leadpulse", "faust-streaming", "aiokafka", "redis", "pydantic", "msgspec")
_SKEW_S: Final = 2.0
"""A clock that far from Redis' is worth a word: ticks carry the worker's time."""
_REPLICAS: Final = 3
_BROKERS_TOPICS: Final = ("__consumer_offsets", "__transaction_state")
_OFFSETS_KEPT: Final = "offsets.retention.minutes"
_OFFSETS_MINUTES: Final = 43_200
"""30 days. Kafka's own 7 are over after a week without a worker."""


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that was looked at."""

    area: str
    level: Level
    what: str
    what_to_do: str = ""


async def findings(settings: Settings) -> AsyncIterator[Finding]:
    """Yield what was looked at: settings, grid, Redis, clocks, Kafka, topics, each partition's state, and connections.

    Loads the worker's functions into Redis, as every worker does, and changes nothing else.
    """
    versions = ", ".join(f"{name} {installed(name)}" for name in _PACKAGES)
    yield Finding("versions", "ok", f"Python {platform.python_version()}, {form()} core, {versions}")
    for finding in (*_misspelt(os.environ), *_silence(settings, time.time() * 1000)):
        yield finding
    grid = None
    for finding, checked in _grid(settings.grid):
        grid = checked
        yield finding
    client = connect(settings.redis.get_secret_value())
    try:
        positions: list[Position] = []
        async for finding in _redis(settings, client, positions):
            yield finding
        unpublished = ASKED_FOR_TYPES if grid is None else CompiledGrid(grid, settings.source).unpublished
        async for finding in _kafka(settings, client, positions, unpublished):
            yield finding
        for finding in _other_grid(grid, positions):
            yield finding
        async for found in connection_findings(os.environ, grid):
            yield Finding(*found)
    finally:
        await client.aclose()


def _other_grid(grid: Grid | None, positions: Iterable[Position]) -> Iterator[Finding]:
    if grid is not None and any(position.grid not in ("", grid.sha256) for position in positions):
        yield Finding("grid", "hint", "another grid than the one in force", "the worker judges all leads again at its start")


def _misspelt(environ: Iterable[str]) -> Iterator[Finding]:
    """Warn of variables that look like settings and are none: the default holds in silence."""
    known = [PREFIX + name.upper() for program in PROGRAMS for name in program.model_fields]
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            meant = f"did you mean {close[0]}?" if close else "`leadpulse run --help` lists all settings"
            yield Finding("settings", "warning", f"{name} is not a setting, so it has no effect", meant)


def _silence(settings: Settings, now_ms: float) -> Iterator[Finding]:
    """Warn of an instant in the future: until then sales hear of no lead at all."""
    if settings.silent_before_ms > now_ms:
        what = f"nothing is announced before {settings.silent_before}: LEADPULSE_SILENT_BEFORE lies in the future"
        yield Finding("settings", "warning", what, "expected during an import of history; otherwise set an instant in the past")


def _grid(name: str) -> Iterator[tuple[Finding, Grid | None]]:
    try:
        grid = read_grid(name)
    except GridNotFound as err:
        yield Finding("grid", "error", f"{name} cannot be read: {err.why}", "set LEADPULSE_GRID"), None
        return
    except GridError as err:
        for mistake in err.mistakes:
            yield Finding("grid", "error", str(mistake), "correct it, and run `leadpulse grid check`"), None
        return
    yield Finding("grid", "ok", f"{name}: {grid.grid} version {grid.version}, sha256 {grid.sha256[:12]}"), grid
    for warning in lint(grid):
        yield Finding("grid", "warning", f"{name}:{warning.line}: {warning.message}"), grid


async def _redis(settings: Settings, client: Client, positions: list[Position]) -> AsyncIterator[Finding]:
    """Look at Redis, and fill *positions* where they can be read."""
    address = redacted(settings.redis.get_secret_value())
    failed = False
    for fault in await redis_check.check(client, settings.namespace):
        failed |= fault.level == "error"
        yield Finding("redis", fault.level, fault.what, fault.what_to_do)
    try:
        stores = [RedisStore(client, settings.namespace, p) for p in range(settings.partitions)]
        positions += [await store.position() for store in stores]
        ahead_s = await _ahead_s(client)
    except (StoreUnavailable, StoreRefused) as err:
        positions.clear()
        if not failed:
            yield Finding("redis", "error", str(err), "check LEADPULSE_REDIS")
        return
    if not failed:
        yield Finding("redis", "ok", f"{address} answers and can hold state")
    yield _clock(ahead_s)


async def _ahead_s(client: Client) -> float:
    """Return how far this machine's clock is ahead of Redis'."""
    commands: Any = client
    asked_s = time.time()
    seconds, micros = await commands.time()
    return (asked_s + time.time()) / 2 - (int(seconds) + int(micros) / 1e6)


def _clock(ahead_s: float) -> Finding:
    if abs(ahead_s) <= _SKEW_S:
        return Finding("clock", "ok", f"within {_SKEW_S:g} s of Redis'")
    way = "ahead of" if ahead_s > 0 else "behind"
    what = f"this machine's clock is {abs(ahead_s):.1f} s {way} Redis'"
    return Finding("clock", "warning", what, "synchronize both (NTP): ticks carry it")


async def _kafka(
    settings: Settings, client: Client, positions: list[Position], unpublished: Collection[str]
) -> AsyncIterator[Finding]:
    try:
        async with Admin(settings) as admin:
            yield Finding("kafka", "ok", f"{settings.kafka} answers")
            topics = await look_at_topics(settings, admin, unpublished)
            looks = [_topics(settings, admin, topics), _brokers(settings, admin)]
            if connections_file(os.environ) is not None:
                looks.append(_inbound(settings, admin))
            if topics.readable:
                looks += _of_readable(settings, client, admin, positions)
            for look_at in looks:
                async for finding in look_at:
                    yield finding
    except (KafkaRefused, LogUnavailable, OSError) as err:
        yield _no_answer(settings, err)


def _of_readable(settings: Settings, client: Client, admin: Admin, positions: list[Position]) -> list[AsyncIterator[Finding]]:
    """Return the looks at topics that are all there and may be read."""
    looks = [_partitions(settings, client, admin, positions)]
    if any(position.batch for position in positions):
        looks.append(_rebuilds(settings, admin))
    return looks


def _no_answer(settings: Settings, err: KafkaRefused | LogUnavailable | OSError) -> Finding:
    """Return the finding about a cluster that does not answer, or refuses."""
    if isinstance(err, KafkaRefused):
        return Finding("kafka", "error", str(err))
    if isinstance(err, OSError):
        return Finding("kafka", "error", f"{settings.kafka}: {err}", "start Kafka, or correct LEADPULSE_KAFKA")
    if err.unreachable:
        return Finding("kafka", "error", f"{settings.kafka}: {why_not() or err.__cause__}", CHECK_CONNECTION)
    return Finding("kafka", "error", f"{settings.kafka}: {err.line()}")


async def _rebuilds(settings: Settings, admin: Admin) -> AsyncIterator[Finding]:
    async for area, level, what, what_to_do in rebuilds(settings, admin):
        yield Finding(area, level, what, what_to_do)


async def _topics(settings: Settings, admin: Admin, topics: Topics) -> AsyncIterator[Finding]:
    if topics.missing:
        yield Finding("topics", "error", f"missing: {', '.join(topics.missing)}", MISSING)
    if topics.unneeded:
        shown = ", ".join(topics.unneeded)
        yield Finding(
            "topics", "warning", f"missing, and needed only by a grid with `accounts`, `identity` or `phases`: {shown}", MISSING
        )
    for mistake in topics.mistakes:
        yield Finding("topics", "error", mistake)
    if not topics.missing and not topics.mistakes:
        yield Finding("topics", "ok", f"all {len(topics.there)} are there, as the worker needs them")
    if topics.unclean:
        yield Finding("topics", "warning", f"{', '.join(topics.unclean)}: {UNCLEAN}", CLEAN)
    if not settings.development:
        async for found in on_few_disks(admin, {topic: topics.configs[topic] for topic in topics.there}):
            yield Finding(*found)


async def _inbound(settings: Settings, admin: Admin) -> AsyncIterator[Finding]:
    async for found in of_the_collector(settings, admin):
        yield Finding(*found)


async def _brokers(settings: Settings, admin: Admin) -> AsyncIterator[Finding]:
    """Look at what the brokers keep of the group's offsets and of transactions."""
    if settings.development:
        return
    replicas = await admin.replicas(_BROKERS_TOPICS)
    weak = [f"{topic} ({count})" for topic, count in sorted(replicas.items()) if count < _REPLICAS]
    if weak:
        yield Finding(
            "brokers",
            "warning",
            f"the loss of one broker's disk can lose commits, by replicas: {', '.join(weak)}",
            f"give these topics {_REPLICAS} replicas (kafka-reassign-partitions.sh)",
        )
    try:
        kept = await admin.brokers(_OFFSETS_KEPT)
    except LogUnavailable as err:  # without the right, or where the brokers are somebody else's service
        why = err.line()
        yield Finding(
            "brokers", "hint", f"{_OFFSETS_KEPT} is not shown: {why}", "grant DescribeConfigs on the cluster, or look there"
        )
        return
    short = [f"{minutes} on broker {broker}" for broker, minutes in sorted(kept.items()) if int(minutes) < _OFFSETS_MINUTES]
    if short:
        yield Finding(
            "brokers",
            "warning",
            f"{_OFFSETS_KEPT} is {', '.join(short)}: after this time without a worker Kafka forgets the group's offsets, and"
            " then only the journal and Redis know the published batches",
            f"set it to {_OFFSETS_MINUTES} (30 days) or more",
        )


async def _partitions(settings: Settings, client: Client, admin: Admin, positions: list[Position]) -> AsyncIterator[Finding]:
    """Look at each partition as a worker that takes it over does, and compare where Redis stands with what Kafka published."""
    with_state = 0
    async with free_reader(settings, []) as reader:
        cluster = KafkaLog(settings, admin, reader)
        for partition, position in enumerate(positions):
            try:
                witnesses = (await look(settings, partition, position, cluster)).witnesses
            except (WorkerMustStop, IncarnationEnded, JournalError) as err:
                yield Finding("partitions", "error", str(err))
                continue
            with_state += position.batch > 0
            async for finding in _differences(settings, client, admin, partition, position.batch, witnesses):
                yield finding
    if positions:
        yield Finding("partitions", "ok", f"{with_state} of {len(positions)} hold state in namespace {settings.namespace}")


async def _differences(
    settings: Settings, client: Client, admin: Admin, partition: int, batch: int, witnesses: Witnesses
) -> AsyncIterator[Finding]:
    """Report where the store, at *batch*, and the *witnesses* differ, and still do when they are asked again."""
    if batch < witnesses.published:  # by a worker at work since we looked: then it is not so now
        batch = (await RedisStore(client, settings.namespace, partition).position()).batch
    if batch < witnesses.published:
        yield Finding(
            "partitions",
            "warning",
            f"partition {partition}: Redis is at batch {batch}, Kafka at {witnesses.published}",
            "nothing: the next owner folds the batches between again; but ask why Redis went back",
        )
    if witnesses.forgetful:
        group = group_published(await admin.committed(settings.group, settings.topics, partition))
        if min(group, witnesses.journal) < witnesses.published:
            yield Finding(
                "partitions",
                "warning",
                f"partition {partition}: the witnesses of what was published do not agree ({witnesses})",
                f"nothing: batch {witnesses.published} holds; but ask who deleted or overwrote the offsets of group"
                f" {settings.group}, or records of {settings.internal_topic}",
            )


def installed(package: str) -> str:
    """Return the version of *package*; words where it is not installed (a checkout that is run as it is)."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
