"""What the worker says while it runs: for people on a terminal, for programs everywhere else."""

from __future__ import annotations

import json
import logging
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.kit.online import ready, site, taken, topics
from tests.kit.shell import ROOT, Running, environment, event, leadpulse
from tests.kit.waits import HANG_S
from worker.logs import JsonLines, configuration, fields, is_json

__all__ = ["site", "topics"]

RUN = ["-m", "worker.cli", "run"]


def line(message: str, *arguments: object, **more: Any) -> dict[str, Any]:
    """Return what JsonLines makes of one record, which must be one line."""
    record = logging.LogRecord("worker.x", logging.WARNING, "x.py", 1, message, arguments, more.pop("exc_info", None))
    record.created = 1_772_713_696.7894
    vars(record).update(more.pop("extra", {}))
    text = JsonLines().format(record)
    assert "\n" not in text
    said: dict[str, Any] = json.loads(text)
    return said


def test_a_line_is_one_json_object_with_its_fields() -> None:
    """`time`, `level`, `logger`, `message` are always there; fields stand beside them and cover none."""
    said = line("partition %d:\nété", 3, extra=fields("partition.ready", partition=3, offsets={"a": 5}, level="no"))
    assert said == {
        "time": "2026-03-05T12:28:16.789Z",
        "level": "WARNING",
        "logger": "worker.x",
        "message": "partition 3:\nété",
        "event": "partition.ready",
        "partition": 3,
        "offsets": {"a": 5},
    }


def test_a_line_takes_whatever_it_is_given() -> None:
    """A traceback stays in its line, and a value that is no JSON must not end the worker that logs it."""
    said = {}
    try:
        int("broken")
    except ValueError:
        said = line("no", exc_info=sys.exc_info(), extra=fields("x", path=Path("/a"), raw=b"\xff"))
    assert said["exception"].endswith("ValueError: its words may quote a lead and are left out")
    assert (said["path"], said["raw"]) == ("/a", r"b'\xff'")


@pytest.mark.parametrize(
    ("form", "terminal", "expected"),
    [("auto", True, False), ("auto", False, True), ("json", True, True), ("text", False, False)],
)
def test_only_a_terminal_gets_text_unless_told(form: Any, terminal: bool, expected: bool) -> None:
    """Collectors of logs read a pipe; nobody has to set anything for them."""
    assert is_json(form, terminal) is expected
    assert configuration(form, terminal)["handlers"]["stderr"]["formatter"] == ("json" if expected else "text")


def test_a_worker_logs_its_own_life_and_no_lead(topics: dict[str, str], tmp_path: Path) -> None:
    """Start, assignment, partitions with owner and offsets, the end; nothing for events, however many come."""
    secret = {"LEADPULSE_KAFKA_PASSWORD": "hunter2"}  # not used without SASL, but known to the process
    with Running(RUN, topics | secret, tmp_path) as worker:
        worker.until(lambda: ready(topics))
        before = worker.words.count("\n")
        lines = [event(n, "page.viewed", f"somebody-{n % 9}", "2026-03-02T11:00:00Z", url="/") for n in range(300)]
        sent = leadpulse("produce", "-", "--topic", topics["LEADPULSE_INPUT_TOPICS"], env=topics, text="\n".join(lines))
        assert sent.returncode == 0, sent.stderr
        worker.until(lambda: taken(topics) == 300)
        assert worker.words.count("\n") == before
        owners = owners_in_redis(topics)
        assert worker.end() == 0
    said = [json.loads(one) for one in worker.words.splitlines()]
    assert all(one["time"].endswith("Z") and one["level"] and one["message"] for one in said)
    events = [one.get("event") for one in said]
    order = ["worker.starts", "group.assigned", "partition.ready", "worker.draining", "partition.left", "worker.drained"]
    assert [events.index(name) for name in order] == sorted(events.index(name) for name in order)
    for name in ("partition.ready", "partition.left"):
        hold_partitions(topics, [one for one in said if one.get("event") == name], owners)
    at_end = [one for one in said if one.get("event") == "partition.left"]
    assert sum(one["offsets"][topics["LEADPULSE_INPUT_TOPICS"]] for one in at_end) == 300
    assert all(one["batch"] > 0 for one in at_end)
    for private in ("somebody", "hunter2"):
        assert private not in worker.words


def hold_partitions(site: dict[str, str], said: list[dict[str, Any]], owners: list[str]) -> None:
    """See that each partition's line names its owner, and an offset of each topic."""
    of_partitions = {one["partition"]: one for one in said}
    assert of_partitions.keys() == {0, 1}
    for partition, one in of_partitions.items():
        assert one["owner"] == owners[partition]
        assert set(one["offsets"]) == {
            site["LEADPULSE_INPUT_TOPICS"],
            f"leadpulse.{site['LEADPULSE_NAMESPACE']}.internal",
        }


def owners_in_redis(site: dict[str, str]) -> list[str]:
    """Return what Redis has as the owner of each of the two partitions."""
    with redis.Redis.from_url(site["LEADPULSE_REDIS"], decode_responses=True) as client:
        held = [client.hget(f"{{{site['LEADPULSE_NAMESPACE']}:{p}}}:position", "owner") for p in (0, 1)]
    return [str(owner) for owner in held]


def test_a_person_on_a_terminal_reads_text(site: dict[str, str], tmp_path: Path) -> None:
    """Without any setting; here a worker that ends because its topics are missing."""
    ours, theirs = pty.openpty()
    worker = subprocess.Popen(
        [sys.executable, *RUN], env=environment(site), cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs
    )
    try:
        assert worker.wait(HANG_S) == 1
        time.sleep(0.1)
        words = os.read(ours, 100_000).decode()
    finally:
        worker.kill()
        os.close(ours)
        os.close(theirs)
    assert re.search(r"^\d{4}-\d\d-\d\d [\d:,]+ CRITICAL leadpulse: stopped: missing topics: ", words, re.MULTILINE)


def test_a_setting_chooses_and_a_wrong_one_is_told(site: dict[str, str], tmp_path: Path) -> None:
    """`text` into a file, for whoever reads it there."""
    with Running([*RUN, "--log-format", "text"], site, tmp_path) as worker:
        assert worker.process.wait(HANG_S) == 1
        assert "CRITICAL leadpulse: stopped: missing topics: " in worker.words
    wrong = leadpulse("run", env=site | {"LEADPULSE_LOG_FORMAT": "xml"})
    assert wrong.returncode == 2
    assert "LEADPULSE_LOG_FORMAT" in wrong.stderr


def test_the_page_lists_every_event() -> None:
    """Whoever writes a search for one reads there how it is called."""
    named = {
        name
        for path in (ROOT / "worker").rglob("*.py")
        for call in re.findall(r'(?:fields|_told)\(\s*("[^,)]+)', path.read_text())
        for name in re.findall(r'"([a-z_]+\.[a-z_]+)"', call)
    }
    rows = [row.split("|")[1] for row in (ROOT / "docs/logs.md").read_text().splitlines() if row.startswith("| `")]
    assert named == {name for row in rows for name in re.findall(r"`([a-z_.]+)`", row)}
