"""What operators ask for: which acts there are, their decisions about them, and pauses of rules and targets.

Each operation opens its own connection to Redis, and closes it at its end.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import msgspec

from worker.adapters.redis_client import connect
from worker.adapters.redis_ledger import RedisLedger
from worker.adapters.redis_limits import RedisLimits
from worker.adapters.redis_store import RedisStore
from worker.automation_ports import Ledger, Row
from worker.automations.acts import PENDING, Act
from worker.core.contract.partitioner import owner
from worker.core.scoring.calendar import rfc3339
from worker.errors import OtherPartitions
from worker.sending_ports import Limits
from worker.settings import ReaderSettings

_decode: Final = msgspec.msgpack.Decoder(Act).decode


class ActLine(msgspec.Struct, frozen=True):
    """An act in a list."""

    rule: str
    output: str
    lead_id: str
    target: str
    do: str
    state: str
    remote_id: str | None
    attempts: int
    at: str
    """When it came into this state (RFC 3339)."""
    detail: str | None
    """Why it did not succeed, or what a person noted."""


class Chosen(NamedTuple):
    """Which acts are meant. An empty field means any."""

    rule: str = ""
    output: str = ""
    states: Collection[str] = ()
    target: str = ""
    lead_id: str = ""


class Decided(NamedTuple):
    """What became of a decision."""

    line: ActLine
    refused: str = ""
    """Why it was not carried out; empty: it was."""


class Standing(NamedTuple):
    """How a target is."""

    success_ms: int
    failure_ms: int
    failure: str
    breaker: str
    """`closed`, `open`, `half-open` or `paused`."""
    budget: float | None
    """Requests that it may be sent now; `None`: it was sent none yet."""
    figures: dict[str, int]
    """Acts by state, and states of leads, as in `Ledger.figures`."""


class Acts:
    """The acts of one namespace, and what limits them."""

    def __init__(self, ledgers: Sequence[Ledger], limits: Limits, source: str) -> None:
        self._ledgers = ledgers
        self._limits = limits
        self._source = source

    async def lines(self, chosen: Chosen) -> list[ActLine]:
        """Return the chosen acts, oldest first."""
        return [line_of(row) for _, row in await self._rows(chosen)]

    async def whole(self, chosen: Chosen) -> list[dict[str, Any]]:
        """Return all that is known of the chosen acts, ready for JSON."""
        return [whole(row) for _, row in await self._rows(chosen)]

    async def decide(self, chosen: Chosen, state: str, detail: str, now_ms: int) -> list[Decided]:
        """Carry a person's decision out for each of the chosen acts; see `Ledger.decide`."""
        found = []
        for ledger, row in await self._rows(chosen):
            if row.state == state not in PENDING:
                found.append(Decided(line_of(row), f"it is {state} already"))
                continue
            done = await ledger.decide(row.id, state, detail, now_ms)
            held = await ledger.get(row.id) or row
            refused = (
                "" if done else "it is done" if held.state == "done" else "it is being tried just now, so try again in a minute"
            )
            found.append(Decided(line_of(held), refused))
        return found

    async def pause(self, names: Iterable[str], paused: bool) -> None:
        """Pause rules and targets (`rule:ID`, `target:NAME`), or let them go on."""
        for name in names:
            await self._limits.pause(name, paused)

    async def paused(self) -> list[str]:
        """Return the rules and targets that are paused."""
        return sorted(await self._limits.paused())

    async def standing(self, targets: Sequence[str], now_ms: int) -> dict[str, Standing]:
        """Return how each target is."""
        counts: dict[str, dict[str, int]] = {name: {} for name in targets}
        for ledger in self._ledgers:
            for name, figures in (await ledger.figures()).items():
                if name in counts:
                    _add(counts[name], figures)
        status = await self._limits.status(targets)
        return {name: _standing(status[name], counts[name], now_ms) for name in targets}

    async def _rows(self, chosen: Chosen) -> list[tuple[Ledger, Row]]:
        if chosen.rule and chosen.output:
            found = await self._named(chosen)
        else:
            found = [
                (ledger, row)
                for ledger in self._where(chosen.lead_id)
                for row in await ledger.rows(chosen.states, chosen.target, chosen.lead_id)
            ]
        fitting = [(ledger, row) for ledger, row in found if _fits(row, chosen)]
        return sorted(fitting, key=lambda one: (one[1].created_ms, one[1].id))

    async def _named(self, chosen: Chosen) -> list[tuple[Ledger, Row]]:
        """Find one act: by the id that it should have, or, where a namespace was copied, among all of them."""
        id_ = f"{chosen.rule}|{self._source}|{chosen.output}"
        for lead in (chosen.lead_id, chosen.output.rpartition(":")[0], chosen.output):
            for ledger in self._where(lead) if lead else ():
                row = await ledger.get(id_)
                if row is not None:
                    return [(ledger, row)]
        return [(ledger, row) for ledger in self._ledgers for row in await ledger.rows(lead_id=chosen.lead_id)]

    def _where(self, lead: str) -> Sequence[Ledger]:
        return [self._ledgers[owner(lead, len(self._ledgers))]] if lead else self._ledgers


