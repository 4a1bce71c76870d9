"""How we log in to Kafka, and why a broker did not let us in.

The ways are a password, a token (OAUTHBEARER) and a certificate. Of a log-in that failed, aiokafka reports only that it "cannot
bootstrap". It does not notice at all that a broker refused a token. Both are answered here. No message has a secret in it, nor
what a token's command printed.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
import re
import shlex
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from aiokafka import client, conn
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaError, SaslAuthenticationFailed

from worker.errors import KafkaRefused
from worker.logs import fields
from worker.settings import KafkaConnection

log = logging.getLogger(__name__)

COMMAND_S: Final = 10.0
"""Time limit of the command that prints a token."""

_RENEW_SHARE: Final = 0.8
"""Share of a token's lifetime after which its command runs again."""

_UNKNOWN_S: Final = 60.0
"""Lifetime of a token without an expiry time."""

_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=-]+").fullmatch
"""Characters that RFC 6750 allows. Any other could end the message around the token."""


class TokenFailed(KafkaError):  # type: ignore[misc]  # aiokafka has no types
    """No token for the log-in is available. A running worker tries again. A worker that starts ends with this message."""


class Token(NamedTuple):
    """A token for OAUTHBEARER."""

    text: str
    ends_s: float | None
    """When it expires, by `time.time`; `None` if that is unknown."""


