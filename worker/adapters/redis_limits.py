"""Budgets, breakers and pauses in Redis, shared by all processes of a namespace, through the functions of `limits.lua`.

`{NAMESPACE:target:NAME}:limits` is a hash, `{NAMESPACE:rule:ID}:counted` a sorted set of acts, `{NAMESPACE:act}:paused` a set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from worker.adapters.redis_client import Caller, Client
from worker.sending_ports import Permit


class RedisLimits(Caller):
    """`worker.automation_ports.Limits` in Redis."""

    def __init__(self, client: Client, namespace: str) -> None:
        super().__init__(client, namespace, f"the limits of namespace {namespace} in Redis")
        self._namespace = namespace
        self._paused = f"{{{namespace}:act}}:paused"

    def _target(self, name: str) -> str:
        return f"{{{self._namespace}:target:{name}}}:limits"

    async def permit(self, target: str, requests: int, rate: float, burst: float, now_ms: int, spare: float = 0.0) -> Permit:
        """Take *requests* out of the target's budget, if its breaker lets them; see the port."""
        args = (str(requests), repr(float(rate)), repr(float(burst)), str(now_ms), repr(float(spare)))
        wait_ms, why = await self._call("limits_permit", [self._target(target)], *args)
        return Permit(wait_ms, why.decode())

    async def report(self, target: str, failure: str, after_ms: int, now_ms: int, why: str = "") -> None:
        """Report how a request ended; see the port."""
        await self._call("limits_report", [self._target(target)], failure, str(after_ms), str(now_ms), why)

    async def rule_allows(self, rule: str, id_: str, most: int, within_ms: int, now_ms: int) -> bool:
        """Count an act of a rule, once for each act; see the port."""
        key = f"{{{self._namespace}:rule:{rule}}}:counted"
        return bool(await self._call("limits_count", [key], id_, str(most), str(within_ms), str(now_ms)))

    async def pause(self, name: str, paused: bool) -> None:
        """Pause a rule or a target, or let it go on, its breaker closed."""
        if name.startswith("target:"):
            await self._call("limits_pause", [self._target(name.removeprefix("target:"))], "1" if paused else "0")
        change = self._commands.sadd if paused else self._commands.srem
        await self._run(lambda: change(self._paused, name))

    async def paused(self) -> set[str]:
        """Return what is paused."""
        return {name.decode() for name in await self._run(lambda: self._commands.smembers(self._paused))}

    async def status(self, targets: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return breaker, budget, last success and last error of each target."""
        return {name: await self._status(name) for name in targets}

    async def _status(self, name: str) -> dict[str, Any]:
        held = await self._run(lambda: self._commands.hgetall(self._target(name)))
        text = {field.decode(): value.decode() for field, value in held.items()}
        is_open, probing = text.get("open", "0") != "0", text.get("probing", "0") == "1"
        return {
            "breaker": "closed" if not is_open else "half-open" if probing else "open",
            "until_ms": int(text.get("until" if is_open else "stopped", 0)),
            "budget": max(0.0, float(text.get("tokens", 0))),
            "budget_ms": int(text.get("at", 0)),
            "rate": float(text.get("rate", 0)),
            "burst": float(text.get("burst", 0)),
            "success_ms": int(text.get("success", 0)),
            "failure_ms": int(text.get("failed", 0)),
            "failure": text.get("failure", ""),
            "why": text.get("why", ""),
            "paused": text.get("paused") == "1",
        }
