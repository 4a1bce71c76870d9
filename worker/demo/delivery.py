"""Simulated events on their way: over HTTP into the collector, and through its mapper into the input topics."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import aiohttp
import msgspec

from worker.connections.sources import Source
from worker.demo.programs import ProgramFailed
from worker.demo.servers import Reader
from worker.demo.signing import Secrets
from worker.demo.tools import Call, Event, Tools, calls_of
from worker.intake.inbound import Inbound
from worker.intake.vendors.registry import mapped

Mark = tuple[str, str]
"""Source and id of an event."""

_LATE_S: Final = 30.0
_LOOK_AGAIN_S: Final = 0.02
_AGAIN_S: Final = 0.2
_MOST_AT_ONCE: Final = 500
_REMEMBERED: Final = 50_000
_OWN: Final = "systems"
"""The company's own systems, which send CloudEvents."""


class _Names(msgspec.Struct):
    source: str = ""
    id: str = ""


_names: Final = msgspec.json.Decoder(_Names).decode


class Arrivals:
    """Watches which events have reached the input topics."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._here: set[Mark] = set()
        self._before: set[Mark] = set()
        self._expected: set[Mark] = set()
        self.count = 0
        """Records in the input topics."""

    def expect(self, marks: Iterable[Mark]) -> None:
        """Note events that are on their way. A webhook that is sent again brings nothing more."""
        self._expected |= set(marks) - self._here - self._before

    def look(self) -> None:
        """Read what has come. Old events are forgotten, since none comes again after more than a moment."""
        if len(self._here) > _REMEMBERED:
            self._before, self._here = self._here, set()
        for _, value in self._reader.read():
            self.count += 1
            try:
                found = _names(value)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue  # a bad record
            self._here.add((found.source, found.id))
            self._expected.discard((found.source, found.id))

    async def until_here(self) -> Mapping[int, Mapping[str, int]]:
        """Return once all events expected now are in the topics: partition → topic → offset behind them.

        Raises `ProgramFailed` if they do not come.
        """
        waited, deadline = set(self._expected), time.monotonic() + _LATE_S
        while True:
            self.look()
            waited &= self._expected
            if not waited:
                return {partition: dict(held) for partition, held in self._reader.positions.items()}
            if time.monotonic() > deadline:
                raise ProgramFailed(f"the collector did not bring {len(waited)} events, such as {min(waited)}")
            await asyncio.sleep(_LOOK_AGAIN_S)

    def close(self) -> None:
        """Read no more."""
        self._reader.close()


class Sender:
    """Sends events as the company's tools and systems do: in order for each of them, again until the answer is 200."""

    def __init__(self, url: str, secrets: Secrets, sources: Mapping[str, Source], arrivals: Arrivals) -> None:
        self._url = url
        self._secrets = secrets
        self._sources = sources
        self._arrivals = arrivals
        self.tools = Tools()
        self._queues: dict[str, asyncio.Queue[Any]] = defaultdict(asyncio.Queue)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.webhooks: Counter[str] = Counter()
        """Webhooks that were taken, by vendor."""

    def hand(self, event: Event) -> None:
        """Send *event* soon, by the tool that tells of it."""
        tool, element = self.tools.element_of(event) or (_OWN, event)
        if tool == _OWN:
            self._arrivals.expect([(event["source"], event["id"])])
        else:
            self._arrivals.expect(mark for call in calls_of(tool, [element]) for mark in self._marks(call))
        self._queues[tool].put_nowait(element)
        if tool not in self._tasks:
            self._tasks[tool] = asyncio.create_task(self._keep_sending(tool))

    def check(self) -> None:
        """Raise what ended a tool."""
        for task in self._tasks.values():
            if task.done():
                task.result()

    async def close(self) -> None:
        """End all tools."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _marks(self, call: Call) -> list[Mark]:
        """Return what *call* becomes, by the map of its vendor."""
        inbound = Inbound(call.source, call.vendor, 0, call.body, query=call.query)
        made = mapped(inbound, self._sources[call.source])
        return [(f"/in/{call.source}", f"{event.id}:{event.type}") for event in made.events]

    async def _keep_sending(self, tool: str) -> None:
        queue = self._queues[tool]
        async with aiohttp.ClientSession(self._url) as session:
            while True:
                elements = [await queue.get()]
                while len(elements) < _MOST_AT_ONCE and not queue.empty():
                    elements.append(queue.get_nowait())
                await self._send(session, tool, elements)

    async def _send(self, session: aiohttp.ClientSession, tool: str, elements: Sequence[Any]) -> None:
        if tool == _OWN:
            await _until_taken(session, "/v1/events", msgspec.json.encode(elements), self._secrets.bearer)
            return
        for call in calls_of(tool, elements):
            path, headers = self._secrets.signed(call)
            await _until_taken(session, path, call.body, headers)
            self.webhooks[call.vendor] += 1


async def _until_taken(session: aiohttp.ClientSession, path: str, body: bytes, headers: Mapping[str, str]) -> None:
    """Post *body* until the answer is 200. Raises `ProgramFailed` for an answer that says more than *come again*."""
    while True:
        with contextlib.suppress(aiohttp.ClientError):  # it is gone, and the demo ends
            async with session.post(path, data=body, headers=headers) as answer:
                if answer.status == 200:
                    return
                if answer.status not in (429, 503):
                    words = (await answer.text())[:500]
                    raise ProgramFailed(f"the collector answers {answer.status} to {path.partition('?')[0]}: {words}")
        await asyncio.sleep(_AGAIN_S)
