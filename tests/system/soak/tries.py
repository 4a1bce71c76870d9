"""Faults tried in turn, each with a site of its own, until the time is over."""

from __future__ import annotations

import contextlib
import itertools
import random
import tempfile
import time
import zlib
from pathlib import Path

import click

from ops.dev.redis_server import Redis
from ops.dev.services import HOST
from tests.kit.grids import GRID, WORDED
from tests.kit.proxy import LosesReplies, Network, proxied
from tests.kit.site import Site
from tests.kit.verdict import Wrong
from tests.system.soak.run import FAULTS, Inject, Run, Services, recovered
from tests.system.soak.table import Row


async def soak(minutes: float, seed: int, names: list[str], rows: dict[str, Row]) -> None:
    """Try the faults *names* in turn until *minutes* are over, each once at least."""
    end = time.monotonic() + minutes * 60
    settings = {"group.min.session.timeout.ms": "1000", "log.cleaner.backoff.ms": "500"}
    kafka, to_kafka = proxied(settings, lasting=True)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(to_kafka)
        stack.enter_context(kafka)
        redis = stack.enter_context(Redis())
        replies = await stack.enter_async_context(LosesReplies(HOST, redis.port, b"_apply"))
        to_redis = await stack.enter_async_context(Network(HOST, redis.port))
        services = Services(kafka, redis, replies, to_kafka, to_redis)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="leadpulse-soak-"))
        for turn in itertools.count():
            for name in names:
                if turn and time.monotonic() > end:
                    return
                row = rows.setdefault(name, Row())
                before = len(row.failed)
                await once(name, seed + turn, services, Path(folder), row)
                said = "FAILED" if len(row.failed) > before else f"{row.recovery_s[-1]:.1f} s"
                click.echo(f"seed {seed + turn}  {name}: {said}", err=True)


async def once(name: str, seed: int, services: Services, folder: Path, row: Row) -> None:
    """Try one fault once and note in *row* what came of it."""
    inject, settings = FAULTS[name]
    rnd = random.Random(f"{seed}/{name}")
    given = {"partitions": 2, "max_batch": rnd.choice((20, 100, 500)), **settings}
    told = services.seen_through(given.pop("through", ""))
    namespace = f"soak-{seed}-{row.tries}-{zlib.crc32(name.encode())}"
    where = {"kafka": services.kafka.address, "redis": services.redis.url}
    servers = given.pop("servers", contextlib.nullcontext)()
    async with servers:
        if hasattr(servers, "settings"):
            where |= servers.settings
        site = Site(where["kafka"], where["redis"], namespace, folder, **given)
        grid = rnd.choice((GRID, WORDED))
        site.put_grid(grid)
        await _try(inject, Run(site, rnd, services, grid, told, servers), f"--seed {seed} --fault {name!r}", row)


async def _try(inject: Inject, run: Run, told: str, row: Row) -> None:
    site, rnd = run.site, run.random
    row.tries += 1
    try:
        await site.prepare()
        await run.start(rnd.choice((1, 2)))
        async with run.load():
            for worker in run.workers:
                await worker.ready(1)
            await run.some_time()
            began = time.monotonic()
            await inject(run)
            row.faults_s.append(time.monotonic() - began)
            began = time.monotonic()
            await recovered(site)
            row.recovery_s.append(time.monotonic() - began)
            await run.some_time()
        await site.settled()
        await run.stop()
        await site.verdict()
    except Wrong as err:
        row.lost, row.doubled, row.states = row.lost + err.lost, row.doubled + err.doubled, row.states + err.states
        row.failed.append(f"{told}: {err}")
    except Exception as err:  # noqa: BLE001 (a run that failed is a row's, not the soak's)
        row.failed.append(f"{told}: {err!r}\n{site.logs()}")
    finally:
        row.events += run.sent
        site.close()
