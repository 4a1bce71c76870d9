"""What `doctor` finds about the program that acts, and the rights that it needs in Redis."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis as plain

from tests.kit.guarded import documented
from tests.kit.ledgers import LEASE, a_state, an_act, claimed, ended, enrolled
from tests.kit.services import Kafka, Redis, create_topics, free_port
from tests.kit.waits import until
from worker.adapters.redis_client import connect, install
from worker.adapters.redis_leads import RedisLeads
from worker.adapters.redis_ledger import RedisLedger
from worker.adapters.redis_limits import RedisLimits
from worker.automation_ports import Cancel, EraseLead, Leave, Lift, Op, Suppress
from worker.automations.findings import act_findings
from worker.automations.operations import Chosen, open_acts
from worker.errors import StoreRefused
from worker.settings import ReaderSettings

CONNECTIONS = """
targets:
  hook: {kind: webhook, url: "https://hooks.example.com/lp", secret: "${HOOK_OUT}"}
"""
AUTOMATIONS = """
acts:
  - {id: tell, on: lead.sql, to: hook, do: send, unless: [lead.cooled]}
"""


@pytest.fixture
def site(redis_server: Redis, namespace: str, tmp_path: Path) -> dict[str, str]:
    """Return the environment of a program, without Kafka."""
    (tmp_path / "connections.yaml").write_text(CONNECTIONS)
    (tmp_path / "automations.yaml").write_text(AUTOMATIONS)
    return {
        "LEADPULSE_AUTOMATIONS": str(tmp_path / "automations.yaml"),
        "LEADPULSE_CONNECTIONS": str(tmp_path / "connections.yaml"),
        "LEADPULSE_REDIS": redis_server.url, "LEADPULSE_NAMESPACE": namespace, "LEADPULSE_PARTITIONS": "2",
        "LEADPULSE_KAFKA": f"127.0.0.1:{free_port()}",
        "LEADPULSE_INPUT_TOPICS": f"{namespace}.crm", "LEADPULSE_OUTPUT_TOPICS": ",".join(
            f"{kind}={namespace}.{kind}" for kind in ("lead.sql", "lead.cooled", "lead.erased")
        ),
    }  # fmt: skip


def _write(environment: dict[str, str], automations: str) -> None:
    Path(environment["LEADPULSE_AUTOMATIONS"]).write_text(automations)


async def _found(environment: dict[str, str], **flags: str) -> list[tuple[str, str]]:
    """Return level and words of what is found."""
    return [(level, f"{what}: {remedy}") async for _, level, what, remedy in act_findings(environment, flags)]


async def test_without_automations_nothing_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most namespaces act on nothing."""
    monkeypatch.chdir(tmp_path)
    assert await _found({}) == []


async def test_a_mistake_in_a_file_or_a_setting_is_named(site: dict[str, str]) -> None:
    """By its line, as `act check` does."""
    _write(site, AUTOMATIONS.replace("to: hook", "to: hok"))
    (found,) = await _found(site)
    assert found[0] == "error"
    assert "automations.yaml:3: acts[0].to" in found[1]
    assert (await _found(site | {"LEADPULSE_METRICS_PORT": "x"}))[0][1].startswith("LEADPULSE_METRICS_PORT")


async def test_acts_that_need_a_person_are_named_with_their_command(site: dict[str, str]) -> None:
    """So are states that were refused, an open breaker and pauses. Kafka is away."""
    settings = ReaderSettings.load(site)
    client = connect(settings.redis.get_secret_value())
    ledger, limits = RedisLedger(client, settings.namespace, 1), RedisLimits(client, settings.namespace)
    await ledger.take([an_act(state, state, "hook") for state in ("unknown", "held", "dead", "done")], 0)
    await claimed(ledger, 0, "c1", "hook")
    for state in ("unknown", "held", "dead", "done"):
        await ended(ledger, state, "c1", state)
    await limits.report("hook", "configuration", 0, 1, "410 Gone")
    await limits.pause("rule:tell", True)
    await client.aclose()
    found = await _found(site | {"LEADPULSE_REDIS": "redis://127.0.0.1:1"}, redis=site["LEADPULSE_REDIS"])
    assert found[0] == ("ok", f"{site['LEADPULSE_AUTOMATIONS']}: 0 states in sync, 1 acts, 0 nurturing rules: ")
    assert found[1][0] == "hint"
    assert "its topics could not be looked at" in found[1][1]
    assert [(level, words.partition(":")[0]) for level, words in found[2:]] == [
        ("warning", "1 acts at target hook are unknown"),
        ("warning", "1 acts at target hook are held"),
        ("warning", "1 acts at target hook are dead"),
        ("warning", "target hook gets nothing for now"),
        ("hint", "paused"),
    ]
    assert "configuration: 410 Gone: mend it, then `leadpulse act resume hook`" in found[5][1]


