"""The interfaces of the ledger and of the group, for the program that acts. `adapters` implement them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, Protocol, TypeAlias

import msgspec

from worker.ports import Committed, LogGroup, LogPartition

AFTER_ALL: Final = 999_999_999_999_999_999
"""Sequence of an event that comes in, which has none: it comes after all outputs of its millisecond."""


class AddAct(msgspec.Struct, frozen=True):
    """Write an act down as `intent`, unless its id is known or its lead was erased after its output."""

    id: str
    lead_id: str
    target: str
    unless: tuple[str, ...]
    packed: bytes
    """The act, for the program alone."""
    at_ms: int
    """The output's `time`. Acts of a lead at one target are offered in its order, then in that of their coming."""
    due_ms: int
    unsure: bool = False
    """The ledger went back, so this act may have been done: look it up, never send it blindly."""
    dead: str = ""
    """Why it cannot be written. It ends as `dead` at once."""
    sequence: int = 0
    """That of its output, which orders what has the same time."""
    output_ms: int = 0
    """Time of its output, where `at_ms` is another one; 0: it is `at_ms`."""


class Cancel(msgspec.Struct, frozen=True):
    """Cancel a lead's waiting acts whose `unless` has *type*, if they are older than the event.

    Within one millisecond, outputs follow each other by their sequence, and events that come in follow them all. So an output
    never cancels its own act, and the order of reading decides nothing.

    It is remembered for a week, since the topic of an older output may be read later. Such an act is cancelled as it comes.
    """

    lead_id: str
    type: str
    at_ms: int
    sequence: int = AFTER_ALL


class PutState(msgspec.Struct, frozen=True):
    """Keep a lead's newest state for a target, unless a newer one is kept or written."""

    target: str
    rule: str
    lead_id: str
    sequence: int
    packed: bytes
    at_ms: int
    """The output's `time`."""
    due_ms: int


class Suppress(msgspec.Struct, frozen=True):
    """No mail to a lead or an address any more. Each of *keys* is a lead's id or `email:ADDRESS`."""

    key: str
    reason: str
    """`unsubscribed`, `complained` or `bounced`."""
    at_ms: int


class Lift(msgspec.Struct, frozen=True):
    """`email.subscribed` lifts an unsubscription, and nothing else."""

    key: str
    at_ms: int


class Enrol(msgspec.Struct, frozen=True):
    """Begin a nurturing rule for a lead, or give it the newest output."""

    rule: str
    lead_id: str
    packed: bytes
    """The output that contents are written from."""
    at_ms: int
    """The output's `time`."""
    due_ms: int
    only_if_enrolled: bool = False
    """Replace the output of a lead who is enrolled, and enrol nobody."""
    sequence: int = 0
    """That of the output."""


class Leave(msgspec.Struct, frozen=True):
    """End a nurturing rule for a lead, and cancel its waiting contents."""

    rule: str
    lead_id: str


class Nurtured(msgspec.Struct, frozen=True):
    """Note the content chosen for a lead who is enrolled, and when the next one is due; 0: there is none.

    *act* is added with it, unless the lead has left or had the content. So nothing loses or doubles a content.
    """

    rule: str
    lead_id: str
    content: str
    """Empty where no content fits now."""
    due_ms: int
    act: AddAct | None = None


class EraseLead(msgspec.Struct, frozen=True):
    """Forget everything about a lead from before the erasure, but that it was erased. Nothing older is added any more.

    Suppressions of its address stay. The ledger knows them by a hash alone.
    """

    lead_id: str
    at_ms: int
    sequence: int = 0
    """That of the output. What has the same time and a smaller one is older."""


Op: TypeAlias = AddAct | Cancel | PutState | Suppress | Lift | Enrol | Leave | Nurtured | EraseLead


