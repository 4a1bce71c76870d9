"""Commands on real Kafka and Redis."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from redis import Redis as SyncRedis

from tests.kit.grids import changed
from tests.kit.online import ready, site, taken, topics
from tests.kit.services import adjacent_ports
from tests.kit.shell import GRID, Running, a_file, leadpulse
from tests.kit.waits import HANG_S
from worker.adapters.kafka_topics import topic_configs
from worker.settings import Settings

__all__ = ["site", "topics"]


def alter(site: Mapping[str, str], topic: str, configs: dict[str, str]) -> None:
    """Set *configs* of *topic*, and nothing else."""

    async def set_them() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=site["LEADPULSE_KAFKA"])
        await admin.start()
        try:
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs)])
        finally:
            await admin.close()

    asyncio.run(set_them())


def test_topics_are_made_once_and_left_alone_after(site: dict[str, str]) -> None:
    """Deployments call it every time; what is there and right is only named, what is wrong fails."""
    first, again = (leadpulse("topics", "create", env=site) for _ in range(2))
    assert (first.returncode, again.returncode) == (0, 0)
    assert set(json.loads(first.stdout).values()) == {"created"}
    assert set(json.loads(again.stdout).values()) == {"exists"}
    more = leadpulse("topics", "create", env=site | {"LEADPULSE_PARTITIONS": "3"})
    assert more.returncode == 1
    assert "--partitions 3" in more.stdout


def test_the_doctor_is_content_with_what_the_worker_is_content_with(site: dict[str, str]) -> None:
    """Before the topics are there it says which command makes them; after that there is no error."""
    before = leadpulse("doctor", env=site)
    assert before.returncode == 1
    assert "leadpulse topics create" in before.stderr
    leadpulse("topics", "create", env=site)
    after = leadpulse("doctor", "--json", env=site)
    assert after.returncode == 0
    levels = {one["area"]: one["level"] for one in map(json.loads, after.stdout.splitlines()) if one["level"] == "ok"}
    assert set(levels) == {"versions", "grid", "redis", "clock", "kafka", "topics", "partitions"}


def test_the_doctor_warns_of_a_single_replica_outside_of_development(topics: dict[str, str]) -> None:
    """One broker's disk must not be able to take acknowledged events with it."""
    done = leadpulse("doctor", "--no-development", env=topics)
    assert "min.insync.replicas" in done.stderr
    assert "offsets.retention.minutes is 10080 on broker" in done.stderr
    assert "set it to 43200" in done.stderr


def test_a_journal_that_is_deleted_by_size_is_refused_and_unclean_elections_are_warned_of(topics: dict[str, str]) -> None:
    """Retention by size takes the cuts of days out of a busy journal; an unclean leader takes acknowledged ones."""
    journal = f"leadpulse.{topics['LEADPULSE_NAMESPACE']}.internal"
    made = topic_configs(Settings.load(topics))[journal]
    alter(topics, journal, made | {"retention.bytes": "1000000", "unclean.leader.election.enable": "true"})
    told = leadpulse("doctor", "--no-development", env=topics)
    assert told.returncode == 1
    assert "retention.bytes is 1000000, needs -1" in told.stderr
    assert "set unclean.leader.election.enable=false" in told.stderr
    refused = leadpulse("run", "--no-development", env=topics)
    assert refused.returncode == 1
    assert "retention.bytes is 1000000, needs -1" in refused.stderr


def test_live_answers_are_those_of_a_replay(topics: dict[str, str], tmp_path: Path) -> None:
    """`top` and `explain` read what the worker holds; the same events through `replay` must give the same leads."""
    path = a_file(tmp_path)
    assert leadpulse("top", env=topics).stderr == "no leads are held in this namespace\n"
    with Running(["-m", "worker.cli", "run"], topics, tmp_path) as worker:
        worker.until(lambda: ready(topics))
        leadpulse("produce", path, "--topic", topics["LEADPULSE_INPUT_TOPICS"], env=topics)
        worker.until(lambda: taken(topics) == 8)
        assert worker.end() == 0
    replayed = [json.loads(line) for line in leadpulse("replay", path, env=topics).stdout.splitlines()]
    hottest = [json.loads(line) for line in leadpulse("top", "--json", "-n", "5", env=topics).stdout.splitlines()]
    assert [one["lead_id"] for one in hottest] == ["ann", "bob"]
    at = "2026-03-02T11:00:00Z"  # where the replay ends; ann's own clock stands earlier
    for expected in replayed:
        live = json.loads(leadpulse("explain", expected["lead_id"], "--at", at, "--json", env=topics).stdout)
        assert {name: live[name] for name in expected} == expected
    picture = tmp_path / "ann.svg"
    drawn = leadpulse("explain", "ann", "--plot", picture, env=topics)
    assert drawn.returncode == 0
    assert "Redis does not hold the past" in drawn.stderr
    assert "<svg" in picture.read_text()


