"""Checks topics, positions and Redis before a worker starts. One error reports all mistakes, each with its remedy."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from math import inf
from typing import Final, NamedTuple

from worker.adapters import redis_check
from worker.adapters.kafka_admin import Admin
from worker.adapters.kafka_topics import differences, longest
from worker.adapters.redis_client import Client
from worker.engine.standing import check_position
from worker.errors import WorkerMustStop
from worker.logs import fields
from worker.ports import Store
from worker.settings import ASKED_FOR_TYPES, Settings

log = logging.getLogger(__name__)

MISSING: Final = (
    "`leadpulse topics create` makes them; if they are there, grant Read or Write on them, without which none is shown"
)

UNCLEAN: Final = "a replica that lacks acknowledged records may become leader, and they are lost"
CLEAN: Final = "set unclean.leader.election.enable=false (kafka-configs.sh --alter)"


class Topics(NamedTuple):
    """The topics that a worker needs, as they are."""

    there: list[str]
    missing: list[str]
    """Needed topics that do not exist."""
    unneeded: list[str]
    """Topics that do not exist, and that only other grids need."""
    mistakes: list[str]
    """The mistakes of existing topics, each with its topic and remedy."""
    configs: dict[str, dict[str, str]]
    """Empty in development, because an embedded broker has no configurations."""
    readable: bool
    """Every topic that the worker reads exists, with the right number of partitions."""

    @property
    def unclean(self) -> list[str]:
        """Topics that may elect a leader without some acknowledged records."""
        return sorted(t for t, config in self.configs.items() if config.get("unclean.leader.election.enable") == "true")

    def compacted(self, topics: Collection[str]) -> tuple[str, ...]:
        """Return those of *topics* that Kafka compacts."""
        return tuple(topic for topic in topics if "compact" in self.configs.get(topic, {}).get("cleanup.policy", ""))


async def look_at_topics(settings: Settings, admin: Admin, unpublished: Collection[str] = ASKED_FOR_TYPES) -> Topics:
    """Return the topics as they are. `run` refuses the same mistakes that `doctor` reports.

    Inputs and the internal topic need N partitions each, because N decides the owner of a lead. Inputs must not be compacted,
    because records may be folded again. The internal topic must stamp its records itself (`LogAppendTime`). It must delete by
    age only, and keep its records as long as the longest input. All written topics must accept records of 2 MB. Topics of
    *unpublished* output types may be missing.
    """
    needed = {*settings.topics, *settings.outputs_but(unpublished)}
    counts = await admin.partitions([*settings.topics, *settings.outputs])
    absent = [topic for topic, partitions in counts.items() if not partitions]
    there = [topic for topic, partitions in counts.items() if partitions]
    configs = {} if settings.development or not there else await admin.configs(there)
    return Topics(
        there=there,
        missing=[topic for topic in absent if topic in needed],
        unneeded=[topic for topic in absent if topic not in needed],
        mistakes=_mistakes(settings, {topic: counts[topic] for topic in there}, configs),
        configs=configs,
        readable=all(counts[topic] == settings.partitions for topic in settings.topics),
    )


def _mistakes(settings: Settings, counts: Mapping[str, int], configs: Mapping[str, dict[str, str]]) -> list[str]:
    """Return the mistakes of the topics in *counts* (topic → partitions)."""
    retention = longest(int(configs[topic]["retention.ms"]) for topic in settings.input_topics if topic in configs)
    return [
        mistake if mistake.startswith(f"topic {topic} ") else f"{topic}: {mistake}"
        for topic, count in counts.items()
        for mistake in differences(settings, topic, count, configs.get(topic), str(retention))
    ]


async def check_topics(settings: Settings, admin: Admin, unpublished: Collection[str] = ASKED_FOR_TYPES) -> tuple[str, ...]:
    """Return the output topics that are compacted. Raises `WorkerMustStop` for each mistake of `look_at_topics`."""
    found = await look_at_topics(settings, admin, unpublished)
    if found.missing:
        raise WorkerMustStop(f"missing topics: {', '.join(found.missing)}: {MISSING}")
    if found.mistakes:
        raise WorkerMustStop("topics that cannot be used as they are:\n" + "\n".join(found.mistakes))
    if found.unclean:
        log.warning(
            "%s: %s: %s", ", ".join(found.unclean), UNCLEAN, CLEAN, extra=fields("topics.unclean", topics=found.unclean)
        )
    return found.compacted(settings.outputs)


async def shortest_retention_s(settings: Settings, admin: Admin) -> float:
    """Return the shortest retention of the input topics in seconds; infinite without a limit, or if it is unknown."""
    if settings.development:
        return inf
    configs = await admin.configs(settings.input_topics)
    known = (int(config["retention.ms"]) for config in configs.values() if "delete" in config["cleanup.policy"])
    return min((ms / 1000 for ms in known if ms >= 0), default=inf)


async def check_positions(settings: Settings, store_of: Callable[[int], Store]) -> None:
    """Raise `WorkerMustStop` if the stored positions have another partition count or other input topics than *settings*."""
    positions = await asyncio.gather(*(store_of(p).position() for p in range(settings.partitions)))
    for p, position in enumerate(positions):
        if position.batch:
            check_position(settings, p, position, position.published)


async def check_redis(settings: Settings, client: Client) -> None:
    """Raise `WorkerMustStop` if Redis would lose state or cannot run our functions. Log lesser findings."""
    errors: list[str] = []
    for finding in await redis_check.check(client, settings.namespace):
        line = f"{finding.what}: {finding.what_to_do}"
        if finding.level == "error":
            errors.append(line)
        else:
            level = logging.WARNING if finding.level == "warning" else logging.INFO
            log.log(level, "Redis: %s", line, extra=fields("redis.remark"))
    if errors:
        raise WorkerMustStop("this Redis cannot be used as it is:\n" + "\n".join(errors))
