"""What `doctor` finds about the program that acts: files, topics, rights in Redis, and acts that need a person."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from worker.adapters.kafka_admin import Admin
from worker.adapters.redis_client import connect, install
from worker.adapters.redis_ledger import RedisLedger
from worker.automations.assembly import read_types
from worker.automations.file import read_rules
from worker.automations.operations import Acts, now_ms, open_acts
from worker.automations.rules import Rules
from worker.connections.file import read_connections
from worker.connections.models import Connections
from worker.errors import AutomationsError, ConnectionsError, LeadPulseError, SettingsError
from worker.settings import ActSettings

Found = tuple[str, Literal["ok", "hint", "warning", "error"], str, str]
"""Area, level, what was found, and what to do."""

_AREA: Final = "automations"
_SIGNATURE: Final = "signature"
_NEED_A_PERSON: Final = {
    "unknown": "look at the target, then `leadpulse act resolve` or `leadpulse act retry`",
    "held": "`leadpulse act list --state held` shows them, `leadpulse act retry` or `resolve` decides",
    "dead": "`leadpulse act list --state dead` shows why; mend it, then `leadpulse act retry`",
}


def automations_file(environment: Mapping[str, str]) -> str | None:
    """Return the file of automations; `None` where none is configured and none has the default's name."""
    return environment.get("LEADPULSE_AUTOMATIONS") or ("automations.yaml" if Path("automations.yaml").is_file() else None)


async def act_findings(environment: Mapping[str, str], flags: Mapping[str, Any]) -> AsyncIterator[Found]:
    """Look at the program that acts, where there are automations. No target is asked.

    *flags* go before settings of the environment. Loads our functions into Redis, and changes nothing else.
    """
    if automations_file(environment) is None:
        return
    try:
        settings = ActSettings.load(environment, **{name: flags[name] for name in flags if name in ActSettings.model_fields})
        connections = read_connections(settings.connections)
        rules = read_rules(settings.automations, connections)
    except (SettingsError, ConnectionsError, AutomationsError) as error:
        for line in str(error).splitlines():
            yield _AREA, "error", line, ""
        return
    found = rules.automations
    counts = f"{len(found.sync)} states in sync, {len(found.acts)} acts, {len(found.nurture)} nurturing rules"
    yield _AREA, "ok", f"{settings.automations}: {counts}", ""
    if any(rule.do == _SIGNATURE for rule in found.acts) and not _is_folder(settings.documents):
        yield _AREA, "error", f"there is no folder {settings.documents} with documents to sign", "set LEADPULSE_DOCUMENTS"
    try:
        async for one in _topics(settings, rules):
            yield one
    except (LeadPulseError, OSError) as error:  # Kafka's own findings have the remedy
        yield _AREA, "hint", f"its topics could not be looked at: {error}", ""
    try:
        async for one in _ledger(settings, connections):
            yield one
    except LeadPulseError as error:
        yield _AREA, "error", error.line(), ""


def _is_folder(name: str) -> bool:
    return Path(name).is_dir()


async def _topics(settings: ActSettings, rules: Rules) -> AsyncIterator[Found]:
    needed = {*settings.topics_of(read_types(rules)), settings.acted_topic}
    members: int | None = None
    async with Admin(settings) as admin:
        found = await admin.partitions(needed)
        with contextlib.suppress(LeadPulseError):  # this user may not describe the group, or no group was there yet
            members = await admin.members(settings.group)
    missing = sorted(topic for topic in needed if not found[topic])
    if missing:
        yield _AREA, "error", f"topics are missing: {', '.join(missing)}", "create them with `leadpulse topics create`"
    read = {topic: count for topic, count in found.items() if count and topic != settings.acted_topic}
    for topic, count in sorted(read.items()):
        if count != settings.partitions:
            what = f"{topic} has {count} partitions, LEADPULSE_PARTITIONS says {settings.partitions}"
            yield _AREA, "error", what, "`leadpulse act` needs as many in each topic that it reads, to keep a lead's order"
    if members == 0:
        yield _AREA, "hint", "no process of `leadpulse act` runs", "start it, or nothing is done at the targets"


async def _ledger(settings: ActSettings, connections: Connections) -> AsyncIterator[Found]:
    client = connect(settings.redis.get_secret_value())
    try:
        await install(client)
        lacking = await RedisLedger(client, settings.namespace, 0).lacking_rights()
    finally:
        await client.aclose()
    if lacking:
        rules = " ".join("+" + name.lower() for name in lacking)
        what = f"this Redis user may not run {', '.join(lacking)}"
        yield _AREA, "error", what, f"extend its ACL for `leadpulse act`: {rules} (docs/security.md)"
    async with open_acts(settings) as acts:
        async for one in _acts(acts, list(connections.targets)):
            yield one


async def _acts(acts: Acts, targets: list[str]) -> AsyncIterator[Found]:
    for name, standing in (await acts.standing(targets, now_ms())).items():
        for state, remedy in _NEED_A_PERSON.items():
            if count := standing.figures.get(state, 0):
                yield _AREA, "warning", f"{count} acts at target {name} are {state}", remedy
        if count := standing.figures.get("states_dead", 0):
            yield _AREA, "warning", f"{count} states of leads were refused by target {name}", standing.failure
        if standing.breaker in ("open", "half-open"):
            what = f"target {name} gets nothing for now: {standing.failure}"
            yield _AREA, "warning", what, f"mend it, then `leadpulse act resume {name}`"
    if paused := await acts.paused():
        yield _AREA, "hint", f"paused: {', '.join(paused)}", "`leadpulse act resume` lets it go on"