class Row(msgspec.Struct, frozen=True):
    """An act in the ledger."""

    id: str
    lead_id: str
    target: str
    packed: bytes
    state: str
    attempts: int
    created_ms: int
    updated_ms: int
    due_ms: int
    known: dict[str, str]
    """What earlier attempts remembered."""
    unsure: str
    """The unsafe step whose answer was lost; `*` where the ledger went back."""
    remote_id: str
    detail: str
    call: str = ""
    """Names the present attempt."""
    decided: bool = False
    """A person wants it to be tried, so neither `fresh` nor `max` holds it back."""


class StateRow(msgspec.Struct, frozen=True):
    """A lead's state that waits for a target. A lead has one for each rule of the target."""

    rule: str
    lead_id: str
    sequence: int
    packed: bytes
    attempts: int
    first_ms: int
    """Since when some state of this lead has waited."""


class StateEnd(msgspec.Struct, frozen=True):
    """How an attempt at a state ended."""

    rule: str
    lead_id: str
    sequence: int
    due_ms: int = 0
    """When to try again; 0: never."""
    failure: str = ""
    """Why it was not written; empty: it was."""


class Enrolled(msgspec.Struct, frozen=True):
    """A lead whose next content is due."""

    rule: str
    lead_id: str
    packed: bytes
    sent: tuple[str, ...]
    """Contents of the rule that the lead had, ever."""


class Outcome(msgspec.Struct, frozen=True):
    """How an attempt ended."""

    state: str
    """`intent` puts the act back as if it had not been tried, due at `due_ms`."""
    detail: str = ""
    remote_id: str = ""
    due_ms: int = 0
    """Of `retry` and `intent`."""
    unsure: str = ""
    """The unsafe step whose answer was lost, for the next attempt."""


class Acted(msgspec.Struct, frozen=True):
    """An act that has ended, for `lead.acted`."""

    key: str
    """Names the entry when it is done with."""
    row: Row


