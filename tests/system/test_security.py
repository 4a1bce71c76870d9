"""Encrypted and authenticated connections, the least rights, and secrets that nobody gets to see."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis as plain_redis

from tests.kit.certificates import Certificates, certificates, guarded_redis
from tests.kit.guarded import Guarded, by_the_protocol, documented, guarded_kafka
from tests.kit.services import Kafka, Redis
from tests.kit.site import MakeSite, Site
from tests.kit.traffic import traffic
from tests.kit.waits import HANG_S

__all__ = ["certificates", "guarded_redis"]

SECRET = "s3cret/of@kafka"
REDIS_SECRET = "s3cret-of-redis"
WRONG = "wr0ng-s3cret"


@pytest.fixture(scope="module")
def guarded(certificates: Certificates) -> Iterator[Guarded]:
    """One with SCRAM, TLS and access control: who is not allowed may nothing."""
    with guarded_kafka(certificates, {"leadpulse": SECRET}) as made:
        yield made


Grant = Callable[[Kafka, list[str]], None]


def by_the_tool(kafka: Kafka, words: list[str]) -> None:
    """Run Kafka's own tool with *words*, as the page says; Java takes seconds of a core to start."""
    tool = kafka.console("org.apache.kafka.tools.AclCommand", "--bootstrap-server", kafka.address, *words)
    subprocess.run(tool, check=True, capture_output=True, text=True, timeout=HANG_S)


def allow(site: Site, kafka: Kafka, grant: Grant, *, but: str = "") -> None:
    """Give the worker's user the rights that the page names, but for those lines that hold *but*."""
    settings = site.settings
    lines = []
    for line in documented("sh", "leadpulse"):
        if but and but in line:
            continue
        topics: tuple[str, ...] = ("",)
        if "lead.events.web" in line or "lead.mql" in line:
            topics = settings.input_topics if "lead.events.web" in line else settings.outputs
        for topic in topics:
            ours = line.replace("leadpulse.default", f"leadpulse.{settings.namespace}")
            lines.append(ours.replace("lead.events.web", topic).replace("lead.mql", topic).split()[1:])
    for words in merged(lines):
        grant(kafka, words)


def merged(lines: list[list[str]]) -> list[list[str]]:
    """Return the commands with those that differ in their topic alone as one: each takes Java a second to start."""
    found: dict[tuple[str, ...], list[str]] = {}
    for words in lines:
        if "--topic" in words:
            at = words.index("--topic")
            found.setdefault((*words[:at], *words[at + 2 :]), []).extend(words[at : at + 2])
        else:
            found[tuple(words)] = []
    return [[*words, *topics] for words, topics in found.items()]


def secured(guarded: Guarded, server: Redis, certificates: Certificates, site: Site) -> dict[str, Any]:
    """Return the settings by which the worker logs in, and make its Redis user."""
    (line,) = documented("redis", "leadpulse")
    rules = line.replace("PASSWORD", REDIS_SECRET).replace("{default:", f"{{{site.settings.namespace}:").split()
    with plain_redis.Redis(port=server.port) as client:
        client.execute_command(*rules)
    redis = f"rediss://leadpulse:{REDIS_SECRET}@127.0.0.1:{server.settings['tls-port']}/0?ssl_ca_certs={certificates.authority}"
    return {
        "kafka": guarded.address,
        "kafka_security": "SASL_SSL",
        "kafka_sasl": "SCRAM-SHA-512",
        "kafka_user": "leadpulse",
        "kafka_password": SECRET,
        "kafka_cafile": certificates.authority,
        "redis": redis,
    }


@pytest.fixture
async def site(make_site: MakeSite, guarded: Guarded, guarded_redis: Redis) -> Site:
    """Return one on the guarded servers; the test itself comes in by the back door."""
    return await make_site(kafka=guarded.kafka.address, redis=guarded_redis.url)


