"""News of each source, for `leadpulse connections status`: noted as they happen, and written down every few seconds."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final

from worker.core.contract.printable import plain
from worker.errors import StoreRefused, StoreUnavailable
from worker.intake_ports import InboundMemory, SourceNews
from worker.logs import fields

log = logging.getLogger(__name__)

EVERY_S: Final = 5.0
_LAST_S: Final = 1.0
_MOST_WORDS: Final = 300


class News:
    """The newest of each source since it was last written down. No request waits for the memory."""

    def __init__(self) -> None:
        self._new: dict[str, SourceNews] = {}
        self._away = False

    def came(self, source: str, at_ms: int) -> None:
        """Note that Kafka has a webhook of *source*."""
        self._new[source] = self._new.get(source, SourceNews())._replace(event_ms=at_ms)

    def failed(self, source: str, at_ms: int, words: str) -> None:
        """Note an error of *source*. *words* name no person and no secret."""
        words = plain(words)[:_MOST_WORDS]
        self._new[source] = self._new.get(source, SourceNews())._replace(error_ms=at_ms, error=words)

    async def write(self, memory: InboundMemory) -> None:
        """Write the news down. Without the memory they stay for the next time."""
        news, self._new = self._new, {}
        if not news:
            return
        try:
            await memory.tell(news)
        except (StoreUnavailable, StoreRefused) as error:
            self._new = {name: _newest(one, self._new.get(name)) for name, one in news.items()} | {
                name: one for name, one in self._new.items() if name not in news
            }
            if not self._away:
                log.warning("the status of connections is not kept: %s", error, extra=fields("news.not_kept"))
            self._away = True
        except Exception:
            log.exception("the status of connections is not kept", extra=fields("news.failed"))
        else:
            self._away = False

    async def keep_writing(self, memory: InboundMemory) -> None:
        """Write the news down every few seconds until cancelled, and once more at the end."""
        try:
            while True:
                await asyncio.sleep(EVERY_S)
                await self.write(memory)
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_S):
                    await self.write(memory)


def _newest(older: SourceNews, newer: SourceNews | None) -> SourceNews:
    if newer is None:
        return older
    error = newer if newer.error_ms else older
    return SourceNews(newer.event_ms or older.event_ms, error.error_ms, error.error)
