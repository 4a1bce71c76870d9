"""Hands out acts, states and contents of nurturing that are due in one partition's ledger, each to its target."""

from __future__ import annotations

import asyncio
import functools
import logging
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

import msgspec

from worker.automation_ports import Enrolled, Ledger, Nurtured, Op, Outcome, PutState, Row, StateEnd, StateRow
from worker.automations.calls import LEASE_S, Lease
from worker.automations.deliver import Attempt, Desk, Fence, decode_act
from worker.automations.hands import Hands
from worker.automations.metrics import ActMetrics
from worker.automations.output import Output
from worker.automations.rules import person_of
from worker.automations.states import write_states
from worker.automations.taking import Taking, pack, unpack_output, unpack_state
from worker.automations.targets.crm import address_of
from worker.errors import LeadPulseError, StoreUnavailable
from worker.logs import fields

log = logging.getLogger(__name__)

LEASE_MS: Final = int(LEASE_S * 1000)

_SOONEST_S: Final = 0.02
_LONGEST_S: Final = 1.0
"""So often the ledger is looked at, even if nothing is known to be due."""

_NOTHING_CAME_S: Final = 0.25
_CONTENTS: Final = 50
_FINISH_TRIES: Final = 120
_FINISH_AGAIN_S: Final = 0.5


@dataclass
class Desks:
    """What the dispatchers of all partitions use."""

    desk: Desk
    hands: Hands
    taking: Taking
    metrics: ActMetrics
    synced: Collection[str]
    """Targets that keep states of leads."""


