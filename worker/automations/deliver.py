"""One attempt at an act: its steps are driven, and the ledger notes what must not be done twice.

An unsafe step is noted before it is sent. A crash, or a lost answer, then leaves its name behind. The next attempt's steps look
it up at the target, or end as `unknown`. So an act has at most one visible effect, or a person decides.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from worker.automation_ports import Ledger, Outcome, Row
from worker.automations.acts import Act
from worker.automations.calls import ANSWER_S, LEASE_S, Calls, Lease, Named, NotNow
from worker.automations.requests import (
    Again,
    Answer,
    Http,
    Lost,
    Mail,
    Refusal,
    Remember,
    Run,
    Step,
    Steps,
    Unknown,
)
from worker.automations.requests import (
    Final as Never,
)
from worker.automations.rules import Draft
from worker.automations.targets.crm import address_of
from worker.connections.targets import BrevoTarget, SmtpTarget, Target
from worker.logs import fields
from worker.sending_ports import Limits

log = logging.getLogger(__name__)

EVERYTHING: Final = "*"
"""`unsure` of an act of which nothing is known."""

FORGET: Final = "forget"
FORGET_AGAIN_MS: Final = 300_000
"""A person is deleted once more after so long. It covers a lease, and what a target still does after its answer was lost."""

MOST_MAILS: Final = 2
"""Most mails to an address a day."""

_FORGOTTEN: Final = "forgotten"
_FIRST_WAIT_MS: Final = 2_000
_LONGEST_WAIT_MS: Final = 900_000
_SOONEST_MS: Final = 200
_PAUSED_MS: Final = 2_000
_ASKED_AGAIN_MS: Final = 5_000
"""A target that takes nothing is asked again so soon at most: a person may have let it go on."""

_LATE_MS: Final = 1
_READ: Final = Answer(0)

decode_act: Final = msgspec.msgpack.Decoder(Act).decode


class NotOurs(Exception):
    """The act belongs to another attempt, or was cancelled meanwhile."""


class TooOld(Exception):
    """The act is older than its `fresh`."""


class Fence(Protocol):
    """Shows that no other process has taken a partition over, and that its ledger has not gone back in time."""

    async def cross(self) -> None:
        """Return if both hold, and leave a trace of the crossing in Kafka. Raises what ends the partition's incarnation."""
        ...

    async def stands(self) -> None:
        """Return if the ledger has not gone back in time. Raises what ends the partition's incarnation."""
        ...

    @property
    def doubtful(self) -> bool:
        """Whether outputs are read again that an earlier ledger had, so that what follows from them may have been done."""
        ...

    @property
    def behind(self) -> bool:
        """Whether records are still to be read that may cancel, suppress or replace what waits."""
        ...


ConsentsNow = Callable[[str, str], Awaitable[bool | None]]
"""Lead id and trait → whether the lead's newest state has the trait as true; `None`: the lead has no state."""


LeadOf = Callable[[str], Awaitable[str]]
"""Id → the lead that it belongs to."""


AliasesOf = Callable[[str], Awaitable[tuple[str, ...]]]
"""Lead id → the other ids of the person."""


@dataclass
class Desk:
    """What attempts at acts use, whatever their partition."""

    calls: Calls
    limits: Limits
    targets: Mapping[str, Named]
    ledger_of: Callable[[str], Ledger]
    """The ledger that owns a lead or an address."""
    aliases_of: AliasesOf
    lead_of: LeadOf
    """The lead that an id belongs to: itself, unless it became another lead."""
    behind: Callable[[], Awaitable[int | None]]
    """A partition that is still to be read again before all addresses are known that take no mail; `None`: none is."""
    now_ms: Callable[[], int]
    age_now_ms: Callable[[], int]
    """What the age of an act is counted against."""
    paused: Callable[[], Awaitable[set[str]]]
    rewrite: Callable[[Act], Draft | None]
    consents: ConsentsNow
    unsubscribe: Callable[[Target, Act], str]
    """The address by which a lead takes no more mail."""
    read: Callable[[str], bytes]
    """Reads a document that is signed."""


