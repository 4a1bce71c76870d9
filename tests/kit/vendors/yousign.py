"""A Yousign that refuses what Yousign refuses.

Places are those of its OpenAPI document of v3 (`yousign-public-api-v3-openapi.yml`), paths below `/signature_requests`.
"""

from __future__ import annotations

import email.parser
import email.policy
import re
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, ClassVar, Final

from tests.kit.vendors.base import Refused, Reply, Request, Vendor, route

_NAME: Final = re.compile(r"(?!\s)[\w`'() -]+(?<!\s)")
_REQUEST_KEYS: Final = {
    "name", "delivery_mode", "ordered_signers", "reminder_settings", "timezone", "expiration_date", "template_id",
    "external_id", "workspace_id", "audit_trail_locale", "signers_allowed_to_decline", "email_notification",
    "template_placeholders", "labels",
}  # fmt: skip
_SIGNER_KEYS: Final = {
    "info", "fields", "signature_level", "signature_authentication_mode", "redirect_urls", "custom_text", "delivery_mode",
}  # fmt: skip
_LEVELS: Final = ("electronic_signature", "advanced_electronic_signature", "qualified_electronic_signature")
_LOCALES: Final = ("en", "fr", "de", "it", "nl", "es", "pl")


def refused(place: str, detail: str, status: int = 400) -> Refused:
    """Return the refusal of a request that *place* does not allow."""
    return Refused(place, Reply(status, {"type": "about:blank", "detail": detail}))