class Dispatcher:
    """Hands out what is due in one partition."""

    def __init__(self, desks: Desks, ledger: Ledger, fence: Fence, broke: Callable[[BaseException], None]) -> None:
        """*broke* is called with an error that ends the incarnation of the partition."""
        self._desks = desks
        self._desk = desks.desk
        self._ledger = ledger
        self._fence = fence
        self._broke = broke
        self._changed = asyncio.Event()
        self._syncing: set[str] = set()
        self._doubt = False
        self.ended = asyncio.Event()
        """Set when an act has ended, so that it is published."""
        self.ended.set()  # there may be some that the last owner left

    def wake(self) -> None:
        """Look at the ledger now."""
        self._changed.set()

    async def run(self) -> None:
        """Hand out until an error."""
        while True:
            self._changed.clear()
            came = await self._round()
            wait_s = _SOONEST_S if came else await self._wait_s()
            try:
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
                await asyncio.sleep(_SOONEST_S)  # what comes together is looked at together
            except TimeoutError:
                pass

    async def doubt(self) -> None:
        """Write the contents that are due, which may have been sent already: the ledger went back in time."""
        self._doubt = True
        while await self._contents():
            pass

    async def _contents(self) -> int:
        """Write the next content of each lead for whom one is due, and return for how many."""
        desk, found = self._desk, await self._ledger.claim_enrolled(self._desk.now_ms(), LEASE_MS, _CONTENTS)
        if found:
            await self._ledger.take([await self._content(one) for one in found], desk.now_ms())
        return len(found)

    async def _round(self) -> bool:
        """Claim and hand out what is due, and return whether there was something."""
        read_again = self._fence.doubtful
        came = bool(await self._contents())
        self._doubt = self._doubt and (read_again or came)
        if self._fence.behind:
            return came
        for target in self._desk.targets:
            came |= await self._acts(target)
        for target in self._desks.synced:
            came |= await self._states(target)
        return came

    async def _wait_s(self) -> float:
        free = [target for target in self._desk.targets if self._desks.hands.free(target)]
        due_ms = await self._ledger.next_due(free)
        if due_ms is None:
            return _LONGEST_S
        wait_s = (due_ms - self._desk.now_ms()) / 1000
        return min(_LONGEST_S, wait_s if wait_s > 0 else _NOTHING_CAME_S)

    async def _acts(self, target: str) -> bool:
        hands = self._desks.hands
        if not (kept := hands.keep(target)):
            return hands.in_demand(target)
        lease = Lease()
        try:
            rows = await self._ledger.claim(target, self._desk.now_ms(), LEASE_MS, kept, uuid.uuid4().hex)
            if rows:
                await self._fence.stands()  # an older copy has acts that were done or cancelled since
            for row in rows:
                kept -= 1
                await hands.give(target, functools.partial(self._attempt, row, lease), self.wake)
        finally:
            hands.give_back(target, kept)
        return bool(rows)

    async def _states(self, target: str) -> bool:
        hands, at = self._desks.hands, self._desk.targets[target]
        if target in self._syncing:
            return False
        if not (kept := hands.keep(target, 1)):
            return hands.in_demand(target)
        lease = Lease()
        try:
            rows = await self._ledger.claim_states(target, self._desk.now_ms(), LEASE_MS, at.kind.batch)
            if rows:
                await self._fence.stands()  # an older copy has states that are older than what was written
            if ours := await self._of_leads(target, rows):
                kept = 0
                self._syncing.add(target)
                await hands.give(target, functools.partial(self._sync, target, ours, lease), self.wake)
        finally:
            hands.give_back(target, kept)
        return bool(rows)

    async def _of_leads(self, target: str, rows: list[StateRow]) -> list[StateRow]:
        """Return *rows* without those of ids that became another lead. They go on as that lead's, older than all it has.

        Both have one record at the target, so a state of the former id must not replace a newer one of the lead.
        """
        desk, ours, moved = self._desk, list[StateRow](), list[StateEnd]()
        for row, lead in zip(rows, await asyncio.gather(*(desk.lead_of(row.lead_id) for row in rows)), strict=True):
            if lead == row.lead_id:
                ours.append(row)
                continue
            state = msgspec.structs.replace(unpack_state(row.packed), lead_id=lead, sequence=0)
            put = PutState(target, row.rule, lead, 0, pack(state), state.at_ms, desk.now_ms())
            await desk.ledger_of(lead).take([put], desk.now_ms())
            moved.append(StateEnd(row.rule, row.lead_id, row.sequence))
        if moved:
            await self._ledger.finish_states(target, moved, desk.now_ms())
        return ours

    async def _attempt(self, row: Row, lease: Lease) -> None:
        """Make one attempt at an act, and write down how it ended."""
        try:
            attempt = Attempt(self._desk, self._ledger, self._fence, row, lease)
            outcome = await attempt.run()
            if attempt.rest_ms:
                self._desks.hands.rest(row.target, min(_LONGEST_S, attempt.rest_ms / 1000))
            ours = outcome is not None and await self._finish(row, outcome)
        except LeadPulseError as error:
            self._broke(error)
            return
        except Exception as error:  # a fault of ours, which must not end the hand
            log.exception("an attempt failed", extra=fields("act.failed", target=row.target))
            self._broke(error)
            return
        self._count(row, outcome if ours else None)

    async def _finish(self, row: Row, outcome: Outcome) -> bool:
        """Write *outcome* down, however long Redis is away: the target has done it."""
        for _ in range(_FINISH_TRIES):
            try:
                return await self._ledger.finish(row.id, row.call, outcome, self._desk.now_ms())
            except StoreUnavailable:
                await asyncio.sleep(_FINISH_AGAIN_S)
        return await self._ledger.finish(row.id, row.call, outcome, self._desk.now_ms())

    def _count(self, row: Row, outcome: Outcome | None) -> None:
        metrics, act = self._desks.metrics, decode_act(row.packed)
        state = {"intent": "put_back"}.get(outcome.state, outcome.state) if outcome is not None else "lost"
        metrics.attempts.labels(row.target, state).inc()
        if outcome is None:
            return
        if outcome.state == "done":
            metrics.seconds.labels(act.type, act.do).observe(max(0, self._desk.now_ms() - act.at_ms) / 1000)
        if outcome.state not in ("intent", "retry"):
            self.ended.set()
        if outcome.state in ("dead", "unknown"):  # the reason may hold an address, so it stands in the ledger alone
            log.warning(
                "an act of %s at %s is %s: `leadpulse act list` shows it", act.rule, row.target, outcome.state,
                extra=fields("act.not_done", rule=act.rule, target=row.target, state=outcome.state),
            )  # fmt: skip

    async def _sync(self, target: str, rows: list[StateRow], lease: Lease) -> None:
        try:
            ends = await write_states(self._desk.calls, self._desk.targets[target], rows, lease)
            await self._ledger.finish_states(target, ends, self._desk.now_ms())
        except LeadPulseError as error:
            self._broke(error)
            return
        except Exception as error:
            log.exception("states could not be written", extra=fields("act.failed", target=target))
            self._broke(error)
            return
        finally:
            self._syncing.discard(target)
        states = self._desks.metrics.states
        for end in ends:
            states.labels(target, "written" if not end.failure else "again" if end.due_ms else "dead").inc()

    async def _content(self, enrolled: Enrolled) -> Op:
        """Return the next content of a lead as an op. Its age counts from now, since the output may be weeks old."""
        taking, now_ms = self._desks.taking, self._desk.now_ms()
        output = unpack_output(enrolled.packed)
        had = {*enrolled.sent, *await self._had(enrolled, output)}
        following = taking.rules.next_content(enrolled.rule, output, had, self._desk.age_now_ms())
        act = taking.act(following.draft, unsure=self._doubt) if following.draft is not None else None
        due_ms = now_ms + following.after_ms if following.after_ms else 0
        return Nurtured(enrolled.rule, enrolled.lead_id, following.content, due_ms, act)

    async def _had(self, enrolled: Enrolled, output: Output) -> set[str]:
        """Return the contents of the rule that the person has under other ids: the lead's aliases, and any with the address."""
        desk, rule = self._desk, enrolled.rule
        found: set[str] = set()
        for alias in await desk.aliases_of(enrolled.lead_id):
            found.update((await desk.ledger_of(alias).sent(alias)).get(rule, ()))
        address = address_of(output.lead_id, person_of(output))
        if address:
            names = await desk.ledger_of(f"email:{address}").contents_of(address)
            found.update(content for one, _, content in (name.partition("/") for name in names) if one == rule)
        return found