async def test_a_worker_does_its_work_with_the_least_rights_over_encrypted_connections(
    site: Site, guarded: Guarded, guarded_redis: Redis, certificates: Certificates
) -> None:
    """With SCRAM and TLS to Kafka, TLS and a user of its own to Redis, and nothing more than the page grants."""
    allow(site, guarded.kafka, by_the_tool)
    settings = secured(guarded, guarded_redis, certificates, site)
    said = []
    doctor = site.command("doctor", **settings)
    assert doctor.returncode == 0, doctor.stderr
    await site.send(site.sent(m, crc=n % 3 == 0) for n, m in enumerate(traffic(400, 60, 400)))
    worker = site.worker(**settings)
    await site.settled()
    await worker.stop()
    heir = site.worker(**settings)
    await site.send(site.sent(m) for m in traffic(401, 60, 200))
    await site.settled()
    lead = next(iter(await site.states()))
    for command in (["top", "-n", "3"], ["explain", lead, "--json"], ["dead", "list"]):
        done = site.command(*command, **settings)
        assert done.returncode == 0, (command, done.stderr)
        said += [done.stdout, done.stderr]
    await heir.stop()
    await site.verdict()
    assert "unexpected" not in worker.said() + heir.said()
    held_secret([*said, doctor.stdout, doctor.stderr, worker.said(), heir.said()])


@pytest.mark.parametrize(
    ("lacking", "words"),
    [
        ("lead.events.web", [".web", "Read"]),
        (".internal", [".internal", "Read"]),
        ("lead.mql", ["lead.mql", "Write"]),
        ("--group", ["group", "Read"]),
        ("--transactional-id", ["transactional ids that begin with", "Write"]),
    ],
)
async def test_a_missing_right_is_named_with_what_to_grant(
    site: Site, guarded: Guarded, guarded_redis: Redis, certificates: Certificates, lacking: str, words: list[str]
) -> None:
    """Whoever manages Kafka gets a line that can be passed on as it is, and no traceback."""
    allow(site, guarded.kafka, by_the_protocol, but=lacking)
    settings = secured(guarded, guarded_redis, certificates, site)
    worker = site.worker(**settings)
    assert await worker.ended() == 1, worker.said()
    (line,) = [line for line in worker.said().splitlines() if line.startswith("STOPPED")]
    assert "grant" in line, line
    for word in words:
        assert word in line, line
    assert "Traceback" not in worker.said()
    held_secret([worker.said()])


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"kafka_password": WRONG}, "LEADPULSE_KAFKA_PASSWORD"),
        ({"kafka_cafile": "/nowhere/ca.pem"}, "LEADPULSE_KAFKA_CAFILE"),
        ({"kafka_cafile": __file__}, "LEADPULSE_KAFKA_CAFILE"),
        ({"kafka_security": "PLAINTEXT"}, "LEADPULSE_KAFKA_SECURITY"),
        ({"redis": f"redis://leadpulse:{WRONG}@127.0.0.1:PORT/0"}, "password"),
        ({"redis": f"redis://leadpulse:{WRONG}@127.0.0.1:1/0"}, "LEADPULSE_REDIS"),
        ({"redis": f"redis://leadpulse:{WRONG}@127.0.0.1:{WRONG}/0"}, "Redis address"),
        ({"redis": f"http://leadpulse:{WRONG}@127.0.0.1/0"}, "LEADPULSE_REDIS"),
    ],
)
async def test_what_is_wrong_with_a_log_in_is_told_without_the_secret(
    site: Site, guarded: Guarded, guarded_redis: Redis, certificates: Certificates, wrong: dict[str, str], named: str
) -> None:
    """By the worker and by each command, in one line that names the setting; never a traceback, which shows arguments."""
    settings = secured(guarded, guarded_redis, certificates, site)
    settings |= {name: value.replace("PORT", str(guarded_redis.port)) for name, value in wrong.items()}
    if "redis" in wrong:
        settings |= {"kafka": guarded.kafka.address, "kafka_security": "PLAINTEXT"}
    told = []
    commands = ("run --metrics-port 0", "doctor", "top", "explain lead-1", "topics create", "dead list")
    for command in (line.split() for line in commands):
        of_redis = command[0] in ("top", "explain")
        if of_redis != ("redis" in wrong) and command[0] not in ("run", "doctor"):
            continue
        done = site.command(*command, **settings)
        assert done.returncode in (1, 2), (command, done.stderr)
        assert "Traceback" not in done.stderr, (command, done.stderr)
        assert named in done.stderr, (command, done.stderr)
        told += [done.stdout, done.stderr]
    held_secret(told)


def held_secret(said: list[str]) -> None:
    """Assert that no secret is in anything that was said."""
    for text in said:
        for secret in (SECRET, REDIS_SECRET, WRONG):
            assert secret not in text, text
