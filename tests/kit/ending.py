"""A worker's whole process, in which SIGUSR1 is a reason to stop, and `ENDING` says what hangs when it is closed."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

from aiohttp import web
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from redis.asyncio import Redis

from worker.adapters.tracing import Spans
from worker.app import LeadPulse, create_app
from worker.errors import WorkerMustStop
from worker.settings import Settings


async def hang(*_: Any, **__: Any) -> None:
    """Never end, and do not be cancelled either."""
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            continue


def block(*_: Any, **__: Any) -> None:
    """Keep the thread, or the event loop, for ever."""
    while True:
        time.sleep(3600)


async def block_the_loop(*_: Any, **__: Any) -> None:
    """Let nothing else happen in the process."""
    block()


WHAT: dict[str, tuple[Any, str, Any]] = {
    "consumer": (AIOKafkaConsumer, "stop", hang),
    "producer": (AIOKafkaProducer, "stop", hang),
    "admin": (AIOKafkaAdminClient, "close", hang),
    "redis": (Redis, "aclose", hang),
    "tracer": (Spans, "close", block),
    "web": (web.AppRunner, "cleanup", hang),
    "livez": (LeadPulse, "fail", lambda: None),
    "loop": (AIOKafkaConsumer, "stop", block_the_loop),
}


armed: list[str] = []


def arm(what: str) -> None:
    """From now on, what *what* names hangs when it is closed."""
    cls, name, instead = WHAT[what]
    before = getattr(cls, name)
    setattr(cls, name, lambda *given, **told: instead() if armed else before(*given, **told))


def main() -> None:
    """Run the worker."""
    what = os.environ.get("ENDING", "")
    if what:
        arm(what)
    app: LeadPulse = create_app(Settings.load(os.environ))
    run = app.run_engine

    async def run_engine() -> None:
        def stop() -> None:
            armed.append(what)
            app.engine._fail(WorkerMustStop("told to by the test"))

        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, stop)
        await run()

    vars(app)["run_engine"] = run_engine
    app.Worker(quiet=True).execute_from_commandline()


if __name__ == "__main__":
    main()
