"""The table of event types and that of output types: everything that knows types derives from them."""

from __future__ import annotations

import json

import pytest

from schemas import INPUTS, OUTPUTS
from schemas.examples import input_example
from worker.core.batch.plan import plan_events
from worker.core.contract import event_types, output_types
from worker.core.contract.codec import decode
from worker.core.contract.event_types import ACTIVITIES, CUSTOM, DATA_FIELDS, FAMILIES, INPUT_TOPICS, TYPE_NAMES, named, row_of
from worker.core.contract.model import Event, Record, Unknown
from worker.core.grid.models import parse_grid
from worker.core.grid.values import EVENT_TYPES
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.outputs import recent
from worker.core.scoring.packing import close
from worker.core.scoring.state import LeadState, pack, unpack

STORED = [
    "page.viewed", "email.delivered", "email.opened", "email.clicked", "email.replied", "email.bounced",
    "email.unsubscribed", "email.complained", "webinar.registered", "webinar.attended", "webinar.no_show",
    "webinar.replayed", "form.submitted", "content.downloaded", "demo.requested", "trial.started", "quote.requested",
    "social.shared", "social.clicked", "social.followed", "profile.updated", "lead.identified", "crm.accepted",
    "crm.rejected", "crm.opportunity", "crm.won", "crm.lost", "crm.no_show", "lead.erased",
]  # fmt: skip
"""Types by their number, as states of released versions hold them. New types are not written here."""

NAMED = (*EVENT_TYPES, "custom.trade_show.*")
RULES = "\n".join(f"    - {{id: rule-{number}, points: 1, on: {name}}}" for number, name in enumerate(NAMED))
GRID = parse_grid(f"grid: all\nversion: 1\nengagement:\n  rules:\n{RULES}\n", "all.yaml")


@pytest.mark.parametrize("event_type", DATA_FIELDS)
def test_an_example_of_every_type_is_folded(event_type: str) -> None:
    """A type that no state can name would stop its partition at the first event."""
    value = json.dumps(input_example(event_type)).encode()
    event = decode(Record("lead.events.web", 0, 0, None, None, value))
    assert isinstance(event, Event)
    plan = plan_events(CompiledGrid(GRID, "/leadpulse/test"), {event.lead: None}, [event], clock_ms=None, find=lambda _: None)
    assert plan.refused == []
    (packed,) = (write.state for write in plan.writes if write.lead == event.lead)
    state = unpack(packed)
    scored = not event.machine and event_type not in ("profile.updated", "lead.identified", "lead.erased")
    if scored:
        assert [one["type"] for one in recent(state)] == [event.type]
        assert [count.n for count in state.counts.values()] == [1]
    assert (state.active_ms > 0) == (not event.machine and event_type in (*ACTIVITIES, CUSTOM))


def test_a_state_names_every_stored_type() -> None:
    """In as many states as it takes: one holds twenty events."""
    for number, name in TYPE_NAMES.items():
        text = "call.made" if name == CUSTOM else ""
        state = unpack(pack(LeadState(clock_ms=1_000, recent=close([(1_000, number, text)]))))
        assert [one["type"] for one in recent(state)] == ["custom.call.made" if name == CUSTOM else name]


def test_numbers_in_states_never_change() -> None:
    """And leave no gap."""
    assert [TYPE_NAMES[number] for number in range(len(STORED))] == STORED
    assert sorted(TYPE_NAMES) == list(range(len(event_types.INPUTS)))


def test_types_stand_once_and_share_a_family_with_their_first_word() -> None:
    """Events go to a topic by the first word of their type."""
    assert len(DATA_FIELDS) == len(event_types.INPUTS)
    assert [row.name for row in event_types.INPUTS if FAMILIES[row.name.partition(".")[0]] != row.family] == []
    assert len(OUTPUTS) == len(output_types.OUTPUTS)


def test_every_type_has_a_model() -> None:
    """With the meaning that producers and consumers read."""
    assert {name: model.__doc__ for name, model in INPUTS.items()} == {row.name: row.meaning for row in event_types.INPUTS}
    assert {name: model.__doc__ for name, model in OUTPUTS.items()} == {row.name: row.meaning for row in output_types.OUTPUTS}


# --- types of one's own ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "call.made", "0", "_", "..", "a" * 64, "call."])
def test_a_name_of_ones_own_is_a_known_type(name: str) -> None:
    """1 to 64 of a-z, 0-9, _ and dots."""
    assert row_of(f"custom.{name}") == CUSTOM


@pytest.mark.parametrize("type_", ["custom", "custom.", "custom.A", "custom.a b", "custom.*", "custom.é", "custom." + "a" * 65])
def test_any_other_name_is_unknown(type_: str) -> None:
    """It is counted and passed over, as every unknown type. The codec says so, too."""
    assert row_of(type_) is None
    value = json.dumps(input_example(CUSTOM) | {"type": type_}).encode()
    assert isinstance(decode(Record("lead.events.web", 0, 0, None, None, value)), Unknown)


@pytest.mark.parametrize(
    ("on", "type_", "is_named"),
    [
        ("custom.*", "custom.call", True),
        ("custom.*", "custom.call.made", True),
        ("custom.call.*", "custom.call.made", True),
        ("custom.call.*", "custom.call.made.twice", True),
        ("custom.call.*", "custom.call", False),
        ("custom.call.*", "custom.callback", False),
        ("custom.call", "custom.call.made", False),
        ("custom.call", "custom.call", True),
        ("custom.*", "page.viewed", False),
    ],
)
def test_a_name_that_ends_in_a_star_names_all_below_it(on: str, type_: str, is_named: bool) -> None:
    """And not what it begins with."""
    assert named([on], type_) is is_named


def test_new_types_bring_no_new_default_topic() -> None:
    """Redis records the input topics of a namespace. One that runs on defaults would be refused at its upgrade."""
    five = {f"lead.events.{family}" for family in ("web", "email", "webinar", "profile", "crm")}
    assert set(INPUT_TOPICS.values()) == five
    assert [INPUT_TOPICS[FAMILIES[word]] for word in ("custom", "score")] == ["lead.events.web", "lead.events.crm"]
