"""Administration of a Kafka cluster, through aiokafka: topics, their settings, and the group's committed offsets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    IncompatibleBrokerVersion,
    KafkaConnectionError,
    KafkaError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)
from aiokafka.protocol.commit import OffsetFetchRequest

from worker.adapters.kafka_clients import client_options, not_allowed, translating
from worker.adapters.kafka_login import check_token
from worker.adapters.topic_ids import topic_ids
from worker.core.contract.folded import UNKNOWN
from worker.errors import KafkaRefused
from worker.ports import Committed
from worker.settings import KafkaConnection

_COORDINATOR_S = 10.0
"""How long we wait for a group's coordinator that is starting or moving."""

_COORDINATOR_RETRY_S = 0.25


async def find_controller(client: AIOKafkaAdminClient, within_s: float = _COORDINATOR_S) -> None:
    """Wait until *client* knows the cluster's controller, which a cluster that starts has not got yet.

    aiokafka fails with an `AttributeError` for an answer without brokers. Raises `KafkaConnectionError` after *within_s*.
    """
    connection: Any = client._client
    end = time.monotonic() + within_s
    while connection.cluster.controller is None:
        if time.monotonic() > end:
            raise KafkaConnectionError("the cluster has no controller: its brokers are starting")
        await connection.force_metadata_update()
        if connection.cluster.controller is None:
            await asyncio.sleep(_COORDINATOR_RETRY_S)


