"""A Quix Streams application: a stateful function over a StreamingDataFrame, RocksDB with a changelog, exactly-once."""

from __future__ import annotations

from typing import Any

from quixstreams import Application, State

from tests.benchmarks.rivals import common, spec

COMMIT_S = 1.0
"""Between transactions; outputs are seen at their end. The default is 5 s."""


def score(event: dict[str, Any], state: State) -> list[spec.Output]:
    """Score one event."""
    common.first()
    at_ms = common.instant(event["time"])
    held = state.get("lead") or spec.new(at_ms)
    moves = spec.step(held, event["subject"], event["id"], at_ms, event["type"], event["data"].get("page_type"))
    state.set("lead", held)
    return moves


def main() -> None:
    """Run until told to end."""
    app = Application(
        broker_address=common.KAFKA,
        consumer_group=common.NAME,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        commit_interval=COMMIT_S,
        state_dir=common.FOLDER,
        loglevel="WARNING",
        producer_extra_config={"compression.type": "lz4"},
    )
    frame = app.dataframe(app.topic(common.INPUT, value_deserializer="json", key_deserializer="str"))
    frame = frame.apply(score, stateful=True, expand=True)
    frame.to_topic(app.topic(common.OUTPUT, value_serializer="json", key_serializer="str"))
    app.run()


if __name__ == "__main__":
    main()
