"""How each source and target is: last event, last error, breaker, budget, and what waits, is held, dead or unknown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final, Literal

import msgspec

from worker.adapters.kafka_sink import KafkaIntake
from worker.adapters.redis_inbound import RedisInbound
from worker.connections.models import Connections
from worker.core.scoring.calendar import rfc3339
from worker.errors import LeadPulseError
from worker.intake.inbound import decode_inbound
from worker.intake.producer import check_topics
from worker.intake_ports import SourceNews
from worker.queries.dead_letters import DeadLetterFilter, DeadLetters
from worker.settings import CollectSettings


class Standing(msgspec.Struct, frozen=True):
    """One source or target. `None` is unknown, or has no meaning there."""

    direction: Literal["source", "target"]
    name: str
    kind: str
    """The vendor of a source, the kind of a target."""
    last_event: str | None = None
    """When the last webhook came, or when a target last took a request (RFC 3339)."""
    last_error: str | None = None
    last_error_at: str | None = None
    breaker: str | None = None
    """Of a target: `closed`, `open`, `half-open` while it is tried, or `paused`."""
    budget: float | None = None
    """Of a target: requests that it may still be sent now."""
    pending: int | None = None
    """Look-ups of a source that wait, or acts and states of a target that are not done yet."""
    held: int | None = None
    dead: int | None = None
    """Webhooks of a source in the dead-letter topic, or acts of a target that ended without success."""
    unknown: int | None = None


ReadTargets = Callable[[Mapping[str, str]], Awaitable[Mapping[str, Standing]]]
"""Target → kind, to target → its standing. The program that acts knows them."""


async def no_targets(kinds: Mapping[str, str]) -> Mapping[str, Standing]:
    """Return targets of which nothing is known."""
    return {name: Standing("target", name, kind) for name, kind in kinds.items()}


async def standings(
    settings: CollectSettings, connections: Connections, read_targets: ReadTargets = no_targets
) -> tuple[list[Standing], list[str]]:
    """Return the standing of each source and target, in the order of the file, and what could not be read.

    What Redis or Kafka does not tell is `None`, so the absence of one hides nothing of the other.
    """
    missing: list[str] = []
    news: dict[str, SourceNews] | None = None
    pending: Counter[str] | None = None
    dead: Counter[str] | None = None
    memory = RedisInbound(settings.memory, settings.seen_max)
    try:
        news, pending = await memory.told(), _by_source(await memory.questions())
    except LeadPulseError as error:
        missing.append(error.line())
    finally:
        await memory.close()
    try:
        dead = await _dead(settings)
    except (LeadPulseError, OSError) as error:
        missing.append(error.line() if isinstance(error, LeadPulseError) else f"{settings.kafka}: {error}")
    found = [_source(name, source.vendor, news, pending, dead) for name, source in connections.sources.items()]
    kinds = {name: target.kind for name, target in connections.targets.items()}
    try:
        targets = await read_targets(kinds) if kinds else {}  # the collector's user may read no acts
    except LeadPulseError as error:
        missing.append(error.line())
        targets = await no_targets(kinds)
    return [*found, *(targets[name] for name in kinds)], list(dict.fromkeys(missing))


def _source(
    name: str,
    vendor: str,
    news: Mapping[str, SourceNews] | None,
    pending: Mapping[str, int] | None,
    dead: Mapping[str, int] | None,
) -> Standing:
    new = (news or {}).get(name, SourceNews())
    return Standing(
        "source",
        name,
        vendor,
        last_event=_instant(new.event_ms),
        last_error=new.error or None,
        last_error_at=_instant(new.error_ms),
        pending=None if pending is None else pending.get(name, 0),
        dead=None if dead is None else dead.get(name, 0),
    )


def _instant(at_ms: int) -> str | None:
    return rfc3339(at_ms) if at_ms else None


class _Asked(msgspec.Struct):
    source: str


_asked: Final = msgspec.json.Decoder(_Asked).decode


def _by_source(questions: Collection[bytes]) -> Counter[str]:
    """Return how many look-ups wait, by source."""
    found: Counter[str] = Counter()
    for held in questions:
        try:
            found[_asked(held).source] += 1
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return found


async def _dead(settings: CollectSettings) -> Counter[str]:
    """Return how many webhooks are in the dead-letter topic, by source. Reads all of it."""
    topic = settings.dead_topic
    log = KafkaIntake(settings)
    count = (await check_topics(log, [topic]))[topic]
    found: Counter[str] = Counter()
    async for letter in DeadLetters(settings, topic, count).every(DeadLetterFilter()):
        try:
            found[decode_inbound(letter.record.value or b"").source] += 1
        except ValueError:
            continue
    return found
