"""Logging in to Kafka by a token: where it comes from, when it is renewed, and what is said without a secret."""

from __future__ import annotations

import asyncio
import shlex
import sys
import time
from pathlib import Path

import pytest
from aiokafka.errors import SaslAuthenticationFailed

from tests.kit.tokens import jwt
from worker.adapters import kafka_login
from worker.adapters.kafka_login import TokenFailed, Tokens, _OAuth, check_token, ends, ssl_context
from worker.errors import KafkaRefused, SettingsError
from worker.settings import Settings


def command(code: str, *arguments: object) -> str:
    """Return a command line that runs Python *code*."""
    return shlex.join([sys.executable, "-c", code, *map(str, arguments)])


def test_the_end_of_a_token_is_read_and_of_anything_else_unknown() -> None:
    """A token that is no JWT, or a strange one, is sent as it is: the broker says what it thinks of it."""
    assert ends(jwt(1_700_000_000.0)) == 1_700_000_000.0
    for strange in (jwt(None), "opaque", "a.b.c", "..", "a.W10.c", "a.eyJleHAiOiBudWxsfQ.c", "a." + "W" * 9_000 + ".c"):
        assert ends(strange) is None, strange


async def test_a_file_is_read_at_each_log_in(tmp_path: Path) -> None:
    """Whatever renews it, such as Kubernetes, writes it anew; a moment without it is no harm while the last one is good."""
    file = tmp_path / "token"
    tokens = Tokens(str(file), None)
    with pytest.raises(TokenFailed, match=r"LEADPULSE_KAFKA_TOKEN_FILE .*No such file"):
        await tokens.token()
    first, second = jwt(time.time() + 600, "one"), jwt(time.time() + 600, "two")
    file.write_text(first + "\n")
    assert await tokens.token() == first
    file.write_text(second)
    assert await tokens.token() == second
    file.unlink()
    assert await tokens.token() == second


async def test_a_command_is_asked_again_before_the_token_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for all clients that log in at the same time, and not again until four fifths of its time are over."""
    made = tmp_path / "made"
    made.touch()
    code = "import sys; open(sys.argv[1], 'a').write('x'); print(sys.argv[2])"
    token = jwt(time.time() + 1_000)
    tokens = Tokens(None, command(code, made, token))
    assert await asyncio.gather(*(tokens.token() for _ in range(5))) == [token] * 5
    assert made.read_text() == "x"
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 700)
    await tokens.token()
    assert made.read_text() == "x"
    monkeypatch.setattr(time, "time", lambda: now + 900)
    await tokens.token()
    assert made.read_text() == "xx"
    monkeypatch.setattr(time, "time", lambda: now + 1_100)
    with pytest.raises(TokenFailed, match=r"LEADPULSE_KAFKA_TOKEN_COMMAND gives ended at 20"):
        await tokens.token()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (command("import sys; sys.exit('s3cret')"), "exit code 1: run it by hand"),
        ("/nowhere/s3cret", "cannot be run: No such file"),
        ("'s3cret", "no command line"),
        (command("print('s3cret and more')"), "gives no token"),
        (command("print('s3cret\\x01auth=x')"), "gives no token"),
        (command("pass", "s3cret"), "gives no token"),
        (command("import time, sys; time.sleep(600)", "s3cret"), "no token within"),
    ],
)
async def test_a_command_that_gives_none_is_told_without_what_it_said(
    line: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its output and its arguments may hold secrets."""
    monkeypatch.setattr(kafka_login, "COMMAND_S", 1.0 if "sleep" in line else 60.0)
    settings = Settings.load({}, kafka_security="SASL_SSL", kafka_sasl="OAUTHBEARER", kafka_token_command=line)
    with pytest.raises(KafkaRefused, match=words) as told:
        await check_token(settings)
    assert "s3cret" not in str(told.value)
    assert "s3cret" not in repr(settings)


async def test_a_token_that_the_broker_refuses_is_noticed() -> None:
    """The broker answers with a reason and waits; aiokafka would take that for a welcome."""
    provider = Tokens(None, command(f"print({jwt(time.time() + 600)!r})"))
    refused = _OAuth(sasl_oauth_token_provider=provider)
    await refused.step(None)
    with pytest.raises(SaslAuthenticationFailed, match=r"refuses the token \(invalid_token\)"):
        await refused.step(b'{"status":"invalid_token"}')
    taken = _OAuth(sasl_oauth_token_provider=provider)
    await taken.step(None)
    assert await taken.step(b"") is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"sasl": "OAUTHBEARER", "security": "SASL_SSL"}, "kafka_token_file or kafka_token_command"),
        ({"sasl": "OAUTHBEARER", "security": "SASL_SSL", "token_file": "a", "token_command": "b"}, "one of them"),
        ({"sasl": "OAUTHBEARER", "token_file": "a"}, "SASL_SSL"),
        ({"token_file": "a"}, "OAUTHBEARER"),
        ({"token_command": "s3cret"}, "OAUTHBEARER"),
        ({"keyfile": "a"}, "kafka_certfile"),
        ({"key_password": "s3cret"}, "kafka_certfile"),
        ({"certfile": "a"}, "SSL or SASL_SSL"),
    ],
)
def test_settings_that_do_not_go_together_are_told(given: dict[str, str], words: str) -> None:
    """Before anything is reached, and without a secret."""
    with pytest.raises(SettingsError, match=words) as told:
        Settings.load({f"LEADPULSE_KAFKA_{name.upper()}": value for name, value in given.items()})
    assert "s3cret" not in str(told.value)


def test_a_certificate_that_cannot_be_used_is_told_by_its_settings(tmp_path: Path) -> None:
    """A file that is not there, and one that is no certificate."""
    for file in ("/nowhere/cert.pem", __file__):
        settings = Settings.load({}, kafka_security="SSL", kafka_certfile=file, kafka_key_password="s3cret")
        with pytest.raises(KafkaRefused, match=r"LEADPULSE_KAFKA_CERTFILE .*LEADPULSE_KAFKA_KEY_PASSWORD") as told:
            ssl_context(settings)
        assert "s3cret" not in str(told.value)
