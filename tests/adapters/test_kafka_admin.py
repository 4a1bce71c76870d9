"""What the administration of a cluster does while its brokers start."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError

from worker.adapters.kafka_admin import find_controller


class Starting:
    """Answers without a controller, so many times."""

    def __init__(self, times: int) -> None:
        self.cluster = SimpleNamespace(controller=None)
        self.asked = 0
        self._times = times

    async def force_metadata_update(self) -> None:
        """Answer once."""
        self.asked += 1
        if self.asked > self._times:
            self.cluster.controller = SimpleNamespace(nodeId=1)


def client(starting: Starting) -> AIOKafkaAdminClient:
    """Return what aiokafka's client is to us."""
    held: Any = SimpleNamespace(_client=starting)
    return cast(AIOKafkaAdminClient, held)


async def test_a_cluster_that_starts_is_waited_for() -> None:
    """Aiokafka fails with an `AttributeError` for an answer without brokers; a topic is created a moment later."""
    starting = Starting(2)
    await find_controller(client(starting))
    assert starting.asked == 3
    await find_controller(client(starting))
    assert starting.asked == 3, "a controller that is known is not asked for"


async def test_a_cluster_without_a_controller_is_named() -> None:
    """After a while: in words, and as an error that may pass."""
    with pytest.raises(KafkaConnectionError, match="no controller"):
        await find_controller(client(Starting(1_000)), within_s=0.5)
