"""The words by which a task is found again where a CRM keeps no key of ours."""

from __future__ import annotations

import itertools

import pytest

from tests.kit.vendors.driving import act_of
from worker.automations.requests import Final
from worker.automations.targets.crm import Task, has_reference, read_with, reference
from worker.automations.targets.registry import KINDS

ACTS = [
    act_of("crm", "task", {}, source=f"/leadpulse/{namespace}", rule=rule, output=f"lead-42:{number}")
    for namespace, rule, number in itertools.product(("default", "trial", "trial-2"), ("call", "call-late"), (7, 71))
]


@pytest.mark.parametrize("text", ["{}", "<p>Hot</p><p>{}</p>", "Hot\n\n{} called twice", "{}."])
def test_a_task_is_that_of_one_act(text: str) -> None:
    """Of one namespace, one rule and one output, whatever sales wrote behind the words."""
    for made, wanted in itertools.product(ACTS, ACTS):
        assert has_reference(text.format(reference(made)), reference(wanted)) is (made is wanted)


@pytest.mark.parametrize("more", ["1", ":3", "-b", "_b", ".5"])
def test_a_longer_reference_is_that_of_another_act(more: str) -> None:
    """A lead's id may begin with the id of another lead's output."""
    words = reference(ACTS[0])
    assert not has_reference(f"<p>{words}{more}</p>", words)
    assert has_reference(f"<p>{words}{more}</p><p>{words}</p>", words)


def test_each_kind_tells_which_actions_need_a_person() -> None:
    """A visitor without an address is passed over by those. Only what a channel or a program gets needs none."""
    impersonal = {(name, do) for name, kind in KINDS.items() for do in kind.actions if do not in kind.personal}
    assert impersonal == {("slack", "send"), ("teams", "send"), ("webhook", "send")}
    for kind in KINDS.values():
        assert kind.personal.keys() <= kind.actions.keys()
        assert all(key in kind.fields[do].model_fields for do, key in kind.personal.items() if key)


@pytest.mark.parametrize("due", ["tomorrow", "2026-12-01T09:00:00"])
def test_a_due_that_is_no_instant_is_named(due: str) -> None:
    """With what to write. An instant without a zone is another one in each country."""
    act = act_of("crm", "task", {"subject": "Call", "due": due})
    with pytest.raises(Final, match=r"with\.due: write an instant with its zone, as in 2026-12-01T09:00:00Z; got"):
        read_with(Task, act)
