"""The ids of topics (KIP-516, brokers from 2.8 on): a topic that is deleted and made again has another.

aiokafka 0.14 asks for metadata in version 5 at most, which knows no ids. So version 10 is defined here, with aiokafka's types.
"""

from __future__ import annotations

import base64
from collections.abc import Collection
from io import BytesIO
from typing import Any

from aiokafka.errors import (
    IncompatibleBrokerVersion,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Schema, TaggedFields

from worker.core.contract.folded import UNKNOWN

_ID_BYTES = 16
_NONE = bytes(_ID_BYTES)
"""The value that brokers send without an id."""


class _Id(AbstractType):  # type: ignore[misc]  # aiokafka has no types
    """A UUID, as Kafka's own tools show it: its bytes in base64, without padding."""

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> str:
        held = data.read(_ID_BYTES)
        return UNKNOWN if held == _NONE else base64.urlsafe_b64encode(held).decode().rstrip("=")


class _MetadataResponse(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", CompactString("utf-8")),
                ("id", _Id),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_operations", Int32),
        ("tags", TaggedFields),
    )


class _MetadataRequestStruct(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        ("topics", CompactArray(("id", _Id), ("topic", CompactString("utf-8")), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_operations", Boolean),
        ("include_topic_operations", Boolean),
        ("tags", TaggedFields),
    )


class _MetadataRequest(Request[_MetadataRequestStruct]):  # type: ignore[misc]
    API_KEY = 3

    def __init__(self, topics: Collection[str]) -> None:
        self._topics: list[Any] = [(_NONE, topic, {}) for topic in topics]

    def build(self, request_struct_class: type[_MetadataRequestStruct]) -> _MetadataRequestStruct:
        return request_struct_class(self._topics, False, False, False, {})


async def topic_ids(client: Any, topics: Collection[str]) -> dict[str, str]:
    """Return the id of each of *topics* that is there; `UNKNOWN` where the broker gives none. Makes no topic.

    *client*: an aiokafka admin client. Raises `IncompatibleBrokerVersion` where the broker knows no ids at all, and
    `TopicAuthorizationFailedError`, with the topic's name, without the right to describe it. Raises aiokafka's `KafkaError`
    otherwise.
    """
    try:
        response = await client._send_request(_MetadataRequest(topics))
    except NotImplementedError as err:  # aiokafka found no version of the request that the broker knows
        raise IncompatibleBrokerVersion("these brokers give topics no ids") from err
    found: dict[str, str] = {}
    for code, topic, held, *_ in response.topics:
        if code == TopicAuthorizationFailedError.errno:
            raise TopicAuthorizationFailedError(topic)
        if code == UnknownTopicOrPartitionError.errno:
            continue
        error = for_code(code)
        if code and not error.retriable:
            raise error(topic)
        found[topic] = held
    return found
