"""Certificates, made for a test run, and a Redis that asks for them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.kit.services import Redis, free_port, missing, needed


class Certificates(NamedTuple):
    """An authority of the test's own, and a server's certificate by it."""

    authority: Path
    certificate: Path
    key: Path

    @property
    def both(self) -> Path:
        """Key and certificate in one file, as Kafka reads them."""
        return self.key.with_name("both.pem")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Made with openssl, for 127.0.0.1."""
    folder = tmp_path_factory.mktemp("certificates")
    made = Certificates(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    authority_key, request, extension = folder / "ca.key", folder / "server.csr", folder / "extension"
    extension.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    new = ["req", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    try:
        openssl(*new, "-x509", "-subj", "/CN=Test", "-keyout", authority_key, "-out", made.authority)
    except FileNotFoundError:
        missing("openssl is not installed")
    openssl(*new[:4], "-subj", "/CN=127.0.0.1", "-keyout", made.key, "-out", request)
    by = ["-CA", made.authority, "-CAkey", authority_key, "-CAcreateserial", "-days", "2", "-extfile", extension]
    openssl("x509", "-req", "-in", request, *by, "-out", made.certificate)
    made.both.write_text(made.key.read_text() + made.certificate.read_text())
    return made


def openssl(*arguments: object) -> None:
    """Run openssl."""
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def guarded_redis(certificates: Certificates) -> Iterator[Redis]:
    """A Redis with TLS on a port of its own. The worker is a user with few rights there."""
    tls = {
        "tls-port": str(free_port()),
        "tls-cert-file": str(certificates.certificate),
        "tls-key-file": str(certificates.key),
        "tls-ca-cert-file": str(certificates.authority),
        "tls-auth-clients": "no",
    }
    with needed(lambda: Redis(tls)) as server:
        yield server
