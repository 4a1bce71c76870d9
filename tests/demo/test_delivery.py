"""The demo's watch over events on their way, and the days that it simulates."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from worker.demo import delivery
from worker.demo.delivery import Arrivals
from worker.demo.programs import ProgramFailed
from worker.demo.traffic import SPEED, as_contact, starts_ms


class Topics:
    """Stands for a reader: what was written is read once."""

    def __init__(self) -> None:
        self.waiting: list[bytes] = []
        self.positions: dict[int, dict[str, int]] = {0: {}}

    def write(self, id_: str) -> None:
        """Write an event."""
        self.waiting.append(json.dumps({"source": "/s", "id": id_}).encode())

    def read(self) -> Iterator[tuple[str, bytes]]:
        """Yield what was written since."""
        while self.waiting:
            self.positions[0]["t"] = self.positions[0].get("t", 0) + 1
            yield "t", self.waiting.pop(0)


def arrivals(topics: Topics) -> Arrivals:
    """Return what watches *topics*."""
    reader: Any = topics
    return Arrivals(reader)


async def test_a_tick_waits_for_what_was_sent_before_it() -> None:
    """Not for what is sent while it waits. It carries the offsets behind what has come."""
    topics = Topics()
    watch = arrivals(topics)
    watch.expect([("/s", "a")])
    tick = asyncio.create_task(watch.until_here())
    await asyncio.sleep(0)
    watch.expect([("/s", "b")])
    topics.waiting.append(b"no event")
    assert not tick.done()
    topics.write("a")
    assert await tick == {0: {"t": 2}}
    assert watch.count == 2


async def test_a_webhook_that_is_sent_again_brings_nothing_more() -> None:
    """The mapper leaves it out, so no tick may wait for it, even when what came long ago is forgotten in parts."""
    topics = Topics()
    watch = arrivals(topics)
    topics.write("a")
    watch.look()
    for number in range(delivery._REMEMBERED + 1):
        topics.write(str(number))
    watch.look()
    watch.look()
    watch.expect([("/s", "a"), ("/s", "7")])
    assert await watch.until_here() == {0: {"t": delivery._REMEMBERED + 2}}


async def test_an_event_that_never_comes_ends_the_demo_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of a picture that stands still."""
    monkeypatch.setattr(delivery, "_LATE_S", 0.0)
    watch = arrivals(Topics())
    watch.expect([("/in/mailer", "e1:email.opened")])
    with pytest.raises(ProgramFailed, match=r"did not bring 1 events, such as .*e1:email\.opened"):
        await watch.until_here()


@pytest.mark.parametrize("seconds", [1.0, 6.0, 30.0, 600.0])
@pytest.mark.parametrize("now", [datetime(2026, 12, 1, 5, tzinfo=UTC), datetime(2026, 11, 30, tzinfo=UTC)])
def test_simulated_days_begin_on_a_monday_and_end_in_the_week_before_now(seconds: float, now: datetime) -> None:
    """So that no event of the past is ahead of a visitor of today."""
    now_ms = round(now.timestamp() * 1000)
    start_ms = starts_ms(now_ms, seconds)
    begins = datetime.fromtimestamp(start_ms / 1000, UTC)
    assert (begins.weekday(), begins.hour, begins.minute) == (0, 0, 0)
    end_ms = start_ms + seconds * SPEED * 1000
    assert 0 <= now_ms - end_ms < 7 * 86_400_000


def test_the_crm_knows_its_contacts_by_numbers() -> None:
    """Visitors keep their ids."""
    assert as_contact({"subject": "lead-000123", "id": "1"}) == {"subject": "100123", "id": "1"}
    assert as_contact({"subject": "visitor-000123"}) == {"subject": "visitor-000123"}
