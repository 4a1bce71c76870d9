"""Servers with copies of what they hold: three Kafka brokers, and a Redis with its replica, as a deployment has them."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Any, Self

from ops.dev.kafka_broker import Kafka
from ops.dev.redis_server import Redis
from ops.dev.services import HOST
from tests.kit.proxy import Network
from tests.kit.waits import until

CONTROLLER = 100
"""The controller's node id. It is a process of its own: were it a broker, two brokers less would be no quorum either."""


class ThreeBrokers:
    """Three brokers with a copy each of every partition, of which two must have taken what is acknowledged."""

    def __init__(self) -> None:
        self.controller = Kafka()
        voters = {"controller.quorum.voters": f"{CONTROLLER}@{self.controller.address}"}
        listener = dict.fromkeys(("listeners", "advertised.listeners"), f"CONTROLLER://{self.controller.address}")
        self.controller.settings |= {**voters, **listener, "process.roles": "controller", "node.id": str(CONTROLLER)}
        self.controller.settings |= _THREE_COPIES
        self.brokers = [Kafka(_THREE_COPIES) for _ in range(3)]
        for number, broker in enumerate(self.brokers, start=1):
            address = dict.fromkeys(("listeners", "advertised.listeners"), f"PLAINTEXT://{broker.address}")
            broker.settings |= {**voters, **address, "process.roles": "broker", "node.id": str(number)}

    @property
    def kafka(self) -> str:
        """All three addresses."""
        return ",".join(broker.address for broker in self.brokers)

    @property
    def settings(self) -> dict[str, Any]:
        """Where a site finds them."""
        return {"kafka": self.kafka}

    async def __aenter__(self) -> Self:
        """Start the controller and then the brokers."""
        try:
            await asyncio.to_thread(self.controller.start)
            await asyncio.gather(*(asyncio.to_thread(broker.start) for broker in self.brokers))
        except BaseException:
            self._close()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None) -> None:
        """Kill them and remove their data."""
        self._close()

    def _close(self) -> None:
        for kafka in (*self.brokers, self.controller):
            kafka.close()


_THREE_COPIES = {
    "group.min.session.timeout.ms": "1000",
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
}


class Replicated:
    """A Redis with a replica, which takes its place at the same address when it is promoted."""

    def __init__(self) -> None:
        self.primary, self.replica = Redis(), Redis()
        self.replica.settings["replicaof"] = f"{HOST} {self.primary.port}"
        self.network = Network(HOST, self.primary.port)

    @property
    def settings(self) -> dict[str, Any]:
        """Where a site finds the primary."""
        return {"redis": f"redis://{HOST}:{self.network.port}/0"}

    async def __aenter__(self) -> Self:
        """Start both, and wait until the replica follows."""
        async with contextlib.AsyncExitStack() as stack:
            for server in (self.primary, self.replica):
                stack.callback(server.close)
                await asyncio.to_thread(server.start)
            await stack.enter_async_context(self.network)
            await until(self.follows, "the replica to follow")
            self._open = stack.pop_all()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None) -> None:
        """Kill both and remove their data."""
        await self._open.aclose()

    def follows(self) -> bool:
        """Return whether the replica has all that the primary has sent."""
        said = self.replica.ask("INFO", "replication")
        return "master_link_status:up" in said and "master_sync_in_progress:0" in said

    async def promote(self) -> None:
        """Let the replica take the place of the primary, which is dead: with what it has, and without the functions."""
        self.network.cut()
        await asyncio.to_thread(self.primary.kill)
        self.replica.resume()
        self.replica.ask("REPLICAOF", "NO", "ONE")
        self.replica.ask("FUNCTION", "FLUSH")
        self.network.lead_to(HOST, self.replica.port)
        self.network.mend()
