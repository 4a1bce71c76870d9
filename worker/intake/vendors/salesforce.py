"""Salesforce: outbound messages (SOAP), or the JSON that a flow or trigger posts.

Messages by Salesforce's page "Understanding Outbound Messaging" and messages of live organisations that public projects
recorded. JSON is an object of the REST API, or a list: fields by their names, with `attributes.type` or `type`. Untested
against a live organisation. The id of a Lead or Contact is the lead.

A message tells what a record is, not what has changed. So a record is in a stage once: until `LastStageChangeDate` moves.
`traits` of the source see the fields by their API names.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple
from urllib.parse import quote
from xml.parsers import expat

from worker.connections.sources import Crm, Source
from worker.intake.inbound import Inbound
from worker.intake.vendors.common import (
    Lookup,
    Mapped,
    NewEvent,
    Unmapped,
    digest,
    iso_ms,
    millis_ms,
    objects_of,
    present,
    text,
)
from worker.intake.vendors.records import fields_of, inside, learn, listed, number, object_of, stage_type

_TRAITS: Final = {
    "email": "Email",
    "first_name": "FirstName",
    "last_name": "LastName",
    "role": "Title",
    "phone": "Phone",
    "country": "Country",
    "company.name": "Company",
    "company.domain": "Website",
    "company.industry": "Industry",
    "company.size": "NumberOfEmployees",
}
_CONTACT_TRAITS: Final = {"country": "MailingCountry"}
_PEOPLE: Final = ("Lead", "Contact")
_ROLES: Final = "SELECT ContactId FROM OpportunityContactRole WHERE OpportunityId = '{}' ORDER BY IsPrimary DESC"
_ID_LENGTHS: Final = (15, 18)
_DEEPEST: Final = 32


def events(inbound: Inbound, source: Source) -> Mapped:
    """Map the records of one message, or the answer to a look-up. Raises `Unmapped`."""
    if inbound.kind == "lookup":
        return _answer(object_of(inbound), inbound.about)
    is_xml = inbound.body.lstrip()[:1] == b"<"
    made = Mapped()
    for one in _notifications(inbound.body) if is_xml else _posted(inbound):
        try:
            _record(one, inbound.received_ms, source, made)
        except Unmapped as error:  # the other records of the message are as good as before
            made.refused.append(str(error))
    return made


class _Record(NamedTuple):
    kind: str
    fields: dict[str, Any]
    notice: str = ""
    """Id of the message about it, the same when it is sent again."""


def _posted(inbound: Inbound) -> Iterator[_Record]:
    for one in objects_of(inbound):
        yield _Record(str(inside(one, "attributes", "type") or one.get("type") or one.get("object")), one)


class _Reader:
    """Collects the `sObject`s of an envelope. Names are taken without their prefix."""

    def __init__(self) -> None:
        self.found: list[_Record] = []
        self._path: list[str] = []
        self._record: dict[str, Any] | None = None
        self._said: list[str] = []
        self._notice = ""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._path) >= _DEEPEST:
            raise Unmapped("the message is nested too deeply")
        name = name.rpartition(":")[2]
        self._path.append(name)
        self._said = []
        if name == "sObject" and self._record is None:
            kind = next((value for key, value in attributes.items() if key.rpartition(":")[2] == "type"), "")
            self._record = {}
            self.found.append(_Record(kind.rpartition(":")[2], self._record, self._notice))

    def text(self, said: str) -> None:
        self._said.append(said)

    def end(self, _name: str) -> None:
        name = self._path.pop()
        if name == "sObject":
            self._record = None
        elif name == "Id" and self._path[-1:] == ["Notification"]:
            self._notice = "".join(self._said)
        elif self._record is not None and self._path[-1:] == ["sObject"]:
            self._record[name] = "".join(self._said)
        self._said = []


def _notifications(body: bytes) -> list[_Record]:
    reader, parser = _Reader(), expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = reader.start, reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = _no_doctype
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise Unmapped(f"the body is no XML: {error}") from error
    return reader.found


def _no_doctype(*_: Any) -> None:
    raise Unmapped("the message has a document type: entities are not read")


def _record(one: _Record, received_ms: int, source: Source, made: Mapped) -> None:
    kind, record, _ = one
    record_id = text(record.get("Id"))
    if kind not in (*_PEOPLE, "Opportunity") or record_id is None:
        made.passed_over[kind if record_id else f"{kind} without Id"] += 1
        return
    at_ms = _time(record, received_ms)
    if str(record.get("IsDeleted")).lower() == "true":
        if kind in _PEOPLE and source.erase:
            made.events.append(NewEvent("lead.erased", record_id, digest(kind, record_id, "deleted"), at_ms))
        else:
            made.passed_over[f"{kind} deleted"] += 1
    elif kind == "Opportunity":
        _opportunity(record_id, record, at_ms, source, made)
    else:
        _person(one, record_id, at_ms, source, made)


def _time(record: dict[str, Any], received_ms: int) -> int:
    """Return when the record changed, where the message holds it. `received_ms` stands in."""
    for name in ("LastModifiedDate", "SystemModstamp"):
        if (at_ms := iso_ms(record.get(name))) is not None:
            return at_ms
    return received_ms


def _person(one: _Record, subject: str, at_ms: int, source: Source, made: Mapped) -> None:
    kind, record, notice = one
    names = {**_TRAITS, **_CONTACT_TRAITS} if kind == "Contact" else _TRAITS
    own = fields_of(record, names)
    before = len(made.events)
    id_ = notice or digest(kind, subject, record.get("LastModifiedDate"), record.get("SystemModstamp"), sorted(own.items()))
    learn(made, source, subject, id_, at_ms, record, own)
    if (type_ := stage_type(source, record.get("Status"))) is not None:
        made.events.append(NewEvent(type_, subject, digest(kind, subject, record.get("Status")), at_ms))
    if len(made.events) == before:
        made.passed_over[f"{kind} without fields"] += 1


def _opportunity(opportunity: str, record: dict[str, Any], at_ms: int, source: Source, made: Mapped) -> None:
    stage, moved_ms = record.get("StageName"), iso_ms(record.get("LastStageChangeDate"))
    type_, contact = stage_type(source, stage), text(record.get("ContactId"))
    id_ = digest("Opportunity", opportunity, stage, record.get("LastStageChangeDate") or "")
    data = present(amount=number(record.get("Amount")), owner=text(record.get("OwnerId")))
    if type_ is None:
        made.passed_over["StageName that `stages` does not name"] += 1
    elif contact is not None:
        made.events.append(NewEvent(type_, contact, id_, moved_ms or at_ms, data))
    elif isinstance(source, Crm) and source.api and len(opportunity) in _ID_LENGTHS and opportunity.isalnum():
        about = {"ask": "roles", "type": type_, "id": id_, "at_ms": str(moved_ms or at_ms)}
        about |= {name: str(value) for name, value in data.items()}
        made.lookups.append(Lookup(f"/services/data/{{version}}/query?q={quote(_ROLES.format(opportunity), safe='')}", about))
    else:
        made.passed_over["Opportunity without ContactId or api"] += 1


def _answer(held: dict[str, Any], about: dict[str, str]) -> Mapped:
    type_, id_, at_ms = about.get("type"), about.get("id"), millis_ms(about.get("at_ms"))
    records = held.get("records")
    if about.get("ask") != "roles" or type_ is None or id_ is None or at_ms is None or not isinstance(records, list):
        raise Unmapped(f"no answer about {about.get('ask')}: {text(held.get('message')) or '`records` is missing'}")
    data, made = present(amount=number(about.get("amount")), owner=text(about.get("owner"))), Mapped()
    for contact in dict.fromkeys(text(one.get("ContactId")) for one in listed(records)):
        if contact is not None:
            made.events.append(NewEvent(type_, contact, digest(id_, contact), at_ms, data))
    if not made.events:
        made.passed_over["Opportunity without contacts"] += 1
    return made
