"""Targets that show our secrets in their answers: none gets into the words that the ledger, logs and lists keep."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from worker.adapters.memory_limits import MemoryLimits
from worker.automations.calls import Calls, Lease, Named
from worker.automations.requests import Http, Mail, Refusal
from worker.automations.targets.registry import KINDS
from worker.connections.file import parse_connections
from worker.sending_ports import Answered

ENVIRONMENT = {
    "SLACK": "https://hooks.slack.example/services/T0AB/B0CD/shortKey9",
    "TEAMS": "https://flow.example/run?sv=1&sig=aB%2Fshort9",
    "SMTP": "smtps://u:p%40ss-wOrd@mx.example",
    "PW": "p%40ss-wOrd",
    "BREVO": "xkeysib-abc",
    "ZOHO": "refresh-1",
}
CONNECTIONS = b"""
targets:
  slack: {kind: slack, url: "${SLACK}"}
  teams: {kind: teams, url: "${TEAMS}"}
  mail: {kind: smtp, url: "${SMTP}", from: a@example.com}
  parts: {kind: smtp, url: "smtps://u:${PW}@mx.example", from: a@example.com}
  brevo: {kind: brevo, token: "${BREVO}", from: a@example.com}
  zoho: {kind: zoho, client_id: "${ZOHO}", client_secret: "${ZOHO}", refresh_token: "${ZOHO}", accounts_url: "https://accounts.zoho.eu", base_url: "https://www.zohoapis.eu"}
"""  # noqa: E501
TOKEN = "1000.given"


class Echo:
    """Answers everything with a status and a body, and gives the token of a log-in."""

    def __init__(self, answer: Answered) -> None:
        self._answer = answer

    async def send(self, *_: Any, **__: Any) -> Answered:
        """Return the answer, whatever is asked."""
        return self._answer

    async def token(self, _name: str) -> str:
        """Return the token."""
        return TOKEN

    def expired(self, _name: str, _token: str) -> bool:
        """Return that there is no other token."""
        return False


def called(name: str, answer: Answered) -> Calls:
    """Return what sends requests to a target that answers so."""
    echo: Any = Echo(answer)
    return Calls(echo, echo, MemoryLimits(), echo, ENVIRONMENT, lambda: 0)


def bodies(words: str) -> Mapping[str, bytes]:
    """Return *words* as the targets say them."""
    return {
        "slack": words.encode(),
        "teams": words.encode(),
        "mail": words.encode(),
        "parts": words.encode(),
        "brevo": json.dumps({"message": words}).encode(),
        "zoho": json.dumps({"code": "X", "message": words}).encode(),
    }


@pytest.mark.parametrize("far", [0, 270, 280, 290], ids="{} words before it".format)
@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("slack", "shortKey9"),
        ("slack", "/services/T0AB/B0CD/shortKey9"),
        ("teams", "aB/short9"),
        ("teams", "aB%2Fshort9"),
        ("mail", "p@ss-wOrd"),
        ("mail", "p%40ss-wOrd"),
        ("parts", "p@ss-wOrd"),
        ("brevo", "xkeysib-abc"),
        ("zoho", TOKEN),
        ("zoho", "refresh-1"),
    ],
)
async def test_no_word_of_a_refusal_holds_a_secret(name: str, secret: str, far: int) -> None:
    """Also where the words are cut within it."""
    target = parse_connections(CONNECTIONS, "connections.yaml").targets[name]
    words = f"{'. ' * (far // 2)} we refuse {secret} today"
    answer = Answered(535 if target.kind == "smtp" else 400, bodies(words)[name], {})
    step = Mail("send", "a@example.com", "b@example.com", b"") if target.kind == "smtp" else Http("ask", "GET", "/x")
    calls = called(name, answer)
    with pytest.raises(Refusal) as refusal:
        await calls.call(Named(name, target, KINDS[target.kind]), step, Lease())
    said = str(refusal.value)
    assert not any(secret[:length] in said for length in range(5, len(secret) + 1)), said
    assert secret not in str(await calls.limits.status([name]))


async def test_a_status_that_the_steps_read_shows_no_secret_either() -> None:
    """The steps quote its body themselves."""
    target = parse_connections(CONNECTIONS, "connections.yaml").targets["brevo"]
    calls = called("brevo", Answered(400, bodies("the key xkeysib-abc is odd")["brevo"], {}))
    answer = await calls.call(Named("brevo", target, KINDS["brevo"]), Http("ask", "GET", "/x", takes=(400,)), Lease())
    assert answer.json() == {"message": "the key *** is odd"}
