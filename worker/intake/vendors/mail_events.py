"""What the maps of mail tools share: one event of one message, and whether a machine made it."""

from __future__ import annotations

from typing import Any

from worker.connections.sources import Mailer, Source
from worker.intake.access_log import is_machine
from worker.intake.vendors.common import Mapped, NewEvent, email_id, present, profile, text
from worker.intake.vendors.machine_clicks import AGENT

NO_ADDRESS = "no address of a person"
NO_TIME = "no time that can be read"


def word(value: Any) -> str:
    """Return a vendor's word for a kind of event, to be counted; `?` for none."""
    return (text(value) or "?")[:64]


def add(
    made: Mapped,
    kind: Any,
    type_: str | None,
    subject: str | None,
    at_ms: int | None,
    id_: str,
    *,
    robot: bool = False,
    **data: Any,
) -> None:
    """Add an event of a message to *made*. It is passed over without *type_*, and refused without *subject* or *at_ms*.

    *kind* is the vendor's own word for it. Fields of *data* that are null or blank are left out. Without `message_id`, the
    event is a message of its own: rules that count once a message then count it once. *robot*: by a guess, a machine made it.
    """
    if type_ is None:
        made.passed_over[word(kind)] += 1
    elif subject is None or at_ms is None:
        made.refused.append(f"{word(kind)}: {NO_ADDRESS if subject is None else NO_TIME}")
    else:
        found = present(**data)
        if type_ != "email.subscribed":
            found = {"message_id": id_} | found
        if robot and "machine" not in found:
            found["machine"] = True
            made.machines[AGENT] += 1
        made.events.append(NewEvent(type_, subject, id_, at_ms, found))


def link(made: Mapped, subject: str | None, address: Any, at_ms: int | None, id_: str) -> None:
    """Add the address of a lead that has an id of the CRM: `profile.updated` with `email` alone, which links the two."""
    if subject is not None and at_ms is not None and email_id(address) not in (None, subject):
        made.events.extend(profile(subject, id_, at_ms, {"email": address.strip()}))


def robot_clicked(source: Source, type_: str | None, agent: Any) -> bool:
    """Return whether a click's user agent names a robot, where the source asks for that (`machines.user_agents`)."""
    asked = isinstance(source, Mailer) and source.machines.user_agents
    return asked and type_ == "email.clicked" and isinstance(agent, str) and bool(agent.strip()) and is_machine(agent)


def machine(*signs: bool) -> bool | None:
    """Return `True` if any of the *signs* is; else `None`, which leaves the field out."""
    return True if any(signs) else None


def plain_address(value: Any) -> str | None:
    """Return the address in `Name <ADDRESS>`, or a text without one as it is; `None` for anything but a text."""
    if not isinstance(value, str):
        return None
    before, _, behind = value.rpartition("<")
    return behind.partition(">")[0].strip() if before or behind != value else value.strip()


def first_of(value: Any) -> str | None:
    """Return the first of a list of texts, such as tags; `None` for no list and for an empty one."""
    return text(value[0]) if isinstance(value, list) and value else None


def inner(value: Any, *names: str) -> Any:
    """Return what stands in nested objects under *names*; `None` where a step is missing or no object."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value
