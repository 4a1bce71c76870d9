"""Watches the topics that a running worker reads: whether each is there, is still the same topic, and keeps its records."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from worker.core.contract.folded import UNKNOWN
from worker.engine.standing import check_ids, same
from worker.errors import KafkaRefused, LogUnavailable
from worker.logs import fields
from worker.metrics import Metrics
from worker.ports import LogAdmin
from worker.settings import Settings

log = logging.getLogger(__name__)

EVERY_S: Final = 10.0
_LEAST_S: Final = 1.0
"""Least time between two checks, however often the brokers' metadata change."""
_TIMES: Final = 3
"""A broker's metadata may be old. So a change counts after so many equal answers, `_LEAST_S` apart."""


class TopicWatch:
    """Checks the topics once for all partitions of a worker. *held* returns partition → topic → the id that it reads.

    *refresh* makes the group's consumer see a topic that was recreated. By itself it looks once a minute.
    """

    def __init__(
        self,
        settings: Settings,
        cluster: LogAdmin,
        metrics: Metrics,
        held: Callable[[], Mapping[int, Mapping[str, str]]],
        refresh: Callable[[], object],
    ) -> None:
        self._settings = settings
        self._cluster = cluster
        self._metrics = metrics
        self._held = held
        self._refresh = refresh
        self._last: Mapping[str, str] | None = None
        self._changed = asyncio.Event()
        self._compacted: frozenset[str] = frozenset()
        self.gone: frozenset[str] = frozenset()
        """Topics that are not there."""
        for topic in settings.topics:
            metrics.topic_gone.labels(topic).set(0)
        for topic in settings.input_topics:
            metrics.input_compacted.labels(topic).set(0)

    def wake(self, *_: Any) -> None:
        """Check soon, because the brokers reported other topics, leaders or partitions."""
        self._changed.set()

    async def run(self) -> None:
        """Check again and again. Raises `WorkerMustStop` if a topic that a partition reads was recreated."""
        while True:
            await self._topics()
            if not self._settings.development:
                await self._configurations()
            self._changed.clear()
            await asyncio.sleep(_LEAST_S)
            try:
                async with asyncio.timeout(EVERY_S - _LEAST_S):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _topics(self) -> None:
        times = 0
        while True:
            try:
                ids = await self._cluster.ids(self._settings.topics)
            except (LogUnavailable, OSError, TimeoutError, KafkaRefused) as err:
                self._silent(err)
                return
            if self._last is not None and ids != self._last:
                self._refresh()
            self._last = ids
            gone = frozenset(self._settings.topics) - ids.keys()
            another = self._another(ids)
            times += 1
            if times == _TIMES or (gone <= self.gone and not another):
                break
            await asyncio.sleep(_LEAST_S)
        self._note_gone(gone)
        for partition, topics in another.items():
            check_ids(self._settings, partition, topics)

    def _another(self, ids: Mapping[str, str]) -> dict[int, list[str]]:
        """Return partition → topics whose present *ids* differ from those that it reads."""
        found: dict[int, list[str]] = {}
        for partition, held in self._held().items():
            topics = [topic for topic, id_ in ids.items() if not same(held.get(topic, UNKNOWN), id_)]
            if topics:
                found[partition] = topics
        return found

    def _note_gone(self, gone: frozenset[str]) -> None:
        for topic in sorted(gone - self.gone):
            log.error(
                "topic %s is gone: its events wait nowhere, and its partitions take none until it is there again",
                topic,
                extra=fields("topic.gone", topic=topic),
            )
        for topic in sorted(self.gone - gone):
            log.warning("topic %s is there again", topic, extra=fields("topic.back", topic=topic))
        self.gone = gone
        for topic in self._settings.topics:
            self._metrics.topic_gone.labels(topic).set(topic in gone)

    async def _configurations(self) -> None:
        topics = [topic for topic in self._settings.input_topics if topic not in self.gone]
        try:
            configs = await self._cluster.configs(topics)
        except (LogUnavailable, OSError, TimeoutError, KafkaRefused) as err:
            self._silent(err)
            return
        compacted = frozenset(topic for topic in topics if "compact" in configs[topic]["cleanup.policy"])
        for topic in sorted(compacted - self._compacted):
            log.error(
                "input topic %s is compacted from now on: records that may have to be folded again get lost; set it back by"
                " kafka-configs.sh --alter --topic %s --add-config cleanup.policy=delete",
                topic,
                topic,
                extra=fields("input.compacted", topic=topic),
            )
        self._compacted = compacted
        for topic in self._settings.input_topics:
            self._metrics.input_compacted.labels(topic).set(topic in compacted)

    @staticmethod
    def _silent(err: Exception) -> None:
        log.debug("the brokers did not describe the topics: %r", err, extra=fields("kafka.silent"))
