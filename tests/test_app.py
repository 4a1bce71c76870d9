"""The worker as a process: its pages, its signals, its exit codes, what it leaves behind."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tests.kit.online import ready, site, topics
from tests.kit.shell import Running, leadpulse
from tests.kit.waits import HANG_S
from worker.settings import Settings

__all__ = ["site", "topics"]

RUN = ["-m", "worker.cli", "run"]
FAUST = ["-m", "faust", "-A", "worker.app", "worker"]


def page(settings: Mapping[str, str], name: str) -> tuple[int, str, str]:
    """Return status, content type and body of a page."""
    url = f"http://127.0.0.1:{settings['LEADPULSE_METRICS_PORT']}/{name}"
    try:
        with urlopen(url, timeout=HANG_S) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except HTTPError as err:
        return err.code, err.headers["Content-Type"], err.read().decode()


@pytest.fixture(params=[RUN, FAUST], ids=["leadpulse run", "faust -A worker.app worker"])
def worker(request: pytest.FixtureRequest, topics: dict[str, str], tmp_path: Path) -> Iterator[Running]:
    """Run a worker, started either way, until it takes events."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    with Running(request.param, topics, folder) as running:
        running.until(lambda: ready(topics))
        yield running


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_the_worker_within_ten_seconds(worker: Running, topics: dict[str, str], by: signal.Signals) -> None:
    """Exit code 0, no traceback, no complaint, and nothing in the folder that it was started in."""
    assert worker.end(by) == 0
    assert "drained" in worker.words
    # A broker that has never had a consumer group makes the place for one now, and aiokafka logs that it had to wait.
    # And the tests' Redis keeps nothing on disk, which the worker rightly remarks on.
    expected = ("aiokafka.consumer.group_coordinator", "no append-only file")
    told = [line for line in worker.words.splitlines() if not any(words in line for words in expected)]
    for word in ("Traceback", "WARNING", "Warning", "ERROR", "Unclosed"):
        assert not [line for line in told if word in line]
    assert list(worker.log.parent.iterdir()) == [worker.log]


def test_the_pages_say_how_the_worker_stands(worker: Running, topics: dict[str, str]) -> None:
    """Orchestrators ask `/livez` and `/readyz`, Prometheus `/metrics`; nothing else is served."""
    assert page(topics, "livez") == (200, "text/plain; charset=utf-8", "ok\n")
    status, kind, body = page(topics, "readyz")
    assert (status, kind) == (200, "application/json; charset=utf-8")
    said = json.loads(body)
    assert said["ready"] is True
    assert {p: one["ready"] for p, one in said["partitions"].items()} == {"0": True, "1": True}
    status, kind, body = page(topics, "metrics")
    assert status == 200
    assert kind.startswith("text/plain; version=")
    assert 'leadpulse_partition_ready{partition="1"} 1.0' in body
    for other in ("", "table", "router", "graph", "stats"):
        assert page(topics, other)[0] == 404
    assert worker.process.poll() is None


def test_missing_topics_end_the_worker_in_one_line(site: dict[str, str], tmp_path: Path) -> None:
    """Exit code 1 and the command that mends it; nobody has to read a traceback."""
    with Running(RUN, site, tmp_path) as worker:
        assert worker.process.wait(HANG_S) == 1
        (why,) = [line for line in worker.words.splitlines() if "CRITICAL" in line]
        assert "missing topics: " in why
        assert site["LEADPULSE_INPUT_TOPICS"] in why
        assert "leadpulse topics create" in why
        assert "Traceback" not in worker.words


def test_a_worker_that_must_stop_says_why_in_its_last_line(topics: dict[str, str], tmp_path: Path) -> None:
    """Whoever is woken reads that one; what it says of its partitions and connections comes before."""
    with Running(RUN, topics, tmp_path) as worker:
        worker.until(lambda: ready(topics))
        lines = "\n".join(["{"] * 1_500)
        sent = leadpulse("produce", "-", "--topic", topics["LEADPULSE_INPUT_TOPICS"], "--raw", env=topics, text=lines)
        assert worker.process.wait(HANG_S) == 1, sent.stderr
    last = json.loads(worker.words.splitlines()[-1])
    assert last["event"] == "worker.stopped"
    assert re.match(r"stopped: partition \d: \d+ of the last \d+ records are bad", last["message"])


