"""A worker process for the tests: the engine alone, told by the environment, drained on SIGTERM. Exit 1 when it must stop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from pathlib import Path

from aiokafka.errors import IncompatibleBrokerVersion

from worker import ports
from worker.adapters import kafka_admin, redis_client
from worker.core.grid import tables
from worker.engine import publisher
from worker.engine.engine import Engine
from worker.errors import WorkerMustStop
from worker.settings import Settings


async def main() -> int:
    """Run until drained or stopped; say why on stderr."""
    engine = Engine(Settings.load(os.environ))
    drained: list[asyncio.Task[None]] = []
    asyncio.get_running_loop().add_signal_handler(
        signal.SIGTERM, lambda: drained.append(asyncio.create_task(engine.drain(10.0)))
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, engine.look_at_grid)
    asyncio.get_running_loop().add_signal_handler(signal.SIGABRT, _abort)
    try:
        await engine.start()
        await engine.run()
    except WorkerMustStop as err:
        sys.stderr.write(f"STOPPED {err}\n")
        return 1
    await asyncio.gather(*drained)
    return 0


def _abort() -> None:
    """End at once, saying where each task is: a test waited for the end for too long."""
    for task in asyncio.all_tasks():
        task.print_stack()
    os._exit(134)


AHEAD_S = float(os.environ.get("LEADPULSE_CLOCK_AHEAD_S", "0"))
"""By how much this worker's clock is wrong."""

if AHEAD_S:
    true_time = time.time
    time.time = lambda: true_time() + AHEAD_S

publisher.FULL_OUTPUTS = int(os.environ.get("LEADPULSE_FULL_OUTPUTS", publisher.FULL_OUTPUTS))

if os.environ.get("LEADPULSE_NO_TOPIC_IDS"):

    async def _no_ids(*_: object) -> dict[str, str]:
        raise IncompatibleBrokerVersion("as brokers before Kafka 2.8")

    vars(kafka_admin)["topic_ids"] = _no_ids


def everywhere(name: str, value: object) -> None:
    """Give every module of the program that has the constant *name* this *value* of it: most import it by name."""
    for module in [module for path, module in sys.modules.items() if path.startswith("worker.")]:
        if name in vars(module):
            vars(module)[name] = value


FOLD = os.environ.get("LEADPULSE_FOLD_VERSION")
"""The fold that this worker takes itself to have: it stands for one of another version."""

if FOLD is not None:
    everywhere("FOLD_VERSION", int(FOLD))

LISTED = os.environ.get("LEADPULSE_LISTED")
"""How many leads a batch makes due after the grid changed: with few of them a handful of leads is as good as a million."""

if LISTED is not None:
    body = redis_client.SOURCE.split("\n", 2)[2].replace(f"LISTED = {ports.LISTED}", f"LISTED = {LISTED}")
    for name, value in zip(("LIBRARY", "SOURCE"), redis_client.library(body), strict=True):
        everywhere(name, value)

ZONES = os.environ.get("LEADPULSE_ZONES")
"""The folder of another `tzdata` package: this worker stands for one that has it."""

if ZONES is not None:
    vars(tables)["_TZDATA"] = Path(ZONES)
    everywhere("TABLES_VERSION", f"{tables.TABLES_VERSION}+{Path(ZONES).name}")

logging.basicConfig(level=logging.INFO, format="%(asctime)s.%(msecs)03d %(levelname)s %(name)s %(message)s", datefmt="%H:%M:%S")
logging.getLogger("aiokafka").setLevel(logging.ERROR)
sys.exit(asyncio.run(main()))