def in_force(site: Mapping[str, str], further: int = 0) -> tuple[int, bool]:
    """Return the version of the grid in force, and whether the file is refused as it is."""
    with urlopen(f"http://127.0.0.1:{int(site['LEADPULSE_METRICS_PORT']) + further}/readyz", timeout=HANG_S) as answer:
        grid = json.load(answer)["grid"]
    return grid["version"], grid["refused"] is not None


def test_a_signal_puts_a_changed_grid_in_force_in_every_worker(topics: dict[str, str], tmp_path: Path) -> None:
    """And `explain` and `top` answer by the grid in force, whatever the caller's file says; `--grid` asks what if."""
    site = topics | {"LEADPULSE_METRICS_PORT": str(adjacent_ports())}
    grid = Path(site["LEADPULSE_GRID"])
    with Running(["-m", "worker.cli", "run", "--workers", "2"], site, tmp_path) as parent:
        parent.until(lambda: ready(site) and ready(site, 1))
        leadpulse("produce", a_file(tmp_path), "--topic", site["LEADPULSE_INPUT_TOPICS"], env=site)
        parent.until(lambda: taken(site) + taken(site, 1) == 8)
        better = {"version": 2, "fit.rules.business-email.points": 25, "engagement.rules.visit.points": 11}
        grid.write_text(changed(GRID, better))
        parent.process.send_signal(signal.SIGHUP)
        parent.until(lambda: in_force(site) == in_force(site, 1) == (2, False))
        grid.write_text("grid: [")
        parent.process.send_signal(signal.SIGHUP)
        parent.until(lambda: in_force(site) == in_force(site, 1) == (2, True))
        assert parent.words.count("refused; the grid in force stays: cli-test version 2") == 2
        assert parent.process.poll() is None
        # Each partition takes the grid between two of its batches.
        parent.until(lambda: json.loads(leadpulse("explain", "ann", "--json", env=site).stdout)["score"] > 75)
        ann = json.loads(leadpulse("explain", "ann", "--json", env=site).stdout)
        assert 79 < ann["score"] < 80, "25 for who she is, 5 times 11 for what she did, before any tick judged her again"
        grid.write_text(GRID)
        before = json.loads(leadpulse("explain", "ann", "--json", "--grid", str(grid), env=site).stdout)
        assert 69 < before["score"] < 70
        hottest = [json.loads(line) for line in leadpulse("top", "--json", env=site).stdout.splitlines()]
        assert hottest[0]["score"] == ann["score"]
        assert "not every lead is judged by it yet" in leadpulse("top", env=site).stderr, "no tick has come, by CLOCK=events"
        assert parent.end() == 0


def test_edited_labels_are_shown_and_no_batch_begins(topics: dict[str, str], tmp_path: Path) -> None:
    """A running worker stores the text. Where the partitions stand stays, and so does the hash."""
    grid, namespace = Path(topics["LEADPULSE_GRID"]), topics["LEADPULSE_NAMESPACE"]

    def positions() -> list[dict[bytes, bytes]]:
        with SyncRedis.from_url(topics["LEADPULSE_REDIS"]) as client:
            return [client.hgetall(f"{{{namespace}:{partition}}}:position") for partition in range(2)]

    def labels() -> Any:
        explained = leadpulse("explain", "ann", "--json", env=topics)
        return json.loads(explained.stdout)["labels"] if explained.returncode == 0 else None

    with Running(["-m", "worker.cli", "run"], topics, tmp_path) as worker:
        worker.until(lambda: ready(topics))
        leadpulse("produce", a_file(tmp_path), "--topic", topics["LEADPULSE_INPUT_TOPICS"], env=topics)
        worker.until(lambda: taken(topics) == 8)
        assert labels() == {}
        before = positions()
        for label in ("Came by", "Looked around"):
            grid.write_text(changed(GRID, {"engagement.rules.visit.label": label}))
            worker.process.send_signal(signal.SIGHUP)
            worker.until(lambda: labels() == {"visit": label})  # noqa: B023  # asked before the next turn
        assert positions() == before
        assert worker.end() == 0
    assert "another grid is in force" not in worker.words


