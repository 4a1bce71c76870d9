"""Closing: whatever a step does, the others are taken, and it ends."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest

from worker.engine import closing
from worker.engine.closing import Closing, closed
from worker.engine.engine import Engine
from worker.errors import WorkerMustStop
from worker.settings import Settings


class Steps:
    """Steps of each kind of trouble, and which were taken."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.never = asyncio.Event()

    async def well(self) -> None:
        """End."""
        self.taken.append("well")

    async def raises(self) -> None:
        """Raise what a TLS connection does whose other side is silent."""
        self.taken.append("raises")
        raise TimeoutError("SSL shutdown timed out")

    async def cancels(self) -> None:
        """End as cancelled, though nobody cancelled it."""
        self.taken.append("cancels")
        raise asyncio.CancelledError

    async def hangs(self) -> None:
        """Wait for what never comes."""
        self.taken.append("hangs")
        await self.never.wait()

    async def holds_on(self) -> None:
        """Wait for what never comes, and do not be cancelled."""
        self.taken.append("holds_on")
        while not self.never.is_set():
            try:
                await self.never.wait()
            except asyncio.CancelledError:
                continue


KINDS = ("raises", "cancels", "hangs", "holds_on")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_step_that_goes_wrong_keeps_none_of_the_others_from_being_taken(
    kind: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last first; what is wrong with it is in the log, by its name."""
    monkeypatch.setattr(closing, "_CANCELLED_S", 0.01)
    steps, closes = Steps(), Closing()
    closes.add("first", steps.well)
    closes.add("second", getattr(steps, kind), 0.05)
    closes.add("third", steps.well)
    with caplog.at_level(logging.WARNING):
        await closes.run()
        await closes.run()
    assert steps.taken == ["well", kind, "well"]
    assert kind == "cancels" or [record.getMessage().split(":")[0] for record in caplog.records] == ["second"]
    steps.never.set()


async def test_all_steps_together_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten that hang for 3 s each would otherwise take half a minute."""
    monkeypatch.setattr(closing, "_ALL_S", 0.2)
    monkeypatch.setattr(closing, "_LEAST_S", 0.01)
    steps, closes = Steps(), Closing()
    for number in range(10):
        closes.add(str(number), steps.hangs)
    began = time.monotonic()
    await closes.run()
    assert time.monotonic() - began < 10
    assert len(steps.taken) == 10
    steps.never.set()


async def test_it_is_told_whether_a_step_went_well() -> None:
    """The process then knows whether its last line is still the one that says why it ends."""
    steps = Steps()
    assert await closed("it", steps.well)
    assert not await closed("it", steps.raises)
    assert not await closed("it", steps.hangs, 0.01)


@pytest.mark.parametrize("kind", KINDS)
async def test_an_engine_that_must_stop_says_why_whatever_closing_does(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of closing in the place of the reason left the process there for ever."""
    monkeypatch.setattr(closing, "STEP_S", 0.05)
    steps = Steps()
    stopping: list[str] = []
    engine = Engine(Settings.load({}), stopping=stopping.append)
    engine._closing.add("it", getattr(steps, kind), 0.05)
    engine._fail(WorkerMustStop("told to"))
    assert stopping == ["told to"]
    with pytest.raises(WorkerMustStop, match="told to"):
        await engine.run()
    steps.never.set()
