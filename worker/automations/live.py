"""The program with real Kafka, Redis and targets: it waits for them, checks topics, and joins its group again after errors."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Final, NamedTuple

from worker.adapters.http_out import HttpOut
from worker.adapters.kafka_acks import KafkaAcks
from worker.adapters.kafka_act_group import KafkaActGroup
from worker.adapters.kafka_admin import Admin
from worker.adapters.redis_client import connect, install
from worker.adapters.redis_leads import RedisLeads
from worker.adapters.redis_ledger import RedisLedger
from worker.adapters.redis_limits import RedisLimits
from worker.adapters.smtp_out import SmtpOut
from worker.adapters.vendor_login import NoAnswer, VendorLogin
from worker.automations.assembly import Outside, program_of, read_types
from worker.automations.hands import Hands
from worker.automations.metrics import ActMetrics
from worker.automations.program import Program
from worker.automations.requests import Again, Misconfigured
from worker.automations.rules import Rules
from worker.automations.targets.registry import KINDS
from worker.connections.models import Connections
from worker.errors import ConnectionsError, KafkaRefused, LeadPulseError, StoreUnavailable, WorkerMustStop
from worker.logs import fields
from worker.settings import ActSettings

log = logging.getLogger(__name__)

_AGAIN_S: Final = 2.0
_REFUSED: Final = 401


class Files(NamedTuple):
    """The two files, read and checked, and where the secrets are."""

    connections: Connections
    rules: Rules
    environment: Mapping[str, str]


class VendorTokens:
    """`calls.Logins` over the log-ins of vendors."""

    def __init__(self, login: VendorLogin) -> None:
        self._login = login

    async def token(self, name: str) -> str:
        """Return the token of target *name*. Raises `Again` and `Misconfigured`."""
        try:
            return await self._login.token(name)
        except NoAnswer as error:
            if error.status == _REFUSED:
                raise Misconfigured(str(error)) from None
            raise Again(str(error), error.after_s) from None
        except ConnectionsError as error:
            raise Misconfigured(str(error)) from None

    def expired(self, name: str, token: str) -> bool:
        """Forget *token*, and return whether another one can be had."""
        self._login.forget(name, token)
        return bool(token)


def now_ms() -> int:
    """Return this machine's time in ms."""
    return time.time_ns() // 1_000_000


async def live(
    settings: ActSettings,
    files: Files,
    hands: Hands,
    metrics: ActMetrics,
    runs: Callable[[Program], None],
    since_ms: int,
) -> None:
    """Act until cancelled. *runs* is called with each program that joins. Raises what an operator must mend."""
    async with AsyncExitStack() as opened:
        http = await opened.enter_async_context(HttpOut())
        login = await opened.enter_async_context(VendorLogin(files.connections.targets, files.environment))
        acks = await opened.enter_async_context(KafkaAcks(settings))
        client = connect(settings.redis.get_secret_value(), name="leadpulse.act")
        opened.push_async_callback(client.aclose)
        topics = await checked_topics(settings, files.rules)
        await _installed(client)
        leads = RedisLeads(client, settings.namespace, settings.partitions)
        ledgers = [RedisLedger(client, settings.namespace, p) for p in range(settings.partitions)]
        limits = RedisLimits(client, settings.namespace)

        async def act(group: KafkaActGroup) -> None:
            outside = Outside(
                group, ledgers, limits, http, SmtpOut(), VendorTokens(login), acks, leads.address, leads.aliases, leads.lead_of,
                now_ms, leads.consents,
            )  # fmt: skip
            program = program_of(
                settings, files.rules, files.connections, KINDS, topics, outside, lambda _: hands, metrics,
                files.environment, since_ms,
            )  # fmt: skip
            runs(program)
            await program.run()

        await joining(settings, act)


async def joining(settings: ActSettings, work: Callable[[KafkaActGroup], Awaitable[None]]) -> None:
    """Do *work* as a member of the group until cancelled, and join anew after each error. Raises what must be mended."""
    while True:
        async with Admin(settings) as admin:
            group = KafkaActGroup(settings, admin)
            try:
                await work(group)
            except (KafkaRefused, WorkerMustStop):
                raise
            except LeadPulseError as error:
                log.warning("joining the group again: %s", error.line(), extra=fields("act.joins_again"))
            finally:
                await group.close()
        await asyncio.sleep(_AGAIN_S)


async def checked_topics(settings: ActSettings, rules: Rules, *, acted: bool = True) -> tuple[str, ...]:
    """Return the topics to read, once Kafka answers. Raises `WorkerMustStop` for a topic that cannot be read in order."""
    needed = {*settings.topics_of(read_types(rules)), *([settings.acted_topic] if acted else [])}
    optional = {settings.output_topic(kind) for kind in rules.sync_types}
    found = await _partitions(settings, needed | optional)
    if missing := sorted(topic for topic in needed if not found[topic]):
        raise WorkerMustStop(f"topics are missing: {', '.join(missing)}: create them with `leadpulse topics create`")
    read = {topic for topic, count in found.items() if count} - {settings.acted_topic}
    other = sorted(f"{topic} has {found[topic]}" for topic in read if found[topic] != settings.partitions)
    if other:
        raise WorkerMustStop(
            f"these topics do not have {settings.partitions} partitions, as LEADPULSE_PARTITIONS says: {', '.join(other)}:"
            " a lead's outputs would come to several processes; create the topics with the partitions of the inputs"
        )
    return tuple(sorted(read))


async def _partitions(settings: ActSettings, topics: set[str]) -> dict[str, int]:
    """Return the partitions of *topics*, once Kafka answers."""
    while True:
        try:
            async with Admin(settings) as admin:
                return await admin.partitions(topics)
        except KafkaRefused:
            raise
        except (LeadPulseError, OSError) as error:
            line = error.line() if isinstance(error, LeadPulseError) else str(error)
            log.warning("%s", line, extra=fields("act.waits_for_kafka"))
        await asyncio.sleep(_AGAIN_S)


async def _installed(client: object) -> None:
    """Load our functions into Redis, once it answers."""
    while True:
        try:
            await install(client)  # type: ignore[arg-type]
            return
        except StoreUnavailable as error:
            log.warning("%s", error.line(), extra=fields("act.waits_for_redis"))
            await asyncio.sleep(_AGAIN_S)
