"""One request to a target: budget, log-in, lease, and what its answer means."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

from worker.automations.requests import (
    Again,
    Answer,
    Expired,
    Http,
    Lost,
    Mail,
    Misconfigured,
    Refusal,
)
from worker.automations.signing import Keys, signed
from worker.automations.targets.common import Kind, Rate
from worker.connections.models import secrets_in
from worker.connections.secret import Secret
from worker.connections.targets import SmtpTarget, Target
from worker.errors import ConnectionsError
from worker.sending_ports import Answered, AnswerLost, Before, HttpSender, Limits, MailSender, NotSent

ANSWER_S: Final = 20.0
"""A request and its answer take so long at most."""

LEASE_S: Final = 60.0
"""An act is ours for so long. Every step ends within it."""

_PATIENCE_S: Final = 2.0
"""So long the first request of an attempt waits here for its budget. Longer waits are the ledger's."""

_WHY: Final = {
    "broken": "the target's breaker is open",
    "paused": "the target is paused",
    "budget": "the target takes no more now",
}
_OUR_SHARE: Final = 0.7
_BURST: Final = 0.1
_LEAST_SHARE: Final = 0.5
_SPARE: Final = 5
"""Requests that are left for attempts that have begun, or half of the burst. One that begins would take them."""

_MOST_WORDS: Final = 300
_SECRET_WORDS: Final = re.compile(
    r"(?i)((?:sig|sigp|token|api_?key|secret|password|code)=)[^&\s\"']+|(bearer |basic )[\w.~+/=-]+"
)
_SHORTEST_SECRET: Final = 4
_SURELY_SECRET: Final = 8
"""Shorter ones may stand in an answer by chance, as a part of an id."""


class NotNow(Exception):
    """The target's budget, its breaker or a person says: later. Nothing was sent, and the target had no part in it."""

    def __init__(self, why: str, wait_ms: int) -> None:
        super().__init__(_WHY.get(why, why))
        self.wait_ms = wait_ms
        self.all_of_it = why in ("broken", "paused") or wait_ms > _PATIENCE_S * 1_000
        """The target takes nothing at all meanwhile."""


class Logins(Protocol):
    """Tokens of the targets that log in by OAuth."""

    async def token(self, name: str) -> str:
        """Return the token of target *name*; empty where it has none. Raises `Again` and `Misconfigured`."""
        ...

    def expired(self, name: str, token: str) -> bool:
        """Forget *token*, and return whether another one can be had."""
        ...


class NoLogins:
    """No target logs in by OAuth."""

    async def token(self, _name: str) -> str:
        """Return nothing."""
        return ""

    def expired(self, _name: str, _token: str) -> bool:
        """Return False."""
        return False


class Lease:
    """How long an act is ours, by this process's own clock."""

    def __init__(self, seconds: float = LEASE_S) -> None:
        self._until = time.monotonic() + seconds

    def left_s(self) -> float:
        """Return for how many seconds it lasts."""
        return self._until - time.monotonic()


class Named(NamedTuple):
    """A target with its name in the connections, and what its kind can do."""

    name: str
    target: Target
    kind: Kind


