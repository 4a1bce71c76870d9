"""The program's parts, put together: which topics are read, which targets are used, and by what."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from worker.automation_ports import ActGroup, Ledger
from worker.automations.calls import Calls, Logins, Named
from worker.automations.deliver import AliasesOf, ConsentsNow, Desk, LeadOf
from worker.automations.dispatch import Desks
from worker.automations.hands import Hands
from worker.automations.metrics import ActMetrics
from worker.automations.partition import Shared
from worker.automations.program import Program
from worker.automations.rules import Rules
from worker.automations.suppressions import Suppressions
from worker.automations.taking import ERASED, AddressOf, Taking
from worker.automations.targets.common import Kind
from worker.connections.models import Connections
from worker.connections.unsubscribe import address
from worker.core.contract.partitioner import owner
from worker.intake_ports import Acks
from worker.sending_ports import HttpSender, Limits, MailSender
from worker.settings import ActSettings

_PAUSED_S: Final = 1.0
"""A pause takes effect within this time."""


@dataclass(frozen=True)
class Outside:
    """What the program reaches outside of it. Tests put others in their place."""

    group: ActGroup
    ledgers: Sequence[Ledger]
    """By partition."""
    limits: Limits
    http: HttpSender
    mail: MailSender
    logins: Logins
    acks: Acks
    address_of: AddressOf
    aliases_of: AliasesOf
    lead_of: LeadOf
    now_ms: Callable[[], int]
    consents: ConsentsNow


class Clock:
    """What the age of an act is counted against: the wall clock, or the newest record's time."""

    def __init__(self, now_ms: Callable[[], int], *, by_events: bool) -> None:
        self._now_ms = now_ms
        self._by_events = by_events
        self._newest_ms = 0

    def saw(self, at_ms: int) -> None:
        """A record of *at_ms* was read."""
        self._newest_ms = max(self._newest_ms, at_ms)

    def now_ms(self) -> int:
        """Return the instant that ages are counted against."""
        return self._newest_ms if self._by_events else self._now_ms()


class Paused:
    """Rules and targets that are paused, asked once a second."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held: set[str] = set()
        self._until = 0.0

    async def __call__(self) -> set[str]:
        """Return rules and targets that are paused."""
        if time.monotonic() >= self._until:
            self._held = await self._limits.paused()
            self._until = time.monotonic() + _PAUSED_S
        return self._held


def read_types(rules: Rules) -> frozenset[str]:
    """Return the types of outputs that the program reads, without those whose topic may be missing."""
    return frozenset({*rules.types, ERASED})


def program_of(
    settings: ActSettings,
    rules: Rules,
    connections: Connections,
    kinds: Mapping[str, Kind],
    topics: Iterable[str],
    outside: Outside,
    hands: Callable[[Iterable[str]], Hands],
    metrics: ActMetrics,
    environment: Mapping[str, str],
    since_ms: int = -1,
) -> Program:
    """Put the program together. *topics* are the topics of outputs that exist; inputs are read too."""
    held = connections.targets
    targets = {name: Named(name, target, kinds[target.kind]) for name, target in held.items() if target.kind in kinds}
    clock = Clock(outside.now_ms, by_events=settings.clock == "events")
    forgetting = [name for name, at in targets.items() if at.kind.forget is not None and getattr(at.target, "forget", False)]
    synced = {rule.to for rule in rules.automations.sync}
    ledgers = outside.ledgers

    def ledger_of(key: str) -> Ledger:
        return ledgers[owner(key, len(ledgers))]

    taking = Taking(rules, settings.source, settings.input_topics, forgetting, outside.address_of, outside.now_ms, metrics)
    calls = Calls(outside.http, outside.mail, outside.limits, outside.logins, environment, outside.now_ms)
    suppressions = Suppressions(outside.group, ledgers, settings.input_topics)
    paused: Callable[[], Awaitable[set[str]]] = Paused(outside.limits)
    desk = Desk(
        calls=calls,
        limits=outside.limits,
        targets=targets,
        ledger_of=ledger_of,
        aliases_of=outside.aliases_of,
        lead_of=outside.lead_of,
        behind=suppressions.behind,
        now_ms=outside.now_ms,
        age_now_ms=clock.now_ms,
        paused=paused,
        rewrite=rules.rewrite,
        consents=outside.consents,
        unsubscribe=lambda target, act: address(connections, target, environment, act.lead_id, act.id),
        read=rules.read,
    )
    metrics.targets_are(targets)
    shared = Shared(
        group=outside.group,
        topics=tuple(sorted({*topics, *settings.input_topics})),
        ledgers=ledgers,
        taking=taking,
        metrics=metrics,
        now_ms=outside.now_ms,
        saw=clock.saw,
        newest_ms=clock.now_ms,
        took_over=suppressions.taken_over,
        since_ms=since_ms,
    )
    return Program(shared, Desks(desk, hands(targets), taking, metrics, synced), outside.acks, settings.acted_topic)