@dataclass
class Yousign(Vendor):
    """An account with signature requests."""

    name: ClassVar[str] = "yousign"
    prefix: ClassVar[str] = "/v3"
    token: str = "ys-secret"
    held: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Signature requests by id."""
    files: dict[str, bytes] = field(default_factory=dict)
    """Documents by id."""
    anchors: int = 0
    """Smart anchors that every document has."""
    left: int | None = None
    """Requests that are left in this minute."""

    def headers(self) -> dict[str, str]:
        """Return the limit's headers (responses, headers)."""
        return {} if self.left is None else {"X-RateLimit-Limit-Minute": "30", "X-RateLimit-Remaining-Minute": str(self.left)}

    def check_login(self, request: Request) -> None:
        """Refuse another token (securitySchemes.bearerAuth)."""
        if request.headers.get("authorization") != f"Bearer {self.token}":
            raise Refused("securitySchemes: bearerAuth", Reply(401, {"type": "unauthorized", "detail": "Access Denied."}))

    @property
    def activated(self) -> list[str]:
        """Return the requests whose signers have a mail."""
        return [id_ for id_, one in self.held.items() if one["status"] != "draft"]

    @route("GET", r"/signature_requests")
    def find(self, request: Request) -> Reply:
        """List requests, by external id."""
        for name in request.query:
            if name not in ("external_id[eq]", "status[eq]", "status[in]", "limit", "after"):
                raise refused(f"get /signature_requests: parameter {name}", "unknown filter")
        wanted = request.query.get("external_id[eq]")
        found = [_listed(one) for one in self.held.values() if wanted is None or one["external_id"] == wanted]
        return Reply(200, {"meta": {"next_cursor": None}, "data": found[:100]})

    @route("POST", r"/signature_requests")
    def make(self, request: Request) -> Reply:
        """Make a draft."""
        body = request.json()
        if unknown := set(body) - _REQUEST_KEYS:
            raise refused("post /signature_requests: additionalProperties false", f"unknown {sorted(unknown)}")
        if not {"name", "delivery_mode"} <= set(body):
            raise refused("post /signature_requests: required name, delivery_mode", "required")
        _safe(body["name"], "name", 128)
        if body["delivery_mode"] not in ("none", "email"):
            raise refused("delivery_mode: enum", "delivery_mode")
        external = body.get("external_id")
        if external is not None and (not re.fullmatch(r"[\w\-@.%+]+", external) or len(external) > 255):
            raise refused("external_id: pattern, maxLength 255", "external_id")
        until = body.get("expiration_date")
        today = datetime.now(UTC).date()
        if until is not None and not (re.fullmatch(r"\d{4}-\d\d-\d\d", until) and _within_a_year(until, today)):
            raise refused("expiration_date: format date, not past, at most one year", "expiration_date")
        id_ = str(uuid.uuid4())
        self.held[id_] = {
            "id": id_, "status": "draft", "name": body["name"], "delivery_mode": body["delivery_mode"], "external_id": external,
            "documents": [], "signers": [], "activated_at": None,
        }  # fmt: skip
        return Reply(201, self.held[id_])

    @route("GET", r"/signature_requests/([^/]+)")
    def show(self, _request: Request, id_: str) -> Reply:
        """Show a request."""
        return Reply(200, self._at(id_))

    @route("POST", r"/signature_requests/([^/]+)/documents")
    def add_document(self, request: Request, id_: str) -> Reply:
        """Add a document to a draft."""
        held = self._draft(id_)
        parts = _parts(request)
        if "file" not in parts or "nature" not in parts:
            raise refused("post documents: required file, nature", "required")
        if unknown := set(parts) - {"file", "nature", "name", "password", "parse_anchors", "initials", "insert_after_id"}:
            raise refused("post documents: properties", f"unknown {sorted(unknown)}")
        if parts["nature"][1] not in (b"signable_document", b"attachment"):
            raise refused("post documents: nature enum", "nature")
        if parts.get("parse_anchors", ("", b"false"))[1] not in (b"true", b"false"):
            raise refused("post documents: parse_anchors boolean", "parse_anchors")
        filename, file = parts["file"]
        if not filename or len(file) > 50 * 1024 * 1024 or not file:
            raise refused("post documents: file binary, 50 MB", "file")
        document: dict[str, Any] = {
            "id": str(uuid.uuid4()), "filename": filename, "nature": "signable_document", "content_type": "application/pdf",
            "total_pages": 3, "total_anchors": self.anchors if parts["parse_anchors"][1] == b"true" else 0,
        }  # fmt: skip
        held["documents"].append({"id": document["id"], "nature": document["nature"], "_whole": document})
        self.files[document["id"]] = file
        return Reply(201, document)

    @route("GET", r"/signature_requests/([^/]+)/documents")
    def documents(self, _request: Request, id_: str) -> Reply:
        """List documents."""
        return Reply(200, [one["_whole"] for one in self._at(id_)["documents"]])

    @route("POST", r"/signature_requests/([^/]+)/signers")
    def add_signer(self, request: Request, id_: str) -> Reply:
        """Add a signer to a draft."""
        held, body = self._draft(id_), request.json()
        if unknown := set(body) - _SIGNER_KEYS:
            raise refused("post signers: additionalProperties", f"unknown {sorted(unknown)}")
        if not {"info", "signature_level"} <= set(body):
            raise refused("post signers: required info, signature_level", "required")
        info = body["info"]
        if set(info) - {"first_name", "last_name", "email", "phone_number", "locale"}:
            raise refused("info: additionalProperties false", "info")
        if not {"first_name", "last_name", "email", "locale"} <= set(info):
            raise refused("info: required email, first_name, last_name, locale", "info")
        for name in ("first_name", "last_name"):
            if not _NAME.fullmatch(info[name]) or len(info[name]) > 255:
                raise refused(f"info.{name}: pattern, maxLength 255", name)
        if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", info["email"]) or len(info["email"]) > 100:
            raise refused("info.email: format email, maxLength 100", "email")
        if info["locale"] not in _LOCALES:
            raise refused("info.locale: enum", "locale")
        if body["signature_level"] not in _LEVELS:
            raise refused("signature_level: enum", "signature_level")
        mode = body.get("signature_authentication_mode")
        if mode not in ("otp_email", "otp_sms", "no_otp", None):
            raise refused("signature_authentication_mode: enum", "signature_authentication_mode")
        needs_phone = mode == "otp_sms" or body["signature_level"] != "electronic_signature"
        if needs_phone and not re.fullmatch(r"\+[1-9]\d{6,14}", info.get("phone_number") or ""):
            raise refused("info.phone_number: E.164, mandatory where the mode needs it", "phone_number")
        documents = {one["id"] for one in held["documents"]}
        for one in body.get("fields", []):
            if not {"document_id", "page", "type", "x", "y"} <= set(one) or one["type"] != "signature":
                raise refused("fields: required document_id, page, type, x, y", "fields")
            if one["document_id"] not in documents or not all(isinstance(one[name], int) for name in ("page", "x", "y")):
                raise refused("fields: document_id of the request, integers", "fields")
            if not 1 <= one["page"] <= 3:
                raise refused("fields.page: a page of the document", "page")
        anchors = sum(one["_whole"]["total_anchors"] for one in held["documents"])
        if not body.get("fields") and not anchors:
            raise refused("post signers: a signature field, unless anchors are parsed", "fields")
        signer = {"id": str(uuid.uuid4()), "status": "initiated"}
        held["signers"].append({**signer, "_whole": body})
        return Reply(201, {**signer, **body})

    @route("POST", r"/signature_requests/([^/]+)/activate")
    def activate(self, request: Request, id_: str) -> Reply:
        """Activate a draft: mails go out."""
        held = self._draft(id_)
        if request.body and set(request.json()) - {"sender_id"}:
            raise refused("post activate: properties", "body")
        if not held["documents"] or not held["signers"]:
            raise refused("post activate: a document and a signer", "the request is not complete")
        held.update(status="ongoing", activated_at=datetime.now(UTC).isoformat())
        return Reply(201, held)

    def sign(self, id_: str) -> dict[str, Any]:
        """Let the signer sign. Returns the webhook (page "signature_request.done": all fields are required)."""
        held = self._at(id_)
        assert held["status"] == "ongoing", f"nobody can sign a request that is {held['status']}"
        held["status"] = "done"
        for signer in held["signers"]:
            signer["status"] = "signed"
        signers = [{"id": one["id"], "status": one["status"], "info": one["_whole"]["info"]} for one in held["signers"]]
        return {
            "event_id": str(uuid.uuid4()), "event_name": "signature_request.done", "event_time": str(int(time.time())),
            "subscription_id": str(uuid.uuid4()), "subscription_description": "LeadPulse", "sandbox": True,
            "data": {"signature_request": {**_listed(held), "signers": signers}},
        }  # fmt: skip

    def _at(self, id_: str) -> dict[str, Any]:
        if id_ not in self.held:
            raise refused("signatureRequestId", "not found", 404)
        return self.held[id_]

    def _draft(self, id_: str) -> dict[str, Any]:
        held = self._at(id_)
        if held["status"] != "draft":
            raise refused("only a draft can be changed", "The signature request is not in draft status.")
        return held


