"""The preview prints the requests of the targets' own steps, without secrets."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.rules import CONNECTIONS, KINDS, an_output, rules_of
from worker.automations.acts import Act
from worker.automations.output import NotAnOutput, Output, read_output
from worker.automations.preview import Preview
from worker.automations.requests import Answer, Final, Http, Mail, Remember, Run, Step
from worker.automations.rules import Draft
from worker.automations.targets.common import Kind
from worker.connections.file import parse_connections

TARGETS = parse_connections(CONNECTIONS.encode(), "connections.yaml").targets


def lines(text: str, *outputs: Output, kinds: dict[str, Kind] = KINDS, folder: Path | None = None) -> list[dict[str, Any]]:
    """Return the preview of *outputs* under the rules in *text*."""
    preview = Preview(rules_of(text, folder), TARGETS, kinds)
    return [line for output in outputs for line in preview.lines(output)]


def kinds_with(name: str, steps: Any) -> dict[str, Kind]:
    """Return the kinds, of which *name* takes *steps* for each action."""
    kind = KINDS[name]
    return KINDS | {name: kind._replace(actions=dict.fromkeys(kind.actions, steps))}


CALL = "acts:\n  - {id: call, on: lead.sql, to: crm, do: task, with: {subject: Call}}\n"


def test_a_request_is_shown_whole() -> None:
    """Address, headers without secrets, and the body as JSON."""
    assert lines(CALL, an_output(), an_output("lead.mql")) == [
        {
            "rule": "call",
            "output": "lead-48213:2",
            "lead_id": "lead-48213",
            "target": "crm",
            "do": "task",
            "method": "POST",
            "url": "https://api.hubapi.com/things",
            "headers": {"Content-Type": "application/json", "Authorization": "Bearer <secret>"},
            "body": {"subject": "Call"},
        }
    ]


def test_answers_are_samples_and_stand_in_later_requests() -> None:
    """As placeholders, in a path too, where they are encoded."""

    def steps(_target: Any, _act: Act, run: Run) -> Generator[Step, Answer, None]:
        assert run[:4] == Run(now_ms=1_772_714_096_789, unsubscribe="<unsubscribe_url>")[:4]
        answer = yield Http.json("contact", "POST", "/contacts", {}, sample={"id": "<contact_id>"})
        found = answer.json()["id"]
        assert (yield Remember("contact", found)) is not None
        yield Http.json("task", "PUT", "/tasks/%3Ccontact_id%3E?a=%3Cb%20c%3E", {"on": found}, safe=False)
        yield Http("last", "DELETE", "/x", None)

    shown = lines(CALL, an_output(), kinds=kinds_with("hubspot", steps))
    assert [(line["method"], line["url"].removeprefix("https://api.hubapi.com"), line["body"]) for line in shown] == [
        ("POST", "/contacts", {}),
        ("PUT", "/tasks/<contact_id>?a=%3Cb%20c%3E", {"on": "<contact_id>"}),
        ("DELETE", "/x", None),
    ]


def test_parts_texts_and_mails_are_readable() -> None:
    """A file by its size, a mail as its text."""
    part = b"--x\r\nContent-Disposition: form-data; name="
    multipart = part + b'"nature"\r\n\r\nsignable_document\r\n' + part + b'"file"; filename="a.pdf"\r\n'
    multipart += b"Content-Type: application/pdf\r\n\r\n%PDF\x00\x01\r\n--x--\r\n"

    def steps(_target: Any, act: Act, _run: Run) -> Iterator[Step]:
        yield Http("a", "POST", "/a", multipart, {"Content-Type": "multipart/form-data; boundary=x"})
        yield Http("b", "POST", "/b", b"a=1&b=2", {"content-type": "application/x-www-form-urlencoded"})
        yield Mail("c", "me@x.example", "you@y.example", b"Subject: Hi\r\n\r\nHello\r\n")

    shown = lines(CALL, an_output(), kinds=kinds_with("hubspot", steps))
    assert shown[0]["body"] == [
        {"name": "nature", "body": "signable_document"},
        {"name": "file", "filename": "a.pdf", "content_type": "application/pdf", "bytes": 6},
    ]
    assert shown[1]["body"] == "a=1&b=2"
    assert {key: shown[2][key] for key in ("method", "url", "headers", "body")} == {
        "method": "SMTP",
        "url": "<url>",
        "headers": {"from": "me@x.example", "to": "you@y.example"},
        "body": "Subject: Hi\r\n\r\nHello\r\n",
    }


def test_an_act_that_cannot_be_written_or_is_refused_has_its_error() -> None:
    """In place of a request, behind those that go before."""

    def steps(_target: Any, _act: Act, _run: Run) -> Iterator[Step]:
        yield Http.json("contact", "POST", "/contacts", {})
        raise Final("the lead has no address")

    holes = CALL.replace("subject: Call", 'subject: "{{ traits.first_name }}"')
    head = {"rule": "call", "output": "lead-48213:2", "lead_id": "lead-48213", "target": "crm", "do": "task"}
    (line,) = lines(holes, an_output())
    assert line.pop("error").startswith("with.subject: `first_name` is missing")
    assert line == head
    request, refusal = lines(CALL, an_output(), kinds=kinds_with("hubspot", steps))
    assert request["url"].endswith("/contacts")
    assert refusal == head | {"error": "the lead has no address"}


def test_states_and_first_contents_are_shown() -> None:
    """A state as a batch of one; a nurturing content when its phase is entered."""
    text = CALL + "sync:\n  - {to: crm, fields: {s: score}}\n  - {to: crm, fields: {s: 1 / (score - 78.5)}}\n"
    text += "nurture:\n  - {id: care, phase: consideration, every: 4d, to: mail, contents: [{id: a, with: {html: Hi}}]}\n"
    shown = lines(text, an_output(), an_output("lead.phase"))
    assert [(line["rule"], line["do"], line["output"], line.get("body", line.get("error"))) for line in shown] == [
        ("call", "task", "lead-48213:2", {"subject": "Call"}),
        ("sync[0]", "sync", "lead-48213:2", [{"s": 78.5}]),
        ("sync[1]", "sync", "lead-48213:2", "fields.s: float division by zero"),
        ("care/a", "send", "lead-48213:2", "Hi to ada@acme.example"),
        ("sync[0]", "sync", "lead-48213:2", [{"s": 78.5}]),
        ("sync[1]", "sync", "lead-48213:2", "fields.s: float division by zero"),
    ]


def test_a_dry_run_shows_one_draft() -> None:
    """By the same steps."""
    preview = Preview(rules_of(CALL), TARGETS, KINDS)
    output = an_output()
    (draft,) = rules_of(CALL).plan(output).drafts
    assert list(preview.of_act(Draft(draft.act), output)) == list(preview.lines(output))


def test_no_secret_is_shown_for_any_target() -> None:
    """Not the references to them either."""
    text = "".join(
        f"  - {{id: {name}, on: lead.sql, to: {name}, do: {do}, with: {with_}}}\n"
        for name, do, with_ in (
            ("crm", "task", "{subject: a}"),
            ("hook", "send", "{}"),
            ("chat", "message", "{text: a}"),
        )
    )
    shown = json.dumps(lines("acts:\n" + text, an_output()))
    assert "${" not in shown
    assert "Secret(" not in shown
    assert '"url": "<url>/things"' in shown


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"{", "truncated"),
        (b"[]", "object"),
        (b"{}", "id"),
        (b'{"id":"a:1","source":"s","type":"lead.sql","subject":"a","time":"soon"}', "time: 'soon' is no instant"),
        (b'{"id":"a:1","source":"s","type":"lead.sql","subject":"","time":"2026-03-05T12:00:00Z"}', "must not be empty"),
        (b'{"id":"a:1","source":"s","type":"t","subject":"a","time":"2026-03-05T12:00:00Z","sequence":"x"}', "sequence"),
        (b'{"id":"a:1","source":"s","type":"t","subject":"a","time":"2026-03-05T12:00:00Z","sequence":"\xc2\xb2"}', "sequence"),
        (b"\xff\xfe", ""),
    ],
)  # fmt: skip
def test_a_line_that_is_no_output_is_refused_with_the_reason(line: bytes, why: str) -> None:
    """Whatever it is."""
    with pytest.raises(NotAnOutput) as error:
        read_output(line)
    assert why in str(error.value)


def test_an_output_is_sent_on_as_it_came() -> None:
    """With the attributes that rules do not read."""
    event = an_output().event() | {"traceparent": "00-1-2-01"}
    assert read_output(json.dumps(event)).event() == event
