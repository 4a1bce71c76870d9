"""No output that Kafka would not take leaves a batch: its letter goes out in its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from worker.core.contract.dead_letter import output_bytes, unsent_letter
from worker.core.contract.model import MOST_OUTPUT_BYTES, Output

Origin = tuple[str, int, int]
"""Topic, partition and offset of the record that brought an output about."""


def fits(output: Output) -> bool:
    """Return whether a topic takes *output*."""
    return output_bytes(output) <= MOST_OUTPUT_BYTES


def sendable(outputs: Sequence[Output], dead_topic: str, origin: Callable[[int], Origin]) -> list[Output]:
    """Return *outputs*, each that is too large replaced by its letter; *origin* gives where the one at a place came from."""
    return [
        output if fits(output) else unsent_letter(dead_topic, output, origin(at), output.key)
        for at, output in enumerate(outputs)
    ]
