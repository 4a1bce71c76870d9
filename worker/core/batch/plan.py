"""One batch, from states and events to what is written and published. Pure: the same input gives the same plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final

from worker.core.batch.lead import Lead
from worker.core.contract.marks import shown_mark
from worker.core.contract.model import MESSAGES, Event, Item, LeadWrite
from worker.core.identity.recorder import Effects, Recorder
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.state import WHAT_TO_DO, UnreadableState

MOST_BYTES: Final = 2 * 1024 * 1024
"""Soft limit in bytes, applied separately to a batch's records, loaded states and transitions. The item that crosses it is
still included. An ordinary batch takes a part of it. A lead with 64 kB of traits takes 60 kB each time."""

REFUSED: Final = {
    "traits_refused": "The lead cannot hold the event's traits.",
    "aliases_refused": "The lead cannot hold another alias.",
}
"""Why a valid event is refused: what its lead cannot hold."""


@dataclass
class Plan(Effects):
    """What one batch writes and publishes."""

    writes: list[LeadWrite] = field(default_factory=list)
    taken: int = 0
    """How many of the items were folded, or of the leads judged. Fewer than all if the results reached their limit."""
    _counted: int = 0
    _bytes: int = 0

    def messages(self) -> Counter[str]:
        """Return how many messages are for the owners of other ids, by kind."""
        return Counter(MESSAGES[type(item)] for _, item in self.passed_on if type(item) is not Event)

    def full(self, most: float) -> bool:
        """Return whether the outputs and the states that are passed on reach *most* bytes."""
        outputs = self.outputs
        while self._counted < len(outputs):
            self._bytes += len(outputs[self._counted].value or b"")
            self._counted += 1
        return self._bytes + self.passed_bytes >= most


def plan_events(
    scorer: CompiledGrid,
    before: Mapping[str, bytes | None],
    items: Sequence[Item],
    clock_ms: int | None,
    most: float = inf,
    *,
    find: Callable[[str], bytes | None] | None = None,
) -> Plan:
    """Fold *items*, in order, into the leads' packed states *before* them, until the results reach *most* bytes.

    *before* holds the lead of each of *items* (`None`: not held yet), or of the first of them. The fold ends at the first item
    whose lead it lacks. *clock_ms* is the partition's last tick. *find* returns the state of any lead. With it, items that are
    passed on are taken at once: all leads are this partition's. Raises `UnreadableState` for a state that this version
    cannot read.
    """
    plan = Plan()
    leads: dict[str, Lead] = {}
    for place, item in enumerate(items):
        lead = leads.get(item.lead)
        if lead is None:
            if item.lead not in before:
                break
            lead = leads[item.lead] = _opened(scorer, item.lead, before[item.lead], clock_ms, plan)
        _take(lead, item, place, plan)
        while find is not None and plan.passed_on:
            _, passed = plan.passed_on.pop(0)
            lead = leads.get(passed.lead)
            if lead is None:
                lead = leads[passed.lead] = _opened(scorer, passed.lead, find(passed.lead), clock_ms, plan)
            _take(lead, passed, place, plan)
        plan.taken = place + 1
        if plan.full(most):
            break
    plan.writes = [lead.write() for lead in leads.values() if lead.changed]
    return plan


def _opened(scorer: CompiledGrid, name: str, packed: bytes | None, clock_ms: int | None, plan: Plan) -> Lead:
    """Return the lead, judged at once where its state is another grid's."""
    try:
        return Lead(scorer, name, packed, clock_ms, plan)
    except UnreadableState:
        raise
    except Exception as err:
        err.add_note(_whose(name))
        raise


def _take(lead: Lead, item: Item, place: int, plan: Plan) -> None:
    try:
        lead.take(item, Recorder(plan, place, item))
    except Exception as err:
        err.add_note(_whose(lead.name))
        raise


def plan_tick(
    scorer: CompiledGrid, before: Mapping[str, bytes | None], tick_ms: int, clock_ms: int | None, most: float = inf
) -> Plan:
    """Judge the leads of *before*, which are due, at a tick, until the outputs reach *most* bytes.

    *clock_ms* is the tick before it.
    """
    plan = Plan()
    recorder = Recorder(plan)
    leads: list[Lead] = []
    for name, packed in before.items():
        lead = _opened(scorer, name, packed, clock_ms, plan)
        try:
            lead.tick(tick_ms, recorder)
        except Exception as err:
            err.add_note(_whose(lead.name))
            raise
        leads.append(lead)
        if plan.full(most):
            break
    plan.taken = len(leads)
    plan.writes = [lead.write() for lead in leads if lead.changed]
    return plan


def _whose(lead: str) -> str:
    """Return where to look when the fold fails, which no event can cause: most likely at the lead's stored state."""
    return f"while the lead with mark {shown_mark(lead)} was folded: its state in Redis may be damaged, {WHAT_TO_DO}"
