"""Logging in to Kafka by a token (OAUTHBEARER) and by a certificate (mTLS), with every client that we have."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.kit.certificates import Certificates, certificates, openssl
from tests.kit.services import Kafka, free_port, needed
from tests.kit.site import MakeSite, Site
from tests.kit.tokens import jwt
from tests.kit.traffic import traffic

__all__ = ["certificates"]

KEY_PASSWORD = "s3cret-of-the-key"
PRINTS_TOKEN = """
import base64, json, sys, time
part = lambda told: base64.urlsafe_b64encode(json.dumps(told).encode()).rstrip(b"=").decode()
now = time.time()
print(part({"alg": sys.argv[1]}) + "." + part({"sub": "leadpulse", "iat": now - 1, "exp": now + int(sys.argv[2])}) + ".")
"""


class Doors(NamedTuple):
    """A broker with a listener for tokens and one for certificates; the third is the test's own."""

    kafka: Kafka
    by_token: str
    by_certificate: str
    client: Path
    """Our certificate, with its key."""
    key: Path
    """The key alone, behind a password."""
    authority: Path


@pytest.fixture(scope="module")
def doors(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    """Return one whose listener for tokens ends each connection with its token."""
    folder = tmp_path_factory.mktemp("client")
    key, request, certificate, both = (folder / name for name in ("client.key", "client.csr", "client.pem", "both.pem"))
    secret_key = folder / "secret.key"
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=leadpulse", "-keyout", key, "-out", request)
    authority_key = certificates.authority.with_name("ca.key")
    by = ["-CA", certificates.authority, "-CAkey", authority_key, "-CAcreateserial", "-days", "2"]
    openssl("x509", "-req", "-in", request, *by, "-out", certificate)
    openssl("rsa", "-aes256", "-in", key, "-passout", f"pass:{KEY_PASSWORD}", "-out", secret_key)
    both.write_text(key.read_text() + certificate.read_text())
    tokens, mutual = free_port(), free_port()
    oauth = "org.apache.kafka.common.security.oauthbearer"
    module = f'{oauth}.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="x";'
    handlers = f"{oauth}.internals.unsecured.OAuthBearerUnsecured"
    sasl = "listener.name.tokens.oauthbearer.sasl"
    settings = {"group.min.session.timeout.ms": "1000"}
    for listener in ("tokens", "mutual"):
        settings |= {
            f"listener.name.{listener}.ssl.keystore.type": "PEM",
            f"listener.name.{listener}.ssl.keystore.location": str(certificates.both),
        }
    settings |= {
        "listener.name.mutual.ssl.truststore.type": "PEM",
        "listener.name.mutual.ssl.truststore.location": str(certificates.authority),
        "listener.name.mutual.ssl.client.auth": "required",
        "listener.name.tokens.sasl.enabled.mechanisms": "OAUTHBEARER",
        "listener.name.tokens.connections.max.reauth.ms": "600000",
        f"{sasl}.jaas.config": module,
        f"{sasl}.server.callback.handler.class": f"{handlers}ValidatorCallbackHandler",
        f"{sasl}.login.callback.handler.class": f"{handlers}LoginCallbackHandler",
    }

    def made() -> Kafka:
        kafka = Kafka(settings)
        for name, port, protocol in (("TOKENS", tokens, "SASL_SSL"), ("MUTUAL", mutual, "SSL")):
            kafka.settings["listeners"] += f",{name}://127.0.0.1:{port}"
            kafka.settings["advertised.listeners"] += f",{name}://127.0.0.1:{port}"
            kafka.settings["listener.security.protocol.map"] += f",{name}:{protocol}"
        return kafka

    with needed(made) as kafka:
        yield Doors(kafka, f"127.0.0.1:{tokens}", f"127.0.0.1:{mutual}", both, secret_key, certificates.authority)


def token_command(seconds: int, algorithm: str = "none") -> str:
    """Return a command that prints a token for so many seconds."""
    return shlex.join([sys.executable, "-c", PRINTS_TOKEN, algorithm, str(seconds)])


def by_token(doors: Doors, **told: Any) -> dict[str, Any]:
    """Return the settings of a log-in by a token."""
    kafka = {"kafka": doors.by_token, "kafka_security": "SASL_SSL", "kafka_sasl": "OAUTHBEARER"}
    return {**kafka, "kafka_cafile": doors.authority, **told}


def by_certificate(doors: Doors, **told: Any) -> dict[str, Any]:
    """Return the settings of a log-in by a certificate."""
    return {"kafka": doors.by_certificate, "kafka_security": "SSL", "kafka_cafile": doors.authority, **told}


def log_in(doors: Doors, way: str, folder: Path) -> dict[str, Any]:
    """Return the settings of each way to log in."""
    if way == "a file with a token":
        file = folder / "token"
        file.write_text(jwt(time.time() + 3_600) + "\n")
        return by_token(doors, kafka_token_file=file)
    if way == "a command that prints a token":
        return by_token(doors, kafka_token_command=token_command(3_600))
    if way == "a certificate":
        return by_certificate(doors, kafka_certfile=doors.client)
    return by_certificate(doors, kafka_certfile=doors.client, kafka_keyfile=doors.key, kafka_key_password=KEY_PASSWORD)


WAYS = ("a file with a token", "a command that prints a token", "a certificate", "a certificate and a key with a password")


@pytest.mark.parametrize("way", WAYS)
async def test_every_client_logs_in(make_site: MakeSite, doors: Doors, way: str, tmp_path: Path) -> None:
    """Consumer, producers, administration; the worker, and the commands that write to topics and read them."""
    site = await make_site(kafka=doors.kafka.address)
    settings = log_in(doors, way, tmp_path)
    events = tmp_path / "events.jsonl"
    messages = traffic(500, 30, 150)
    events.write_text("".join(json.dumps(message) + "\n" for message in messages) + "{\n")
    said: list[str] = []
    worker = site.worker(**settings)
    await worker.ready(2)
    families = ",".join(f"{family}={site.web}" for family in ("web", "email", "webinar", "profile", "crm"))
    commands = [
        ["topics", "create"],
        ["doctor"],
        ["produce", str(events), "--topic", site.web, "--raw"],
        ["simulate", "--events", "80", "--kafka", settings["kafka"], "--client", "librdkafka", "--topics", families],
    ]
    for command in commands:
        said += await told(site, command, settings)
    await site.settled()
    said += await told(site, ["dead", "list"], settings)
    said += await told(site, ["dead", "replay", "--all", "--force"], settings)
    await site.settled()
    await worker.stop()
    await site.verdict()
    for text in [*said, worker.log.read_text()]:
        assert KEY_PASSWORD not in text
        assert "eyJ" not in text, "a token"


async def told(site: Site, command: list[str], settings: dict[str, Any]) -> list[str]:
    """Run a command that must go well; return what it says."""
    done = await asyncio.to_thread(site.command, *command, **settings)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return [done.stdout, done.stderr]


async def test_a_token_is_renewed_before_it_ends(make_site: MakeSite, doors: Doors) -> None:
    """The broker ends each connection with its token; the next one brings a new token, and nothing is lost or doubled."""
    site = await make_site(kafka=doors.kafka.address)
    worker = site.worker(**by_token(doors, kafka_token_command=token_command(6)))
    await worker.ready(2)
    began = time.monotonic()
    turn = 0
    while time.monotonic() - began < 25:
        turn += 1
        await site.send(site.sent(m) for m in traffic(600 + turn, 30, 20))
        await asyncio.sleep(1)
    await site.settled(90)
    await worker.stop()
    await site.verdict()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("ended", "ended at 20"),
        ("refused", "refuses the token"),
        ("no file", "LEADPULSE_KAFKA_TOKEN_FILE"),
        ("no certificate", "LEADPULSE_KAFKA_CERTFILE"),
        ("wrong key password", "LEADPULSE_KAFKA_KEY_PASSWORD"),
    ],
)
async def test_what_is_wrong_with_a_log_in_is_one_line(
    make_site: MakeSite, doors: Doors, wrong: str, words: str, tmp_path: Path
) -> None:
    """By the worker and by the commands; no traceback, no secret."""
    site = await make_site(kafka=doors.kafka.address)
    old = tmp_path / "token"
    old.write_text(jwt(time.time() - 5))
    settings = {
        "ended": by_token(doors, kafka_token_file=old),
        "refused": by_token(doors, kafka_token_command=token_command(600, "HS256")),
        "no file": by_token(doors, kafka_token_file=tmp_path / "absent"),
        "no certificate": by_certificate(doors),
        "wrong key password": by_certificate(
            doors, kafka_certfile=doors.client, kafka_keyfile=doors.key, kafka_key_password="s3cret-but-wrong"
        ),
    }[wrong]
    for command in (["run", "--metrics-port", "0"], ["doctor"], ["topics", "create"], ["dead", "list"]):
        done = await asyncio.to_thread(site.command, *command, **settings)
        assert done.returncode == 1, (command, done.stderr)
        assert words in done.stderr + done.stdout, (command, done.stderr, done.stdout)
        for text in (done.stdout, done.stderr):
            assert "Traceback" not in text, (command, text)
            assert "s3cret" not in text
            assert "eyJ" not in text
