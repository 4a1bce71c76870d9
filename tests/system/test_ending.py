"""A worker that must stop, ends: whatever hangs when it is closed."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest

from tests.kit.certificates import Certificates, certificates, guarded_redis
from tests.kit.proxy import Network
from tests.kit.services import Redis, free_port
from tests.kit.site import MakeSite, Site
from tests.kit.workers import Worker

__all__ = ["certificates", "guarded_redis"]


class Whole(Worker):
    """The whole process, with its pages."""

    program = ("tests.kit.ending",)

    def __init__(self, site: Site, ending: str = "", **settings: Any) -> None:
        self.port = free_port()
        super().__init__(site, "", {"metrics_port": self.port, "log_format": "json", **settings}, ENDING=ending)
        site.workers.append(self)

    async def livez(self) -> int:
        """Return the status that `/livez` answers with; 0 where nobody answers."""
        try:
            with await asyncio.to_thread(urlopen, f"http://127.0.0.1:{self.port}/livez", timeout=5) as answer:
                return int(answer.status)
        except HTTPError as err:
            return err.code
        except (URLError, OSError):
            return 0


@pytest.mark.parametrize("what", ["", "consumer", "producer", "admin", "redis", "tracer", "web", "loop"])
async def test_a_worker_that_must_stop_ends_whatever_hangs(make_site: MakeSite, what: str) -> None:
    """With exit code 1, and the reason in its last line; where the event loop itself hangs, a thread ends the process."""
    site = await make_site(partitions=1)
    worker = Whole(site, what, traces="true" if what == "tracer" else "false")
    await worker.ready(1)
    assert await worker.livez() == 200
    worker.signal(signal.SIGUSR1)
    assert await worker.ended(120) == 1
    last = json.loads(worker.log.read_text().splitlines()[-1])
    assert (last["event"], last["message"]) == ("worker.stopped", "stopped: told to by the test")
    if what not in ("", "loop", "producer"):  # on a slow machine what does not hang may be cut short too
        assert "not closed within" in worker.log.read_text()


async def test_a_silent_redis_behind_tls_keeps_no_worker_that_must_stop(
    make_site: MakeSite, guarded_redis: Redis, certificates: Certificates
) -> None:
    """The closing handshake waits for an answer that does not come; its error took the place of the reason to stop."""
    async with Network("127.0.0.1", int(guarded_redis.settings["tls-port"])) as network:
        redis = f"rediss://127.0.0.1:{network.port}/0?ssl_ca_certs={certificates.authority}"
        site = await make_site(partitions=2, redis=guarded_redis.url)
        worker = Whole(site, redis=redis)
        await worker.ready(2)
        assert network.connections
        network.hang()
        worker.signal(signal.SIGUSR1)
        assert await worker.ended(120) == 1
        assert json.loads(worker.log.read_text().splitlines()[-1])["message"] == "stopped: told to by the test"


async def test_livez_says_when_the_engine_has_ended(make_site: MakeSite, tmp_path: Path) -> None:
    """Whatever keeps the process there, an orchestrator sees that it does nothing any more."""
    site = await make_site(partitions=1)
    worker = Whole(site, "livez")
    await worker.ready(1)
    worker.signal(signal.SIGUSR1)
    while await worker.livez() == 200:
        assert worker.process.poll() is None
        await asyncio.sleep(0.05)
    assert await worker.livez() == 503
    assert await worker.ended(120) == 1
