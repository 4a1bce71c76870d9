"""A real Kafka broker as a child process."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from ops.dev.services import HOST, REPOSITORY, Service, ServiceFailed, ServiceMissing, free_port
from worker.adapters.kafka_admin import find_controller

KAFKA_VERSION = "4.1.0"

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


class Kafka(Service):
    """One broker that is its own controller (KRaft). Topics are made by `create_topics`, never by use.

    *settings* go over the ones below, as in `server.properties`. *heap* is Java's: raise it for benchmarks. *scram*: users and
    their passwords for SCRAM-SHA-512. *lasting*: for a broker that is measured or runs for long. For the others Java compiles
    quickly instead of well: they start fast and leave the cores to the tests. That halves the cost of a short test.
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


async def create_topics(
    bootstrap: str, topics: Sequence[str], partitions: int, configs: Mapping[str, str] | None = None
) -> None:
    """Create *topics* with one replica on the broker at *bootstrap*. Raises `ServiceFailed` naming each topic refused."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await find_controller(admin, within_s=60)
        new = [NewTopic(topic, partitions, 1, topic_configs=dict(configs or {})) for topic in topics]
        answer = await admin.create_topics(new)
    finally:
        await admin.close()
    refused = [f"{topic}: error {code} ({text})" for topic, code, text in answer.topic_errors if code]
    if refused:
        raise ServiceFailed(f"kafka on {bootstrap} refused topics: {'; '.join(refused)}")
