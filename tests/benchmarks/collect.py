"""Requests a second and their times: the collector with Kafka's acknowledgement, beside a plain aiohttp handler as the floor.

`python -m tests.benchmarks.collect [SECONDS]`. Sender, broker, Redis and collector share this machine.
It needs `wrk` (Debian: apt install wrk).
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.benchmarks.measure import cpu_s, tree
from tests.kit.collectors import park_of
from tests.kit.services import Kafka, Redis, free_port

CONNECTIONS = 64
RATE = 1_000
"""Requests a second of the second run, for the times."""
WARM_S = 5.0
ROUNDS = 3

_SCRIPT = """
local number = 0
function request()
  number = number + 1
  local body = string.format('{"specversion": "1.0", "id": "b%d", "source": "/bench", "type": "page.viewed", '
    .. '"subject": "lead-%d", "time": "2026-11-01T00:00:00Z", "data": {"url": "/pricing", "session_id": "s"}}',
    number, number % 12800)
  local headers = {["Authorization"] = "Bearer t0ken", ["Content-Type"] = "application/cloudevents+json"}
  return wrk.format("POST", "/v1/events", headers, body)
end
"""


class Connection(asyncio.Protocol):
    """Sends one request after the other, at a pace if one is set, and notes how long each took."""

    def __init__(self, requests: list[bytes], pace_s: float, until_s: float) -> None:
        self._requests = requests
        self._pace_s = pace_s
        self._until_s = until_s
        self._number = 0
        self._began = self._planned = 0.0
        self._got = b""
        self.times: list[float] = []
        self.statuses: dict[str, int] = {}
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._planned = time.perf_counter()
        self._send()

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, blank, body = self._got.partition(b"\r\n\r\n")
        if not blank:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        if len(body) < length:
            return
        status = head[9:12].decode()
        self.statuses[status] = self.statuses.get(status, 0) + 1
        now = time.perf_counter()
        self.times.append(now - (self._planned if self._pace_s else self._began))
        self._got = b""
        if now >= self._until_s:
            self._transport.close()
            self.ended.set_result(None)
            return
        self._planned += self._pace_s
        asyncio.get_running_loop().call_later(max(0.0, self._planned - now), self._send) if self._pace_s else self._send()

    def _send(self) -> None:
        self._began = time.perf_counter()
        self._transport.write(self._requests[self._number % len(self._requests)])
        self._number += 1


def event(number: int) -> bytes:
    """Return one page view."""
    held = {"specversion": "1.0", "id": f"b{number}", "source": "/bench", "type": "page.viewed", "subject": f"lead-{number}"}
    return json.dumps(held | {"time": "2026-11-01T00:00:00Z", "data": {"url": "/pricing", "session_id": "s"}}).encode()


def request(body: bytes) -> bytes:
    """Return a whole request."""
    head = (
        "POST /v1/events HTTP/1.1\r\nHost: b\r\nAuthorization: Bearer t0ken\r\nContent-Type: application/cloudevents+json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def measured(port: int, seconds: float, rate: int = 0) -> dict[str, Any]:
    """Send for *seconds*: as much as goes, or *rate* a second. Times count from when a request was planned."""
    loop, pace_s = asyncio.get_running_loop(), CONNECTIONS / rate if rate else 0.0
    until_s = time.perf_counter() + seconds
    made = []
    for n in range(CONNECTIONS):
        requests = [request(event(number)) for number in range(n * 200, n * 200 + 200)]
        _, one = await loop.create_connection(functools.partial(Connection, requests, pace_s, until_s), "127.0.0.1", port)
        made.append(one)
    began = time.perf_counter()
    await asyncio.gather(*(one.ended for one in made))
    took = time.perf_counter() - began
    times = sorted(t for one in made for t in one.times)
    statuses: dict[str, int] = {}
    for one in made:
        for status, count in one.statuses.items():
            statuses[status] = statuses.get(status, 0) + count
    return {
        "requests_per_s": round(len(times) / took),
        "p50_ms": round(times[len(times) // 2] * 1000, 1),
        "p99_ms": round(times[len(times) * 99 // 100] * 1000, 1),
        "requests": len(times),
        "refused": set(statuses) != {"200"},
    }


def floor(port: int) -> None:
    """Serve a handler that reads the body and answers."""

    async def handler(asked: web.Request) -> web.Response:
        await asked.read()
        return web.Response(text="ok\n")

    app = web.Application()
    app.add_routes([web.post("/v1/events", handler)])
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None)


async def saturated(port: int, seconds: float, folder: Path) -> dict[str, Any]:
    """Send as much as the server takes, by `wrk`: it is written in C and leaves the cores to server and broker."""
    script = folder / "requests.lua"
    script.write_text(_SCRIPT)
    words = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", "--latency", "-s", str(script), f"http://127.0.0.1:{port}/"]
    running = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    told = (await running.communicate())[0].decode()
    found: dict[str, Any] = {"requests_per_s": round(float(_word(told, "Requests/sec:")))}
    for share in ("50%", "99%"):
        text = _word(told, f"     {share}")
        unit = next(factor for end, factor in (("us", 0.001), ("ms", 1.0), ("s", 1000.0)) if text.endswith(end))
        found[f"p{share[:2]}_ms"] = round(float(text.rstrip("ums")) * unit, 1)
    return found | {"requests": int(told.partition(" requests in ")[0].split()[-1]), "refused": "Non-2xx" in told}


def _word(text: str, name: str) -> str:
    return text.partition(name)[2].split()[0]


async def run(what: str, pid: int, broker: int, port: int, seconds: float, rate: int, folder: Path) -> None:
    """Measure once, and print it as a line of JSON. Processor time is that of server and broker, for each request."""
    before = [cpu_s(tree(one)) for one in (pid, broker)]
    found = await (measured(port, seconds, rate) if rate else saturated(port, seconds, folder))
    after = [cpu_s(tree(one)) for one in (pid, broker)]
    server, kafka = (round((then - now) / found["requests"] * 1e6) for now, then in zip(before, after, strict=True))
    told = {"what": what, "offered": rate or "all it takes", **found, "cpu_us": server, "broker_cpu_us": kafka}
    print(json.dumps(told | {"load": round(os.getloadavg()[0], 1)}), flush=True)  # noqa: T201


async def main(seconds: float) -> None:
    """Print a line of JSON for each run."""
    with Kafka(heap="512m", lasting=True) as kafka, Redis(keep=False) as redis, tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        async with park_of(kafka.address, redis.url, folder) as park:
            collector = park.collector("all")
            await collector.ready()
            port = free_port()
            plain = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.benchmarks.collect", "floor", str(port))
            servers = (("collector", collector.process.pid, collector.port), ("plain aiohttp", plain.pid, port))
            broker = kafka.pid or 0
            try:
                await asyncio.sleep(2)
                for _, _, at in servers:
                    await saturated(at, WARM_S, folder)
                for _ in range(ROUNDS):
                    for name, pid, at in servers:
                        for rate in (0, RATE):
                            await run(name, pid, broker, at, seconds, rate, folder)
            finally:
                plain.kill()


if __name__ == "__main__":
    if sys.argv[1:2] == ["floor"]:
        floor(int(sys.argv[2]))
    else:
        asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0))
