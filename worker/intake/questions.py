"""Questions to vendors' APIs as they wait in the memory of the mappers, and the people in them."""

from __future__ import annotations

from typing import Final

import msgspec

from worker.intake.person_names import PersonNames
from worker.intake.vendors.common import digest

_PEOPLE: Final = frozenset({"contact", "owner", "Contacts", "Leads"})
"""What a look-up asks about when its `object` is a person, in the words of the maps of HubSpot and Zoho."""


class Question(msgspec.Struct, frozen=True):
    """A look-up as it waits in the memory."""

    source: str
    path: str
    about: dict[str, str]
    due_ms: int


encode_question: Final = msgspec.json.Encoder().encode
decode_question: Final = msgspec.json.Decoder(Question).decode
_sums: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_came: Final = msgspec.json.Decoder(list[str]).decode


def asks_about(question: Question, names: PersonNames) -> bool:
    """Return whether *question* names the person."""
    return _is_of(question, names) or without_person(question, names) != question


def without_person(question: Question, names: PersonNames) -> Question | None:
    """Return *question* without the person among those whom it carries; `None` for one about the person alone."""
    if _is_of(question, names):
        return None
    about = dict(question.about)
    try:
        if "sums" in about:  # of Zoom: who attended, and for how long
            sums = _sums(about["sums"])
            about["sums"] = msgspec.json.encode({who: held for who, held in sums.items() if who not in names.ids}).decode()
        if "came" in about:  # of GoTo: who attended, so that they did not stay away
            came = [digest(who) if who in names.ids else who for who in _came(about["came"])]
            about["came"] = msgspec.json.encode(came).decode()
    except (msgspec.DecodeError, UnicodeError):
        return question
    return question if about == question.about else msgspec.structs.replace(question, about=about)


def _is_of(question: Question, names: PersonNames) -> bool:
    return question.about.get("ask") in _PEOPLE and question.about.get("object") in names.ids