class Attempt:
    """One attempt at one act."""

    def __init__(self, desk: Desk, ledger: Ledger, fence: Fence, row: Row, lease: Lease) -> None:
        self._desk = desk
        self._ledger = ledger
        self._fence = fence
        self._row = row
        self._lease = lease
        self.act = decode_act(row.packed)
        self.unsure = row.unsure
        self._begun = False
        """Whether this attempt has sent an unsafe step."""
        self._asked = False
        """Whether it has sent any."""
        self.rest_ms = 0
        """For how long the target takes nothing: its breaker is open, or a person has paused it."""

    async def run(self) -> Outcome | None:
        """Make the attempt, and return how it ended; `None` where the act is not ours any more. Never raises a `Refusal`."""
        try:
            ended = await self._held_back()
            if ended is not None:
                return ended
            remote_id = await self._driven()
            if self.act.do == FORGET:
                return await self._forgotten(remote_id)
            return Outcome("done", remote_id=remote_id)
        except NotOurs:
            return None
        except NotNow as later:
            self.rest_ms = later.wait_ms if later.all_of_it else 0
            due_ms = self._desk.now_ms() + min(max(later.wait_ms, _SOONEST_MS), _ASKED_AGAIN_MS)
            return Outcome("intent", str(later), due_ms=self._in_time(due_ms), unsure=self.unsure)
        except TooOld:
            return self._too_old()
        except Refusal as refusal:
            return self._refused(refusal)

    async def _forgotten(self, remote_id: str) -> Outcome:
        """Return the end of a deletion. The first one is made once more, after every request that could overtake it.

        A request that was on its way when the lead was erased may make the person anew: each ends with its lease.
        """
        before = self._row.known.get(_FORGOTTEN)
        if before is not None:
            return Outcome("done", remote_id=remote_id or before)
        if not await self._ledger.remember(self._row.id, self._row.call, _FORGOTTEN, remote_id):
            raise NotOurs
        return Outcome("intent", "deleted, and deleted once more soon", due_ms=self._desk.now_ms() + FORGET_AGAIN_MS)

    async def _held_back(self) -> Outcome | None:
        """Return the end of an act that must not be tried now; `None`: it may be."""
        desk, act, row = self._desk, self.act, self._row
        if not self.unsure:
            self._still_fresh()
        if f"rule:{act.rule}" in (paused := await desk.paused()) or f"rule:{act.rule.partition('/')[0]}" in paused:
            return Outcome("intent", "the rule is paused", due_ms=self._in_time(desk.now_ms() + _PAUSED_MS), unsure=self.unsure)
        if act.target not in desk.targets:
            return Outcome("dead", f"there is no target {act.target} in the connections any more")
        if act.unwritten is not None:  # before its address is asked for
            act = self.act = self._rewritten(act)
        if not row.decided and (why := await self._cancelled_elsewhere()):
            return Outcome("unknown" if self.unsure else "cancelled", why)
        if act.consent and await desk.consents(act.lead_id, act.consent) is False:
            return Outcome("cancelled", f"the trait {act.consent} is not true any more")
        if _is_mail(desk.targets[act.target], act) and (ended := await self._mail_held_back()):
            return ended
        if act.content and not self.unsure and not row.decided and (ended := await self._content_held_back()):
            return ended
        if row.attempts > 1 or self.unsure or row.decided:
            return None
        allowed = await desk.limits.rule_allows(act.rule, row.id, act.most, act.most_ms, desk.now_ms())
        return None if allowed else Outcome("held", f"over {act.most} acts of the rule in {act.most_ms // 60_000} minutes")

    async def _cancelled_elsewhere(self) -> str:
        """Return what came under another id of the person, and cancels the act; empty for nothing."""
        desk, act = self._desk, self.act
        if not act.unless:
            return ""
        for key in await desk.aliases_of(act.lead_id):
            if why := await desk.ledger_of(key).cancelled(key, act.unless, act.at_ms):
                return why
        return ""

    async def _mail_held_back(self) -> Outcome | None:
        """Return the end of a mail that must not go to its address."""
        desk, act = self._desk, self.act
        if (behind := await desk.behind()) is not None:
            why = f"Redis went back, and partition {behind}, which may suppress the address, is still to be read again"
            return Outcome("intent", why, due_ms=self._in_time(desk.now_ms() + _PAUSED_MS), unsure=self.unsure)
        address = f"email:{str(act.fields.get('to', '')).strip().lower()}"
        theirs = desk.ledger_of(address)
        reasons = {
            reason
            for key in dict.fromkeys((act.lead_id, *await desk.aliases_of(act.lead_id), address))
            for reason in (await desk.ledger_of(key).suppressed([key])).values()
        }
        if reasons:
            return Outcome("cancelled", f"no mail may go there: {', '.join(sorted(reasons))}")
        if self.unsure:
            return None
        next_ms = await theirs.mail_allowed(address, self._row.id, desk.now_ms(), MOST_MAILS)
        if not next_ms:
            return None
        return Outcome("intent", f"the address had {MOST_MAILS} mails today", due_ms=self._in_time(next_ms))

    async def _content_held_back(self) -> Outcome | None:
        """Return the end of a content that the person gets under another id."""
        address = address_of(self.act.lead_id, self.act.person)
        if not address:
            return None
        theirs = self._desk.ledger_of(f"email:{address}")
        allowed = await theirs.content_allowed(address, self.act.content, self._row.id)
        return None if allowed else Outcome("cancelled", "the person gets this content under another id")

    async def _driven(self) -> str:
        """Drive the act's steps, and return the remote id. Refusals are raised within the steps, which may mend them."""
        at, act = self._desk.targets[self.act.target], self.act
        action = at.kind.forget if act.do == FORGET else at.kind.actions.get(act.do)
        if action is None:
            raise Never(f"a target of kind {at.kind.name} cannot {act.do}")
        desk = self._desk
        run = Run(self._row.known, self.unsure, desk.now_ms(), desk.unsubscribe(at.target, act), desk.read)
        steps = action(at.target, act, run)
        try:
            return await self._through(at, steps)
        except (Refusal, NotNow, NotOurs, TooOld):
            raise
        except (TypeError, KeyError, IndexError, ValueError, AttributeError) as error:
            log.exception("the answer of %s could not be read", at.name, extra=fields("act.unreadable", target=at.name))
            raise Again(f"its answer could not be read ({type(error).__name__})") from error
        finally:
            steps.close()

    def _rewritten(self, act: Act) -> Act:
        """Return an act that could not be written, written anew: a person has mended the rule or a template."""
        draft = self._desk.rewrite(act)
        if draft is None:
            raise Never(f"there is no rule {act.rule} any more")
        if draft.dead:
            raise Never(draft.dead)
        return msgspec.structs.replace(draft.act, at_ms=act.at_ms, target=act.target)

    async def _through(self, at: Named, steps: Steps) -> str:
        answer, refusal = _READ, None
        first = True
        while True:
            try:
                step = next(steps) if first else steps.throw(refusal) if refusal is not None else steps.send(answer)
            except StopIteration as end:
                return str(end.value or "")
            first, refusal = False, None
            try:
                answer = await self._one(at, step)
            except Refusal as error:
                refusal = error

    async def _one(self, at: Named, step: Step) -> Answer:
        if isinstance(step, Remember):
            if not await self._ledger.remember(self._row.id, self._row.call, step.name, step.value):
                raise NotOurs
            if self._begun and self.unsure != EVERYTHING:
                self.unsure = ""  # the step's answer is known
            return _READ
        begun, self._asked = self._asked, True
        if isinstance(step, Http) and step.safe:
            return await self._desk.calls.call(at, step, self._lease, begun=begun)
        return await self._unsafe(at, step, begun=begun)

    async def _unsafe(self, at: Named, step: Http | Mail, *, begun: bool) -> Answer:
        self._still_fresh()
        before = self.unsure

        async def note() -> None:
            await self._begin("")
            await self._fence.cross()
            await self._begin(step.step)  # nothing is written yet, so a death up to here loses no answer
            self._begun = True
            self.unsure = step.step if before != EVERYTHING else EVERYTHING

        try:
            return await self._desk.calls.call(at, step, self._lease, note, begun=begun)
        except Lost:
            raise
        except (Refusal, NotNow):
            self.unsure = before  # it answered, or nothing was sent
            raise

    async def _begin(self, step: str) -> None:
        until_ms = self._desk.now_ms() + int(self._lease.left_s() * 1000)
        if not await self._ledger.begin(self._row.id, self._row.call, step, until_ms):
            raise NotOurs

    def _still_fresh(self) -> None:
        if not self._row.decided and self._desk.age_now_ms() - self.act.at_ms > self.act.fresh_ms:
            raise TooOld

    def _too_old(self) -> Outcome:
        late_s = (self._desk.age_now_ms() - self.act.at_ms) // 1000
        return Outcome("stale", f"the output is {late_s:,} s old; {self._row.detail}".rstrip("; "))

    def _refused(self, refusal: Refusal) -> Outcome:
        """Return how an attempt ends that a refusal ended."""
        words = str(refusal)
        if isinstance(refusal, Unknown):
            return Outcome("unknown", words)
        if isinstance(refusal, Never):
            return Outcome("dead", words)
        over = not self._row.decided and self._desk.age_now_ms() - self.act.at_ms > self.act.fresh_ms
        if over and self.unsure:
            return Outcome("unknown", f"an answer was lost, and the target could not be asked in time: {words}")
        due_ms = self._desk.now_ms() + self._wait_ms(refusal)
        return Outcome("retry", words, due_ms=self._in_time(due_ms), unsure=self.unsure)

    def _wait_ms(self, refusal: Refusal) -> int:
        """Return for how long to wait: as the target asks, else with full jitter."""
        if isinstance(refusal, Again) and refusal.after_s:
            return int(refusal.after_s * 1000 * random.uniform(1, 1.1))
        longest = min(_LONGEST_WAIT_MS, _FIRST_WAIT_MS << min(self._row.attempts, 20))
        return max(_SOONEST_MS, int(random.uniform(0, longest)))

    def _in_time(self, due_ms: int) -> int:
        """Return *due_ms*, or the instant at which the act gets too old, so that this is reported then."""
        if self._row.decided:
            return due_ms
        left_ms = self.act.at_ms + self.act.fresh_ms - self._desk.age_now_ms()
        return min(due_ms, self._desk.now_ms() + max(left_ms + _LATE_MS, _SOONEST_MS))


def _is_mail(at: Named, act: Act) -> bool:
    return isinstance(at.target, SmtpTarget | BrevoTarget) and "to" in act.fields


assert LEASE_S * 1_000 < FORGET_AGAIN_MS, "no attempt from before an erasure outlasts the second deletion"
assert 2 * ANSWER_S < LEASE_S, "an unsafe step ends within its lease, even after a log-in anew"
