"""The demo's file of connections, and its webhooks signed as the vendors sign them, with secrets made for one run."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from typing import Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from worker.connections.file import parse_connections
from worker.connections.models import Connections
from worker.demo.tools import FORMS, PROPERTIES, STATUSES, Call

PUBLIC_URL: Final = "https://in.acme.example"
"""What the CRM signs. It stands for the collector's address."""

_NAMES: Final = (
    "DEMO_HUBSPOT", "DEMO_TYPEFORM", "DEMO_LIVESTORM", "DEMO_TOKEN", "DEMO_CRM", "DEMO_MAIL", "DEMO_UNSUBSCRIBE",
)  # fmt: skip
"""Secrets beside the mail tool's key pair: of webhooks, of the company's own systems, of targets, of links to unsubscribe."""


class Secrets:
    """The secrets of one demo. They end with it."""

    def __init__(self) -> None:
        self._sendgrid = ec.generate_private_key(ec.SECP256R1())
        public = self._sendgrid.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.environment = {
            "DEMO_SENDGRID": base64.b64encode(public).decode(),
            **{name: secrets.token_urlsafe(24) for name in _NAMES},
        }
        """The variables that the file of connections names."""

    def signed(self, call: Call) -> tuple[str, dict[str, str]]:
        """Return path with query, and headers, of *call* signed now."""
        held, now_ms = self.environment, time.time_ns() // 1_000_000
        path, headers = f"/in/{call.source}", {"Content-Type": "application/json"}
        match call.vendor:
            case "sendgrid":
                at = str(now_ms // 1000)
                signature = self._sendgrid.sign(at.encode() + call.body, ec.ECDSA(hashes.SHA256()))
                headers["X-Twilio-Email-Event-Webhook-Timestamp"] = at
                headers["X-Twilio-Email-Event-Webhook-Signature"] = base64.b64encode(signature).decode()
            case "hubspot":
                text = f"POST{PUBLIC_URL}{path}".encode() + call.body + str(now_ms).encode()
                headers["X-HubSpot-Request-Timestamp"] = str(now_ms)
                headers["X-HubSpot-Signature-v3"] = _hmac(held["DEMO_HUBSPOT"], text)
            case "typeform":
                headers["Typeform-Signature"] = "sha256=" + _hmac(held["DEMO_TYPEFORM"], call.body)
            case _:
                path += f"?{call.query}&key={held['DEMO_LIVESTORM']}"
        return path, headers

    @property
    def bearer(self) -> dict[str, str]:
        """Headers of the company's own systems, which send batches of CloudEvents."""
        token = self.environment["DEMO_TOKEN"]
        return {"Authorization": f"Bearer {token}", "Content-Type": "application/cloudevents-batch+json"}


def _hmac(secret: str, text: bytes) -> str:
    return base64.b64encode(hmac.digest(secret.encode(), text, hashlib.sha256)).decode()


def connections_of(origin: str, office: str = "http://127.0.0.1:1") -> tuple[bytes, Connections]:
    """Return the demo's file of connections, and what it says.

    The pages with the pixel are at *origin*, and the tools that are acted on at *office*, both on this machine.
    """
    stages = ", ".join(f"{status}: {kind}" for kind, status in STATUSES.items())
    own = ("seniority", "decision_role", "company.type", "company.country")
    traits = ", ".join(f"{trait}: {PROPERTIES[trait]}" for trait in own)
    forms = ", ".join(f"{form}: {kind}" for form, kind in FORMS.items())
    text = f"""public_url: {PUBLIC_URL}
tokens: ["${{DEMO_TOKEN}}"]
unsubscribe: ["${{DEMO_UNSUBSCRIBE}}"]
sites:
  www: {{origins: ["{origin}", "{origin.replace("127.0.0.1", "localhost")}"], consent: required}}
sources:
  mailer: {{vendor: sendgrid, secrets: ["${{DEMO_SENDGRID}}"], machines: {{user_agents: true}}}}
  webinars: {{vendor: livestorm, secrets: ["${{DEMO_LIVESTORM}}"]}}
  forms: {{vendor: typeform, secrets: ["${{DEMO_TYPEFORM}}"], forms: {{{forms}}}}}
  crm: {{vendor: hubspot, secrets: ["${{DEMO_HUBSPOT}}"], stages: {{{stages}}}, traits: {{{traits}}}}}
targets:
  sales: {{kind: hubspot, token: "${{DEMO_CRM}}", base_url: "{office}", id_property: hs_object_id}}
  mail: {{kind: brevo, token: "${{DEMO_MAIL}}", base_url: "{office}", from: Acme <hello@acme.example>}}
""".encode()
    return text, parse_connections(text, "connections.yaml")
