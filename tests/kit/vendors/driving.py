"""Drives the steps of a target over HTTP, as the program that acts does, but in the test's own process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from worker.automations.acts import Act, LeadState
from worker.automations.requests import Answer, Expired, Http, Lost, Mail, Refusal, Remember, Run, Step, Written
from worker.automations.targets.common import Kind


@dataclass
class Attempt:
    """How an attempt at an act ended."""

    remote_id: str = ""
    error: Refusal | None = None
    known: dict[str, str] = field(default_factory=dict)
    unsure: str = ""
    unsafe: str = ""
    """The last unsafe step that was sent."""
    steps: list[str] = field(default_factory=list)


@dataclass
class Driver:
    """Drives a kind of target at *url*, logged in by *headers*."""

    kind: Kind
    target: Any
    url: str
    headers: Mapping[str, str]

    async def act(self, act: Act, run: Run = Run()) -> Attempt:  # noqa: B008 (a tuple)
        """Make one attempt at *act*."""
        attempt = Attempt(known=dict(run.known), unsure=run.unsure)
        action = self.kind.forget if act.do == "forget" else self.kind.actions[act.do]
        assert action is not None
        steps = action(self.target, act, run)
        answer: Answer | None = None
        async with aiohttp.ClientSession() as session:
            try:
                while True:
                    step = steps.send(answer)  # type: ignore[arg-type]
                    answer = await self._step(session, step, attempt)
            except StopIteration as end:
                attempt.remote_id = end.value
                attempt.unsure = ""
            except Refusal as error:
                attempt.error = error
                if isinstance(error, Lost):
                    attempt.unsure = attempt.unsure or attempt.unsafe
        return attempt

    async def again(self, act: Act, attempt: Attempt) -> Attempt:
        """Make the next attempt, with what *attempt* left."""
        return await self.act(act, Run(attempt.known, attempt.unsure))

    async def write(self, *states: LeadState) -> list[Written]:
        """Write states; a batch that is refused is halved."""
        assert self.kind.write is not None
        steps = self.kind.write(self.target, states)
        async with aiohttp.ClientSession() as session:
            try:
                step = next(steps)
                while True:
                    try:
                        answer = await self._http(session, step)
                    except Refusal as refusal:
                        step = steps.throw(refusal)
                    else:
                        step = steps.send(answer)
            except StopIteration as end:
                return list(end.value)
            except Refusal as error:
                if type(error).__name__ != "Split":
                    raise
        half = len(states) // 2
        assert half, "one state alone cannot be split"
        return [*await self.write(*states[:half]), *await self.write(*states[half:])]

    async def _step(self, session: aiohttp.ClientSession, step: Step, attempt: Attempt) -> Answer | None:
        match step:
            case Remember():
                attempt.known[step.name] = step.value
                attempt.unsure = ""
                return None
            case Mail():
                raise AssertionError("no mail server here")
        attempt.steps.append(step.step)
        if not step.safe:
            assert not attempt.unsure, "an unsafe step after a lost answer"
            attempt.unsure = attempt.unsafe = step.step
        try:
            answer = await self._http(session, step)
        except Lost:
            raise
        except Refusal:
            attempt.unsure = "" if not step.safe else attempt.unsure
            raise
        attempt.unsure = "" if not step.safe else attempt.unsure
        return answer

    async def _http(self, session: aiohttp.ClientSession, step: Http) -> Answer:
        url = URL(self.url + step.path, encoded=True)
        try:
            async with session.request(
                step.method, url, data=step.body, headers={**step.headers, **self.headers}, allow_redirects=False
            ) as held:
                headers = {name.lower(): value for name, value in held.headers.items()}
                answer = Answer(held.status, await held.read(), headers)
        except (aiohttp.ClientError, OSError) as error:
            raise Lost(type(error).__name__) from error
        if answer.status not in step.takes:
            self.kind.judge(answer)
        return answer


def expired(attempt: Attempt) -> bool:
    """Return whether the attempt ended because the log-in had."""
    return isinstance(attempt.error, Expired)


def act_of(target: str, do: str, fields: Mapping[str, Any], **more: Any) -> Act:
    """Return an act of lead-42."""
    held = Act(
        rule="call", source="/leadpulse/default", output="lead-42:7", lead_id="lead-42", target=target, do=do,
        fields=dict(fields), type="lead.sql", at_ms=1_772_713_800_000, fresh_ms=14_400_000,
        person={"email": "Ada@Acme.example", "first_name": "Ada", "last_name": "Lovelace"},
    )  # fmt: skip
    return msgspec.structs.replace(held, **more)


def state_of(target: str, lead_id: str, fields: Mapping[str, Any], sequence: int = 7, **more: Any) -> LeadState:
    """Return a lead's state."""
    held = LeadState(
        rule="0", target=target, object="contact", lead_id=lead_id, sequence=sequence, fields=dict(fields),
        output=f"{lead_id}:{sequence}", at_ms=1_772_713_800_000, person={"email": f"{lead_id}@acme.example"},
    )  # fmt: skip
    return msgspec.structs.replace(held, **more)
