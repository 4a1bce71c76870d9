"""What went out for the leads of the demo, and how long after the `lead.sql`. Pure."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Final

from worker.demo.office import Sent

_SHOWN: Final = 6
_ALIAS: Final = "email:"


class Outbox:
    """Puts together outputs and what was sent for them."""

    def __init__(self) -> None:
        self._published: dict[str, int] = {}
        """Id of a `lead.sql` → when it was published (ms)."""
        self._latest: dict[str, int] = {}
        """Address → when the latest `lead.sql` of the lead was published (ms)."""
        self._waiting: list[Sent] = []
        self._shown: deque[str] = deque(maxlen=_SHOWN)
        self._seconds: list[float] = []
        self.sent: Counter[str] = Counter()
        """Tasks and mails."""
        self.ended: Counter[tuple[str, str]] = Counter()
        """(Rule, outcome) → acts."""

    def published(self, event: Mapping[str, Any], at_ms: int) -> None:
        """Take a `lead.sql` that was published at *at_ms*."""
        self._published[event["id"]] = at_ms
        address = event["data"]["traits"].get("email") or event["data"]["lead_id"].removeprefix(_ALIAS)
        self._latest[address.lower()] = at_ms

    def acted(self, event: Mapping[str, Any]) -> None:
        """Take a `lead.acted`."""
        self.ended[event["data"]["rule"], event["data"]["outcome"]] += 1

    def went_out(self, sent: Sent) -> None:
        """Take a task or a mail."""
        self.sent[sent.kind] += 1
        self._waiting.append(sent)

    def lines(self) -> Sequence[str]:
        """Return a line for each task and mail since the last call. One whose `lead.sql` has not been read yet waits."""
        found, waiting = [], []
        for sent in self._waiting:
            after_s = self._after_s(sent)
            if after_s is None and "/" not in sent.rule:
                waiting.append(sent)
                continue
            if after_s is not None:
                self._seconds.append(after_s)
            found.append(_words(sent, after_s))
        self._waiting = waiting
        self._shown.extendleft(found)
        return found

    @property
    def shown(self) -> Sequence[str]:
        """The latest lines, the newest first."""
        return self._shown

    def done(self, rule: str) -> int:
        """Return how many acts of *rule* have ended, whatever the outcome."""
        return sum(count for (name, _), count in self.ended.items() if name == rule)

    def in_words(self) -> str:
        """Return how fast it was, and which acts were not done."""
        others = Counter[str]()
        for (_, outcome), count in self.ended.items():
            if outcome != "done":
                others[outcome] += count
        parts = []
        if self._seconds:
            parts.append(
                f"half of the tasks and mails went out within {median(self._seconds):.2f} s of lead.sql, all within"
                f" {max(self._seconds):.2f} s"
            )
        if others:
            parts.append("not done: " + ", ".join(f"{count} {outcome}" for outcome, count in sorted(others.items())))
        return "; ".join(parts) or "no act was due"

    def _after_s(self, sent: Sent) -> float | None:
        """Return the seconds since the `lead.sql` that *sent* is for; `None` for none that is known."""
        if "/" in sent.rule:
            return None  # a content for the buying phase
        at_ms = self._published.get(sent.output) if sent.output else self._latest.get(sent.to.lower())
        return None if at_ms is None else max(0, sent.at_ms - at_ms) / 1000


def _words(sent: Sent, after_s: float | None) -> str:
    whom = f"to {sent.to}" if sent.kind == "mail" else f"for {sent.owner}" if sent.owner else ""
    when = f"  ({after_s:.2f} s after lead.sql)" if after_s is not None else f"  ({sent.rule})"
    return f"{sent.kind} {whom}: {sent.subject}{when}"
