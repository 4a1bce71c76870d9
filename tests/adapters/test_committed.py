"""What a group's coordinator says was committed, and what it does not say."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from aiokafka.errors import KafkaError
from aiokafka.protocol.commit import OffsetFetchResponse_v1, OffsetFetchResponse_v3

from worker.adapters.kafka_admin import committed_offsets

WEB, CRM = ("web", [(3, 17, "5", 0)]), ("crm", [(3, -1, "", 0)])


def answer(topics: list[Any], error: int = 0) -> Any:
    """Return a broker's answer as it comes over the wire."""
    return OffsetFetchResponse_v3.decode(BytesIO(OffsetFetchResponse_v3(0, topics, error).encode()))


def test_a_topic_without_a_committed_offset_is_left_out() -> None:
    """Offset -1 is how brokers say so; the batch number stands in the metadata of the others."""
    found = committed_offsets(answer([WEB, CRM]), ["web", "crm"], 3)
    assert {topic: (at.offset, at.metadata) for topic, at in found.items()} == {"web": (17, "5")}


def test_old_brokers_answer_without_an_error_of_the_whole() -> None:
    """Version 1 has the field for each partition alone."""
    response = OffsetFetchResponse_v1.decode(BytesIO(OffsetFetchResponse_v1([WEB, CRM]).encode()))
    assert set(committed_offsets(response, ["web", "crm"], 3)) == {"web"}


@pytest.mark.parametrize("code", [14, 15, 16])
def test_a_coordinator_that_loads_or_has_moved_is_asked_again(code: int) -> None:
    """Its answer holds no topics; taken for "nothing committed", W would be Redis' older one and batches go out twice."""
    with pytest.raises(KafkaError) as raised:
        committed_offsets(answer([], code), ["web", "crm"], 3)
    assert raised.value.retriable
    with pytest.raises(KafkaError) as raised:
        committed_offsets(answer([WEB, ("crm", [(3, -1, "", code)])]), ["web", "crm"], 3)
    assert raised.value.retriable


def test_an_answer_that_is_silent_on_a_topic_is_no_answer() -> None:
    """Nothing said is not nothing committed."""
    with pytest.raises(KafkaError, match="partition 3 of crm"):
        committed_offsets(answer([WEB]), ["web", "crm"], 3)
    with pytest.raises(KafkaError, match="partition 4 of crm, web"):
        committed_offsets(answer([WEB, CRM]), ["web", "crm"], 4)
