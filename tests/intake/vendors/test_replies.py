"""Mails that people write: shapes of inbound parse as seen by django-anymail."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.inbound import RECEIVED_MS, events_of, form, inbound_of, made_of, source_of, told
from worker.core.scoring.calendar import rfc3339
from worker.intake.vendors.common import Mapped, Unmapped, cloud_event
from worker.intake.vendors.registry import mapped
from worker.intake.vendors.replies import KIND, add_mail

ANSWERED = "m-1@mail.example"
SENT = "Mon, 21 Sep 2026 10:00:00 +0000"
SENT_AT = "2026-09-21T10:00:00.000Z"
RECEIVED = rfc3339(RECEIVED_MS)


def postmark(*headers: tuple[str, str], **fields: Any) -> dict[str, Any]:
    """Return an inbound mail as Postmark hands it on."""
    held = [{"Name": name, "Value": value} for name, value in (("Message-ID", "<own@x.example>"), *headers)]
    mail = {"FromFull": {"Email": "Ada@X.example", "Name": "Ada"}, "MessageID": "22c74902", "Date": SENT, "Headers": held}
    return mail | fields


def brevo(**fields: Any) -> dict[str, Any]:
    """Return what Brevo's inbound parse sends."""
    headers = {"Received": ["a", "b"], "MIME-Version": "1.0"} | fields.pop("Headers", {})
    mail = {"Uuid": ["aaaa-bbbb"], "MessageId": "<own@x.example>", "InReplyTo": f"<{ANSWERED}>", "SentAtDate": SENT}
    return {"items": [mail | {"From": {"Name": "Ada", "Address": "ada@x.example"}, "Headers": headers} | fields]}


def mailgun(*headers: tuple[str, str], **fields: str) -> dict[str, str]:
    """Return the fields of a mail that a route of Mailgun's hands on."""
    own = [["Message-Id", "<own@x.example>"], ["Date", SENT], *map(list, headers)]
    held = {"token": "06c96bafc3f42a66b9edd546347a2fe18dc23461fe80dc52f0", "timestamp": "1461261330", "signature": "s"}
    return held | {"sender": "bounce@x.example", "from": "Ada <ada@X.example>", "message-headers": json.dumps(own)} | fields


def in_parts(fields: dict[str, str]) -> bytes:
    """Return *fields* as `multipart/form-data` with the boundary `b1`, and a file that holds a field."""
    file = b'--b1\r\nContent-Disposition: form-data; name="a"; filename="x"\r\n\r\nname="from"\r\n'
    parts = [f'--b1\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()]
    return file + "".join(parts).encode() + b"--b1--\r\n"


@pytest.mark.parametrize("parted", [False, True])
def test_a_route_of_mailgun_hands_replies_on_as_forms(parted: bool) -> None:
    """With files or without. The id is the mail's own, since a token may be another when it is sent again."""
    fields = mailgun(("In-Reply-To", f"<{ANSWERED}>"))
    kind = 'multipart/form-data; boundary="b1"' if parted else "application/x-www-form-urlencoded"
    body = in_parts(fields) if parted else form(**fields)
    made = mapped(inbound_of("mailgun", body, content_type=kind), source_of("mailgun"))
    assert (made.refused, len(made.events)) == ([], 1)
    event = json.loads(cloud_event(made.events[0], "in"))
    assert told(event) == ("email.replied", "email:ada@x.example", SENT_AT, {"message_id": ANSWERED})
    assert event["id"] == "<own@x.example>:email.replied"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"event=opened&recipient=a%40b.example", "application/x-www-form-urlencoded"),
        (b"message-headers=7", "application/x-www-form-urlencoded"),
        (b"message-headers=%5B%5B1%5D%5D", "application/x-www-form-urlencoded"),
        (b"\xff=1", "application/x-www-form-urlencoded"),
        (b"x", "multipart/form-data"),
        (b"--b\r\n" * 1_100, "multipart/form-data; boundary=b"),
    ],
)
def test_another_form_cannot_be_mapped(body: bytes, kind: str) -> None:
    """It goes to the dead letters, with the reason."""
    with pytest.raises(Unmapped):
        mapped(inbound_of("mailgun", body, content_type=kind), source_of("mailgun"))