def test_top_takes_no_more_than_asked(topics: dict[str, str], tmp_path: Path) -> None:
    """The hottest first, and the table names them for people."""
    with Running(["-m", "worker.cli", "run"], topics, tmp_path) as worker:
        worker.until(lambda: ready(topics))
        leadpulse("produce", a_file(tmp_path), "--topic", topics["LEADPULSE_INPUT_TOPICS"], env=topics)
        worker.until(lambda: taken(topics) == 8)
    said = leadpulse("top", "--count", "1", env=topics).stdout
    assert "ann" in said
    assert "bob" not in said


def test_only_an_empty_partition_may_be_rebuilt(topics: dict[str, str], tmp_path: Path) -> None:
    """The word that the state is lost must not be given where it is not; the reason is told."""
    with Running(["-m", "worker.cli", "run"], topics, tmp_path) as worker:
        worker.until(lambda: ready(topics))
        leadpulse("produce", a_file(tmp_path), "--topic", topics["LEADPULSE_INPUT_TOPICS"], env=topics)
        worker.until(lambda: taken(topics) == 8)
        assert worker.end() == 0
    answers = [leadpulse("rebuild", "--partition", str(p), env=topics) for p in range(2)]
    held = [answer for answer in answers if answer.returncode == 1]
    assert held
    for answer in held:
        assert json.loads(answer.stdout)["rebuild"] is False
        assert "holds state up to batch" in answer.stderr
    other = topics | {"LEADPULSE_NAMESPACE": topics["LEADPULSE_NAMESPACE"] + "x"}
    empty = leadpulse("rebuild", "--all", env=other)
    assert empty.returncode == 0
    assert [json.loads(line)["rebuild"] for line in empty.stdout.splitlines()] == [True, True]


def children(pid: int) -> list[int]:
    """Return the workers among the child processes of *pid*."""
    listed = subprocess.run(["ps", "--ppid", str(pid), "-o", "pid=,args="], capture_output=True, text=True).stdout
    return [int(line.split()[0]) for line in listed.splitlines() if "worker.cli" in line]


def test_several_workers_share_the_partitions_and_end_together(topics: dict[str, str], tmp_path: Path) -> None:
    """SIGTERM to the parent drains them all; their pages are on ports next to each other."""
    port = adjacent_ports()
    site = topics | {"LEADPULSE_METRICS_PORT": str(port)}
    with Running(["-m", "worker.cli", "run", "--workers", "2"], site, tmp_path) as parent:
        parent.until(lambda: ready(site) and ready(site, 1))
        workers = children(parent.process.pid)
        assert len(workers) == 2
        assert parent.end() == 0
        assert parent.words.count('"worker.drained"') == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_when_one_of_several_workers_dies_the_others_are_drained(topics: dict[str, str], tmp_path: Path) -> None:
    """None is restarted in silence: whoever supervises the parent sees exit code 1."""
    with Running(["-m", "worker.cli", "run", "--workers", "2"], topics, tmp_path) as parent:
        parent.until(lambda: ready(topics) and ready(topics, 1))
        first, second = children(parent.process.pid)
        os.kill(first, signal.SIGKILL)
        assert parent.process.wait(HANG_S) == 1
        assert "draining the others" in parent.words
        assert parent.words.count('"worker.drained"') == 1
    assert not Path(f"/proc/{second}").exists()


def test_workers_do_not_outlive_a_parent_that_is_killed(topics: dict[str, str], tmp_path: Path) -> None:
    """A supervisor that is killed with −9 leaves no workers that nobody watches."""
    with Running(["-m", "worker.cli", "run", "--workers", "2"], topics, tmp_path) as parent:
        parent.until(lambda: ready(topics) and ready(topics, 1))
        workers = children(parent.process.pid)
        parent.process.kill()
        parent.process.wait()
        gone = Running(["-c", "import signal; signal.pause()"], {}, tmp_path)  # only to wait with a limit
        with gone:
            gone.until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
        assert parent.words.count('"worker.drained"') == 2
