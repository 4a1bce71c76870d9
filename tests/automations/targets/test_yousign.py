"""Signature requests against a Yousign that refuses what Yousign refuses."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.kit.vendors.base import Reply
from tests.kit.vendors.driving import Driver, act_of
from tests.kit.vendors.yousign import Yousign
from worker.automations.acts import Act
from worker.automations.requests import Again, Answer, Final, Lost, Misconfigured, Run
from worker.automations.targets.yousign import KIND, external_id
from worker.connections.secret import Secret
from worker.connections.targets import YousignTarget
from worker.intake.vendors.yousign import lead_of

PDF = b"%PDF-1.7\r\n--boundary\r\n\x00\xff" * 100
FIELDS: dict[str, Any] = {"document": "contracts/lead-42.pdf", "level": "electronic_signature"}


@pytest.fixture
async def account() -> AsyncIterator[Yousign]:
    """An account."""
    async with Yousign() as vendor:
        yield vendor


def driver(account: Yousign, token: str = "") -> Driver:
    """Return a driver of the account."""
    target = YousignTarget(kind="yousign", token=Secret("${T}"), base_url=account.url)
    return Driver(KIND, target, account.url, {"Authorization": f"Bearer {token or account.token}"})


def run(known: Any = None, unsure: str = "") -> Run:
    """Return what an attempt knows, with the document."""
    return Run(known or {}, unsure, read=lambda _: PDF)


def contract(**more: Any) -> Act:
    """Return an act that asks for a signature."""
    now_ms = int(time.time() * 1000)
    return act_of("sign", "signature", FIELDS | more.pop("fields", {}), **{"rule": "contract", "at_ms": now_ms, **more})


PHONE = {"email": "ada@acme.example", "first_name": "Ada", "last_name": "Lovelace", "phone": "+33 6 12 34 56 78"}


@pytest.mark.parametrize(
    ("level", "mode"),
    [
        ("electronic_signature", "otp_email"),
        ("advanced_electronic_signature", "otp_sms"),
        ("qualified_electronic_signature", "otp_sms"),
    ],
)
async def test_a_lead_is_asked_to_sign(account: Yousign, level: str, mode: str) -> None:
    """At each legal level: one request, one document, one signer, active; nothing of it breaks the specification."""
    ended = await driver(account).act(contract(fields={"level": level}, person=PHONE), run())
    assert (ended.error, account.refusals) == (None, [])
    [(id_, held)] = account.held.items()
    assert (ended.remote_id, ended.known) == (id_, {"signature_request": id_})
    assert account.activated == [id_]
    assert list(account.files.values()) == [PDF]
    [signer] = held["signers"]
    assert signer["_whole"]["info"] == {
        "first_name": "Ada", "last_name": "Lovelace", "email": "ada@acme.example", "locale": "en",
        "phone_number": "+33612345678",
    }  # fmt: skip
    assert (signer["_whole"]["signature_level"], signer["_whole"]["signature_authentication_mode"]) == (level, mode)
    assert signer["_whole"]["fields"][0]["page"] == 3
    assert held["external_id"] == "lead-42%3A7+contract"


async def test_anchors_in_the_document_place_the_signature(account: Yousign) -> None:
    """Then no field is sent. A place of the rule counts before anchors."""
    account.anchors = 1
    await driver(account).act(contract(), run())
    await driver(account).act(contract(rule="other", fields={"place": {"page": 2, "x": 10, "y": 20}}), run())
    first, second = (held["signers"][0]["_whole"] for held in account.held.values())
    assert "fields" not in first
    assert {name: second["fields"][0][name] for name in ("page", "x", "y")} == {"page": 2, "x": 10, "y": 20}
    assert account.refusals == []


@pytest.mark.parametrize("path", [r"/signature_requests$", r"/documents$", r"/signers$", r"/activate$"])
@pytest.mark.parametrize("lost_ledger", [False, True])
async def test_an_answer_that_is_lost_at_any_step_leads_to_one_request(account: Yousign, path: str, lost_ledger: bool) -> None:
    """The next attempt finds the draft and what it has. Signers get one mail."""
    account.lose_answer("POST", path)
    act = contract()
    first = await driver(account).act(act, run())
    assert isinstance(first.error, Lost)
    second = await driver(account).act(act, run() if lost_ledger else run(first.known, first.unsure))
    assert second.error is None
    [(id_, held)] = account.held.items()
    assert (second.remote_id, account.activated) == (id_, [id_])
    assert (len(held["documents"]), len(held["signers"])) == (1, 1)
    assert account.refusals == []


async def test_a_list_that_lags_makes_no_second_contract(account: Yousign) -> None:
    """The id is remembered, so that the next attempt asks for the request itself."""
    account.script("POST", r"/activate$", Reply(503))
    first = await driver(account).act(contract(), run())
    account.script("GET", "/signature_requests$", Reply(200, {"meta": {}, "data": []}))
    second = await driver(account).act(contract(), run(first.known, first.unsure))
    assert (second.error, len(account.held), account.activated) == (None, 1, list(account.held))


async def test_namespaces_share_an_account(account: Yousign) -> None:
    """The same lead and number of another namespace is another contract."""
    await driver(account).act(contract(), run())
    await driver(account).act(contract(source="/leadpulse/trial"), run())
    assert {held["external_id"] for held in account.held.values()} == {"lead-42%3A7+contract", "lead-42%3A7+contract+trial"}
    assert lead_of({"signature_request": {"external_id": "lead-42%3A7+contract+trial"}}) == "lead-42"


async def test_an_empty_ledger_finds_a_signed_contract(account: Yousign) -> None:
    """No signer is asked twice."""
    first = await driver(account).act(contract(), run())
    account.held[first.remote_id]["status"] = "done"
    again = await driver(account).act(contract(), run(unsure="*"))
    assert (again.error, again.remote_id, len(account.held)) == (None, first.remote_id, 1)


async def test_the_webhook_brings_the_lead_back() -> None:
    """Whatever its id has, and whichever rule asked; a key that is too long is a hash."""
    for lead in ("lead-42", "email:ada+x@acme.example", "visitor:a:b", "é ü/%"):
        key = external_id(act_of("sign", "signature", FIELDS, rule="contract", output=f"{lead}:12"))
        assert lead_of({"signature_request": {"external_id": key}}) == lead
    assert len(external_id(act_of("sign", "signature", FIELDS, output=f"{'x' * 300}:1"))) == 64


@pytest.mark.parametrize(
    ("person", "fields", "words"),
    [
        ({"email": "ada@acme.example"}, {}, "no first and last name"),
        ({"first_name": "Ada", "last_name": "L"}, {}, "has no address"),
        (None, {"level": "advanced_electronic_signature"}, "has no phone"),
        (None, {"authentication": "otp_sms"}, "has no phone"),
        (None, {"level": "legal"}, "with.level: write"),
    ],
)
async def test_a_signer_who_lacks_something_is_named(
    account: Yousign, person: dict[str, str] | None, fields: dict[str, Any], words: str
) -> None:
    """Nothing is sent."""
    more = {} if person is None else {"person": person}
    ended = await driver(account).act(contract(fields=fields, **more), run())
    assert isinstance(ended.error, Final)
    assert words in str(ended.error)
    assert account.requests == []


async def test_hostile_names_reach_yousign_as_it_takes_them(account: Yousign) -> None:
    """A name with HTML, a full stop, an emoji or a line end is no reason to fail."""
    person = {"email": "ada@acme.example", "first_name": "J. <b>Ada</b>\r\n😀", "last_name": "O’Neill_@Söder"}
    fields = {"document": 'a "b".pdf', "name": "Contract <script> for {{ Acme }} @ 2"}
    ended = await driver(account).act(contract(person=person, fields=fields), run())
    assert (ended.error, account.refusals) == (None, [])
    [held] = account.held.values()
    assert held["name"] == "Contract script for Acme 2"
    assert held["documents"][0]["_whole"]["filename"] == 'a "b".pdf'.replace('"', "%22")


async def test_refusals_are_told_apart(account: Yousign) -> None:
    """A wrong token is the target's; limits and outages pass; what Yousign does not take is for good."""
    assert isinstance((await driver(account, "other").act(contract(), run())).error, Misconfigured)
    account.script("POST", "/signature_requests$", Reply(429, {"message": "Too Many Requests"}, {"Retry-After": "7"}))
    limited = (await driver(account).act(contract(), run())).error
    assert isinstance(limited, Again)
    assert limited.after_s == 7
    account.script("POST", "/signature_requests$", Reply(403, {"type": "x", "detail": "not in this plan"}))
    assert isinstance((await driver(account).act(contract(), run())).error, Final)
    account.script("POST", "/signers$", Reply(500))
    assert isinstance((await driver(account).act(contract(), run())).error, Lost)


async def test_a_request_that_was_cancelled_there_is_not_asked_again(account: Yousign) -> None:
    """A person did that."""
    first = await driver(account).act(contract(), run())
    account.held[first.remote_id]["status"] = "canceled"
    assert isinstance((await driver(account).act(contract(), run(unsure="*"))).error, Final)


def test_little_of_the_limit_left_makes_a_pause() -> None:
    """30 % of the minute's requests stay for others."""
    names = ("x-ratelimit-limit-minute", "x-ratelimit-remaining-minute")
    assert KIND.spare(Answer(200, headers=dict(zip(names, ("30", "8"), strict=True)))) == 20
    assert KIND.spare(Answer(200, headers=dict(zip(names, ("30", "12"), strict=True)))) == 0
    assert KIND.spare(Answer(200, headers=dict(zip(names, ("x", "12"), strict=True)))) == 0
