"""The interfaces of servers that take requests and mails, and of their limits, for the program that acts.

`adapters` implement them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias


class Answered(NamedTuple):
    """What a server answered."""

    status: int
    """Of HTTP, or the code of a mail server's last reply."""
    body: bytes
    """At most 1 MB of it. A mail server's reply in words."""
    headers: Mapping[str, str] = {}
    """Names in lower case."""


class NotSent(Exception):
    """Nothing was sent: the server cannot be reached, or the lease has ended. The message holds no secret."""


class LeaseEnded(NotSent):
    """The lease ended before the request was written, so another process may have the act."""


class AnswerLost(Exception):
    """A request was written, and its answer did not come. The message holds no secret."""


Before: TypeAlias = Callable[[], Awaitable[None]]
"""Called once, when the server is reached and nothing of the request is written yet. After an error of it nothing is sent."""


class HttpSender(Protocol):
    """Sends requests over HTTP."""

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, *, within_s: float, alone: bool,
        before: Before | None = None,
    ) -> Answered:  # fmt: skip
        """Send one request, if it can be written within *within_s*, and return its answer within that time too.

        *alone*: over a connection of its own, which no server closes meanwhile. Raises `NotSent` and `AnswerLost`.
        """
        ...


class MailSender(Protocol):
    """Sends mails."""

    async def send(
        self, server: str, sender: str, to: str, message: bytes, *, within_s: float, insecure: bool,
        before: Before | None = None,
    ) -> Answered:  # fmt: skip
        """Hand one message to *server*, an address that may hold a password, and return its last reply.

        *insecure* lets the log-in and the mail pass unencrypted. Raises `NotSent` and `AnswerLost`.
        """
        ...


class Permit(NamedTuple):
    """Whether requests may go out now."""

    wait_ms: int = 0
    """0: they may. Otherwise ask again after so long."""
    why: str = ""
    """`paused`, `broken` or `budget`."""


class Limits(Protocol):
    """What all processes share: budget, breaker and pauses of targets and rules. Raises as `automation_ports.Ledger` does."""

    async def permit(self, target: str, requests: int, rate: float, burst: float, now_ms: int, spare: float = 0.0) -> Permit:
        """Take *requests* out of the target's budget (*rate* a second, at most *burst* at once), if its breaker lets them.

        With *spare*, so many more must be left. A breaker that was open for its time lets one probe through.
        """
        ...

    async def report(self, target: str, failure: str, after_ms: int, now_ms: int, why: str = "") -> None:
        """Report how a request ended: `` for success, else `again` or `configuration`, with words for `status`.

        Five `again` in a row, or one `configuration`, open the breaker. *after_ms* stops the target, for an hour at most.
        A success may ask for it too, where little is left of the vendor's limit.
        After a failure with *after_ms* the budget is halved, and grows back within minutes.
        """
        ...

    async def rule_allows(self, rule: str, id_: str, most: int, within_ms: int, now_ms: int) -> bool:
        """Count an act of a rule, once for each act; False: *most* were counted within *within_ms*."""
        ...

    async def pause(self, name: str, paused: bool) -> None:
        """Pause a rule or a target (`rule:ID`, `target:NAME`), or let it go on."""
        ...

    async def paused(self) -> set[str]:
        """Return what is paused."""
        ...

    async def status(self, targets: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return for each target its breaker, its budget as of `budget_ms`, and its last success and error (ms, 0: none).

        `breaker` is `closed`, `open` or `half-open`, and holds until `until_ms`. `budget` is at most `burst`, and grows by
        `rate` a second.
        """
        ...