@dataclass
class Calls:
    """Sends the requests of all targets."""

    http: HttpSender
    mail: MailSender
    limits: Limits
    logins: Logins
    environment: Mapping[str, str]
    now_ms: Callable[[], int]

    async def call(
        self, at: Named, step: Http | Mail, lease: Lease, before: Before | None = None, *, begun: bool = False
    ) -> Answer:
        """Send *step* to its target, and return the answer.

        *begun*: the attempt has sent a request before. Then it waits for its budget as long as its lease allows.
        The next attempt would begin anew, and might come no further.

        Raises `NotNow`, and a `Refusal` for everything but a success. An unsafe step whose answer does not come is `Lost`.
        A log-in that has ended is renewed, and the step sent once more.
        """
        try:
            return await self._tried(at, step, lease, before, begun=begun)
        except Expired:
            return await self._tried(at, step, lease, before, begun=begun, again=False)

    async def _tried(
        self, at: Named, step: Http | Mail, lease: Lease, before: Before | None, *, begun: bool, again: bool = True
    ) -> Answer:
        await self._permitted(at, lease, begun=begun)
        token = ""
        try:
            token = await self.logins.token(at.name)
            try:
                answer = cleaned(Answer(*await self._sent(at, step, lease, token, before)), self._secrets_of(at, token))
                _judge(at.kind, step, answer)
            except Expired as error:
                if again and self.logins.expired(at.name, token):
                    raise
                raise Misconfigured(f"the log-in is refused: {error}") from None
        except Refusal as error:
            refusal = self._scrubbed(at, error, token)
            await self._report(at.name, refusal)
            raise refusal from None
        spare_s = at.kind.spare(answer)
        await self.limits.report(at.name, "", int(spare_s * 1000), self.now_ms())
        return answer

    async def _permitted(self, at: Named, lease: Lease, *, begun: bool) -> None:
        """Wait for the target's budget. Raises `NotNow` where that takes longer than we wait here."""
        rate, burst = _budget(at.kind.rate)
        spare = 0.0 if begun else min(_SPARE, (burst - 1) / 2)
        waited_until = time.monotonic() + (lease.left_s() - ANSWER_S if begun else _PATIENCE_S)
        while True:
            _check_time(lease)
            permit = await self.limits.permit(at.name, 1, rate, burst, self.now_ms(), spare)
            if not permit.wait_ms:
                break
            late = time.monotonic() + permit.wait_ms / 1000 > waited_until
            if permit.why != "budget" or late:
                raise NotNow(permit.why, permit.wait_ms)
            await asyncio.sleep(permit.wait_ms / 1000)
        _check_time(lease)

    async def _sent(self, at: Named, step: Http | Mail, lease: Lease, token: str, before: Before | None) -> Answered:
        """Send *step*. Raises `Again` where nothing was sent, and `Lost` where the answer did not come."""
        unsafe = isinstance(step, Mail) or not step.safe
        within_s = min(ANSWER_S, lease.left_s() - 1)
        try:
            if isinstance(step, Mail):
                server = self._resolved(at.target.url) if isinstance(at.target, SmtpTarget) else ""
                insecure = at.target.insecure
                return await self.mail.send(
                    server, step.sender, step.to, step.message, within_s=within_s, insecure=insecure, before=before
                )
            keys = Keys(self._resolved, self._resolved, token, str(self.now_ms() // 1000))
            url, headers = signed(at.target, step, keys)
            return await self.http.send(step.method, url, headers, step.body, within_s=within_s, alone=unsafe, before=before)
        except NotSent as error:
            raise Again(str(error)) from None
        except AnswerLost as error:
            raise (Lost if unsafe else Again)(str(error)) from None

    def _resolved(self, secret: Secret) -> str:
        try:
            return secret.resolve(self.environment)
        except ConnectionsError as error:
            raise Misconfigured(str(error)) from None

    async def _report(self, name: str, refusal: Refusal) -> None:
        after_ms = int(refusal.after_s * 1000) if isinstance(refusal, Again) else 0
        failure = "again" if isinstance(refusal, Again | Lost) else ""
        failure = "configuration" if isinstance(refusal, Misconfigured) else failure
        if not isinstance(refusal, Expired):
            await self.limits.report(name, failure, after_ms, self.now_ms(), str(refusal))

    def _secrets_of(self, at: Named, token: str) -> list[str]:
        return secrets_of(at.target, self.environment, token)

    def _scrubbed(self, at: Named, error: Refusal, token: str) -> Refusal:
        """Return *error* with words that are short and hold no secret of the target."""
        words = str(error)
        for held in self._secrets_of(at, token):
            words = words.replace(held, "***")
        error.args = (_SECRET_WORDS.sub(r"\1\2***", words)[:_MOST_WORDS],)
        return error


def secrets_of(target: Target, environment: Mapping[str, str], token: str) -> list[str]:
    """Return what must not be shown of *target*, the longest first: secrets, their parts, and the *token* of a log-in."""
    found = {token, unquote(token)}
    for _, secret in secrets_in(target):
        held = [environment.get(name, "") for name in secret.names()]
        with contextlib.suppress(ConnectionsError):
            held.append(secret.resolve(environment))
        for one in held:
            found.update(_parts_of(one))
    return sorted((one for one in found if len(one) >= _SHORTEST_SECRET), key=len, reverse=True)


def cleaned(answer: Answer, secrets: Iterable[str]) -> Answer:
    """Return *answer* without *secrets* that its body shows, before anybody quotes or shortens it."""
    body = answer.body
    for held in secrets:
        if len(held) >= _SURELY_SECRET:
            body = body.replace(held.encode(), b"***")
    return answer._replace(body=body)


def _check_time(lease: Lease) -> None:
    """Raise `NotNow` unless a request and its answer fit into the rest of *lease*."""
    if lease.left_s() < ANSWER_S:
        raise NotNow("the attempt took too long", 0)


def _parts_of(secret: str) -> Iterator[str]:
    """Yield a secret, and of an address also what of it is secret: its password, its path, values of its query."""
    yield secret
    yield unquote(secret)
    try:
        parts = urlsplit(secret)
        password = parts.password or ""
    except ValueError:
        return
    if parts.scheme and parts.netloc:
        long = [one for one in parts.path.split("/") if len(one) >= _SURELY_SECRET]
        for one in (password, parts.path.rstrip("/"), *long, *(pair.partition("=")[2] for pair in parts.query.split("&"))):
            yield one
            yield unquote(one)


def _judge(kind: Kind, step: Http | Mail, answer: Answer) -> None:
    """Raise the `Refusal` that *answer* means. A safe step whose answer a gateway lost is simply sent again."""
    if isinstance(step, Http) and answer.status in step.takes:
        return
    try:
        kind.judge(answer)
    except Lost as error:
        if isinstance(step, Http) and step.safe:
            raise Again(str(error)) from None
        raise


def _budget(limit: Rate) -> tuple[float, float]:
    """Return our requests a second, and how many may go at once. In the vendor's window both together are our share."""
    burst = max(1.0, limit.requests * _BURST)
    rate = (limit.requests * _OUR_SHARE - burst) / limit.per_s
    return max(rate, limit.requests * _OUR_SHARE * _LEAST_SHARE / limit.per_s), burst
