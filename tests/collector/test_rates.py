"""How often a browser may send: a page in a loop, a flood from one address, and proxies in between."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.kit.collected import NOW_MS, Served, served
from worker.collector.rates import PER_VISITOR, Rates, block_of

FILE = 'sites:\n  www: {origins: ["https://www.example.com"], write_key: "${KEY}"}\n'
SECRETS = {"KEY": "w"}
PER_ADDRESS = 30
VISITOR = "0190f5c2-7a51-4cc1-b0a6-2f3e4d5c6b7a"


@pytest.fixture(autouse=True)
def lower(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower the limit per address, for short tests."""
    monkeypatch.setattr("worker.collector.rates.PER_ADDRESS", PER_ADDRESS)


async def beacon(collector: Served, visitor: str, address: str = "", **more: Any) -> int:
    """Post a beacon of *visitor* that comes from *address*; return how many events Kafka has by now."""
    event = {"id": "00000000-0000-0000-0000-000000000001", "type": "page.viewed", "at": 1, "data": {"url": "/"}}
    body = json.dumps({"sent": 2, "consent": True, "visitor": visitor, "events": [event]} | more)
    headers = {
        "X-Forwarded-For": address,
        "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    }
    answer = await collector.client.post("/lp/www/e", data=body, headers=headers)
    assert answer.status == 200
    return len(collector.log.records)


def visitor(number: int) -> str:
    """Return a visitor's id."""
    return f"0190f5c2-7a51-4cc1-b0a6-{number:012x}"


async def test_a_page_in_a_loop_is_held_to_a_limit() -> None:
    """Dropped, counted and answered with 200. Other visitors are free, and so is this one in the next minute."""
    async with served(FILE, SECRETS) as collector:
        for _ in range(PER_VISITOR + 30):
            await beacon(collector, VISITOR)
        assert len(collector.log.records) == PER_VISITOR
        assert collector.counted("collect_pixel_dropped_total", site="www", reason="rate") == 30
        assert await beacon(collector, visitor(1)) == PER_VISITOR + 1
        collector.collector.now_ms = lambda: NOW_MS + 60_000
        assert await beacon(collector, VISITOR) == PER_VISITOR + 2


async def test_consent_can_be_taken_back_at_any_rate() -> None:
    """Whoever has sent too much still gets rid of the cookie."""
    async with served(FILE, SECRETS) as collector:
        for _ in range(PER_VISITOR + 1):
            await beacon(collector, VISITOR)
        answer = await collector.client.post("/lp/www/e", data=json.dumps({"forget": True, "visitor": VISITOR}))
        assert "lp_visitor=" in answer.headers["Set-Cookie"]


@pytest.mark.parametrize("proxies", [None, 0, 1, 2])
async def test_an_address_is_known_where_the_proxies_are(proxies: int | None) -> None:
    """What stands before the proxies' words is the sender's own: it cannot get round the limit by another address."""
    async with served(FILE, SECRETS) as collector:
        collector.collector.rates = Rates(proxies)
        for number in range(PER_ADDRESS + 5):
            await beacon(collector, visitor(number), f"10.0.{number // 250}.{number % 250}, 203.0.113.7, 198.51.100.1")
        limited = PER_ADDRESS + 5 if proxies is None else PER_ADDRESS
        assert len(collector.log.records) == limited
        free = await beacon(collector, visitor(9_999), "203.0.113.8, 198.51.100.2")
        assert free == limited + (proxies != 0)


async def test_a_page_s_write_key_has_the_limit_of_its_address() -> None:
    """A server's key has none."""
    async with served(FILE, SECRETS) as collector:
        collector.collector.rates = Rates(0)
        page = {"anonymousId": "a", "properties": {"url": "/"}}
        for _ in range(PER_ADDRESS + 5):
            answer = await collector.client.post("/v1/page?writeKey=w", json=page)
            assert answer.status == 200
        assert len(collector.log.records) == PER_ADDRESS


@pytest.mark.parametrize(
    ("address", "block"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("not an address", ""),
        ("", ""),
        ("203.0.113.7:4711", "203.0.113.7"),
        ("[::ffff:203.0.113.7]:4711", "203.0.113.7"),
        ("203.0.113.7:4711:1", ""),
    ],
)
def test_an_address_has_one_form(address: str, block: str) -> None:
    """What is none is not counted."""
    assert block_of(address) == block


def test_an_owner_of_ipv6_addresses_has_one_block() -> None:
    """Anyone has 2^64 of them, and one visitor changes his every day."""
    assert block_of("2001:db8:1:2::1") == block_of("[2001:db8:1:2:ffff::9%eth0]:443") != block_of("2001:db8:1:3::1")