class Admin:
    """Reads and changes topics and offsets, outside of the hot path."""

    def __init__(self, settings: KafkaConnection) -> None:
        self._settings = settings
        self._client = AIOKafkaAdminClient(
            **client_options(settings), client_id=f"{settings.client_id}.admin", request_timeout_ms=10_000
        )

    @translating
    async def __aenter__(self) -> Admin:
        """Connect.

        Raises `LogUnavailable` when no broker answers, `KafkaRefused` for a file that cannot be used.
        """
        try:
            await check_token(self._settings)
            await self._client.start()
        except BaseException:
            await self._client.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    @translating
    async def partitions(self, topics: Iterable[str]) -> dict[str, int]:
        """Return the number of partitions of each of *topics*; 0 for a topic that does not exist.

        Raises `KafkaRefused` for a topic that we may not describe.
        """
        found = dict.fromkeys(topics, 0)
        # Asks for all topics, because a request by name creates a topic if brokers create topics by themselves.
        for topic in await self._client.describe_topics():
            if topic["topic"] in found:
                if topic["error_code"] == TopicAuthorizationFailedError.errno:
                    raise KafkaRefused(not_allowed(topic["topic"]))
                found[topic["topic"]] = len(topic["partitions"])
        return found

    @translating
    async def ids(self, topics: Collection[str]) -> dict[str, str]:
        """Return the id of each of *topics* that exists; `UNKNOWN` if the brokers have no ids (before Kafka 2.8).

        Raises `KafkaRefused` for a topic that we may not describe.
        """
        try:
            return await topic_ids(self._client, topics)
        except IncompatibleBrokerVersion:
            return {topic: UNKNOWN for topic, count in (await self.partitions(topics)).items() if count}
        except TopicAuthorizationFailedError as err:
            raise KafkaRefused(not_allowed(str(err.args[0]))) from err

    @translating
    async def replicas(self, topics: Iterable[str]) -> dict[str, int]:
        """Return the fewest replicas of a partition of each of *topics* that exists."""
        wanted = set(topics)
        return {
            topic["topic"]: min((len(partition["replicas"]) for partition in topic["partitions"]), default=0)
            for topic in await self._client.describe_topics()
            if topic["topic"] in wanted
        }

    @translating
    async def configs(self, topics: Iterable[str]) -> dict[str, dict[str, str]]:
        """Return each topic's configuration in force."""
        asked = [ConfigResource(ConfigResourceType.TOPIC, topic) for topic in topics]
        found: dict[str, dict[str, str]] = {}
        for response in await self._client.describe_configs(asked):
            for code, message, _, topic, entries, *_ in response.resources:
                if code:
                    raise for_code(code)(f"configuration of topic {topic}: {message}")
                found[topic] = {entry[0]: entry[1] for entry in entries}
        return found

    @translating
    async def brokers(self, name: str) -> dict[str, str]:
        """Return the setting *name* by broker.

        Raises `LogUnavailable` where that is not shown: without the right, or by a service that hides its brokers.
        """
        nodes = (await self._client.describe_cluster())["brokers"]
        asked = [ConfigResource(ConfigResourceType.BROKER, str(node["node_id"]), {name: ""}) for node in nodes]
        found: dict[str, str] = {}
        for response in await self._client.describe_configs(asked):
            for code, message, _, broker, entries, *_ in response.resources:
                if code:
                    raise for_code(code)(f"configuration of broker {broker}: {message}")
                found.update((broker, entry[1]) for entry in entries if entry[0] == name)
        return found

    @translating
    async def create(self, topic: str, partitions: int, replication: int, configs: Mapping[str, str]) -> bool:
        """Create *topic*. Return False if it exists, even if the brokers' metadata do not show it yet.

        Raises `LogUnavailable` for any other code that the broker answers with, with its words.
        """
        assignments: dict[int, list[int]] | None = {} if replication == -1 else None  # NewTopic insists
        new = NewTopic(topic, partitions, replication, assignments, dict(configs))
        await find_controller(self._client)
        response = await self._client.create_topics([new])
        for name, code, *message in response.topic_errors:
            if code and for_code(code) is TopicAlreadyExistsError:
                return False
            if code:
                raise for_code(code)(f"topic {name}: {message[0] if message and message[0] else 'not created'}")
        return True

    @translating
    async def members(self, group: str) -> int:
        """Return the number of consumers of *group*.

        Raises `LogUnavailable`, and `KafkaRefused` without the right to ask.
        """
        (response,) = await self._client.describe_consumer_groups([group])
        ((code, _, _, _, _, members, *_),) = response.groups
        if code == GroupAuthorizationFailedError.errno:
            raise KafkaRefused(f"no right to look at group {group!r}: grant Describe on it")
        if code:
            raise for_code(code)(f"group {group}")
        return len(members)

    @translating
    async def committed(self, group: str, topics: Collection[str], partition: int) -> dict[str, Committed]:
        """Return the offset and metadata that *group* committed for *partition* of each of *topics* that has one.

        Asks for `_COORDINATOR_S` while the group's coordinator starts or moves. Raises `LogUnavailable` after that,
        and for any other answer that leaves a topic out. To take "not known yet" for "nothing committed" would publish batches
        again. Raises `KafkaRefused` when we may not read the group.
        """
        request = OffsetFetchRequest(group, [(topic, [partition]) for topic in topics])
        deadline = time.monotonic() + _COORDINATOR_S
        while True:
            try:
                # Not `list_consumer_group_offsets`, which answers "none" when the whole request was refused.
                node = await self._client.find_coordinator(group)
                return committed_offsets(await self._client._send_request(request, node), topics, partition)
            except GroupAuthorizationFailedError as err:
                raise KafkaRefused(f"no right to read the offsets of group {group!r}: grant Read on it") from err
            except KafkaError as err:
                if not err.retriable or time.monotonic() > deadline:
                    raise
                await asyncio.sleep(_COORDINATOR_RETRY_S)


def committed_offsets(response: Any, topics: Collection[str], partition: int) -> dict[str, Committed]:
    """Return the offset in an OffsetFetch *response* for *partition* of each of *topics* that has one.

    Raises the `KafkaError` of the response as a whole, where the coordinator loads or is another by now. Raises the error of
    one of its parts too, and a plain `KafkaError` when a topic is missing. Brokers answer for each topic, with offset -1 where
    none is committed.
    """
    code = getattr(response, "error_code", 0)  # from version 2 on
    if code:
        raise for_code(code)("the group's offsets were not given")
    found: dict[str, Committed] = {}
    for topic, parts in response.topics:
        for number, offset, metadata, error in parts:
            if error:
                raise for_code(error)(f"the group's offset of {topic}[{number}] was not given")
            if number == partition:
                found[topic] = Committed(offset, metadata)
    silent = sorted(set(topics) - found.keys())
    if silent:
        raise KafkaError(f"the group's coordinator says nothing of partition {partition} of {', '.join(silent)}")
    return {topic: at for topic, at in found.items() if at.offset >= 0}
