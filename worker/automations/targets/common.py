"""What every target offers to the program that runs it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from pydantic import BaseModel

from worker.automations.acts import Act, LeadState
from worker.automations.requests import Answer, Run, Steps, Writes
from worker.automations.targets.prepared import Preparation, Wanted


def no_limit(_answer: Answer) -> float:
    """Return 0: the vendor sends no limit headers."""
    return 0.0


class Rate(NamedTuple):
    """A limit of the vendor, of which we use at most 70 %, for other programs use the same account."""

    requests: int
    per_s: float


class Action(Protocol):
    """Makes the steps of one act. Pure: it knows no clock, network or secret."""

    def __call__(self, target: Any, act: Act, run: Run, /) -> Steps:
        """Return the steps of *act* at *target*, a model of the connections."""
        ...


class Kind(NamedTuple):
    """A kind of target: its actions, its errors and its limits."""

    name: str
    actions: Mapping[str, Action]
    """`do` → its steps."""
    fields: Mapping[str, type[BaseModel]]
    """`do` → the keys under `with`: which are required, and what they hold. `act check` and the schema read them."""
    judge: JudgeOf
    """Raises a `Refusal` for an answer that is no success. Called for each answer but those that the step `takes`."""
    rate: Rate
    batch: int = 1
    """Most leads whose states go in one request."""
    write: WriteStates | None = None
    """Writes states of leads (`sync`), where the target can."""
    forget: Action | None = None
    """Asks the target to delete a person, for an act with `do: forget` (`forget: true` of the target). It is always safe."""
    whole: Collection[str] = ()
    """Actions that send the output itself: the act has it as `fields["output"]`, an object, in place of a `with`."""
    personal: Mapping[str, str] = {}
    """Actions that need a person → the key under `with` that may name one; empty: it is the lead. Visitors may be no person."""
    prepare: Prepare | None = None
    """Looks up the fields that states need at the target, and makes them where the vendor's API can."""
    spare: Callable[[Answer], float] = no_limit
    """Reads the vendor's limit headers: for how many seconds to send nothing, since too little of the limit is left."""


class JudgeOf(Protocol):
    """Tells a target's errors apart, by its own document."""

    def __call__(self, answer: Answer, /) -> None:
        """Raise a `Refusal` for an answer that is no success."""
        ...


class WriteStates(Protocol):
    """Makes the requests that write states."""

    def __call__(self, target: Any, states: Sequence[LeadState], /) -> Writes:
        """Return the steps that write *states*."""
        ...


class Prepare(Protocol):
    """Makes the requests that look up fields, and make them."""

    def __call__(self, target: Any, wanted: Sequence[Wanted], make: bool, /) -> Preparation:
        """Return the steps that look up *wanted*, and with *make* the steps that make what is missing."""
        ...
