"""What must hold before a worker begins: each mistake is told with what mends it, all of them at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
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
    """How the topics stand that a worker needs."""

    there: list[str]
    missing: list[str]
    """Needed, and not there."""
    unneeded: list[str]
    """Not there, and needed by some grids only."""
    mistakes: list[str]
    """What is wrong with those that are there, each with its topic and what mends it."""
    configs: dict[str, dict[str, str]]
    """Empty in development: an embedded broker has none to show."""
    readable: bool
    """Every topic that the worker reads is there, with the partitions that it needs."""

    @property
    def unclean(self) -> list[str]:
        """Those that may elect a leader which lacks acknowledged records."""
        return sorted(t for t, config in self.configs.items() if config.get("unclean.leader.election.enable") == "true")

    def compacted(self, topics: Collection[str]) -> tuple[str, ...]:
        """Return those of *topics* that Kafka compacts."""
        return tuple(topic for topic in topics if "compact" in self.configs.get(topic, {}).get("cleanup.policy", ""))


async def look_at_topics(settings: Settings, admin: Admin, unpublished: Collection[str] = ASKED_FOR_TYPES) -> Topics:
    """Return how the topics stand: what `run` refuses is what `doctor` reports.

    Inputs and the internal topic need N partitions each, because owners are found by it. Inputs must not be compacted, because
    records are folded again. The internal topic must stamp its records itself (`LogAppendTime`), delete by age only, and keep
    them as long as the longest input; what the worker writes to must take records of 2 MB. Topics of *unpublished* output types
    may be missing.
    """
    needed = {*settings.topics, *settings.outputs_but(unpublished)}
    counts = await admin.partitions([*settings.topics, *settings.outputs])
    absent = [topic for topic, partitions in counts.items() if not partitions]
    there = [topic for topic, partitions in counts.items() if partitions]
    configs = {} if settings.development or not there else await admin.configs(there)
    retention = longest(int(configs[topic]["retention.ms"]) for topic in settings.input_topics if topic in configs)
    mistakes = [
        mistake if mistake.startswith(f"topic {topic} ") else f"{topic}: {mistake}"
        for topic in there
        for mistake in differences(settings, topic, counts[topic], configs.get(topic), str(retention))
    ]
    missing = [topic for topic in absent if topic in needed]
    readable = all(counts[topic] == settings.partitions for topic in settings.topics)
    return Topics(there, missing, [topic for topic in absent if topic not in needed], mistakes, configs, readable)


async def check_topics(settings: Settings, admin: Admin, unpublished: Collection[str] = ASKED_FOR_TYPES) -> tuple[str, ...]:
    """Return the output topics that are compacted.

    Raise `WorkerMustStop` unless `look_at_topics` finds every topic as it must be.
    """
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
    """Return for how long the input topics keep their records at least; infinite without a limit, or where nobody says."""
    if settings.development:
        return inf
    configs = await admin.configs(settings.input_topics)
    known = (int(config["retention.ms"]) for config in configs.values() if "delete" in config["cleanup.policy"])
    return min((ms / 1000 for ms in known if ms >= 0), default=inf)


async def check_positions(settings: Settings, store_of: Callable[[int], Store]) -> None:
    """Raise `WorkerMustStop` when the store remembers another number of partitions or other input topics than *settings*
    say.
    """
    positions = await asyncio.gather(*(store_of(p).position() for p in range(settings.partitions)))
    for p, position in enumerate(positions):
        if position.batch:
            check_position(settings, p, position, position.published)


async def check_redis(settings: Settings, client: Client) -> None:
    """Raise `WorkerMustStop` when Redis would lose state or cannot run our functions; log what is only risky or slow."""
    errors: list[str] = []
    for finding in await redis_check.check(client, settings.namespace):
        said = f"{finding.what}: {finding.what_to_do}"
        if finding.level == "error":
            errors.append(said)
        else:
            log.log(
                logging.WARNING if finding.level == "warning" else logging.INFO, "Redis: %s", said, extra=fields("redis.remark")
            )
    if errors:
        raise WorkerMustStop("this Redis cannot be used as it is:\n" + "\n".join(errors))