async def test_topics_and_processes_are_looked_at(site: dict[str, str], kafka: Kafka, namespace: str) -> None:
    """A topic that is missing, and one whose partitions differ."""
    await create_topics(kafka.address, [f"{namespace}.{name}" for name in ("crm", "lead.sql", "lead.erased")], 2)
    await create_topics(kafka.address, [f"{namespace}.lead.cooled"], 3)
    words = ""

    async def told() -> bool:
        nonlocal words
        words = "\n".join(words for _, words in await _found(site | {"LEADPULSE_KAFKA": kafka.address}))
        return "no process of `leadpulse act` runs" in words

    await until(told, "the broker has a coordinator of groups")
    assert f"{namespace}.lead.cooled has 3 partitions, LEADPULSE_PARTITIONS says 2" in words
    assert ("topics are missing: lead.acted" in words) == ("lead.acted" not in await _topics(kafka))


async def _topics(kafka: Kafka) -> set[str]:
    from aiokafka.admin import AIOKafkaAdminClient

    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
    await admin.start()
    try:
        return set(await admin.list_topics())
    finally:
        await admin.close()


@pytest.fixture
def least(redis_server: Redis, namespace: str) -> Iterator[str]:
    """Return the address of a user with the rights of docs/security.md."""
    (line,) = documented("redis", "act")
    words = line.replace("PASSWORD", "pw").replace("{default:", f"{{{namespace}:").split()
    with plain.Redis(port=redis_server.port) as admin:
        admin.execute_command(*["ACL", "SETUSER", namespace, *words[3:]])
        yield f"redis://{namespace}:pw@{redis_server.address}"
        admin.execute_command("ACL", "DELUSER", namespace)


async def test_the_documented_rights_are_enough_and_each_is_needed(
    least: str, redis_server: Redis, namespace: str, site: dict[str, str]
) -> None:
    """Whatever the program and its commands do. `doctor` names a right that is missing."""
    await _everything(least, namespace, site)
    with plain.Redis(port=redis_server.port) as admin:
        (line,) = documented("redis", "act")
        for right in re.findall(r"\+(\S+)", line):
            if right in ("function|list", "ping", "command", "cluster"):  # for a full Redis, for people, for a cluster
                continue
            admin.execute_command("ACL", "SETUSER", namespace, f"-{right}")
            with pytest.raises(StoreRefused, match=r"right|NOPERM"):
                await _everything(least, namespace, site)
            admin.execute_command("ACL", "SETUSER", namespace, f"+{right}")
        admin.execute_command("ACL", "SETUSER", namespace, "-hincrby")
        found = await _found(site | {"LEADPULSE_REDIS": least})
        assert any("may not run HINCRBY" in words and "+hincrby" in words for _, words in found), found


async def _everything(url: str, namespace: str, site: dict[str, str]) -> None:
    client = connect(url)
    await install(client)
    ledger, limits = RedisLedger(client, namespace, 0), RedisLimits(client, namespace)
    await ledger.take([an_act("a", unless=("lead.cooled",)), an_act("b", "bob"), a_state(1), enrolled()], 0, {"x": 1})
    await claimed(ledger, 0, "c1")
    await ledger.begin("a", "c1", "task", LEASE)
    await ledger.remember("a", "c1", "task", "1")
    await ended(ledger, "a", "c1")
    await ledger.claim_states("crm", 0, LEASE, 9)
    await ledger.finish_states("crm", [], 0)
    await ledger.claim_enrolled(0, LEASE, 9)
    await ledger.suppressed(["a"])
    await ledger.mail_allowed("a", "a", 0, 1)
    await ledger.published([one.key for one in await ledger.acted(9)])
    await ledger.distrust()
    await ledger.rows()
    await ledger.rows(lead_id="ann")
    await ledger.next_due(["crm"])
    await ledger.position()
    await limits.permit("crm", 1, 1.0, 1.0, 0)
    await limits.report("crm", "again", 5, 0)
    await limits.rule_allows("tell", "a", 1, 1_000, 0)
    await limits.pause("target:crm", True)
    await limits.pause("target:crm", False)
    await ledger.content_allowed("ann@example.com", "warm/study", "a")
    assert await ledger.contents_of("ann@example.com") == {"warm/study"}
    await ledger.sent("ann")
    await RedisLeads(client, namespace, 2).address("ann")
    await RedisLeads(client, namespace, 2).aliases("ann")
    ops: list[Op] = [
        Suppress("a", "bounced", 1),
        Lift("a", 1),
        Leave("warm", "ann"),
        Cancel("bob", "x", 1),
        EraseLead("ann", 5),
    ]
    await ledger.take(ops, 1)
    await client.aclose()
    async with open_acts(ReaderSettings.load(site | {"LEADPULSE_REDIS": url})) as acts:
        await acts.lines(Chosen())
        await acts.paused()
        await acts.standing(["crm"], 0)
