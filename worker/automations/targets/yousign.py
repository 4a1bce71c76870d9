"""Yousign v3: a signature request, from draft to activation.

By Yousign's OpenAPI document (paths under `/signature_requests`). Each step can be taken up again: the draft is found by its
`external_id`, and shows which document and signer it has. Only `activate` is seen by a person. The webhook that reports the
signature brings `external_id` back. Untested against a live account.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import PurePath
from typing import Any, Final, Literal
from urllib.parse import quote

from pydantic import Field

from worker.automations.acts import Act
from worker.automations.requests import Answer, Http, Lost, Misconfigured, Remember, Run, Steps
from worker.automations.requests import Final as Refused
from worker.automations.targets.answers import inside, numbers_of, raise_for, scrubbed
from worker.automations.targets.common import Kind, Rate
from worker.automations.targets.crm import address_of, cut, names_of, read_with
from worker.automations.targets.fields import DocumentFile, Line, With
from worker.connections.targets import YousignTarget

_REQUESTS: Final = "/signature_requests"
_MOST_NAME: Final = 128
_MOST_PERSON: Final = 255
_MOST_ADDRESS: Final = 100
_MOST_EXTERNAL: Final = 255
_MOST_BYTES: Final = 50 * 1024 * 1024
_UNSAFE_NAME: Final = re.compile(r"[<>{}\[\]\\/|^~\"@]+")
_NOT_IN_A_PERSON: Final = re.compile(r"[^\w`'() -]|_", re.UNICODE)
_PHONE: Final = re.compile(r"\+[1-9][0-9]{6,14}")
_ACTIVE: Final = frozenset({"ongoing", "approval", "done", "paused", "declined", "rejected", "expired"})
"""States of a request that was activated."""

_KINDS: Final = {".pdf": "application/pdf", ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document"}


class Place(With):
    """Where the signature goes on the page, in points from the left and the top."""

    page: int = Field(ge=1)
    x: int = Field(ge=0, le=32_767)
    y: int = Field(ge=0, le=32_767)


class Signature(With):
    """A document that the lead is asked to sign."""

    document: DocumentFile
    """The name of a file below LEADPULSE_DOCUMENTS."""
    level: Literal["electronic_signature", "advanced_electronic_signature", "qualified_electronic_signature"] = (
        "electronic_signature"
    )
    """The legal level. The two higher ones need the signer's phone, and a plan that has them."""
    name: Line = Field(default="")
    """Name of the request, in mails to the signer; absent: the document's name."""
    first_name: str = ""
    """Absent: the trait."""
    last_name: str = ""
    """Absent: the trait."""
    email: str = ""
    """The signer's address; absent: the trait `email`."""
    phone: str = ""
    """As in +33612345678; absent: the trait `phone`."""
    locale: Literal["en", "fr", "de", "it", "nl", "es", "pl"] = "en"
    """Language of Yousign's mails."""
    authentication: Literal["otp_email", "otp_sms", "no_otp"] | None = None
    """How the signer is asked for a code; absent: by mail, and by SMS for the higher levels."""
    place: Place | None = None
    """Where the signature goes. Absent: at the document's smart anchors, else at the end of the last page."""
    expires_in_days: int = Field(default=90, ge=1, le=365)
    """Until when it can be signed."""


def signature(_target: YousignTarget, act: Act, run: Run) -> Steps:
    """Ask the lead to sign: draft, document, signer, activation. Returns the request's id."""
    wanted = read_with(Signature, act)
    info = _info(act, wanted)
    file = run.read(wanted.document)
    if len(file) > _MOST_BYTES:
        raise Refused(f"the document has {len(file):,} bytes: Yousign takes {_MOST_BYTES:,}")
    draft = yield from _draft(act, wanted, run.known.get("signature_request", ""))
    yield Remember("signature_request", str(draft["id"]))
    at = f"{_REQUESTS}/{quote(str(draft['id']), safe='')}"
    if draft.get("status") in _ACTIVE:
        return str(draft["id"])
    if draft.get("status") != "draft":
        raise Refused(f"the signature request is {scrubbed(str(draft.get('status')))} at Yousign")
    document = yield from _document(at, draft, wanted, file)
    if not draft.get("signers"):
        yield Http.json("signer", "POST", f"{at}/signers", _signer(wanted, info, document), sample={"id": "<signer_id>"})
    answer = yield Http("activate", "POST", f"{at}/activate", safe=False, sample={"status": "ongoing"}, takes=(400,))
    if answer.status == 400:
        now = yield Http("state", "GET", at, sample={"status": "ongoing"})
        if inside(now.json(), "status") not in _ACTIVE:
            raise Refused(f"Yousign does not activate the request: {scrubbed(words_of(answer))}")
    return str(draft["id"])