class Tokens(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types
    """Returns a valid token: from a file that another program renews, or from a command that is run again in time."""

    def __init__(self, file: str | None, command: str | None) -> None:
        self._file = file
        self._command = command
        self._token: Token | None = None
        self._renew_s = 0.0
        self._one_at_a_time = threading.Lock()

    async def token(self) -> str:
        """Return the token. Raises `TokenFailed`, with the remedy."""
        return (await asyncio.to_thread(self.now)).text

    def now(self) -> Token:
        """Return the token, blocking for as long as its command takes. Raises `TokenFailed`."""
        with self._one_at_a_time:
            if self._token is None or time.time() >= self._renew_s:
                try:
                    self._renew()
                except TokenFailed as err:
                    if self._token is None or (self._token.ends_s or 0.0) <= time.time():
                        raise
                    log.warning("no new token, the last one is still good: %s", err, extra=fields("kafka.token"))
            assert self._token is not None
            return self._token

    def _renew(self) -> None:
        text, source = (self._of_file(self._file), "_FILE") if self._file else (self._of_command(), "_COMMAND")
        setting = f"LEADPULSE_KAFKA_TOKEN{source}"
        if not _TOKEN(text):
            raise TokenFailed(f"{setting} gives no token: expected one token, in one line, and nothing else")
        now_s, ends_s = time.time(), ends(text)
        if ends_s is not None and ends_s <= now_s:
            when = datetime.fromtimestamp(ends_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            raise TokenFailed(
                f"the token that {setting} gives ended at {when}: have it renewed, and look at this machine's clock"
            )
        self._token = Token(text, ends_s)
        if self._file:
            self._renew_s = now_s
        else:
            self._renew_s = now_s + (_UNKNOWN_S if ends_s is None else (ends_s - now_s) * _RENEW_SHARE)

    @staticmethod
    def _of_file(file: str) -> str:
        try:
            return Path(file).read_text().strip()
        except (OSError, UnicodeDecodeError) as err:
            why = (err.strerror if isinstance(err, OSError) else None) or "it is no text"
            raise TokenFailed(f"LEADPULSE_KAFKA_TOKEN_FILE {file}: {why}: expected a file with the token alone") from None

    def _of_command(self) -> str:
        hint = "LEADPULSE_KAFKA_TOKEN_COMMAND"
        try:
            line = shlex.split(self._command or "")
            done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_S, check=False)
        except subprocess.TimeoutExpired:
            raise TokenFailed(f"{hint} printed no token within {COMMAND_S:g} s: run it by hand") from None
        except (OSError, ValueError) as err:
            why = err.strerror if isinstance(err, OSError) and err.strerror else "it is no command line"
            raise TokenFailed(f"{hint} cannot be run: {why}") from None
        if done.returncode:
            raise TokenFailed(f"{hint} ended with exit code {done.returncode}: run it by hand")
        return done.stdout.decode(errors="replace").strip()


def ends(token: str) -> float | None:
    """Return when *token* expires, if it is a JWT with that claim. Only the broker checks the signature."""
    try:
        body = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return float(claims["exp"])
    except (LookupError, ValueError, TypeError, binascii.Error, RecursionError):
        return None


_shared: dict[tuple[str | None, str | None], Tokens] = {}
"""By file and command. All clients of a process use the same token."""


def tokens(settings: KafkaConnection) -> Tokens | None:
    """Return the source of the token; `None` for other kinds of log-in."""
    if settings.kafka_sasl != "OAUTHBEARER":
        return None
    command = settings.kafka_token_command.get_secret_value() if settings.kafka_token_command else None
    return _shared.setdefault((settings.kafka_token_file, command), Tokens(settings.kafka_token_file, command))


async def check_token(settings: KafkaConnection) -> None:
    """Raise `KafkaRefused` without a first token. aiokafka would only report that no broker answers."""
    provider = tokens(settings)
    if provider is not None:
        try:
            await provider.token()
        except TokenFailed as err:
            raise KafkaRefused(str(err)) from None


def login_options(settings: KafkaConnection) -> dict[str, Any]:
    """Return the log-in options of an aiokafka client. Raises `KafkaRefused` for a file that cannot be used."""
    options: dict[str, Any] = {
        "security_protocol": settings.kafka_security,
        "sasl_mechanism": settings.kafka_sasl,
        "sasl_plain_username": settings.kafka_user,
        "sasl_plain_password": settings.kafka_password.get_secret_value() if settings.kafka_password else None,
        "sasl_oauth_token_provider": tokens(settings),
    }
    if "SSL" in settings.kafka_security:
        options["ssl_context"] = ssl_context(settings)
    return options


def ssl_context(settings: KafkaConnection) -> ssl.SSLContext:
    """Return the TLS context: how to check the brokers' certificates, and our own. Raises `KafkaRefused`."""
    try:
        context = ssl.create_default_context(cafile=settings.kafka_cafile)
    except OSError as err:  # ssl.SSLError is one
        raise KafkaRefused(
            f"LEADPULSE_KAFKA_CAFILE {settings.kafka_cafile}: {err.strerror or err}: expected a PEM file of certificates"
        ) from None
    if settings.kafka_certfile:
        password = settings.kafka_key_password.get_secret_value() if settings.kafka_key_password else ""
        try:
            # An empty password, where there is none: OpenSSL would ask for one on the terminal.
            context.load_cert_chain(settings.kafka_certfile, settings.kafka_keyfile, password)
        except (OSError, ValueError) as err:
            why = (err.strerror if isinstance(err, OSError) else None) or err
            raise KafkaRefused(
                f"LEADPULSE_KAFKA_CERTFILE {settings.kafka_certfile} with LEADPULSE_KAFKA_KEYFILE"
                f" {settings.kafka_keyfile or '(in the same file)'}: {why}: expected a PEM certificate and its key; the key's"
                " password, if it has one, is LEADPULSE_KAFKA_KEY_PASSWORD"
            ) from None
    return context


class _OAuth(conn.OAuthAuthenticator):  # type: ignore[misc]  # aiokafka has no types
    """Notices that a broker refuses the token. It answers with a reason then, and aiokafka expects no answer."""

    async def step(self, payload: bytes | None) -> Any:
        if self._token_sent and payload:
            try:
                status = str(json.loads(payload).get("status", ""))
            except (ValueError, AttributeError):
                status = ""
            shown = f" ({status})" if re.fullmatch(r"[A-Za-z_ ]{1,60}", status) else ""
            raise SaslAuthenticationFailed(f"it refuses the token{shown}: look at its audience, its issuer and its end")
        return await super().step(payload)


_failed: list[str] = []
"""Why the broker refused the last log-in; empty after a successful one."""


def why_not() -> str | None:
    """Return why the last reached broker refused our log-in; `None` if that is unknown."""
    return _failed[-1] if _failed else None


def _noting(create: Callable[..., Any]) -> Callable[..., Any]:
    async def create_conn(*arguments: Any, **options: Any) -> Any:
        try:
            made = await create(*arguments, **options)
        except TokenFailed as err:
            _failed[:] = [str(err.args[0])]
            raise
        except SaslAuthenticationFailed as err:
            _failed[:] = [f"the broker refuses the log-in: {err.args[0] if err.args else 'it does not say why'}"]
            raise
        except ssl.SSLError as err:
            _failed[:] = [f"TLS: {err.reason or err}"]
            raise
        except BaseException:
            _failed.clear()
            raise
        _failed.clear()
        return made

    return create_conn


def tell_why_not() -> None:
    """Make every client of this process note why a broker refused its log-in."""
    conn.OAuthAuthenticator = _OAuth
    if not hasattr(client.create_conn, "noting"):
        noting: Any = _noting(client.create_conn)
        noting.noting = True
        client.create_conn = noting
