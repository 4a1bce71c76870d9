"""What is new of each source: noted without waiting, written down in time, and without a secret or a person."""

from __future__ import annotations

import pytest

from tests.kit.collected import NOW_MS, Memory, served
from tests.kit.signing import SIGN
from worker.collector import source_news
from worker.collector.source_news import News
from worker.intake_ports import SourceNews

FILE = "sources:\n  tool: {vendor: typeform, secrets: '${KEY}'}\n"


async def test_a_webhook_and_a_refusal_are_news() -> None:
    """The instant and the reason, and nothing of the request."""
    memory = Memory()
    async with served(FILE, {"KEY": "right"}) as collector:
        good = SIGN["typeform"]("right", NOW_MS, "/in/tool")
        assert (await collector.client.post("/in/tool", data=good.body, headers=good.headers)).status == 200
        await collector.collector.news.write(memory)
        assert memory.news == {"tool": SourceNews(event_ms=NOW_MS)}
        assert (await collector.client.post("/in/tool", data=good.body + b" ", headers=good.headers)).status == 401
        await collector.collector.news.write(memory)
        assert memory.news == {"tool": SourceNews(0, NOW_MS, "a webhook was refused: its signature is wrong")}
        assert (await collector.client.post("/in/tool", data=bytes(1_000_001))).status == 413
        await collector.collector.news.write(memory)
        assert memory.news["tool"].error == "a webhook was refused: it is over 1,000,000 bytes"


async def test_news_wait_while_the_memory_is_away() -> None:
    """The newest of each stays; nothing fails."""
    news, memory = News(), Memory()
    memory.away = True
    news.came("a", 1)
    news.failed("b", 2, "first")
    await news.write(memory)
    news.came("b", 3)
    news.failed("a", 4, "bad\x1b[2J" + "x" * 1_000)
    news.came("c", 5)
    await news.write(memory)
    memory.away = False
    await news.write(memory)
    assert memory.news["b"] == SourceNews(3, 2, "first")
    assert memory.news["c"] == SourceNews(event_ms=5)
    assert (memory.news["a"].event_ms, memory.news["a"].error_ms) == (1, 4)
    assert "\x1b" not in memory.news["a"].error
    assert len(memory.news["a"].error) <= 300


async def test_news_are_written_at_the_end_of_the_process_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer is cancelled then."""
    import asyncio

    monkeypatch.setattr(source_news, "EVERY_S", 3_600.0)
    news, memory = News(), Memory()
    task = asyncio.create_task(news.keep_writing(memory))
    await asyncio.sleep(0)
    news.came("a", 1)
    task.cancel()
    await asyncio.wait([task])
    assert memory.news == {"a": SourceNews(event_ms=1)}