def external_id(act: Act) -> str:
    """Return the key of a request: `LEAD:SEQ`, percent-encoded, which the webhook brings back, `+` and the rule.

    Another namespace than the usual one stands behind a second `+`.
    """
    parts = (act.output, act.rule, *([act.namespace] if act.namespace else []))
    key = "+".join(quote(part, safe="@.-_") for part in parts)
    return key if len(key) <= _MOST_EXTERNAL else hashlib.sha256(act.id.encode()).hexdigest()


def _draft(act: Act, wanted: Signature, known: str) -> Generator[Http, Answer, dict[str, Any]]:
    """Return the act's request as Yousign has it. It is made where there is none. *known* is its id from an earlier attempt."""
    if known:  # a list may lag behind, and a second draft would be a second contract
        return _request((yield Http("draft", "GET", f"{_REQUESTS}/{quote(known, safe='')}")))
    key = external_id(act)
    found = yield Http("look-up", "GET", f"{_REQUESTS}?external_id%5Beq%5D={quote(key, safe='')}", sample={"data": []})
    held = inside(found.json(), "data")
    if not isinstance(held, list):
        raise Lost(f"Yousign answers {found.status} without a list of requests")
    mine = [one for one in held if isinstance(one, dict) and one.get("external_id") == key and one.get("id")]
    mine.sort(key=lambda one: one.get("status") not in _ACTIVE)
    if mine:
        # the list may leave out what a request holds
        answer = yield Http("draft", "GET", f"{_REQUESTS}/{quote(str(mine[0]['id']), safe='')}")
        return _request(answer)
    until = datetime.fromtimestamp(act.at_ms / 1_000, UTC) + timedelta(days=wanted.expires_in_days)
    body = {
        "name": _name(wanted.name or PurePath(wanted.document).stem),
        "delivery_mode": "email",
        "external_id": key,
        "expiration_date": until.date().isoformat(),
    }
    sample = {"id": "<signature_request_id>", "status": "draft", "documents": [], "signers": []}
    return _request((yield Http.json("draft", "POST", _REQUESTS, body, sample=sample)))


def _request(answer: Answer) -> dict[str, Any]:
    held = answer.json()
    if not isinstance(held, dict) or not held.get("id"):
        raise Lost(f"Yousign answers {answer.status} without a signature request")
    return held


def _document(at: str, draft: dict[str, Any], wanted: Signature, file: bytes) -> Generator[Http, Answer, dict[str, Any]]:
    """Return the request's document. It is sent where there is none."""
    if draft.get("documents"):
        answer = yield Http("document", "GET", f"{at}/documents")
        held = answer.json()
        if isinstance(held, list) and held and isinstance(held[0], dict):
            return held[0]
    name = PurePath(wanted.document).name
    kind = _KINDS.get(PurePath(name).suffix.lower(), "application/octet-stream")
    anchors = "false" if wanted.place else "true"
    body, content_type = _form({"nature": "signable_document", "parse_anchors": anchors}, name, kind, file)
    sample = {"id": "<document_id>", "total_pages": "<total_pages>", "total_anchors": 0}
    answer = yield Http("document", "POST", f"{at}/documents", body, {"Content-Type": content_type}, sample=sample)
    return _request(answer)


def _signer(wanted: Signature, info: dict[str, str], document: dict[str, Any]) -> dict[str, Any]:
    higher = wanted.level != "electronic_signature"
    body: dict[str, Any] = {
        "info": info,
        "signature_level": wanted.level,
        "signature_authentication_mode": wanted.authentication or ("otp_sms" if higher else "otp_email"),
    }
    if wanted.place or not document.get("total_anchors"):
        place = wanted.place
        where = (place.page, place.x, place.y) if place else (document.get("total_pages") or 1, 350, 700)
        field = dict(zip(("page", "x", "y"), where, strict=True))
        body["fields"] = [{"document_id": document["id"], "type": "signature", **field}]
    return body


