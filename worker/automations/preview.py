"""The requests that an output brings about, as they would be sent. The targets' own steps make them, so they are the same."""

from __future__ import annotations

import email.parser
import email.policy
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from worker.automations.acts import LeadState
from worker.automations.output import Output
from worker.automations.requests import Answer, Http, Mail, Refusal, Remember, Run
from worker.automations.rules import Draft, Rules
from worker.automations.signing import SHOWN, signed
from worker.automations.targets.common import Kind
from worker.connections.targets import Target

_PLACEHOLDER: Final = re.compile(r"%3C(\w+)%3E", re.IGNORECASE)
_MOST_STEPS: Final = 1_000
_UNSUBSCRIBE: Final = "<unsubscribe_url>"


class Preview:
    """Makes the lines of `leadpulse act preview`, and of a dry run."""

    def __init__(self, rules: Rules, targets: Mapping[str, Target], kinds: Mapping[str, Kind]) -> None:
        """*kinds* has kinds by the word in `kind`."""
        self._rules = rules
        self._targets = targets
        self._kinds = kinds

    def lines(self, output: Output) -> Iterator[dict[str, Any]]:
        """Yield an object for each request that *output* brings about, and one for each act that cannot be written."""
        plan = self._rules.plan(output)
        for draft in plan.drafts:
            yield from self.of_act(draft, output)
        for enrolment in plan.enrolments:
            first = self._rules.next_content(enrolment.rule, output, (), output.at_ms).draft if enrolment.begins else None
            if first is not None:
                yield from self.of_act(first, output)
        for state in plan.states:
            yield from self.of_state(state)
        for rule, target, why in plan.unwritten:
            head = {"rule": rule, "output": output.id, "lead_id": output.lead_id, "target": target}
            yield {**head, "do": "sync", "error": why}

    def of_act(self, draft: Draft, output: Output) -> Iterator[dict[str, Any]]:
        """Yield the requests of one act. *output* is what the lines name."""
        act = draft.act
        head = {"rule": act.rule, "output": output.id, "lead_id": act.lead_id, "target": act.target, "do": act.do}
        if draft.dead:
            yield {**head, "error": draft.dead}
            return
        target, kind = self._at(act.target)
        yield from _shown(
            head,
            target,
            kind.actions[act.do](target, act, Run(now_ms=act.at_ms, unsubscribe=_UNSUBSCRIBE, read=self._rules.read)),
        )

    def of_state(self, state: LeadState) -> Iterator[dict[str, Any]]:
        """Yield the requests that write one state, as a batch of one."""
        head = {"rule": f"sync[{state.rule}]", "output": state.output, "lead_id": state.lead_id, "target": state.target}
        target, kind = self._at(state.target)
        assert kind.write is not None  # the check asks for it
        yield from _shown({**head, "do": "sync"}, target, kind.write(target, [state]))

    def _at(self, name: str) -> tuple[Target, Kind]:
        target: Any = self._targets[name]
        return target, self._kinds[target.kind]


def _shown(head: Mapping[str, Any], target: Target, steps: Any) -> Iterator[dict[str, Any]]:
    """Drive *steps*, answer each request with its sample, and yield the requests."""
    answer = None
    for _ in range(_MOST_STEPS):
        try:
            step = steps.send(answer)
        except StopIteration:
            return
        except Refusal as error:
            yield {**head, "error": str(error)}
            return
        answer = Answer(200)
        match step:
            case Http():
                answer = Answer(200, msgspec.json.encode(step.sample))
                yield {**head, **_request(target, step)}
            case Mail():
                headers = {"from": step.sender, "to": step.to}
                yield {**head, "method": "SMTP", "url": "<url>", "headers": headers, "body": _text(step.message)}
            case Remember():
                answer = Answer(0)


def _request(target: Target, step: Http) -> dict[str, Any]:
    try:
        url, headers = signed(target, step, SHOWN)
    except Refusal as error:
        return {"error": str(error)}
    url = _PLACEHOLDER.sub(r"<\1>", url)
    return {"method": step.method, "url": url, "headers": dict(headers), "body": _body(step)}


def _body(step: Http) -> Any:
    """Return a body as people read it: JSON as an object, parts as a list, all else as text."""
    if step.body is None:
        return None
    kind = next((value for name, value in step.headers.items() if name.lower() == "content-type"), "")
    if kind.startswith("multipart/"):
        return [_part(part) for part in _message(kind, step.body).iter_parts()]
    try:
        return msgspec.json.decode(step.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _text(step.body)


def _message(kind: str, body: bytes) -> Any:
    head = f"Content-Type: {kind}\r\n\r\n".encode()
    return email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)


def _part(part: Any) -> dict[str, Any]:
    """Return one part: its name, and its text or the size of its file."""
    held = part.get_payload(decode=True) or b""
    shown: dict[str, Any] = {"name": part.get_param("name", header="content-disposition")}
    if part.get_filename() is not None:
        return {**shown, "filename": part.get_filename(), "content_type": part.get_content_type(), "bytes": len(held)}
    return {**shown, "body": _text(held)}


def _text(held: bytes) -> str:
    return held.decode("utf-8", "replace")
