"""The link by which a person takes no more mail."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.collected import served
from worker.connections.file import parse_connections
from worker.connections.unsubscribe import address, keys, made, opened

MAIL = 'mail: {kind: smtp, url: "smtps://u:${PW}@mx.example.com", from: "Acme <hello@example.com>"}'
FILE = f"""
public_url: https://in.example.com
unsubscribe: ["${{NEW}}", "${{OLD}}"]
targets:
  {MAIL}
"""
SECRETS = {"NEW": "new secret", "OLD": "old secret", "PW": "password"}
LEAD = "email:ada@acme.example"


def link(file: str = FILE, secrets: dict[str, str] | None = None, lead: str = LEAD) -> str:
    """Return the path of a link that *file* makes."""
    found = parse_connections(file.encode(), "connections.yaml")
    whole = address(found, found.targets["mail"], secrets or SECRETS, lead, "considering/case-study|x|lead-42")
    assert whole.startswith("https://in.example.com/lp/unsubscribe/")
    return whole.removeprefix("https://in.example.com")


async def test_a_get_changes_nothing_and_a_post_unsubscribes() -> None:
    """A scanner follows the link of a mail, and a mail program posts to it."""
    async with served(FILE, SECRETS) as collector:
        page = await collector.client.get(link())
        assert (page.status, page.content_type) == (200, "text/html")
        assert '<form method="post">' in await page.text()
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        assert collector.log.records == []
        for _ in range(2):
            body = {"List-Unsubscribe": "One-Click"}
            answer = await collector.client.post(link(), data=body)
            assert answer.status == 200
            assert "You are unsubscribed" in await answer.text()
    first, second = (json.loads(one.value or b"") for one in collector.log.records)
    assert (first["type"], first["subject"]) == ("email.unsubscribed", LEAD)
    assert first["id"] == second["id"]
    assert first["data"] == {"message_id": "considering/case-study|x|lead-42"}


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("change", ["shorter", "other", "empty", "unsigned"])
async def test_a_token_that_is_not_ours_unsubscribes_no_lead(method: str, change: str) -> None:
    """Whatever is wrong with it, the page says what to do."""
    token = link().rpartition("/")[2]
    token = {
        "shorter": token[:-4], "other": ("B" if token[0] == "A" else "A") + token[1:], "empty": "_", "unsigned": "é" * 40,
    }[change]  # fmt: skip
    async with served(FILE, SECRETS) as collector:
        answer = await collector.client.request(method, f"/lp/unsubscribe/{token}")
        assert (answer.status, answer.content_type) == (400, "text/html")
        assert "The link is not complete" in await answer.text()
        assert collector.log.records == []


async def test_kafka_away_is_told_to_the_mail_program() -> None:
    """It comes again."""
    async with served(FILE, SECRETS) as collector:
        collector.log.refuses = True
        answer = await collector.client.post(link())
        assert (answer.status, answer.headers["Retry-After"]) == (429, "5")


async def test_a_link_outlives_its_secret_while_the_old_one_is_named() -> None:
    """Two at a time, and those of the mail targets where the file names none."""
    old = link(FILE.replace('"${NEW}", ', ""))
    bare = link(FILE.replace('unsubscribe: ["${NEW}", "${OLD}"]\n', ""))
    async with served(FILE, SECRETS) as collector:
        for path in (old, bare):
            assert (await collector.client.get(path)).status == 200


@given(lead=st.text(min_size=1), mail=st.text())
def test_a_token_holds_the_lead_and_shows_nothing_of_it(lead: str, mail: str) -> None:
    """It is the same each time, and it stands in an address as it is."""
    found = keys(parse_connections(FILE.encode(), "connections.yaml"), SECRETS)
    token = made(found[1], lead, mail)
    assert opened(found, token) == (lead, mail)
    assert opened(found[:1], token) is None
    assert token.isascii()
    assert token == token.strip()
    assert token.replace("-", "").replace("_", "").isalnum()


@given(token=st.text())
def test_no_other_text_is_a_token(token: str) -> None:
    """And none is an error."""
    found = keys(parse_connections(FILE.encode(), "connections.yaml"), SECRETS)
    assert opened(found, token) is None


def test_without_an_address_of_ours_there_is_no_link() -> None:
    """`act check` asks for it."""
    found = parse_connections(f"targets: {{{MAIL}}}".encode(), "connections.yaml")
    assert address(found, found.targets["mail"], SECRETS, LEAD, "x") == ""