class Ledger(Protocol):
    """One partition of one namespace: acts, states, enrolments and suppressions of the leads that it owns.

    Every method raises `StoreUnavailable`, after which the caller cannot know whether the call took effect, and `StoreRefused`.
    Repeating a call is always right.
    """

    async def position(self) -> dict[str, int]:
        """Return the next offset of each topic up to which everything is written down. Empty in a new or emptied ledger.

        It also holds the program's own count of unsafe calls, under a name that is no topic's. Names are kept as they are.
        """
        ...

    async def distrust(self) -> None:
        """Mark every act that waits with `unsure="*"`: the ledger went back in time, so each may have been done since.

        Acts of an attempt that runs are marked too, and its `begin` returns False from then on. Works in small steps.
        """
        ...

    async def take(
        self, ops: Sequence[Op], now_ms: int, position: Mapping[str, int] | None = None, *, again: bool = False
    ) -> None:
        """Do *ops* in order and note *position* (names that it leaves out stay as they are), in one step.

        A position never moves back, since a call that was lost may arrive after its repeat. With *again* it does: a topic was
        made anew.

        A record may concern leads of another partition. Their ops go to their own ledger first, without a position. All ops
        are idempotent, so a repeat after a crash changes nothing.
        """
        ...

    async def claim(self, target: str, now_ms: int, lease_ms: int, most: int, call: str) -> list[Row]:
        """Lease up to *most* acts of *target* that are due, and return them.

        Of a lead's acts at one target only the oldest that waits is offered, so that they keep their order. No other process
        gets them before the lease ends. Where an earlier lease ended in an unsafe step, `unsure` of the row names it.
        """
        ...

    async def begin(self, id_: str, call: str, step: str, until_ms: int) -> bool:
        """Note an unsafe step before it is sent, and lease the act until *until_ms*. False: the act is not ours any more.

        An empty *step* leaves what is noted.
        """
        ...

    async def remember(self, id_: str, call: str, name: str, value: str) -> bool:
        """Keep a value for later attempts, and note that the unsafe step has its answer. False: not ours any more."""
        ...

    async def finish(self, id_: str, call: str, outcome: Outcome, now_ms: int) -> bool:
        """End an attempt. The lead's next act at the target becomes due. False: not ours any more.

        A `done` of an attempt that lost its lease still replaces `unknown`.
        """
        ...

    async def claim_states(self, target: str, now_ms: int, lease_ms: int, most: int) -> list[StateRow]:
        """Lease up to *most* states of *target* that are due."""
        ...

    async def finish_states(self, target: str, ends: Sequence[StateEnd], now_ms: int) -> None:
        """End an attempt at states. Where a newer state came meanwhile, it becomes due."""
        ...

    async def claim_enrolled(self, now_ms: int, lease_ms: int, most: int) -> list[Enrolled]:
        """Lease leads whose next content is due."""
        ...

    async def cancelled(self, lead_id: str, types: Collection[str], at_ms: int) -> str:
        """Return which of *types* came to a lead after *at_ms*, within a week; empty for none."""
        ...

    async def suppressed(self, keys: Sequence[str]) -> dict[str, str]:
        """Return the reason for each of *keys* to which no mail may go. The keys must be of this partition."""
        ...

    async def mail_allowed(self, address: str, id_: str, now_ms: int, most: int) -> int:
        """Count a mail to *address*, once for each act, and return 0; or return when the next one is allowed (ms).

        A mail counts from its latest try, for it may go out then.
        The address is in lower case, with `email:` before it or without.
        """
        ...

    async def content_allowed(self, address: str, content: str, id_: str) -> bool:
        """Note that a person with *address* gets *content* (RULE/CONTENT) by the act *id_*. False: another act was noted.

        So a person gets it once, under whatever ids. It is kept for 400 days. The address is as in `mail_allowed`.
        """
        ...

    async def contents_of(self, address: str) -> set[str]:
        """Return the contents (RULE/CONTENT) that are noted for a person with *address*."""
        ...

    async def sent(self, lead_id: str) -> dict[str, tuple[str, ...]]:
        """Return for each nurturing rule the contents that were chosen for the lead, ever."""
        ...

    async def acted(self, most: int) -> list[Acted]:
        """Return the oldest acts that have ended and were not published as `lead.acted`."""
        ...

    async def published(self, keys: Collection[str]) -> None:
        """Forget entries of `acted`."""
        ...

    async def next_due(self, targets: Sequence[str]) -> int | None:
        """Return when the next act, state or content is due (ms); `None` without any."""
        ...

    async def figures(self) -> dict[str, dict[str, int]]:
        """Return of each target its acts by state, `states` waiting, `states_dead`, and since when one waits (`oldest_ms`)."""
        ...

    async def get(self, id_: str) -> Row | None:
        """Return one act."""
        ...

    async def rows(self, states: Collection[str] = (), target: str = "", lead_id: str = "") -> list[Row]:
        """Return acts, oldest first. Reads in small steps; none blocks Redis for long."""
        ...

    async def decide(self, id_: str, state: str, detail: str, now_ms: int) -> bool:
        """A person's decision: `intent` tries it again, `done`, `dead` and `cancelled` end it.

        An act that is tried again is not unsure any more: the person has looked. False: unknown to us, in a call, or done.
        """
        ...


class ActGroup(LogGroup, Protocol):
    """A member of the group that reads outputs. It commits offsets by hand. Its methods raise `LogUnavailable`."""

    async def commit(self, offsets: Mapping[LogPartition, int], note: str) -> None:
        """Commit *offsets*, each with *note*. Raises where another member owns one of the partitions by now."""
        ...

    async def committed(self, topics: Collection[str], partition: int) -> dict[str, Committed]:
        """Return the group's committed offset and note for *partition* of each of *topics* that has one."""
        ...

    async def at(self, partitions: Sequence[LogPartition], time_ms: int) -> dict[LogPartition, int]:
        """Return the first offset at or after *time_ms* of each of *partitions*, or its end."""
        ...
