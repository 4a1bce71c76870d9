"""Faults of the network between workers and servers."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.kit.proxy import Network
from tests.system.soak.run import Run, fault


def in_use(run: Run, through: str) -> Network:
    """Return the network before a server, which the workers have connections through: else a fault of it would be none."""
    network: Network = getattr(run.services, through)
    assert network.connections >= len(run.workers), f"{network.connections} connections {through}"
    return network


def network_faults(server: str, through: str, **settings: Any) -> None:
    """Add what a network between the workers and *server* does."""

    @fault(f"network to {server} cut for seconds", through=through, **settings)
    async def _cut(run: Run) -> None:
        network = in_use(run, through)
        network.cut()
        await run.some_time(8)
        network.mend()

    @fault(f"network to {server} hangs for seconds", through=through, **settings)
    async def _hang(run: Run) -> None:
        network = in_use(run, through)
        network.hang()
        await asyncio.sleep(run.random.uniform(1, 15))
        network.mend()

    @fault(f"connections to {server} half closed", through=through, **settings)
    async def _half_close(run: Run) -> None:
        network = in_use(run, through)
        for _ in range(3):
            network.half_close()
            await run.some_time(2)

    @fault(f"network to {server} slow (30 ms each way)", through=through, **settings)
    async def _slow(run: Run) -> None:
        network = in_use(run, through)
        network.delay_s = 0.03
        await asyncio.sleep(run.random.uniform(3, 8))
        network.mend()


network_faults("Redis", "to_redis")


network_faults("Kafka", "to_kafka", session_timeout=6)
