"""The topics of a running worker: what is told of them, and what ends it. A broker may for a moment tell of what was."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from worker.core.contract.folded import UNKNOWN
from worker.engine import topic_watch
from worker.engine.topic_watch import TopicWatch
from worker.errors import LogUnavailable, WorkerMustStop
from worker.metrics import Metrics
from worker.settings import Settings

SETTINGS = Settings.load({"LEADPULSE_INPUT_TOPICS": "web,crm", "LEADPULSE_PARTITIONS": "1"})
IDS = {topic: f"{topic}-id" for topic in SETTINGS.topics}
KEPT = {"cleanup.policy": "delete"}


class Brokers:
    """Answers as told, one answer after the other; the last one stays."""

    def __init__(self) -> None:
        self.ids_: list[Mapping[str, str] | Exception] = [IDS]
        self.configs_: dict[str, dict[str, str]] = {"web": KEPT, "crm": KEPT}
        self.asked = 0
        self.refreshed = 0

    async def ids(self, topics: Any) -> Mapping[str, str]:
        """Return the next answer, or raise it."""
        assert set(topics) == set(SETTINGS.topics)
        self.asked += 1
        answer = self.ids_.pop(0) if len(self.ids_) > 1 else self.ids_[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def refresh(self) -> None:
        """Take note."""
        self.refreshed += 1

    async def configs(self, topics: Any) -> dict[str, dict[str, str]]:
        """Return the configurations."""
        return {topic: self.configs_[topic] for topic in topics}


@pytest.fixture
def brokers(monkeypatch: pytest.MonkeyPatch) -> Brokers:
    """Return brokers that are asked again at once."""
    monkeypatch.setattr(topic_watch, "_LEAST_S", 0.001)
    monkeypatch.setattr(topic_watch, "EVERY_S", 0.002)
    return Brokers()


def watch(brokers: Brokers, held: Mapping[str, str] = IDS) -> TopicWatch:
    """Return the watch of a worker with one partition, which reads the topics with the ids *held*."""
    metrics = Metrics(CollectorRegistry())
    return TopicWatch(SETTINGS, brokers, metrics, lambda: {0: held}, brokers.refresh)  # type: ignore[arg-type]


async def until(watching: TopicWatch, holds: Callable[[], bool]) -> None:
    """Let it look until *holds*."""
    looking = asyncio.create_task(watching.run())
    try:
        async with asyncio.timeout(30):
            while not holds():
                assert not looking.done(), looking.exception()
                await asyncio.sleep(0.001)
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


async def test_a_topic_made_again_ends_the_worker(brokers: Brokers) -> None:
    """Only when the brokers say so again and again."""
    brokers.ids_ = [IDS, {**IDS, "web": "old"}, IDS, {**IDS, "web": "other"}]
    with pytest.raises(WorkerMustStop, match="partition 0: web was deleted and recreated since it was read"):
        async with asyncio.timeout(30):
            await watch(brokers).run()
    assert brokers.asked >= 6


@pytest.mark.parametrize(
    "held", [{}, dict.fromkeys(IDS, UNKNOWN), dict.fromkeys(IDS, "7:5:0a")], ids=["none", "unknown", "marks"]
)
async def test_what_was_read_without_an_id_is_not_taken_for_another_topic(brokers: Brokers, held: Mapping[str, str]) -> None:
    """An older version, or older brokers, gave none."""
    await until(watch(brokers, held), lambda: brokers.asked > 5)


async def test_brokers_that_forget_the_ids_or_are_silent_end_nothing(brokers: Brokers) -> None:
    """They are asked again; a broker of an older version gives none for a while."""
    brokers.ids_ = [LogUnavailable("no broker", "no broker"), dict.fromkeys(IDS, UNKNOWN), OSError(), TimeoutError(), IDS]
    watching = watch(brokers)
    await until(watching, lambda: brokers.asked > 6)
    assert not watching.gone


async def test_a_topic_that_is_gone_is_told_once_and_so_is_its_return(
    brokers: Brokers, caplog: pytest.LogCaptureFixture
) -> None:
    """In the log, in a metric, and by `gone`, which makes the worker not ready."""
    caplog.set_level(logging.INFO)
    watching = watch(brokers)
    metrics = watching._metrics
    assert metrics.registry.get_sample_value("leadpulse_topic_gone", {"topic": "crm"}) == 0
    without = {topic: id_ for topic, id_ in IDS.items() if topic != "crm"}
    brokers.ids_ = [IDS, without, IDS, without]  # the second answer is that of a broker that lags behind
    await until(watching, lambda: watching.gone == {"crm"} and brokers.asked > 8)
    assert metrics.registry.get_sample_value("leadpulse_topic_gone", {"topic": "crm"}) == 1
    assert metrics.registry.get_sample_value("leadpulse_topic_gone", {"topic": "web"}) == 0
    assert [r.getMessage() for r in caplog.records].count(caplog.records[-1].getMessage()) == 1
    assert "topic crm is gone" in caplog.text
    brokers.ids_ = [IDS]
    await until(watching, lambda: not watching.gone)
    assert "topic crm is there again" in caplog.text
    assert brokers.refreshed == 4  # as often as the answer was another than before
    assert metrics.registry.get_sample_value("leadpulse_topic_gone", {"topic": "crm"}) == 0


async def test_an_input_that_is_compacted_from_now_on_is_told(brokers: Brokers, caplog: pytest.LogCaptureFixture) -> None:
    """The worker goes on: what it reads now is whole. The next one refuses."""
    watching = watch(brokers)
    await until(watching, lambda: brokers.asked > 2)
    assert "compacted" not in caplog.text
    brokers.configs_["web"] = {"cleanup.policy": "compact,delete"}
    figure = watching._metrics.registry.get_sample_value
    await until(watching, lambda: figure("leadpulse_input_compacted", {"topic": "web"}) == 1)
    assert "input topic web is compacted" in caplog.text
    assert figure("leadpulse_input_compacted", {"topic": "crm"}) == 0
    brokers.configs_["web"] = KEPT
    await until(watching, lambda: figure("leadpulse_input_compacted", {"topic": "web"}) == 0)
