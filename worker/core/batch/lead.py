"""A lead during a batch: events, ticks, and the state that is stored afterwards."""

from __future__ import annotations

from math import inf

from worker.core.contract.model import Event, Item, LeadWrite
from worker.core.identity import accounts, aliases, erasure, messages
from worker.core.identity.recorder import Recorder
from worker.core.identity.subject import Subject
from worker.core.scoring import schedule, stages
from worker.core.scoring.calendar import rfc3339
from worker.core.scoring.fold import add, id_mark, is_activity, is_duplicate, judge_traits, with_traits
from worker.core.scoring.phases import phase_name
from worker.core.scoring.retention import ends_ms
from worker.core.scoring.score import read
from worker.core.scoring.set_aside import SINCE, drop_if_over
from worker.core.scoring.state import STAGES, is_nothing, pack
from worker.core.scoring.traits import Traits, TraitsRefused, refused_alone


class Lead(Subject):
    """A subject that folds items and lets time pass."""

    def take(self, item: Item, recorder: Recorder) -> None:
        """Fold one item: an event, or a message from the owner of another id."""
        if type(item) is Event:
            self._event(item, recorder)
        else:
            messages.HANDLERS[type(item)](self, item, recorder)
        if self.scorer.ties or self.state.links is not None:
            messages.report(self, recorder)

    def _event(self, event: Event, recorder: Recorder) -> None:
        """Fold one event: what time alone changed before it, its effect, then the stage at the lead's clock."""
        state = self.state
        if (state.erased_ms or state.links is not None) and self._is_elsewhere(event, recorder):  # no call for most leads
            return
        if self.scorer.retention is not None:
            self._end_if_idle(event.at_ms, recorder)
        mark = id_mark(event)
        if is_duplicate(self.state, mark):
            recorder.effects.duplicates += 1
        elif event.type == "profile.updated":
            self._profile(event, mark, recorder)
        elif event.type == "lead.erased":
            self._reach(event.at_ms, recorder)
            erasure.erase(self, event.at_ms, recorder)
        elif event.type != "lead.identified" or aliases.has_room(self, event, recorder):
            self._reach(event.at_ms, recorder)
            self._fold(event, mark, recorder, known=self.state.alive)

    def _is_elsewhere(self, event: Event, recorder: Recorder) -> bool:
        """Return whether the event is not for this id: the lead was erased after it, or the id is an alias."""
        state = self.state
        if state.erased_ms and event.at_ms <= state.erased_ms:
            recorder.effects.erased += 1
            return True
        if state.links is None or not aliases.forward(self, event, recorder):
            return False
        if event.type == "lead.erased":  # here too, and now: on its way the alias might become another lead's
            erasure.erase_alias(self, event.at_ms, recorder)
        return True

    def _profile(self, event: Event, mark: bytes, recorder: Recorder) -> None:
        """Fold an event with traits, unless they are too many."""
        try:
            traits, packed, refused = with_traits(self.state, event)
        except TraitsRefused as err:
            recorder.refuse("traits_refused", str(err))
            return
        if refused:
            recorder.refuse("traits_refused", refused_alone(refused), in_part=True)
        self._reach(event.at_ms, recorder)
        self.state.traits = packed
        self._fold(event, mark, recorder, known=False, traits=traits)

    def _reach(self, at_ms: int, recorder: Recorder) -> None:
        """Let time pass up to an event at *at_ms*, and set the clock. A late event leaves it."""
        links = self.state.links
        if links is not None and links.awaiting:
            stages.advance(self.scorer, self.state, links.judged_until_ms, self.at_ms, self.by_time)
        if at_ms > self.at_ms:
            self._let_pass(at_ms)
            self.at_ms = at_ms
        elif at_ms < self.at_ms or at_ms <= self.tick_ms:
            recorder.effects.late += 1

    def _fold(self, event: Event, mark: bytes, recorder: Recorder, *, known: bool, traits: Traits | None = None) -> None:
        """Add the event's effect, and judge the lead at its clock.

        *known*: its traits are judged already. *traits*: the traits, where they are unpacked.
        """
        state, scorer = self.state, self.scorer
        if not known:
            self.begin()
            judge_traits(scorer, state, traits)
            self.traits_changed = True
        max_gain = add(scorer, state, event, mark, self.at_ms)
        if event.type == "lead.identified":
            aliases.request(self, event, recorder)
        crm = event.type.startswith("crm.")
        if known and not crm and self._stays(max_gain):
            return
        moves = self.transitions(recorder)
        if crm:
            stages.take_crm(scorer, state, event.type, event.at_ms, self.at_ms, moves)
        self.judge(moves, acted=scorer.explore_from < inf and not event.machine and is_activity(event.type))
        if crm:  # once more: the event may have brought about the very lead.sql that it answers, being no older than it
            stages.answer(state, event.type, event.at_ms)
        if state.links is not None:
            self.note_judged()
        self.changed = True

    def _stays(self, max_gain: float) -> bool:
        """Return whether an event that adds at most *max_gain* points leaves the lead in its stage.

        If so, the lead is not judged: it is read once, when it is written.
        """
        if max_gain == inf or self.state.links is not None or not self.is_stable(self.at_ms) or max_gain > self.slack:
            return False
        self.slack -= max_gain
        self.reading = None
        self._unjudged = True
        if self.scorer.retention is not None:
            self.schedule(None)
        self.changed = True
        return True

    def _let_pass(self, at_ms: int) -> None:
        """Let time pass up to an event at *at_ms*, which is later than the lead's clock."""
        if self._unjudged and not self.is_stable(at_ms):
            self.catch_up()
        state, due_ms = self.state, self.state.due_ms
        if self._unjudged or due_ms is None or due_ms >= at_ms:
            return
        if state.links is None:
            self.catch_up()
            if self.is_stable(at_ms):
                return
        stages.advance(self.scorer, state, self.at_ms, at_ms - 1, self.by_time)

    def _end_if_idle(self, before_ms: int, recorder: Recorder) -> None:
        """Remove the lead if it was idle past the grid's `retention` before an event at *before_ms*."""
        due_ms = self.state.due_ms
        if due_ms is not None and due_ms < before_ms and not self.waits():
            self._is_removed(before_ms - 1, recorder.by_time())

    def _is_removed(self, to_ms: int, recorder: Recorder) -> bool:
        """Let time pass until *to_ms*. Return whether the lead was removed on the way, idle past the grid's `retention`."""
        scorer, state = self.scorer, self.state
        self.changed = True
        while self.at_ms < to_ms:
            stop_ms = int(min(max(ends_ms(scorer, state), self.at_ms + 1), to_ms))
            stages.advance(scorer, state, self.at_ms, stop_ms, self.by_time)
            self.at_ms = stop_ms
            if ends_ms(scorer, state) <= stop_ms and not self.waits():
                recorder.effects.removed += 1
                erasure.remove(self, recorder)
                return True
        return False

    def tick(self, at_ms: int, recorder: Recorder) -> None:
        """Judge the lead at every instant up to and including *at_ms* at which time alone changes the answer."""
        links = self.state.links
        if links is not None and links.account is not None:
            accounts.judge(self, recorder)  # by a new grid, too
            self.changed = True
        if self.state.alive:
            self._let_tick(at_ms, recorder)
        if self.scorer.ties or self.state.links is not None:
            messages.report(self, recorder)

    def _let_tick(self, at_ms: int, recorder: Recorder) -> None:
        state, scorer = self.state, self.scorer
        if self.waits():
            self.changed = True  # which takes the lead off `due` until it stops waiting
            return
        if at_ms > self.at_ms:
            if scorer.retention is not None and self._is_removed(at_ms, recorder):
                return
            stages.advance(scorer, state, self.at_ms, at_ms, self.by_time)
            # Kept, because a tick is applied in slices: after a crash between two, events come before the tick's last slice.
            self.at_ms = state.clock_ms = at_ms
        self.reading = read(scorer, state, self.at_ms)
        self.schedule(schedule.exact_due(scorer, state, self.reading, self.at_ms))
        self.changed = True

    def write(self) -> LeadWrite:
        """Return what is stored of the lead."""
        state = self.state
        if not state.alive:
            account = state.identity.account
            return LeadWrite(
                lead=self.name,
                state=b"" if is_nothing(state) else pack(state),
                score="",
                fit="",
                engagement="",
                stage="",
                grade="",
                updated_at="",
                due_ms=None,
                rank=None if account is None else accounts.total(account),
            )
        if SINCE in state.exclusions:
            drop_if_over(self.scorer, state, self.at_ms)
        reading = self.catch_up()
        return LeadWrite(
            lead=self.name,
            state=pack(state),
            score=_decimal(reading.score),
            fit=_decimal(reading.fit),
            engagement=_decimal(reading.engagement),
            stage=STAGES[state.stage],
            grade=self.scorer.grade(reading.fit, reading.engagement) or "",
            updated_at=rfc3339(self.at_ms),
            due_ms=None if self.waits() else state.due_ms,
            rank=reading.highest,
            phase=(phase_name(self.scorer, state) or "") if self.scorer.phases else None,
        )


def _decimal(value: float) -> str:
    """Return a number as people read it in Redis. Nine decimals hide rounding errors and no points."""
    return repr(round(value, 9) + 0.0)
