"""What became of each lead: when it was first seen, when it rose and was handed over, and how it ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from worker.core.contract.instants import instant
from worker.history.record import TICK, HistoryRecord

UNKNOWN: Final = "(unknown)"
_MAILS: Final = ("email.delivered", "email.opened", "email.clicked")
_VISITS: Final = "page.viewed"
_ERASED: Final = "lead.erased"


class _Event(msgspec.Struct, gc=False):
    type: str
    subject: str | None = None
    source: str | None = None
    time: str | None = None
    data: Any = None


_event: Final = msgspec.json.Decoder(_Event).decode


class Journey:
    """One lead from its first event to the last. Instants are ms, `None` for never; the first of several counts."""

    __slots__ = (
        "accepted_ms", "campaign", "first_ms", "mql_ms", "opportunity_ms", "promised_ms", "score_at_call", "source", "sql_ms",
        "won_ms",
    )  # fmt: skip

    def __init__(self, first_ms: int, source: str, campaign: str | None) -> None:
        self.first_ms = first_ms
        self.source = source
        """Where the lead came from: the campaign parameter `source`, else the referrer's host, else the sender's name."""
        self.campaign = campaign
        self.mql_ms: int | None = None
        self.sql_ms: int | None = None
        self.score_at_call: float | None = None
        """The score at the latest handover, which is before the outcome."""
        self.promised_ms: int | None = None
        """Until when sales must answer the latest `lead.sql`; `None` once they did, or without a service level."""
        self.accepted_ms: int | None = None
        self.opportunity_ms: int | None = None
        self.won_ms: int | None = None


class Mails(msgspec.Struct):
    """Messages by what became of them. A message of a lead counts once; machines do not count."""

    delivered: int = 0
    opened: int = 0
    clicked: int = 0


class Service(msgspec.Struct):
    """How sales answered: each `lead.sql` counts once."""

    handed_over: int = 0
    promised: int = 0
    """Of those: with a time to respond."""
    kept: int = 0
    """Answered in time."""
    late: int = 0
    """Answered, but later."""
    never: int = 0
    """Not answered, and the time is over."""


class Journeys:
    """All leads of a history, and what concerns no single one. Feed it records in order of arrival."""

    def __init__(self) -> None:
        self.leads: dict[str, Journey] = {}
        self.mails = Mails()
        self.service = Service()
        self.rejected: Counter[str] = Counter()
        """Reason of `crm.rejected` → how often."""
        self.lost: Counter[str] = Counter()
        self.moves: dict[str, list[int]] = {}
        """Kind of move, such as `mql` → instants, each of them counted."""
        self.outputs = 0
        self._into: dict[str, str] = {}
        """A visitor → the lead that it turned out to be."""
        self._messages: dict[tuple[str, str], int] = {}

    def take(self, record: HistoryRecord) -> None:
        """Take one record. Ticks and records that cannot be read are passed over."""
        if record.type == TICK:
            return
        try:
            event = _event(record.value)
        except (msgspec.MsgspecError, UnicodeError):
            return
        data = event.data if isinstance(event.data, dict) else {}
        at_ms = instant(event.time) if event.time else None
        at_ms = record.arrival_ms if at_ms is None else min(at_ms, record.arrival_ms)
        if record.output:
            self._output(event, data, at_ms)
        elif event.subject:
            self._input(event, event.subject, data, at_ms)

    def finish(self, end_ms: int | None) -> None:
        """Count mails, and calls that sales never answered before *end_ms*. Nothing may follow."""
        for lead in self.leads.values():
            self._unanswered(lead, end_ms or 0)
        for bits in self._messages.values():
            self.mails.delivered += 1
            self.mails.opened += bits >> 1 & 1
            self.mails.clicked += bits >> 2 & 1

    def _lead(self, name: str, at_ms: int, event: _Event | None = None, data: Mapping[str, Any] | None = None) -> Journey:
        seen: set[str] = set()
        while name in self._into and name not in seen:
            seen.add(name)
            name = self._into[name]
        found = self.leads.get(name)
        if found is None:
            found = self.leads[name] = Journey(at_ms, _source(event, data or {}), _campaign(data or {}))
        elif found.campaign is None and data:
            found.campaign = _campaign(data)
        if at_ms < found.first_ms:
            found.first_ms = at_ms
        return found

    def _output(self, event: _Event, data: Mapping[str, Any], at_ms: int) -> None:
        name = data.get("lead_id")
        if not isinstance(name, str):
            return
        self.outputs += 1
        into = data.get("merged_into")
        if isinstance(into, str):
            self._merge(name, into)
            return
        lead = self._lead(name, at_ms)
        if event.type == "lead.mql":
            lead.mql_ms = lead.mql_ms or at_ms
            self._moved("mql", at_ms)
        elif event.type == "lead.sql":
            self._called(lead, data, at_ms)
        elif event.type == _ERASED:
            self.leads.pop(name, None)

    def _called(self, lead: Journey, data: Mapping[str, Any], at_ms: int) -> None:
        self._unanswered(lead, at_ms)
        lead.sql_ms = lead.sql_ms or at_ms
        lead.promised_ms = instant(str(data.get("respond_by") or ""))
        self.service.handed_over += 1
        self.service.promised += lead.promised_ms is not None
        score = data.get("score")
        if lead.won_ms is None and isinstance(score, (int, float)):
            lead.score_at_call = float(score)
        self._moved("sql", at_ms)

    def _unanswered(self, lead: Journey, at_ms: int) -> None:
        """Note that the time to answer *lead* is over at *at_ms*, if it is."""
        if lead.promised_ms is not None and lead.promised_ms < at_ms:
            self.service.never += 1
            lead.promised_ms = None

    def _answered(self, lead: Journey, at_ms: int) -> None:
        if lead.promised_ms is not None:
            in_time = at_ms <= lead.promised_ms
            self.service.kept += in_time
            self.service.late += not in_time
            lead.promised_ms = None

    def _input(self, event: _Event, subject: str, data: Mapping[str, Any], at_ms: int) -> None:
        if event.type == "lead.identified":
            visitor = data.get("anonymous_id")
            if isinstance(visitor, str):
                self._merge(visitor, subject)
            return
        if event.type == _ERASED:
            self.leads.pop(subject, None)
            return
        lead = self._lead(subject, at_ms, event, data)
        if event.type in _MAILS:
            self._mail(subject, event.type, data)
        elif event.type.startswith("crm."):
            self._sales(lead, event.type, data, at_ms)

    def _mail(self, subject: str, type_: str, data: Mapping[str, Any]) -> None:
        message = data.get("message_id")
        if message is None or data.get("machine") is True:
            return
        key = (subject, str(message))
        self._messages[key] = self._messages.get(key, 0) | 1 << _MAILS.index(type_)

    def _sales(self, lead: Journey, type_: str, data: Mapping[str, Any], at_ms: int) -> None:
        if type_ != "crm.no_show":
            self._answered(lead, at_ms)
        reason = str(data.get("reason") or UNKNOWN)
        match type_:
            case "crm.accepted":
                lead.accepted_ms = lead.accepted_ms or at_ms
            case "crm.opportunity":
                lead.opportunity_ms = lead.opportunity_ms or at_ms
            case "crm.won":
                lead.won_ms = lead.won_ms or at_ms
            case "crm.rejected":
                self.rejected[reason] += 1
            case "crm.lost":
                self.lost[reason] += 1
        self._moved(type_.removeprefix("crm."), at_ms)

    def _moved(self, kind: str, at_ms: int) -> None:
        self.moves.setdefault(kind, []).append(at_ms)

    def _merge(self, visitor: str, into: str) -> None:
        """Let *visitor* be the lead *into*, which was seen when the first of them was."""
        if visitor == into or visitor in self._into:
            return
        past = self.leads.pop(visitor, None)
        self._into[visitor] = into
        if past is None:
            return
        lead = self.leads.get(into)
        if lead is None:
            self.leads[into] = past
            return
        if past.first_ms < lead.first_ms:
            lead.first_ms, lead.source = past.first_ms, past.source
            lead.campaign = past.campaign or lead.campaign
        for name in ("mql_ms", "sql_ms"):
            instants = [at_ms for at_ms in (getattr(past, name), getattr(lead, name)) if at_ms is not None]
            setattr(lead, name, min(instants, default=None))


def journeys(records: Iterable[HistoryRecord]) -> tuple[Journeys, int | None]:
    """Return what became of each lead of a history, and the latest arrival in ms.

    *records* stand in order of arrival, inputs and outputs together.
    """
    found, end_ms = Journeys(), None
    for record in records:
        found.take(record)
        end_ms = record.arrival_ms
    found.finish(end_ms)
    return found, end_ms


def _source(event: _Event | None, data: Mapping[str, Any]) -> str:
    utm = data.get("utm")
    if isinstance(utm, dict) and isinstance(utm.get("source"), str) and utm["source"]:
        return str(utm["source"]).strip().lower()[:80]
    referrer = data.get("referrer")
    if isinstance(referrer, str) and referrer:
        return (urlsplit(referrer).hostname or UNKNOWN).removeprefix("www.")
    if event is None or not event.source:
        return UNKNOWN
    return "(direct)" if event.type == _VISITS else event.source


def _campaign(data: Mapping[str, Any]) -> str | None:
    utm = data.get("utm")
    name = utm.get("campaign") if isinstance(utm, dict) else None
    name = name or data.get("campaign_id")
    return None if name is None else str(name).strip()[:80] or None
