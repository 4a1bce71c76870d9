"""A broker with SCRAM, TLS and access control, and the least rights that the page grants."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from tests.kit.certificates import Certificates
from tests.kit.services import Kafka, free_port, needed
from tests.kit.shell import ROOT
from tests.kit.waits import HANG_S

kafka_admin: Any = importlib.import_module("confluent_kafka.admin")  # its names are not declared as exported


class Guarded(NamedTuple):
    """A broker with a listener for those who log in; the other one is the test's own, and may do everything."""

    kafka: Kafka
    address: str


@contextmanager
def guarded_kafka(certificates: Certificates, users: Mapping[str, str]) -> Iterator[Guarded]:
    """Start a broker that knows *users*, name → password. A user without rights may do nothing."""
    port = free_port()
    listener = "listener.name.secure."
    settings = {
        "group.min.session.timeout.ms": "1000",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        f"{listener}ssl.keystore.type": "PEM",
        f"{listener}ssl.keystore.location": str(certificates.both),
        f"{listener}sasl.enabled.mechanisms": "SCRAM-SHA-512",
        f"{listener}scram-sha-512.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
    }

    def made() -> Kafka:
        kafka = Kafka(settings, scram=dict(users))
        kafka.settings["listeners"] += f",SECURE://127.0.0.1:{port}"
        kafka.settings["advertised.listeners"] += f",SECURE://127.0.0.1:{port}"
        kafka.settings["listener.security.protocol.map"] += ",SECURE:SASL_SSL"
        return kafka

    with needed(made) as kafka:
        yield Guarded(kafka, f"127.0.0.1:{port}")


def documented(language: str, user: str) -> list[str]:
    """Return the lines of docs/security.md in a block of *language* that give *user* rights."""
    page = (ROOT / "docs" / "security.md").read_text()
    blocks = re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)
    named = {"sh": f"kafka-acls.sh --add --allow-principal User:{user} ", "redis": f"ACL SETUSER {user} "}[language]
    return [line for block in blocks for line in block.splitlines() if line.startswith(named)]


def by_the_protocol(kafka: Kafka, words: list[str]) -> None:
    """Ask the broker for what Kafka's own tool would ask with *words*."""
    assert words[0] == "--add"
    told: dict[str, list[str]] = {}
    for name, value in zip(words[1::2], words[2::2], strict=True):
        told.setdefault(name, []).append(value)
    operations = [
        kafka_admin.AclOperation[re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper()] for name in told.pop("--operation")
    ]
    pattern = kafka_admin.ResourcePatternType[told.pop("--resource-pattern-type", ["literal"])[0].upper()]
    (principal,) = told.pop("--allow-principal")
    bindings = [
        kafka_admin.AclBinding(
            kafka_admin.ResourceType[kind], name, pattern, principal, "*", operation, kafka_admin.AclPermissionType.ALLOW
        )
        for option, names in told.items()
        for kind in [option.removeprefix("--").replace("-", "_").upper()]
        for name in names
        for operation in operations
    ]
    admin = kafka_admin.AdminClient({"bootstrap.servers": kafka.address})
    for answer in admin.create_acls(bindings).values():
        answer.result(HANG_S)