def _listed(held: dict[str, Any]) -> dict[str, Any]:
    """Return a request as a list shows it."""
    return {name: value for name, value in held.items() if name not in ("documents", "signers")}


def _within_a_year(text: str, today: date) -> bool:
    return today <= date.fromisoformat(text) <= today + timedelta(days=366)


def _safe(text: Any, name: str, most: int) -> None:
    """Refuse what is no Safe String (page "OAS specification")."""
    if (
        not isinstance(text, str)
        or not 1 <= len(text) <= most
        or re.search(r"[<>{}]|https?://|@", text)
        or text != text.strip()
    ):
        raise refused(f"{name}: safe-string, maxLength {most}", name)


def _parts(request: Request) -> dict[str, tuple[str, bytes]]:
    kind = request.headers.get("content-type", "")
    if not kind.startswith("multipart/form-data"):
        raise refused("post documents: multipart/form-data", "content type", 415)
    head = f"Content-Type: {kind}\r\n\r\n".encode()
    found = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + request.body)
    parts: dict[str, tuple[str, bytes]] = {}
    for part in found.iter_parts():
        held = part.get_payload(decode=True)
        assert isinstance(held, bytes)
        parts[str(part.get_param("name", header="content-disposition"))] = (part.get_filename() or "", held)
    return parts