@asynccontextmanager
async def open_acts(settings: ReaderSettings) -> AsyncIterator[Acts]:
    """Open the acts of *settings*' namespace. Raises `OtherPartitions`, and what Redis raises."""
    client = connect(settings.redis.get_secret_value())
    try:
        partitions = (await RedisStore(client, settings.namespace, 0).position()).partitions
        if partitions not in (0, settings.partitions):
            raise OtherPartitions(
                f"namespace {settings.namespace} has {partitions} partitions, LEADPULSE_PARTITIONS says {settings.partitions}:"
                f" set it to {partitions}"
            )
        ledgers = [RedisLedger(client, settings.namespace, p) for p in range(settings.partitions)]
        yield Acts(ledgers, RedisLimits(client, settings.namespace), settings.source)
    finally:
        await client.aclose()


def line_of(row: Row) -> ActLine:
    """Return *row* for a list."""
    rule, _, output = parts_of(row)
    act = act_of(row)
    do = act.do if act else ""
    at = rfc3339(row.updated_ms)
    return ActLine(
        rule, output, row.lead_id, row.target, do, row.state, row.remote_id or None, row.attempts, at, row.detail or None
    )


def act_of(row: Row) -> Act | None:
    """Return what the row holds; `None` where another version of the program wrote it."""
    try:
        return _decode(row.packed)
    except msgspec.DecodeError:
        return None


def parts_of(row: Row) -> tuple[str, str, str]:
    """Return the rule, the source and the output of an act's id. An output's id may have any character, a rule's has no |."""
    rule, _, rest = row.id.partition("|")
    source, _, output = rest.partition("|")
    return rule, source, output


def _fits(row: Row, chosen: Chosen) -> bool:
    rule, _, output = parts_of(row)
    return (
        (not chosen.states or row.state in chosen.states)
        and chosen.target in ("", row.target)
        and chosen.lead_id in ("", row.lead_id)
        and chosen.output in ("", output)
        and (chosen.rule in ("", rule) or rule.startswith(chosen.rule + "/"))
    )


def whole(row: Row) -> dict[str, Any]:
    """Return all of an act. What it sends is under `act`."""
    act = act_of(row)
    shown: dict[str, Any] = {"id": row.id, **msgspec.to_builtins(line_of(row))}
    shown |= {
        "created_at": rfc3339(row.created_ms),
        "due_at": rfc3339(row.due_ms) if row.due_ms else None,
        "known": row.known,
        "unsure": row.unsure or None,
        "decided": row.decided,
        "act": None if act is None else msgspec.to_builtins(act),
    }
    return shown


def _add(counts: dict[str, int], figures: dict[str, int]) -> None:
    for name, value in figures.items():
        if name == "oldest_ms":
            counts[name] = min(value, counts.get(name, value))
        else:
            counts[name] = counts.get(name, 0) + value


def _standing(status: dict[str, Any], figures: dict[str, int], now_ms: int) -> Standing:
    grown = status["budget"] + max(0, now_ms - status["budget_ms"]) * status["rate"] / 1_000
    budget = min(status["burst"], grown) if status["burst"] else None
    failure = f"{status['failure']}: {status['why']}" if status["why"] else status["failure"]
    breaker = "paused" if status["paused"] else status["breaker"]
    return Standing(status["success_ms"], status["failure_ms"], failure, breaker, budget, figures)


def now_ms() -> int:
    """Return the time, for decisions of people."""
    return int(time.time() * 1_000)
