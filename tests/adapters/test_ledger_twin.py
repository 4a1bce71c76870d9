"""The memory twin of the ledger and of the limits answers as Redis does, whatever programs do and in whatever order."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.kit.examples import examples
from tests.kit.ledgers import a_content, a_state, an_act, enrolled
from tests.kit.services import Redis
from worker.adapters.memory_ledger import MemoryLedger
from worker.adapters.memory_limits import MemoryLimits
from worker.adapters.redis_client import Client, connect
from worker.adapters.redis_ledger import RedisLedger
from worker.adapters.redis_limits import RedisLimits
from worker.automation_ports import AFTER_ALL, Cancel, EraseLead, Leave, Ledger, Lift, Outcome, StateEnd, Suppress
from worker.sending_ports import Limits

LEADS = st.sampled_from(["a", "b|:", "é{}", "email:x"])
TARGETS = st.sampled_from(["crm", "mail"])
TIMES = st.integers(0, 40)
SEQUENCES = st.integers(0, 3)
IDS = st.sampled_from(["1", "2", "3|é", "warm/study|/leadpulse/t|ann:1", "warm/web|/leadpulse/t|ann:1"])
TYPES = st.sampled_from(["lead.cooled", "crm.won"])
CALLS = st.sampled_from(["c1", "c2", "c3"])
RULES = st.sampled_from(["warm", "cold"])
TEXTS = st.sampled_from(["", "x", "é\n"])

ops = st.one_of(
    st.builds(
        an_act, IDS, LEADS, TARGETS, at_ms=TIMES, due_ms=TIMES, unless=st.lists(TYPES, unique=True).map(tuple),
        packed=st.binary(max_size=3), unsure=st.booleans(), dead=st.sampled_from(["", "", "", "why"]),
        sequence=SEQUENCES, output_ms=st.just(0) | TIMES,
    ),
    st.builds(Cancel, LEADS, TYPES, TIMES, SEQUENCES | st.just(AFTER_ALL)),
    st.builds(a_state, st.integers(0, 9), LEADS, TARGETS, rule=st.sampled_from("01"), at_ms=TIMES, due_ms=TIMES),
    st.builds(Suppress, LEADS, st.sampled_from(["unsubscribed", "complained", "bounced"]), TIMES),
    st.builds(Lift, LEADS, TIMES),
    st.builds(enrolled, RULES, LEADS, TIMES, at_ms=TIMES, packed=st.binary(max_size=3), only_if_enrolled=st.booleans(),
        sequence=SEQUENCES,
    ),
    st.builds(Leave, RULES, LEADS),
    st.builds(a_content, st.sampled_from(["study", "web"]), TIMES, rule=RULES, lead=LEADS),
    st.builds(EraseLead, LEADS, TIMES, SEQUENCES),
)  # fmt: skip
outcomes = st.builds(
    Outcome, st.sampled_from(["intent", "retry", "retry", "held", "done", "dead", "stale", "unknown"]), TEXTS, TEXTS, TIMES,
    st.sampled_from(["", "task"]),
)  # fmt: skip
ends = st.builds(StateEnd, st.sampled_from("01"), LEADS, st.integers(0, 9), TIMES | st.just(0), st.sampled_from(["", "busy"]))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.lists(ops, max_size=4), st.dictionaries(st.sampled_from("xy"), st.integers(0, 2**62))),
        st.tuples(st.just("take"), st.lists(ops, max_size=4), st.none()),
        st.tuples(st.just("claim"), TARGETS, st.integers(0, 20), st.integers(1, 3), CALLS),
        st.tuples(st.just("begin"), IDS, CALLS, st.sampled_from(["task", "file"]), st.integers(-5, 20)),
        st.tuples(st.just("remember"), IDS, CALLS, st.sampled_from(["contact", "é"]), TEXTS),
        st.tuples(st.just("finish"), IDS, CALLS, outcomes),
        st.tuples(st.just("decide"), IDS, st.sampled_from(["intent", "done", "dead", "cancelled"]), TEXTS),
        st.tuples(st.just("distrust")),
        st.tuples(st.just("claim_states"), TARGETS, st.integers(0, 20), st.integers(1, 3)),
        st.tuples(st.just("finish_states"), TARGETS, st.lists(ends, max_size=3)),
        st.tuples(st.just("claim_enrolled"), st.integers(0, 20), st.integers(1, 3)),
        st.tuples(st.just("mail_allowed"), LEADS, IDS, st.integers(1, 2)),
        st.tuples(st.just("content_allowed"), LEADS, st.sampled_from(["warm/study", "warm/web"]), IDS),
        st.tuples(st.just("publish"), st.integers(1, 3)),
        st.tuples(st.just("wait"), st.integers(1, 30)),
    ),
    max_size=30,
)


async def _answer(ledger: Ledger, step: tuple[Any, ...], now_ms: int) -> object:
    match step:
        case "take", given_ops, position:
            await ledger.take(given_ops, now_ms, position)
        case "claim", target, lease_ms, most, call:
            return await ledger.claim(target, now_ms, lease_ms, most, call)
        case "begin", id_, call, name, more_ms:
            return await ledger.begin(id_, call, name, now_ms + more_ms)
        case "claim_states", target, lease_ms, most:
            return await ledger.claim_states(target, now_ms, lease_ms, most)
        case "claim_enrolled", lease_ms, most:
            return await ledger.claim_enrolled(now_ms, lease_ms, most)
        case "mail_allowed", address, id_, most:
            return await ledger.mail_allowed(address, id_, now_ms, most)
        case "publish", most:
            acted = await ledger.acted(most)
            await ledger.published([entry.key for entry in acted])
            return acted
        case ("distrust",):
            await ledger.distrust()
        case ("remember" | "content_allowed") as name, *arguments:
            return await getattr(ledger, name)(*arguments)
        case ("finish" | "decide" | "finish_states") as name, *arguments:
            return await getattr(ledger, name)(*arguments, now_ms)
        case _:
            raise AssertionError(step)
    return None


async def _seen(ledger: Ledger) -> list[object]:
    """Return everything that the port shows."""
    return [
        await ledger.rows(),
        await ledger.figures(),
        await ledger.position(),
        await ledger.next_due(["crm"]),
        await ledger.next_due(["crm", "mail"]),
        [await ledger.cancelled(lead, ("lead.cooled", "crm.won"), 20) for lead in ("a", "b|:", "é{}")],
        await ledger.suppressed(["a", "b|:", "é{}", "email:x"]),
        [await ledger.contents_of(lead) for lead in ("a", "b|:", "x")],
        [await ledger.sent(lead) for lead in ("a", "b|:", "é{}")],
        await ledger.rows(["intent", "unknown"], "crm", "a"),
        [await ledger.get(id_) for id_ in ("1", "3|é")],
    ]


_NAMES = itertools.count()


def _on_redis(server: Redis, work: Callable[[Client, str], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        client = connect(server.url)
        try:
            await work(client, f"twin{next(_NAMES)}")
        finally:
            await client.aclose()

    asyncio.run(run())


@examples(300)
@given(steps)
def test_the_memory_ledger_answers_as_redis_does(redis_server: Redis, given_steps: list[tuple[Any, ...]]) -> None:
    """Each answer, and all that is to be seen after each step."""

    async def compare(client: Client, name: str) -> None:
        twin: Ledger = MemoryLedger()
        ledger: Ledger = RedisLedger(client, name, 0)
        now_ms = 10
        for step in given_steps:
            if step[0] == "wait":
                now_ms += step[1]
                continue
            assert await _answer(twin, step, now_ms) == await _answer(ledger, step, now_ms), step
            assert await _seen(twin) == await _seen(ledger), step

    _on_redis(redis_server, compare)


NAMES = st.sampled_from(["crm", "mail"])
FAILURES = st.sampled_from(["", "again", "again", "configuration"])
limit_steps = st.lists(
    st.one_of(
        st.tuples(st.just("permit"), NAMES, st.integers(1, 9), st.sampled_from([0.5, 7.0, 100.0]), st.sampled_from([1.0, 8.5])),
        st.tuples(st.just("report"), NAMES, FAILURES, st.sampled_from([0, 0, 5_000, 9**9])),
        st.tuples(st.just("rule_allows"), NAMES, IDS, st.integers(1, 3), st.integers(1, 100_000)),
        st.tuples(st.just("pause"), st.sampled_from(["target:crm", "rule:call", "target:mail"]), st.booleans()),
        st.tuples(st.just("wait"), st.sampled_from([1, 10, 1_000, 29_999, 60_000, 10**6, -500, -(10**6)])),
    ),
    max_size=40,
)  # fmt: skip


async def _limited(limits: Limits, step: tuple[Any, ...], now_ms: int) -> object:
    name, *arguments = step
    call: Callable[..., Awaitable[object]] = getattr(limits, name)
    return await call(*arguments, **({} if name == "pause" else {"now_ms": now_ms}))


@examples(200)
@given(limit_steps)
def test_the_limits_in_memory_answer_as_redis_does(redis_server: Redis, given_steps: list[tuple[Any, ...]]) -> None:
    """Clocks that go back are part of it."""

    async def compare(client: Client, name: str) -> None:
        twin: Limits = MemoryLimits()
        limits: Limits = RedisLimits(client, name)
        now_ms = 10**9
        for step in given_steps:
            if step[0] == "wait":
                now_ms += step[1]
                continue
            assert await _limited(twin, step, now_ms) == await _limited(limits, step, now_ms), step
            assert await twin.paused() == await limits.paused()
            told = await twin.status(["crm", "mail"]), await limits.status(["crm", "mail"])
            for target in ("crm", "mail"):
                assert abs(told[0][target].pop("budget") - told[1][target].pop("budget")) < 1e-6
            assert told[0] == told[1], step

    _on_redis(redis_server, compare)
