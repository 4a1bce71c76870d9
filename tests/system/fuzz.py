"""Odd requests in great number to a collector on real Kafka and Redis: each is answered, and none is a fault.

`python -m tests.system.fuzz [--requests N] [--seed N]`. It ends with 1 for an unhandled error, an answer of 500, a request
without an answer, or an event that was answered with 200 and is not in Kafka.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp

from tests.benchmarks.measure import peak_mb
from tests.kit.collectors import EVENTS, CollectorProcess, Park, park_of
from tests.kit.odd_requests import OddRequests, Sent
from tests.kit.services import Kafka, Redis
from tests.kit.signing import PUBLIC_URL
from tests.kit.vendor_cases import Case, Signers, cases, secret_of

CONNECTIONS: Final = 32
ANSWER_S: Final = 30.0
"""A request without an answer for so long has none. The collector waits 20 s for a body."""
BROKEN_S: Final = 0.05
"""So long the sender of bytes that are no request waits for an answer, before it hangs up."""
KEY: Final = "server-key"


class Connection(asyncio.Protocol):
    """A connection that is waited for: the bytes of one answer at a time."""

    def __init__(self) -> None:
        self.open = False
        self._held = b""
        self._head = False
        self._answer: asyncio.Future[int] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self.open = transport, True

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(0)

    def ask(self, request: Sent) -> asyncio.Future[int]:
        """Send *request*; the status comes, or 0 if the server closes without one."""
        assert self._transport is not None
        self._held, self._head = b"", request.head
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request.data)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._held += data
        head, blank, rest = self._held.partition(b"\r\n\r\n")
        if not blank or self._answer is None or self._answer.done():
            return
        status = int(head[9:12])
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if length is None or self._head or status in (204, 304) or len(rest) >= int(length[1]):
            if head.startswith(b"HTTP/1.0") or b"\r\nConnection: close" in head:
                self.close()
            self._answer.set_result(status)

    def close(self) -> None:
        """Hang up."""
        self.open = False
        if self._transport is not None:
            self._transport.abort()


class Run:
    """One run: what was sent, and what came of it."""

    def __init__(self, port: int, requests: OddRequests, count: int) -> None:
        self._port = port
        self._requests = requests
        self._left = count
        self.answers: Counter[tuple[str, int]] = Counter()
        self.faults: list[str] = []

    async def play(self) -> None:
        """Send all of them, over many connections."""
        await asyncio.gather(*(self._sender() for _ in range(CONNECTIONS)))

    async def _sender(self) -> None:
        loop, connection = asyncio.get_running_loop(), Connection()
        while self._left > 0:
            self._left -= 1
            request = self._requests.next()
            if not connection.open:
                _, connection = await loop.create_connection(Connection, "127.0.0.1", self._port)
            try:
                async with asyncio.timeout(BROKEN_S if request.broken else ANSWER_S):
                    status = await connection.ask(request)
            except TimeoutError:
                status = 0
            if request.broken or status == 0:
                connection.close()
            self.answers[request.kind.partition(" ")[0], status] += 1
            if (status >= 500 and status != 503) or (status == 0 and not request.broken):
                self.faults.append(f"{status}: {request.data[:2_000]!r}")


def connections(found: Mapping[str, Case]) -> str:
    """Return a file with a source for each vendor, a site and a token."""
    sources = [f'  {one}: {{vendor: {one}, secrets: ["${{{one.upper()}}}"]{_plain(case)}}}\n' for one, case in found.items()]
    site = '{origins: ["https://www.example.com"], write_key: "${WRITE}", identify: ["${KEY}"], custom: [custom.call]}'
    return f'public_url: {PUBLIC_URL}\ntokens: ["${{TOKEN}}"]\nsites:\n  www: {site}\nsources:\n{"".join(sources)}'


def _plain(case: Case) -> str:
    """Return the settings of a case without the API that would be asked: there is none here."""
    return re.sub(r", api: \w+", "", case.settings)


async def metric(collector: CollectorProcess, name: str) -> float:
    """Return the sum of one of the collector's metrics over its labels."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{collector.metrics_port}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((name + "{", name + " ")))


async def in_kafka(park: Park) -> int:
    """Return how many records the topics have that endpoints and mapper write."""
    return len(await park.read(("lead.inbound", *EVENTS)))


async def fuzz(count: int, seed: int) -> dict[str, Any]:
    """Run, and return the figures."""
    signers, found = Signers(), cases(time.time_ns() // 1_000_000)
    del found["ses"]  # each message would have the collector fetch a certificate from Amazon
    with (
        Kafka({"group.min.session.timeout.ms": "1000"}, heap="768m", lasting=True) as kafka,
        Redis(keep=False) as redis,
        tempfile.TemporaryDirectory() as folder,
    ):
        async with park_of(kafka.address, redis.url, Path(folder)) as park:
            park.configure(connections(found))
            park.environ |= {vendor.upper(): secret_of(vendor) for vendor in found} | {"WRITE": "w", "KEY": KEY}
            park.environ["SENDGRID"] = signers.sendgrid.public
            collector = park.collector()
            await collector.ready()
            run = Run(collector.port, OddRequests(seed, found, signers, park.environ["TOKEN"], KEY), count)
            began, small_mb = time.monotonic(), peak_mb([collector.process.pid])
            await run.play()
            took_s = time.monotonic() - began
            taken = [await metric(collector, f"leadpulse_collect_{name}_total") for name in ("events", "webhooks")]
            told = {
                "requests": count,
                "seed": seed,
                "requests_per_s": round(count / took_s),
                "statuses": _by(run.answers, 1),
                "kinds": _by(run.answers, 0),
                "faults": len(run.faults),
                "errors_in_log": errors_in(collector.log),
                "taken": round(sum(taken)),
                "waiting_bytes": await metric(collector, "leadpulse_collect_waiting_bytes"),
                "memory_mb": [round(small_mb), round(peak_mb([collector.process.pid]))],
            }
            await park.drained()
            told["mapped"] = round(await metric(collector, "leadpulse_collect_mapped_events_total"))
            told |= {"in_kafka": await in_kafka(park), "mapper_errors": errors_in(collector.log), "exit": collector.end()}
            for fault in run.faults[:20]:
                sys.stderr.write(fault + "\n")
            return told


def _by(answers: Counter[tuple[str, int]], place: int) -> dict[str, int]:
    held: Counter[str] = Counter()
    for key, number in answers.items():
        held[str(key[place])] += number
    return dict(sorted(held.items()))


def errors_in(log: Path) -> int:
    """Return how many lines of a log are errors or hold a traceback."""
    lines = log.read_text(errors="replace").splitlines()
    return sum('"level": "ERROR"' in line or "Traceback" in line for line in lines)


def is_good(told: Mapping[str, Any]) -> bool:
    """Return whether every request was answered, without a fault, and all that was answered with 200 is in Kafka."""
    quiet = not told["faults"] and not told["errors_in_log"] and not told["mapper_errors"] and told["exit"] == 0
    return quiet and told["in_kafka"] >= told["taken"] + told["mapped"] and told["waiting_bytes"] == 0


def main() -> None:
    """Print the figures as JSON."""
    words = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    words.add_argument("--requests", type=int, default=1_000_000)
    words.add_argument("--seed", type=int, default=18)
    given = words.parse_args()
    told = asyncio.run(fuzz(given.requests, given.seed))
    sys.stdout.write(json.dumps(told) + "\n")
    sys.exit(0 if is_good(told) else 1)


if __name__ == "__main__":
    main()
