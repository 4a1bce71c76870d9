"""One partition's ledger of acts in memory. One test suite checks that it answers as Redis does, so other tests can use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from worker.adapters.memory_acts import DAY_MS, MemoryActs
from worker.automation_ports import (
    AddAct,
    Cancel,
    Enrol,
    Enrolled,
    EraseLead,
    Leave,
    Lift,
    Nurtured,
    Op,
    PutState,
    StateEnd,
    StateRow,
    Suppress,
)

REASONS: Final = ("complained", "bounced", "unsubscribed")
"""The strongest first."""


@dataclass(slots=True)
class _State:
    sequence: int
    packed: bytes
    at_ms: int
    due_ms: int
    first_ms: int
    attempts: int = 0
    dead: str = ""
    """Why it is not tried again."""


@dataclass(slots=True)
class _Enrolment:
    packed: bytes = b""
    at_ms: int = 0
    due_ms: int | None = None
    sequence: int = 0
    enrolled: bool = False
    sent: tuple[str, ...] = ()


class MemoryLedger(MemoryActs):
    """`worker.automation_ports.Ledger` in memory, with the same answers as `RedisLedger`; never unavailable."""

    def __init__(self) -> None:
        super().__init__()
        self._position: dict[str, int] = {}
        self._states: dict[tuple[str, str, str], _State] = {}
        self._written: dict[tuple[str, str, str], int] = {}
        """Of each target, rule and lead, the newest sequence."""
        self._enrolments: dict[tuple[str, str], _Enrolment] = {}
        self._suppressed: dict[tuple[str, str], int] = {}
        self._lifted: dict[str, int] = {}
        self._mails: dict[str, dict[str, int]] = {}
        self._contents: dict[str, dict[str, str]] = {}
        """Of each address, contents with the act by which the person gets each."""

    # --- what is written down ----------------------------------------------------------------------------------------

    async def position(self) -> dict[str, int]:
        """Return the next offset of each topic; see the port."""
        return dict(self._position)

    async def take(
        self, ops: Sequence[Op], now_ms: int, position: Mapping[str, int] | None = None, *, again: bool = False
    ) -> None:
        """Do *ops* in order and note *position*; see the port."""
        for op in ops:
            match op:
                case AddAct():
                    self._add(op, now_ms)
                case Cancel():
                    self._cancel(op, now_ms)
                case PutState():
                    self._put_state(op, now_ms)
                case Suppress():
                    self._suppress(op)
                case Lift():
                    self._lifted[op.key] = max(op.at_ms, self._lifted.get(op.key, 0))
                    if self._suppressed.get((op.key, "unsubscribed"), op.at_ms) < op.at_ms:
                        del self._suppressed[op.key, "unsubscribed"]
                case Enrol():
                    self._enrol(op)
                case Leave():
                    self._leave(op, now_ms)
                case Nurtured():
                    self._nurtured(op, now_ms)
                case EraseLead():
                    self._erase(op)
        for name, offset in (position or {}).items():
            self._position[name] = offset if again else max(offset, self._position.get(name, 0))
        self._forget(now_ms)

    def _put_state(self, op: PutState, now_ms: int) -> None:
        key = op.target, op.rule, op.lead_id
        held = self._states.get(key)
        newest = max(self._written.get(key, -1), held.sequence if held else -1)
        if op.sequence <= newest or self._was_erased(op.lead_id, op.at_ms, op.sequence):
            return
        if held is None or held.dead:
            self._states[key] = _State(op.sequence, op.packed, op.at_ms, op.due_ms, now_ms)
        else:  # it waits for its turn as the one before did
            held.sequence, held.packed, held.at_ms = op.sequence, op.packed, op.at_ms

    def _suppress(self, op: Suppress) -> None:
        if op.reason != "unsubscribed" or op.at_ms >= self._lifted.get(op.key, 0):
            key = op.key, op.reason
            self._suppressed[key] = max(op.at_ms, self._suppressed.get(key, 0))

    def _enrol(self, op: Enrol) -> None:
        held = self._enrolments.get((op.rule, op.lead_id), _Enrolment())
        if self._was_erased(op.lead_id, op.at_ms, op.sequence) or (op.only_if_enrolled and not held.enrolled):
            return
        if not held.enrolled:
            held.enrolled, held.due_ms, held.at_ms = True, op.due_ms, 0
        if op.at_ms >= held.at_ms:
            held.packed, held.at_ms, held.sequence = op.packed, op.at_ms, op.sequence
        self._enrolments[op.rule, op.lead_id] = held

    def _leave(self, op: Leave, now_ms: int) -> None:
        held = self._enrolments.get((op.rule, op.lead_id))
        if held is not None:
            held.enrolled, held.packed, held.due_ms = False, b"", None
        self._cancel_contents(op, now_ms)

    def _nurtured(self, op: Nurtured, now_ms: int) -> None:
        held = self._enrolments.get((op.rule, op.lead_id))
        if held is None or not held.enrolled:
            return
        if op.content and op.content not in held.sent:
            held.sent = (*held.sent, op.content)
            if op.act is not None:
                self._add(op.act, now_ms)
        held.due_ms = op.due_ms or None

    def _was_erased(self, lead: str, at_ms: int, sequence: int) -> bool:
        return (at_ms, sequence) < self._erased.get(lead, (0, 0))

    def _erase(self, op: EraseLead) -> None:
        lead, erased = op.lead_id, (op.at_ms, op.sequence)
        self._erase_acts(op)
        self._states = {
            key: held for key, held in self._states.items() if key[2] != lead or (held.at_ms, held.sequence) >= erased
        }
        self._written = {key: held for key, held in self._written.items() if key[2] != lead}
        self._enrolments = {
            key: held for key, held in self._enrolments.items() if key[1] != lead or (held.at_ms, held.sequence) >= erased
        }
        if lead.startswith("email:"):  # an address that takes no mail takes none after the erasure either
            self._contents.pop(lead.removeprefix("email:"), None)
            return
        self._suppressed = {key: held for key, held in self._suppressed.items() if key[0] != lead}
        self._lifted.pop(lead, None)

    # --- states and contents -----------------------------------------------------------------------------------------

    async def claim_states(self, target: str, now_ms: int, lease_ms: int, most: int) -> list[StateRow]:
        """Lease states of *target* that are due; see the port."""
        due = sorted(
            (held.due_ms, f"{key[1]}|{key[2]}".encode(), key)
            for key, held in self._states.items()
            if key[0] == target and not held.dead and held.due_ms <= now_ms
        )
        found = []
        for _, _, key in due[:most]:
            held = self._states[key]
            held.attempts += 1
            held.due_ms = now_ms + lease_ms
            found.append(StateRow(key[1], key[2], held.sequence, held.packed, held.attempts, held.first_ms))
        return found

    async def finish_states(self, target: str, ends: Sequence[StateEnd], now_ms: int) -> None:
        """End an attempt at states; see the port."""
        for end in ends:
            held = self._states.get((target, end.rule, end.lead_id))
            if held is not None:  # it was written before, or erased
                self._finish_state((target, end.rule, end.lead_id), held, end, now_ms)

    def _finish_state(self, key: tuple[str, str, str], held: _State, end: StateEnd, now_ms: int) -> None:
        is_newer = held.sequence > end.sequence
        if not end.failure:
            self._written[key] = max(end.sequence, self._written.get(key, -1))
            if not is_newer:
                del self._states[key]
            elif not held.dead:
                held.due_ms, held.first_ms, held.attempts = now_ms, now_ms, 0
        elif not held.dead:
            if end.due_ms or is_newer:
                held.due_ms = end.due_ms or now_ms
            else:
                held.dead, held.first_ms = end.failure, 0

    async def claim_enrolled(self, now_ms: int, lease_ms: int, most: int) -> list[Enrolled]:
        """Lease leads whose next content is due; see the port."""
        due = sorted(
            (held.due_ms, "|".join(key).encode(), key)
            for key, held in self._enrolments.items()
            if held.due_ms is not None and held.due_ms <= now_ms
        )
        for _, _, key in due[:most]:
            self._enrolments[key].due_ms = now_ms + lease_ms
        return [Enrolled(*key, self._enrolments[key].packed, self._enrolments[key].sent) for _, _, key in due[:most]]

    # --- mails -------------------------------------------------------------------------------------------------------

    async def suppressed(self, keys: Sequence[str]) -> dict[str, str]:
        """Return the strongest reason for each of *keys* that is suppressed."""
        return {
            key: reason for key in keys for reason in reversed(REASONS) if (key, reason) in self._suppressed
        }  # the last of a key, the strongest one, stays

    async def mail_allowed(self, address: str, id_: str, now_ms: int, most: int) -> int:
        """Count a mail to *address* within a day; see the port."""
        address = address.removeprefix("email:")
        sent = {name: at_ms for name, at_ms in self._mails.get(address, {}).items() if at_ms > now_ms - DAY_MS}
        self._mails[address] = sent
        if id_ not in sent and len(sent) >= most:
            return sorted(sent.values())[len(sent) - most] + DAY_MS
        sent[id_] = now_ms  # tried again, it may go out now
        return 0

    async def content_allowed(self, address: str, content: str, id_: str) -> bool:
        """Note by which act a person with *address* gets *content*; see the port."""
        return self._contents.setdefault(address.removeprefix("email:"), {}).setdefault(content, id_) == id_

    async def contents_of(self, address: str) -> set[str]:
        """Return the contents that are noted for a person with *address*."""
        return set(self._contents.get(address.removeprefix("email:"), ()))

    async def sent(self, lead_id: str) -> dict[str, tuple[str, ...]]:
        """Return for each nurturing rule the contents that were chosen for the lead."""
        return {key[0]: held.sent for key, held in self._enrolments.items() if key[1] == lead_id and held.sent}

    # --- what is told ------------------------------------------------------------------------------------------------

    async def next_due(self, targets: Sequence[str]) -> int | None:
        """Return when the next act, state or content is due (ms); `None` without any."""
        dues = [due_ms for target in targets for due_ms in self._dues(target).values()]
        dues += [held.due_ms for key, held in self._states.items() if key[0] in targets and not held.dead]
        dues += [held.due_ms for held in self._enrolments.values() if held.due_ms is not None]
        return min(dues, default=None)

    async def figures(self) -> dict[str, dict[str, int]]:
        """Return of each target its acts by state, and its states; see the port."""
        found = self._counts()
        for key, held in self._states.items():
            counts = found.setdefault(key[0], {})
            name = "states_dead" if held.dead else "states"
            counts[name] = counts.get(name, 0) + 1
            if not held.dead:
                counts["oldest_ms"] = min(held.first_ms, counts.get("oldest_ms", held.first_ms))
        return found
