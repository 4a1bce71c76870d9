"""All ids of a person, as an archive shows them."""

from __future__ import annotations

import msgspec

from worker.history.record import History

_LINKS = ("lead.identified", "lead.stage")


class _Data(msgspec.Struct):
    anonymous_id: str | None = None
    merged_into: str | None = None


class _Event(msgspec.Struct):
    data: _Data = msgspec.field(default_factory=_Data)


def ids_of(history: History, lead: str) -> list[str]:
    """Return all ids of the person known as *lead*: the lead first, then its aliases in the order of their links.

    A `lead.identified` makes a visitor an alias, and so does an output with `merged_into`. The last link of an id counts.
    """
    alias_of: dict[str, str] = {}
    for record in history.events(_LINKS):
        try:
            data = msgspec.json.decode(record.value, type=_Event).data
        except msgspec.MsgspecError:
            continue
        if record.subject is not None and data.anonymous_id:
            alias_of[data.anonymous_id] = record.subject
        elif record.subject is not None and data.merged_into:
            alias_of[record.subject] = data.merged_into
    seen = {lead}
    while (known := alias_of.get(lead)) is not None and known not in seen:
        lead = known
        seen.add(lead)
    ids = [lead]
    for id_ in ids:
        ids += [alias for alias, known in alias_of.items() if known == id_ and alias not in ids]
    return ids
