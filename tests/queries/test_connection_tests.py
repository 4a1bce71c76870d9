"""Connections that are tried: what works is said to work, what does not has a remedy, and nothing is written anywhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.kit.accounts import SECRETS, TARGETS, Vendors, vendors
from tests.kit.services import free_port
from worker.cli.connections import connections as command
from worker.connections.file import parse_connections
from worker.connections.models import Connections
from worker.connections.sources import VENDORS
from worker.connections.targets import KINDS
from worker.queries.connection_tests import Tried, try_connections


@pytest.fixture
async def api() -> AsyncIterator[Vendors]:
    """Serve all vendors' APIs."""
    async with vendors() as made:
        yield made


async def tried(found: Connections, *names: str) -> list[Tried]:
    """Return what is found of *found*."""
    return [one async for one in try_connections(found, SECRETS, names)]


ACCOUNTS = {"hubspot": "4711", "salesforce": "Acme", "zoho": "Acme", "pipedrive": "Acme", "brevo": "Acme"}


@pytest.mark.parametrize("kind", TARGETS)
async def test_each_kind_of_api_is_asked_and_nothing_is_written(api: Vendors, kind: str) -> None:
    """By its own log-in. The only request that is no GET is the log-in of OAuth."""
    found = await tried(api.connections(f"x: {api.target(kind)}"))
    assert {one.level for one in found} == {"ok"}, found
    assert ACCOUNTS.get(kind, "") in found[0].what
    assert "ann@" not in str(found)
    assert {path for method, path in api.asked if method != "GET"} <= {
        "/oauth/token",
        "/oauth/v2/token",
        "/services/oauth2/token",
    }
    assert api.asked


@pytest.mark.parametrize("kind", TARGETS)
async def test_a_log_in_that_is_refused_is_an_error_with_a_remedy(api: Vendors, kind: str) -> None:
    """And no secret is shown."""
    [one] = await tried(api.connections(f"x: {api.target(kind, 'WRONG')}"))
    assert (one.level, one.direction, one.name) == ("error", "target", "x")
    assert "compare the secret" in one.what_to_do
    assert "wrong" not in str(one)


def test_every_kind_of_target_can_be_tried() -> None:
    """A kind that is added must be answered by the server of these tests, or have a test of its own."""
    assert set(KINDS) == {*TARGETS, "smtp", "slack", "teams", "webhook"}


@pytest.mark.parametrize("vendor", [name for name, model in VENDORS.items() if "api" in model.model_fields])
async def test_a_source_with_an_api_is_tried_by_its_target(api: Vendors, vendor: str) -> None:
    """Whatever vendor takes `api`. Of a named source, the target's own findings are not listed."""
    sources = f"sources: {{in: {{vendor: {vendor}, secrets: '${{GOOD}}', api: x}}}}\n"
    secrets, asked = await tried(api.connections(f"x: {api.target(vendor)}", sources=sources), "in")
    assert secrets.what.endswith("webhooks come to https://in.example.com/in/in")
    assert (asked.level, asked.direction, asked.name) == ("ok", "source", "in")
    [_, failed] = await tried(api.connections(f"x: {api.target(vendor, 'WRONG')}", sources=sources), "in")
    assert failed.level == "error"
    assert "the target x does not answer" in failed.what


@pytest.mark.parametrize(
    ("path", "status", "level", "words"),
    [
        (
            "/crm/properties/2026-03/contacts/leadpulse_id",
            404,
            "warning",
            "no field leadpulse_id: for acts, make it by `leadpulse act prepare x`",
        ),
        ("/crm/properties/2026-03/contacts/leadpulse_id", 403, "hint", "was not looked at"),
        ("/account-info/2026-03/details", 403, "error", "rights"),
        ("/account-info/2026-03/details", 404, "error", "`base_url`"),
        ("/account-info/2026-03/details", 429, "error", "try again later"),
        ("/account-info/2026-03/details", 503, "error", "check the address"),
    ],
)
async def test_what_an_account_answers_is_said_with_a_remedy(
    api: Vendors, path: str, status: int, level: str, words: str
) -> None:
    """A missing field matters for writing alone, and is a warning."""
    api.status[path] = status
    found = await tried(api.connections(f"x: {api.target('hubspot')}"))
    assert found[-1].level == level
    assert words in f"{found[-1].what}: {found[-1].what_to_do}"


async def test_a_field_that_is_not_unique_is_a_warning(api: Vendors) -> None:
    """In the older version of HubSpot's paths, which the target may name."""
    *_, field = await tried(api.connections(f"x: {api.target('hubspot', more=', version: v3')}"))
    assert field.level == "warning"
    assert field.what == "the field leadpulse_id is not unique"


async def test_an_address_at_which_something_else_answers_is_an_error(api: Vendors) -> None:
    """A page in HTML is no account, whatever its status."""
    api.answers["/v3/account"] = b"<html>"
    [one] = await tried(api.connections(f"x: {api.target('brevo')}"))
    assert one.level == "error"
    assert "not JSON" in one.what


async def test_nobody_answers_and_a_secret_is_not_there() -> None:
    """Each connection has its own line, and one that fails hides no other."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    text = f"""\
