"""Faults of workers: killed, frozen, with a wrong clock, more and fewer of them."""

from __future__ import annotations

import asyncio
import signal

from tests.system.soak.run import Run, fault

STEPS = (
    "after_fence", "before_ready", "before_apply", "after_apply", "before_transaction", "before_commit", "after_commit",
    "before_trim", "after_trim",
)  # fmt: skip


KILLS = 15


YEAR_S = 365 * 86_400


@fault("worker killed (-9) under load")
async def _kill(run: Run) -> None:
    for _ in range(KILLS):
        victim = run.any_worker()
        victim.kill()
        run.drop(victim)
        await run.start()
        await run.some_time(3)


@fault("worker killed (-9) at a step of the protocol")
async def _step(run: Run) -> None:
    name = run.random.choice(STEPS)
    once_a_partition = name in ("after_fence", "before_ready")
    step = f"{name}:{run.random.randint(1, run.site.settings.partitions if once_a_partition else 4)}"
    await run.stop()
    victim = run.site.worker(step)
    assert await victim.ended() == 137, f"never came to {step}"
    await run.start()


@fault("worker stopped (SIGTERM) under load")
async def _stop(run: Run) -> None:
    victim = run.any_worker()
    await victim.stop()
    run.drop(victim)
    await run.start()


@fault("worker frozen (SIGSTOP) and woken up after another took over")
async def _freeze(run: Run) -> None:
    victim = run.any_worker()
    victim.signal(signal.SIGSTOP)
    await asyncio.sleep(run.random.uniform(4, 15))
    victim.signal(signal.SIGCONT)


@fault("worker frozen (SIGSTOP) for a minute")
async def _freeze_long(run: Run) -> None:
    await run.start()
    victim = run.any_worker()
    victim.signal(signal.SIGSTOP)
    await asyncio.sleep(60)
    victim.signal(signal.SIGCONT)


@fault("worker's clock a year ahead, or behind", clock="wall")
async def _clock(run: Run) -> None:
    wrong = await run.start(clock_ahead_s=run.random.choice((YEAR_S, -YEAR_S)))
    for worker in run.workers[:-1]:
        await worker.stop()
        run.drop(worker)
    await run.some_time(5)
    await run.start()
    await run.some_time(3)
    await wrong[0].stop()
    run.drop(wrong[0])


@fault("1, 4, 2 workers", partitions=4)
async def _scale(run: Run) -> None:
    started = await run.start(3)
    await run.some_time(4)
    for worker in [*run.workers[:1], started[0]]:
        await worker.stop()
        run.drop(worker)