def _info(act: Act, wanted: Signature) -> dict[str, str]:
    """Return who signs. Raises `Final` where a name, an address or a phone lacks."""
    first, last = (_person(wanted.first_name), _person(wanted.last_name))
    if not (first and last):
        found = names_of("", {name: value for name, value in act.person.items() if name != "email"})
        first, last = first or _person(found[0]), last or _person(found[1])
    email = (wanted.email or address_of(act.lead_id, act.person)).strip()
    if not first or not last:
        raise Refused("the signer has no first and last name: write `first_name` and `last_name`, or send the traits")
    if not email or len(email) > _MOST_ADDRESS:
        raise Refused(f"the signer has no address, or one of more than {_MOST_ADDRESS} characters")
    info = {"first_name": first, "last_name": last, "email": email, "locale": wanted.locale}
    phone = re.sub(r"[ ().-]", "", wanted.phone or act.person.get("phone", ""))
    if _PHONE.fullmatch(phone):
        return info | {"phone_number": phone}
    if wanted.level != "electronic_signature" or wanted.authentication == "otp_sms":
        raise Refused("the signer has no phone such as +33612345678, which this level, or a code by SMS, needs")
    return info


def _person(name: str) -> str:
    """Return a name as Yousign takes it: letters, digits and few other characters."""
    return cut(" ".join(_NOT_IN_A_PERSON.sub(" ", name).split()), _MOST_PERSON).rstrip("…")


def _name(name: str) -> str:
    """Return a request's name without what Yousign takes for HTML."""
    return " ".join(_UNSAFE_NAME.sub(" ", name).split())[:_MOST_NAME].strip() or "Contract"


def _form(fields: dict[str, str], name: str, kind: str, file: bytes) -> tuple[bytes, str]:
    """Return a body of `multipart/form-data` and its type (RFC 7578). The boundary comes from the file."""
    boundary = f"leadpulse-{hashlib.sha256(file).hexdigest()[:32]}"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'.encode()
        for field, value in fields.items()
    ]
    shown = quote(name, safe=" ()+,;=@!#$&'~[]") if name.isascii() else name.replace('"', "%22")
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{shown}"\r\nContent-Type: {kind}\r\n\r\n'
    return b"".join(
        [*parts, head.encode(), file, f"\r\n--{boundary}--\r\n".encode()]
    ), f"multipart/form-data; boundary={boundary}"


def judge(answer: Answer) -> None:
    """Raise what an answer means. A token that is refused must be mended by hand, for there is no other."""
    if answer.status == 401:
        raise Misconfigured(f"Yousign answers 401: {scrubbed(words_of(answer))}. Correct `token`, and use the right `base_url`")
    if answer.status == 403:
        raise Refused(f"Yousign answers 403: {scrubbed(words_of(answer))}")
    raise_for(answer, "Yousign", words_of(answer), wait_s=60.0)


def spare(answer: Answer) -> float:
    """Return the seconds until Yousign's limit begins anew, where less than 30 % of the minute's is left."""
    held = numbers_of(answer, "x-ratelimit-limit-minute", "x-ratelimit-remaining-minute")
    if held is None:
        return 0.0
    most, left = held
    return 20.0 if left < 0.3 * most else 0.0


def words_of(answer: Answer) -> str:
    """Return type, detail and mistakes of an error."""
    held = answer.json()
    if not isinstance(held, dict):
        return ""
    invalid = held.get("invalid_params")
    named = [f"{inside(one, 'name')}: {inside(one, 'reason')}" for one in invalid] if isinstance(invalid, list) else []
    return " ".join([*(str(held[name]) for name in ("type", "detail", "message") if held.get(name)), *named])


KIND: Final = Kind(
    name="yousign",
    actions={"signature": signature},
    fields={"signature": Signature},
    judge=judge,
    personal={"signature": "email"},
    rate=Rate(30, 60.0),  # of the sandbox (page "Limits")
    spare=spare,
)
