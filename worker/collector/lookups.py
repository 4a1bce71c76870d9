"""Look-ups: what a webhook leaves out is asked at the vendor's API, and the answer becomes an inbound record."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec

from worker.adapters.vendor_api import NoAnswer
from worker.collector.collector import Collector
from worker.collector.mapping import Made
from worker.connections.sources import Source
from worker.core.contract.model import Output
from worker.errors import ConnectionsError, StoreRefused, StoreUnavailable
from worker.intake.inbound import Inbound, encode_inbound
from worker.intake.questions import Question, decode_question, encode_question
from worker.intake_ports import InboundMemory, Wanted
from worker.logs import fields

log = logging.getLogger(__name__)

GIVEN_UP_MS: Final = 24 * 3_600_000
"""A look-up without an answer is given up so long after it was due. It is then a dead letter with the reason."""

NOT_FOUND_MS: Final = 3_600_000
"""The same where the API says that there is nothing: a report may take some minutes after the end of a webinar."""

_LEASE_MS: Final = 30_000
"""Time to ask one question and to keep its answer, with some to spare. Then another mapper asks what a dead one had taken."""
_AT_ONCE: Final = 10
_LOOK_S: Final = 1.0
_FIRST_MS: Final = 5_000
_LONGEST_MS: Final = 900_000
_PUT_S: Final = 10.0

Ask = Callable[[str, str], Awaitable[bytes]]
"""(target, path) → the answer. Raises `NoAnswer`."""


def questions(source: str, made: Made) -> list[Wanted]:
    """Return the look-ups of *made* as the memory keeps them. The same webhook asks the same."""
    wanted = []
    for one in made.lookups:
        due_ms = one.due_ms or made.received_ms
        wanted.append(Wanted(encode_question(Question(source, one.path, one.about, due_ms)), due_ms))
    return wanted


class Lookups:
    """Asks what is due, one after the other for each source, and puts the answers into the inbound topic."""

    def __init__(self, collector: Collector, memory: InboundMemory, ask: Ask) -> None:
        self._collector = collector
        self._memory = memory
        self._ask = ask

    @property
    def _sources(self) -> Mapping[str, Source]:
        return self._collector.connections.sources

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            try:
                busy = await self.turn()
            except (StoreUnavailable, StoreRefused) as error:
                log.warning("look-ups wait: %s", error, extra=fields("lookups.wait"))
                busy = False
            except Exception:
                log.exception("look-ups failed, and are asked again", extra=fields("lookups.failed"))
                busy = False
            await asyncio.sleep(0 if busy else _LOOK_S)

    async def turn(self) -> bool:
        """Ask what is due now. Returns whether more may be due."""
        held = await self._memory.take_due(self._collector.now_ms(), _AT_ONCE, _LEASE_MS)
        by_source: dict[str, list[tuple[bytes, Question]]] = {}
        for one in held:
            try:
                question = decode_question(one)
            except msgspec.DecodeError:
                await self._memory.done(one)
                continue
            by_source.setdefault(question.source, []).append((one, question))
        await asyncio.gather(*(self._source(some) for some in by_source.values()))
        return len(held) == _AT_ONCE

    async def _source(self, some: list[tuple[bytes, Question]]) -> None:
        for held, question in some:
            await self._memory.put_off(held, self._collector.now_ms() + _LEASE_MS)  # those before may have taken long
            await self._one(held, question)

    async def _one(self, held: bytes, question: Question) -> None:
        collector, result = self._collector, "done"
        source = self._sources.get(question.source)
        target = getattr(source, "api", None)
        try:
            body = await self._answer(question, target)
        except (NoAnswer, ConnectionsError) as error:
            collector.news.failed(question.source, collector.now_ms(), f"a look-up had no answer: {error}")
            after_ms = self._after_ms(question, error)
            if after_ms is not None:
                await self._memory.put_off(held, collector.now_ms() + after_ms)
                collector.metrics.lookups.labels(question.source, "again").inc()
                return
            log.warning("%s: a look-up is given up: %s", question.source, error, extra=fields("lookups.given_up"))
            body, result = msgspec.json.encode({"message": f"given up: {error}"}), "failed"
        if await self._put(question, source, body):
            await self._memory.done(held)
            if question.source in self._sources:
                collector.metrics.lookups.labels(question.source, result).inc()

    async def _answer(self, question: Question, target: str | None) -> bytes:
        if target is None:
            raise NoAnswer(f"the source {question.source} names no `api`", status=400)
        return await self._ask(target, question.path)

    def _after_ms(self, question: Question, error: Exception) -> int | None:
        """Return when to ask again: by and by more seldom, or as the API says. `None`: never."""
        late_ms = self._collector.now_ms() - question.due_ms
        status = getattr(error, "status", 0)
        if status in (400, 410, 422) or late_ms > (NOT_FOUND_MS if status == 404 else GIVEN_UP_MS):
            return None
        return int(min(max(_FIRST_MS, late_ms, getattr(error, "after_s", 0.0) * 1000), _LONGEST_MS))

    async def _put(self, question: Question, source: Source | None, body: bytes) -> bool:
        now_ms = self._collector.now_ms()
        vendor = getattr(source, "vendor", "")
        inbound = Inbound(question.source, vendor, now_ms, body, "GET", "application/json", kind="lookup", about=question.about)
        key = msgspec.json.encode((question.source, question.about))
        return await self._collector.promise.keep([Output(self._collector.inbound_topic, key, encode_inbound(inbound))], _PUT_S)
