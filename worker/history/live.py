"""The program with real Kafka and storage: it waits for them, sees new topics, erases persons, and joins again after errors."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Final

from worker.adapters.kafka_admin import Admin
from worker.adapters.kafka_clients import KafkaGroup
from worker.adapters.stored_files import Files
from worker.errors import KafkaRefused, LeadPulseError, WorkerMustStop
from worker.history.forget import Busy, forget
from worker.history.form import Role
from worker.history.metrics import ArchiveMetrics
from worker.history.program import Limits, Program
from worker.history.store import ArchiveStore
from worker.logs import fields
from worker.settings import ArchiveSettings

log = logging.getLogger(__name__)

_AGAIN_S: Final = 2.0
_LOOK_S: Final = 30.0
"""So often topics are looked for that did not exist."""


def roles_of(settings: ArchiveSettings) -> dict[str, Role]:
    """Return what each topic of the settings is for."""
    inputs = dict.fromkeys(settings.input_topics, "input")
    special = {settings.internal_topic: "journal", settings.dead_topic: "dead"}
    return {topic: {**inputs, **special}.get(topic, "output") for topic in settings.topics}  # type: ignore[misc]  # literals


async def live(settings: ArchiveSettings, files: Files, metrics: ArchiveMetrics, runs: Callable[[Program], None]) -> None:
    """Archive until cancelled. *runs* is called with each program that joins. Raises what an operator must mend."""
    store = ArchiveStore(files)
    erasing = asyncio.create_task(_erase(settings.archive_forget_every, files, metrics))
    try:
        while True:
            roles = await _existing(settings)
            try:
                await _until_new_topics(settings, store, roles, metrics, runs)
            except (KafkaRefused, WorkerMustStop):
                raise
            except (LeadPulseError, OSError) as error:
                line = error.line() if isinstance(error, LeadPulseError) else str(error)
                log.warning("joining the group again: %s", line, extra=fields("archive.joins_again"))
                await asyncio.sleep(_AGAIN_S)
    finally:
        erasing.cancel()


async def _until_new_topics(
    settings: ArchiveSettings,
    store: ArchiveStore,
    roles: Mapping[str, Role],
    metrics: ArchiveMetrics,
    runs: Callable[[Program], None],
) -> None:
    """Archive *roles*' topics until others of the settings exist, too."""
    limits = Limits(settings.archive_rows, settings.archive_bytes, settings.archive_every, settings.archive_memory)
    group = KafkaGroup(settings)
    program = Program(group, store, roles, limits, metrics)
    runs(program)
    running = asyncio.create_task(program.run())
    try:
        while not running.done():
            await asyncio.wait([running], timeout=_LOOK_S)
            if not program.draining and not running.done() and (await _existing(settings)).keys() != roles.keys():
                await program.drain()
                return
        running.result()
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await running
        await group.close()


async def _existing(settings: ArchiveSettings) -> dict[str, Role]:
    """Return the topics of the settings that exist, once Kafka answers and one does."""
    roles = roles_of(settings)
    while True:
        try:
            async with Admin(settings) as admin:
                found = await admin.partitions(roles)
            there = {topic: role for topic, role in roles.items() if found[topic]}
            if there:
                return there
            line = "none of the topics exists: create them with `leadpulse topics create`"
        except KafkaRefused:
            raise
        except (LeadPulseError, OSError) as error:
            line = error.line() if isinstance(error, LeadPulseError) else str(error)
        log.warning("%s", line, extra=fields("archive.waits_for_kafka"))
        await asyncio.sleep(_AGAIN_S)


async def _erase(every_s: float, files: Files, metrics: ArchiveMetrics) -> None:
    """Erase persons whose `lead.erased` was archived, one pass for all of them, and again after a failure."""
    stop, erasures = threading.Event(), ArchiveStore(files).erasures
    try:
        while True:
            try:
                await asyncio.to_thread(erasures.look)
                waiting = len(erasures.pending)
                metrics.erasures_waiting.set(waiting)
                done = await asyncio.to_thread(forget, files, erasures, stop) if waiting else None
                if done is not None:
                    metrics.erasures.inc(done.ids)
                    metrics.erasures_waiting.set(0)
                    log.info(
                        "%d ids erased: %d files rewritten", done.ids, done.files,
                        extra=fields("archive.erased", ids=done.ids, files=done.files),
                    )  # fmt: skip
            except Busy:
                log.info("erasing later: another process merges or rewrites files", extra=fields("archive.erases_later"))
            except Exception as error:  # noqa: BLE001 (drivers of object storage raise any; it is tried again)
                log.warning("persons cannot be erased: %s", error, extra=fields("archive.not_erased"))
            await asyncio.sleep(every_s)
    finally:
        stop.set()