sources: {{a: {{vendor: brevo, secrets: '${{NO}}'}}, b: {{vendor: brevo, secrets: '${{GOOD}}'}}}}
targets:
  pipe: {{kind: pipedrive, token: "${{GOOD}}", base_url: "{nowhere}"}}
  none: {{kind: pipedrive, token: "${{NO}}"}}
  hook: {{kind: webhook, url: "{nowhere}/x", secret: "${{GOOD}}"}}
  chat: {{kind: slack, url: "${{GOOD}}"}}
  mail: {{kind: smtp, url: "${{GOOD}}", from: a@x.example}}
"""
    found = {(one.direction, one.name): one for one in await tried(parse_connections(text.encode(), "c.yaml"))}
    levels = {name: one.level for (_, name), one in found.items()}
    assert levels == dict.fromkeys(("a", "pipe", "none", "hook", "chat", "mail"), "error") | {"b": "ok"}
    assert "variable NO" in found["source", "a"].what
    assert "no answer" in found["target", "pipe"].what
    assert "127.0.0.1 cannot be reached" in found["target", "hook"].what
    assert all(one.what_to_do for one in found.values() if one.level == "error")


async def test_a_receiver_of_messages_is_reached_and_sent_nothing() -> None:
    """Each request to it is a message: the connection alone shows that it is there."""
    got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.set_result(await reader.read())
        writer.close()

    async with await asyncio.start_server(taken, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        text = f'targets: {{hook: {{kind: webhook, url: "http://127.0.0.1:{port}/x", secret: "${{GOOD}}"}}}}'
        [one] = await tried(parse_connections(text.encode(), "c.yaml"))
        assert (one.level, "nothing was sent" in one.what) == ("ok", True)
        assert await got == b""


@pytest.mark.parametrize(("password", "level"), [("good", "ok"), ("bad", "error")])
async def test_a_mail_server_takes_the_log_in_and_no_mail(password: str, level: str) -> None:
    """STARTTLS is left out towards this machine alone."""
    said: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mx\r\n")
        while line := (await reader.readline()).decode().strip():
            said.append(line)
            word = line.split(" ")[0].upper()
            good = "AGdvb2QAZ29vZA==" in line
            answers = {"EHLO": b"250-mx\r\n250 AUTH PLAIN\r\n", "AUTH": b"235 ok\r\n" if good else b"535 no\r\n"}
            writer.write(b"221 bye\r\n" if word == "QUIT" else answers.get(word, b"250 ok\r\n"))
            if word == "QUIT":
                break
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        text = f'targets: {{mail: {{kind: smtp, url: "smtp://good:${{P}}@127.0.0.1:{port}", from: a@x.example}}}}'
        found = [one async for one in try_connections(parse_connections(text.encode(), "c.yaml"), {"P": password})]
    assert [one.level for one in found] == [level], (found, said)
    assert not [line for line in said if line.upper().startswith(("MAIL", "RCPT", "DATA"))]


def test_the_command_prints_lines_and_fails_with_the_first_error(tmp_path: Path) -> None:
    """JSON on stdout by request, else words on stderr; an unknown name is refused."""
    file = tmp_path / "connections.yaml"
    file.write_text("sources: {mailer: {vendor: brevo, secrets: '${GOOD}'}, forms: {vendor: typeform, secrets: '${NO}'}}\n")

    def run(*words: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(command, ["test", *words, "--file", str(file)], env=SECRETS)
        return done.exit_code, done.stdout, done.stderr

    code, out, err = run("mailer")
    assert (code, out) == (0, "")
    assert err.startswith("ok       source mailer: ")
    code, out, err = run("--json")
    assert code == 1
    assert [json.loads(line)["level"] for line in out.splitlines()] == ["ok", "error"]
    code, out, err = run("mailr")
    assert code == 1
    assert "did you mean 'mailer'?" in err


ODD = ["a\nb", "a\rb", "\x00", "a:b", "日本", "\ud800", " "]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("secret", ODD)
async def test_no_secret_breaks_the_command(api: Vendors, secret: str) -> None:
    """Whatever a variable holds: an error with a remedy, without the secret, and not a traceback."""
    found = api.connections(*(f"{kind}: {api.target(kind, 'ODD')}" for kind in TARGETS))
    levels = {one.name: one.level async for one in try_connections(found, {"ODD": secret})}
    assert levels == dict.fromkeys(TARGETS, "error")


ADDRESSES = ["https://h.example:99999/x", "https://[::1/x", "ftp://x", "https://", " ", f"https://{'a' * 70}.example/"]


@pytest.mark.parametrize("url", ADDRESSES)
async def test_no_address_breaks_the_command(url: str) -> None:
    """Addresses that are secrets are read only when they are used."""
    text = """\
targets:
  hook: {kind: webhook, url: "${URL}", secret: "${GOOD}"}
  chat: {kind: slack, url: "${URL}"}
  mail: {kind: smtp, url: "${MAIL}", from: a@x.example}
"""
    environment = {**SECRETS, "URL": url, "MAIL": url.replace("https", "smtps")}
    found = [one async for one in try_connections(parse_connections(text.encode(), "c.yaml"), environment)]
    assert [(one.name, one.level) for one in found] == [("hook", "error"), ("chat", "error"), ("mail", "error")]
