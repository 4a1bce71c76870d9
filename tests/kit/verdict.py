"""The verdict: everything that the workers did, compared with what the core alone makes of the recorded log."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence

from tests.kit.refold import Expected, Place, Recorded, Refold, Wrong
from worker.core.contract.model import Record
from worker.core.scoring.state import unpack

__all__ = ["Verdict", "Wrong"]


class Verdict(Expected):
    """Judges a namespace: first `fold` each partition, then hold its states, messages and outputs against the result."""

    def __init__(self, recorded: Recorded) -> None:
        super().__init__()
        self._recorded = recorded

    def fold(self, partition: int, records: Sequence[Record]) -> None:
        """Fold *partition*: *records* are all of its topics'."""
        Refold(self._recorded, partition, self).fold(records)

    def hold_states(self, states: Mapping[str, bytes]) -> None:
        """Compare packed states byte for byte."""
        leads = states.keys() | self.states.keys()
        differ = sorted(lead for lead in leads if states.get(lead) != self.states.get(lead))
        if differ:
            shown = "\n".join(
                f"{lead}\n  held:   {_readable(states.get(lead))}\n  folded: {_readable(self.states.get(lead))}"
                for lead in differ[:5]
            )
            said = f"{len(differ)} of {len(leads)} states differ: {differ[:5]}\n{shown}\n{self._recorded.logs()}"
            raise Wrong(said, states=len(differ))

    def hold_passed_on(self) -> None:
        """Compare the messages between owners, as multisets."""
        lacking, extra = self.passed_on - self.was_passed_on, self.was_passed_on - self.passed_on
        if lacking or extra:
            said = (
                f"{lacking.total()} messages lost, {extra.total()} too many: {[*lacking, *extra][:3]}\n{self._recorded.logs()}"
            )
            raise Wrong(said, lost=lacking.total(), doubled=extra.total())

    def hold_outputs(self, outputs: Sequence[Record]) -> None:
        """Compare as multisets; each lead's own outputs must also be in its order."""
        dead_topic = self._recorded.settings.output_topic("lead.dead")
        transitions = [record for record in outputs if record.topic != dead_topic]
        self._hold_counts(
            Counter((r.topic, r.key, r.value, r.headers) for r in transitions),
            Counter(_place_of(record) for record in outputs if record.topic == dead_topic),
        )
        _hold_order(transitions)
        _hold_ids(transitions)

    def _hold_counts(self, seen: Counter[tuple[str, bytes | None, bytes | None, object]], dead: Counter[Place]) -> None:
        extra, lacking = seen - self.transitions, self.transitions - seen
        lost, doubled = lacking.total() + (self.dead - dead).total(), extra.total() + (dead - self.dead).total()
        if lost or doubled:
            examples = [*lacking, *extra, *(self.dead - dead), *(dead - self.dead)][:3]
            said = f"{lost} outputs lost, {doubled} too many: {examples}\n{self._recorded.logs()}"
            raise Wrong(said, lost=lost, doubled=doubled)


def _place_of(dead: Record) -> Place:
    """Return where the record of a dead letter lies."""
    headers = dict(dead.headers)
    topic, partition, offset = (headers[f"__connect.errors.{name}"] for name in ("topic", "partition", "offset"))
    return topic.decode(), int(partition), int(offset)


def _hold_order(transitions: Sequence[Record]) -> None:
    orders: dict[tuple[str, bytes | None], list[int]] = {}
    for record in transitions:
        orders.setdefault((record.topic, record.key), []).append(int(json.loads(record.value or b"")["sequence"]))
    assert all(order == sorted(order) for order in orders.values()), "a lead's outputs are not in order"


def _hold_ids(transitions: Sequence[Record]) -> None:
    ids = Counter(json.loads(record.value or b"")["id"] for record in transitions)
    assert max(ids.values(), default=1) == 1, f"an id was given twice: {ids.most_common(1)}"


def _readable(packed: bytes | None) -> str:
    return "nothing" if packed is None else repr(unpack(packed))
