"""Rules of automations for tests: kinds of targets that do nothing, outputs, and the contract's own file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from pydantic import BaseModel, Field, model_validator

from schemas.examples import output_example
from worker.automations.acts import Act
from worker.automations.file import parse_rules
from worker.automations.output import Output, read_output
from worker.automations.requests import Answer, Http, Mail, Run, Steps, Writes, Written
from worker.automations.rules import Rules
from worker.automations.targets.common import Kind, Rate
from worker.automations.targets.fields import Address, DocumentFile, Html, Line, SlackText, TemplateFile, Text, With
from worker.connections.file import parse_connections
from worker.core.grid.values import wrong

CONNECTIONS: Final = """
targets:
  crm:  {kind: hubspot, token: "${HUBSPOT_TOKEN}"}
  sign: {kind: yousign, token: "${YOUSIGN}"}
  mail: {kind: smtp, url: "smtps://u:${PW}@mx.example.com", from: "Acme <hello@acme.example>"}
  hook: {kind: webhook, url: "https://hooks.example.com/lp", secret: "${HOOK_OUT}"}
  chat: {kind: slack, url: "${SLACK}"}
  ask:  {kind: zoom, account_id: "${A}", client_id: "${B}", client_secret: "${C}"}
"""


class TaskFields(With):
    """Of a CRM's task."""

    subject: Line
    body: Html | None = None
    due: Line | None = None
    owner: Line | None = None
    minutes: int | None = Field(default=None, ge=1)
    priority: Literal["low", "high"] = "low"


class MailFields(With):
    """Of a mail."""

    to: Address
    template: TemplateFile | None = None
    html: Html | None = None
    text: Text | None = None
    subject: Line | None = None

    @model_validator(mode="after")
    def _has_words(self) -> MailFields:
        if self.template is None and self.html is None:
            raise wrong("a mail has no words: write `template` or `html`")
        return self


class SignerFields(BaseModel):
    """Of one who signs."""

    name: Line
    note: Text = ""


class SignatureFields(With):
    """Of a contract."""

    document: DocumentFile
    level: Line
    signers: tuple[SignerFields, ...] = ()


class ChatFields(With):
    """Of a message in a chat."""

    text: SlackText


def _post(_target: Any, act: Act, _run: Run) -> Steps:
    answer = yield Http.json("make", "POST", "/things", act.fields, safe=False, sample={"id": "<id>"})
    return str(answer.json()["id"])


def _mail(_target: Any, act: Act, _run: Run) -> Steps:
    yield Mail("mail", "hello@acme.example", act.fields["to"], f"{act.fields['subject']} to {act.fields['to']}".encode())
    return ""


def _write(_target: Any, states: Any) -> Writes:
    yield Http.json("states", "POST", "/states", [state.fields for state in states], sample={})
    return [Written(state.lead_id, state.sequence) for state in states]


def _judge(_answer: Answer) -> None:
    return


def _kind(name: str, fields: dict[str, type[BaseModel]], **more: Any) -> Kind:
    return Kind(name, dict.fromkeys(fields, _post), fields, _judge, Rate(10, 1.0), **more)


KINDS: Final = {
    kind.name: kind
    for kind in (
        _kind("hubspot", {"task": TaskFields}, write=_write, personal={"task": ""}),
        _kind("yousign", {"signature": SignatureFields}),
        _kind("smtp", {"send": MailFields}, personal={"send": "to"})._replace(actions={"send": _mail}),
        _kind("webhook", {"send": With}, whole=frozenset({"send"})),
        _kind("slack", {"message": ChatFields}),
    )
}


def rules_of(text: str, folder: Path | None = None, documents: Path | None = None) -> Rules:
    """Return the rules in *text*, for the targets above."""
    connections = parse_connections(CONNECTIONS.encode(), "connections.yaml")
    return parse_rules(text.encode(), "automations.yaml", connections, folder=folder, documents=documents, kinds=KINDS)


def an_output(type_: str = "lead.sql", lead_id: str = "lead-48213", **data: Any) -> Output:
    """Return the example of an output of *type_*, with other *data*; a value of `...` takes a key out."""
    event = output_example(type_)
    held = {**event["data"], "lead_id": lead_id, **data}
    event["data"] = {key: value for key, value in held.items() if value is not ...}
    event["subject"], event["id"] = lead_id, f"{lead_id}:{event['sequence']}"
    return read_output(msgspec.json.encode(event), type_, 3, 17)
