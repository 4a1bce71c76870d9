"""The standing of each source and target, of what Redis and Kafka tell."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from tests.kit.services import Redis, free_port
from worker.adapters.redis_inbound import LOOKUPS, SOURCES, RedisInbound
from worker.cli.connections import connections as command
from worker.connections.file import parse_connections
from worker.errors import StoreUnavailable
from worker.intake_ports import SourceNews, Wanted
from worker.queries.connection_status import Standing, standings
from worker.settings import CollectSettings

FILE = """\
sources:
  mailer: {vendor: sendgrid, secrets: '${KEY}'}
  forms: {vendor: typeform, secrets: '${KEY}'}
targets:
  crm: {kind: pipedrive, token: '${KEY}'}
"""


def settings(redis: str) -> CollectSettings:
    """Return settings of a cluster that is away."""
    return CollectSettings.load({"LEADPULSE_REDIS": redis, "LEADPULSE_KAFKA": f"127.0.0.1:{free_port()}"})


async def test_what_redis_knows_is_shown_while_kafka_is_away(own_redis: Redis) -> None:
    """And what is missing is named. A source of which nothing was heard has no last event."""
    memory = RedisInbound(own_redis.url, 10)
    await memory._client.delete(LOOKUPS, SOURCES)
    await memory.tell({"mailer": SourceNews(1_770_000_000_000, 1_770_000_001_000, "refused"), "gone": SourceNews(event_ms=1)})
    await memory.schedule([Wanted(b'{"source":"mailer","path":"/a"}', 1), Wanted(b"no question", 1)])
    await memory.close()
    found, missing = await standings(settings(own_redis.url), parse_connections(FILE.encode(), "c.yaml"))
    assert found == [
        Standing(
            "source", "mailer", "sendgrid", last_event="2026-02-02T02:40:00.000Z", last_error="refused",
            last_error_at="2026-02-02T02:40:01.000Z", pending=1,
        ),
        Standing("source", "forms", "typeform", pending=0),
        Standing("target", "crm", "pipedrive"),
    ]  # fmt: skip
    assert len(missing) == 1
    assert "LEADPULSE_KAFKA" in missing[0]


async def test_the_program_that_acts_tells_of_targets() -> None:
    """Where it cannot, they are there all the same."""
    connections = parse_connections(FILE.encode(), "c.yaml")
    away = settings(f"redis://127.0.0.1:{free_port()}")

    async def told(kinds: object) -> dict[str, Standing]:
        assert kinds == {"crm": "pipedrive"}
        return {"crm": Standing("target", "crm", "pipedrive", breaker="open", budget=0.5, held=3)}

    async def nothing(kinds: object) -> dict[str, Standing]:
        raise StoreUnavailable("the acts")

    sources = parse_connections(FILE.partition("targets:")[0].encode(), "c.yaml")
    assert len((await standings(away, sources, nothing))[1]) == 2, "without targets nobody is asked"
    found, missing = await standings(away, connections, told)
    assert (found[-1].breaker, found[-1].held) == ("open", 3)
    assert len(missing) == 2
    found, missing = await standings(away, connections, nothing)
    assert found[-1] == Standing("target", "crm", "pipedrive")
    assert len(missing) == 3


def test_the_command_shows_a_table_or_json(tmp_path: Path) -> None:
    """It fails if something could not be read, and shows the rest."""
    file = tmp_path / "c.yaml"
    file.write_text(FILE)
    environment = {"LEADPULSE_REDIS": f"redis://127.0.0.1:{free_port()}", "LEADPULSE_KAFKA": f"127.0.0.1:{free_port()}"}
    done = CliRunner().invoke(command, ["status", "--json", "--file", str(file)], env=environment)
    assert done.exit_code == 1
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["name"] for row in rows] == ["mailer", "forms", "crm"]
    columns = ["last_event", "last_error", "last_error_at", "breaker", "budget", "pending", "held", "dead", "unknown"]
    assert list(rows[0]) == ["direction", "name", "kind", *columns]
    assert done.stderr.count("not read: ") == 3, "Redis for sources, Kafka, and Redis for targets"
    done = CliRunner().invoke(command, ["status", "--file", str(file)], env=environment)
    rows = [line.split()[:3] for line in done.stdout.splitlines() if line.startswith(("source", "target"))]
    assert rows == [
        ["source", "mailer", "sendgrid"],
        ["source", "forms", "typeform"],
        ["target", "crm", "pipedrive"],
    ]