@pytest.mark.parametrize(
    ("vendor", "body", "id_"),
    [
        ("postmark", postmark(("In-Reply-To", f"<{ANSWERED}>")), "22c74902"),
        ("postmark", postmark(("in-reply-to", f" < {ANSWERED} > (by hand)"), RecordType="Inbound"), "22c74902"),
        ("postmark", postmark(("References", f"<first@x.example> <{ANSWERED}>")), "22c74902"),
        ("brevo", brevo(), "aaaa-bbbb"),
        ("brevo", brevo(InReplyTo=None, Headers={"In-Reply-To": f"<{ANSWERED}>"}, Uuid=[]), "<own@x.example>"),
    ],
)
def test_an_answer_to_a_mail_is_a_reply(vendor: str, body: Any, id_: str) -> None:
    """Of the sender, at the mail's own date. The message is the one that was answered."""
    [event] = events_of(vendor, body)
    assert told(event) == ("email.replied", "email:ada@x.example", SENT_AT, {"message_id": ANSWERED})
    assert event["id"] == f"{id_}:email.replied"
    assert events_of(vendor, body) == [event], "sent again, it is the same"


@pytest.mark.parametrize(("vendor", "body"), [("postmark", postmark()), ("brevo", brevo(InReplyTo=None))])
def test_a_mail_that_answers_none_is_passed_over(vendor: str, body: Any) -> None:
    """A newsletter of somebody else's arrives at that address, too."""
    made = made_of(vendor, body)
    assert (made.events, made.refused) == ([], [])
    assert made.passed_over == {f"{KIND} that is no reply": 1}


@pytest.mark.parametrize(
    ("header", "machine"),
    [
        (("Auto-Submitted", "auto-replied"), True),
        (("Auto-Submitted", "auto-generated; x=y"), True),
        (("Auto-Submitted", "no"), None),
        (("Precedence", "Bulk"), True),
        (("X-Autoreply", "yes"), True),
        (("X-Priority", "1"), None),
    ],
)
def test_an_automatic_answer_is_a_machine_s(header: tuple[str, str], machine: bool | None) -> None:
    """Somebody who is out of office did nothing."""
    [event] = events_of("postmark", postmark(("In-Reply-To", f"<{ANSWERED}>"), header))
    assert event["data"].get("machine") is machine


@pytest.mark.parametrize(
    "date", ["", "yesterday", "Mon, 21 Sep 2099 10:00:00 +0000", "Thu, 01 Jan 1970 00:00:00 +0000", 7, None, "Mon, 99 Sep 2026"]
)
def test_a_date_that_cannot_be_is_when_the_webhook_came(date: Any) -> None:
    """It is the clock of the sender's machine."""
    [event] = events_of("postmark", postmark(("In-Reply-To", f"<{ANSWERED}>"), Date=date))
    assert event["time"] == RECEIVED


def test_without_a_sender_it_is_refused() -> None:
    """It goes to the dead letters: something is wrong at the vendor."""
    made = made_of("postmark", postmark(("In-Reply-To", f"<{ANSWERED}>"), FromFull={"Email": "postmaster"}))
    assert made.events == []
    assert made.refused == [f"{KIND}: no address of a person"]


_ODD = st.one_of(st.none(), st.text(max_size=30), st.integers(), st.lists(st.text(max_size=5), max_size=2))


@given(
    headers=st.lists(st.tuples(st.one_of(st.sampled_from(["In-Reply-To", "Date", "Precedence", "References"]), _ODD), _ODD)),
    id_=_ODD, sender=_ODD, date=_ODD, answers=_ODD,
)  # fmt: skip
def test_any_mail_is_an_event_refused_or_passed_over(headers: Any, id_: Any, sender: Any, date: Any, answers: Any) -> None:
    """Nothing raises: a mail is what anybody sends."""
    made = Mapped()
    add_mail(made, headers, id_, sender, RECEIVED_MS, date=date, answers=answers)
    assert len(made.events) + len(made.refused) + made.passed_over.total() == 1
