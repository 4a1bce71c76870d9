"""A Faust agent that keeps its leads in a Table, in memory, with its changelog in Kafka."""

from __future__ import annotations

import faust
import msgspec

from tests.benchmarks.rivals import common, decode, spec

app = faust.App(
    common.NAME,
    broker=f"kafka://{common.KAFKA}",
    store="memory://",
    datadir=common.FOLDER,
    web_enabled=False,
    topic_partitions=common.PARTITIONS,
    topic_disable_leader=True,
)
source = app.topic(common.INPUT, value_type=bytes, value_serializer="raw", key_type=bytes, key_serializer="raw")
outputs = app.topic(common.OUTPUT, value_type=bytes, value_serializer="raw", key_type=bytes, key_serializer="raw")
leads = app.Table("leads", partitions=common.PARTITIONS, key_type=bytes, value_type=bytes)
pack, unpack = msgspec.msgpack.encode, msgspec.msgpack.decode


@app.agent(source)
async def score(stream: faust.StreamT[bytes]) -> None:
    """Score each event as it comes."""
    async for value in stream:
        common.first()
        event = decode.event(value)
        key = event.subject.encode()
        packed = leads.get(key)
        state = spec.new(event.at_ms) if packed is None else unpack(packed)
        moves = spec.step(state, event.subject, event.id, event.at_ms, event.type, event.data.page_type)
        leads[key] = pack(state)
        for move in moves:
            await outputs.send(key=key, value=msgspec.json.encode(move))


if __name__ == "__main__":
    app.main()