def test_a_worker_that_waits_is_alive_but_not_ready(site: dict[str, str], tmp_path: Path) -> None:
    """An orchestrator must neither send it work nor kill it while its brokers are slow to answer."""
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, never answers
        waiting = site | {"LEADPULSE_KAFKA": f"127.0.0.1:{silent.getsockname()[1]}"}
        with Running(RUN, waiting, tmp_path) as worker:
            worker.until(lambda: "pages on" in worker.words)
            assert page(waiting, "livez")[0] == 200
            status, _, body = page(waiting, "readyz")
            assert (status, json.loads(body)["ready"]) == (503, False)
            assert worker.end() == 0


def test_a_port_that_is_taken_is_told_with_the_setting(topics: dict[str, str], tmp_path: Path) -> None:
    """The second worker on a machine is started with the first one's port sooner or later."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Running(RUN, topics | {"LEADPULSE_METRICS_PORT": str(port)}, tmp_path) as worker:
            assert worker.process.wait(HANG_S) == 1
            assert f"127.0.0.1:{port}" in worker.words
            assert "LEADPULSE_METRICS_PORT" in worker.words
            assert "Traceback" not in worker.words


def test_wrong_settings_end_either_command_before_anything_is_reached(tmp_path: Path) -> None:
    """Faust's own command line must not answer with a traceback where ours answers with a line."""
    for command in (RUN, FAUST):
        for name, value, words in (
            ("PARTITIONS", "none", "none"),
            ("GRID", "absent.yaml", "one of: article-75, pivot-15, saas-b2b"),
        ):
            with Running(command, {f"LEADPULSE_{name}": value}, tmp_path) as worker:
                assert worker.process.wait(HANG_S) != 0
                assert f"LEADPULSE_{name}" in worker.words
                assert words in worker.words
                assert "Traceback" not in worker.words


def asked(settings: Mapping[str, str], request: bytes) -> bytes:
    """Return the first line that the pages answer to the bytes *request*; nothing where they hang up."""
    with socket.create_connection(("127.0.0.1", int(settings["LEADPULSE_METRICS_PORT"])), timeout=HANG_S) as client:
        try:
            client.sendall(request)
            return client.recv(1_000).partition(b"\r\n")[0]
        except ConnectionError:
            return b""


def test_the_pages_are_for_this_machine_unless_told_otherwise() -> None:
    """What they tell (offsets, the grid, counts) is for whoever runs the worker."""
    assert Settings.load({}).metrics_host == "127.0.0.1"


def test_pages_that_somebody_plays_with_disturb_no_worker(topics: dict[str, str], tmp_path: Path) -> None:
    """Endless headers, other methods, no HTTP, half requests, clients that never read: nothing of it is even logged."""
    with Running(RUN, topics, tmp_path) as worker, contextlib.ExitStack() as slow:
        worker.until(lambda: ready(topics))
        port = f"{int(topics['LEADPULSE_METRICS_PORT']):04X}"
        listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines() if f":{port} " in line]
        assert f"0100007F:{port}" in listening
        assert f"00000000:{port}" not in listening
        long = b"a" * 200_000
        for request, answer in (
            (b"GET /" + long + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
            (b"GET /livez HTTP/1.1\r\nHost: x\r\nX: " + long + b"\r\n\r\n", b"400"),
            (b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"X: a\r\n" * 50_000 + b"\r\n", b""),
            (b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", b"405"),
            (b"DELETE /readyz HTTP/1.1\r\nHost: x\r\n\r\n", b"405"),
            (b"GET /../../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
            (b"GET /livez%00/..%2f HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
            (b"\x16\x03\x01\0\xa5\x01\0", b""),
        ):
            assert answer in asked(topics, request), request[:60]
        address = ("127.0.0.1", int(topics["LEADPULSE_METRICS_PORT"]))
        for _ in range(100):
            slow.enter_context(socket.create_connection(address)).sendall(b"GET /metr")
        for _ in range(20):
            never_reads = slow.enter_context(socket.create_connection(address))
            never_reads.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            never_reads.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 200)
        assert page(topics, "livez")[0] == 200
        assert ready(topics)
        assert worker.end() == 0
        assert "aiohttp" not in worker.words
