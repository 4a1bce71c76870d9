"""Budgets, breakers and pauses of targets and rules in memory, with the same answers as `RedisLimits`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from worker.sending_ports import Permit

FAILURES: Final = 5
"""So many `again` in a row open a breaker."""
OPEN_MS: Final = 30_000
"""Time for which a breaker is open at first. It doubles with each probe that fails."""
OPEN_MOST_MS: Final = 900_000
PROBE_MS: Final = 60_000
"""A probe without a report for so long is given up, and another one goes out."""
STOP_MOST_MS: Final = 3_600_000
SLOWEST: Final = 1 / 16
REGAINED_PER_MS: Final = 0.1 / 60_000
"""A budget that was halved regains a tenth of its rate a minute."""
SKEW_MS: Final = 60_000
"""Clocks of programs that differ by more are not believed."""


@dataclass(slots=True)
class _Target:
    tokens: float = -1.0
    at_ms: int = 0
    burst: float = 0.0
    rate: float = 0.0
    slow: float = 1.0
    slow_ms: int = 0
    failures: int = 0
    open_ms: int = 0
    """For how long the breaker is open; 0: it is closed."""
    until_ms: int = 0
    """When the breaker lets a probe through."""
    probing: bool = False
    stopped_ms: int = 0
    success_ms: int = 0
    failure_ms: int = 0
    failure: str = ""
    why: str = ""

    def factor(self, now_ms: int) -> float:
        """Return the share of the rate that is used after the target asked for less."""
        return min(1.0, self.slow + max(0, now_ms - self.slow_ms) * REGAINED_PER_MS)


@dataclass(slots=True)
class MemoryLimits:
    """`worker.automation_ports.Limits` in memory; never unavailable."""

    _targets: dict[str, _Target] = field(default_factory=dict)
    _rules: dict[str, dict[str, int]] = field(default_factory=dict)
    _paused: set[str] = field(default_factory=set)

    async def permit(self, target: str, requests: int, rate: float, burst: float, now_ms: int, spare: float = 0.0) -> Permit:
        """Take *requests* out of the target's budget, if its breaker lets them; see the port."""
        if f"target:{target}" in self._paused:
            return Permit(1_000, "paused")
        held = self._targets.setdefault(target, _Target())
        if held.stopped_ms > now_ms:
            return Permit(held.stopped_ms - now_ms, "budget")
        if held.open_ms and held.until_ms > now_ms:
            return Permit(held.until_ms - now_ms, "broken")
        wait_ms = self._take(held, (requests, spare), rate, burst, now_ms)
        if wait_ms:
            return Permit(wait_ms, "budget")
        if held.open_ms:
            held.probing, held.until_ms = True, now_ms + PROBE_MS
        return Permit()

    def _take(self, held: _Target, wanted: tuple[float, float], rate: float, burst: float, now_ms: int) -> int:
        """Take tokens and return 0, or return when there will be enough. *wanted*: what is taken, and what must be left."""
        if held.tokens < 0 or held.at_ms > now_ms + SKEW_MS:
            held.tokens, held.at_ms = (burst if held.tokens < 0 else held.tokens), now_ms
        per_ms = rate * held.factor(now_ms) / 1_000
        held.tokens = min(burst, held.tokens + max(0, now_ms - held.at_ms) * per_ms)
        held.at_ms, held.burst, held.rate = max(held.at_ms, now_ms), burst, rate
        requests, spare = wanted
        needed = min(requests + spare, burst)
        if held.tokens + 1e-6 < needed:
            return max(1, int((needed - held.tokens) / per_ms) + 1)
        held.tokens = max(0.0, held.tokens - min(requests, burst))
        return 0

    async def report(self, target: str, failure: str, after_ms: int, now_ms: int, why: str = "") -> None:
        """Report how a request ended; see the port."""
        held = self._targets.setdefault(target, _Target())
        if after_ms > 0:
            held.stopped_ms = max(held.stopped_ms, now_ms + min(after_ms, STOP_MOST_MS))
        if not failure:
            held.failures = held.open_ms = 0
            held.probing, held.success_ms = False, now_ms
            return
        held.failures += 1
        held.failure_ms, held.failure, held.why = now_ms, failure, why
        if after_ms > 0:
            held.slow, held.slow_ms = max(SLOWEST, held.factor(now_ms) / 2), now_ms
        if failure == "configuration":
            held.open_ms = OPEN_MOST_MS
        elif held.probing:
            held.open_ms = min(2 * held.open_ms, OPEN_MOST_MS)
        elif held.open_ms or held.failures < FAILURES:
            return  # a request from before the breaker opened, or too few
        else:
            held.open_ms = OPEN_MS
        held.probing, held.until_ms = False, now_ms + held.open_ms

    async def rule_allows(self, rule: str, id_: str, most: int, within_ms: int, now_ms: int) -> bool:
        """Count an act of a rule, once for each act; see the port."""
        counted = {name: at_ms for name, at_ms in self._rules.get(rule, {}).items() if at_ms > now_ms - within_ms}
        self._rules[rule] = counted
        if id_ not in counted and len(counted) >= most:
            return False
        counted.setdefault(id_, now_ms)
        return True

    async def pause(self, name: str, paused: bool) -> None:
        """Pause a rule or a target, or let it go on, its breaker closed."""
        (self._paused.add if paused else self._paused.discard)(name)
        held = self._targets.get(name.removeprefix("target:"))
        if not paused and held is not None:
            held.failures = held.open_ms = held.stopped_ms = 0
            held.probing = False

    async def paused(self) -> set[str]:
        """Return what is paused."""
        return set(self._paused)

    async def status(self, targets: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return breaker, budget, last success and last error of each target."""
        return {name: self._status(name, self._targets.get(name, _Target())) for name in targets}

    def _status(self, name: str, held: _Target) -> dict[str, Any]:
        breaker = "closed" if not held.open_ms else "half-open" if held.probing else "open"
        return {
            "breaker": breaker,
            "until_ms": held.until_ms if held.open_ms else held.stopped_ms,
            "budget": max(0.0, held.tokens),
            "budget_ms": held.at_ms,
            "rate": held.rate,
            "burst": held.burst,
            "success_ms": held.success_ms,
            "failure_ms": held.failure_ms,
            "failure": held.failure,
            "why": held.why,
            "paused": f"target:{name}" in self._paused,
        }
