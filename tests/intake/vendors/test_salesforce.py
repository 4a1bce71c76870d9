"""Salesforce: outbound messages as live organisations sent them, and posted JSON."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.kit.inbound import RECEIVED_MS, events_of, made_of, told
from tests.kit.lookups import addresses, answered, asked, ids, said
from worker.intake.vendors.common import Unmapped

STAGES = {"Closed Won": "crm.won", "Closed Lost": "crm.lost", "Unqualified": "crm.rejected"}


def message(*objects: tuple[str, dict[str, str]], notice: str = "04l5w00005286hAAAQ") -> bytes:
    """Return an outbound message about *objects*, each its type and its fields."""
    written = "".join(
        f"<Notification><Id>{notice}{number or ''}</Id>"
        f'<sObject xsi:type="sf:{kind}" xmlns:sf="urn:sobject.enterprise.soap.sforce.com">'
        + "".join(f"<sf:{name}>{value}</sf:{name}>" for name, value in fields.items())
        + "</sObject></Notification>"
        for number, (kind, fields) in enumerate(objects)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" '
        'xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>\n'
        ' <notifications xmlns="http://soap.sforce.com/2005/09/outbound"><OrganizationId>00D5w000004qGTOEA2</OrganizationId>'
        '<ActionId>04k5w000000TSwMAAW</ActionId><SessionId xsi:nil="true"/><EnterpriseUrl>https://x</EnterpriseUrl>'
        f"<PartnerUrl>https://x</PartnerUrl>\n  {written}</notifications></soapenv:Body></soapenv:Envelope>"
    ).encode()


LEAD = {
    "Id": "00Q1N00000bS2ZoUAK",
    "Email": "Ada@acme.example",
    "FirstName": "Ada",
    "Title": "VP R&amp;D",
    "Company": "Acme",
    "NumberOfEmployees": "80",
    "LastModifiedDate": "2020-05-08T13:40:22.000Z",
}
DEAL = {
    "Id": "0065w000023STAmAAO",
    "AccountId": "0015w00002BFDeLAAX",
    "Amount": "45000.0",
    "ContactId": "0035w000035gg9GAAQ",
    "OwnerId": "0055w00000BhqR0AAJ",
    "StageName": "Closed Won",
    "LastModifiedDate": "2020-05-08T13:40:22.000Z",
    "LastStageChangeDate": "2020-05-08T13:00:00.000+0000",
}


def test_the_record_is_the_lead_and_its_address_a_trait() -> None:
    """The id of the notification is the event's: it is the same when Salesforce sends again."""
    [profile] = events_of("salesforce", message(("Lead", LEAD)))
    traits = {"email": "Ada@acme.example", "first_name": "Ada", "role": "VP R&D", "company.name": "Acme", "company.size": 80}
    assert told(profile) == ("profile.updated", LEAD["Id"], "2020-05-08T13:40:22.000Z", {"traits": traits})
    assert profile["id"] == "04l5w00005286hAAAQ:profile.updated"
    [mapped] = events_of("salesforce", message(("Lead", LEAD)), traits={"role": "Company"})
    assert mapped["data"]["traits"]["role"] == "Acme"


def test_a_message_holds_many_records() -> None:
    """One that cannot be mapped refuses itself alone."""
    made = made_of(
        "salesforce", message(("Lead", LEAD), ("Contact", {"Id": "003", "MailingCountry": "FR"}), ("Task", {"Id": "00T"}))
    )
    assert [(new.subject, new.data["traits"].get("country")) for new in made.events] == [(LEAD["Id"], None), ("003", "FR")]
    assert made.passed_over == {"Task": 1}
    assert [new.at_ms for new in made.events][1] == RECEIVED_MS
    failing = made_of("salesforce", message(("Lead", LEAD), ("Lead", {"Id": "1"})), traits={"x": "length(Email)"})
    assert (len(failing.events), len(failing.refused)) == (1, 1)


def test_an_opportunity_is_of_its_contact() -> None:
    """At the time when the stage changed."""
    [won] = events_of("salesforce", message(("Opportunity", DEAL)), stages=STAGES)
    data = {"amount": 45000.0, "owner": "0055w00000BhqR0AAJ"}
    assert told(won) == ("crm.won", "0035w000035gg9GAAQ", "2020-05-08T13:00:00.000Z", data)
    again = made_of("salesforce", message(("Opportunity", DEAL | {"Amount": "1"}), notice="04lother"), stages=STAGES)
    assert ids(again) == [won["id"]]
    moved = DEAL | {"LastStageChangeDate": "2020-06-01T00:00:00.000Z"}
    assert ids(made_of("salesforce", message(("Opportunity", moved)), stages=STAGES)) != [won["id"]]
    open_ = made_of("salesforce", message(("Opportunity", DEAL | {"StageName": "Prospecting"})), stages=STAGES)
    assert open_.passed_over == {"StageName that `stages` does not name": 1}


def test_its_contacts_are_asked_for_where_the_message_names_none() -> None:
    """By their roles. Each has an event of its own id."""
    deal = {name: value for name, value in DEAL.items() if name != "ContactId"}
    made = asked("salesforce", message(("Opportunity", deal)), stages=STAGES)
    [address] = addresses("salesforce", made)
    assert address.startswith("https://acme.my.salesforce.com/services/data/v66.0/query?q=SELECT%20ContactId")
    assert parse_qs(urlsplit(address).query)["q"] == [
        "SELECT ContactId FROM OpportunityContactRole WHERE OpportunityId = '0065w000023STAmAAO' ORDER BY IsPrimary DESC"
    ]
    roles = {"totalSize": 2, "done": True, "records": [{"ContactId": "003A"}, {"ContactId": "003B"}, {"ContactId": "003A"}]}
    found = answered("salesforce", made.lookups[0], roles)
    data = {"amount": 45000.0, "owner": "0055w00000BhqR0AAJ"}
    assert said(found) == [("crm.won", who, "2020-05-08T13:00:00.000Z", data) for who in ("003A", "003B")]
    assert len(set(ids(found))) == 2
    assert answered("salesforce", made.lookups[0], {"records": []}).passed_over == {"Opportunity without contacts": 1}
    odd = made_of("salesforce", message(("Opportunity", deal)), stages=STAGES)
    assert odd.passed_over == {"Opportunity without ContactId or api": 1}
    for record in ("x' OR Name != '", "x' OR Id != 'x", "0065w", "x" * 40):
        assert asked("salesforce", message(("Opportunity", deal | {"Id": record})), stages=STAGES).lookups == []


def test_posted_json_is_read_as_records() -> None:
    """One or a list, with the type of the REST API or a plain one."""
    deal = {"attributes": {"type": "Opportunity"}, **DEAL, "Amount": 45000}
    body: list[dict[str, Any]] = [deal, {"type": "Lead", "Id": "00Q", "Status": "Unqualified"}]
    made = made_of("salesforce", body, stages=STAGES)
    assert [(new.type, new.subject) for new in made.events] == [("crm.won", DEAL["ContactId"]), ("crm.rejected", "00Q")]
    assert ids(made) == ids(made_of("salesforce", body, stages=STAGES))


def test_a_deleted_record_is_erased_if_the_source_says_so() -> None:
    """A person alone."""
    body = message(("Lead", LEAD | {"IsDeleted": "true"}))
    assert made_of("salesforce", body).passed_over == {"Lead deleted": 1}
    assert [one["type"] for one in events_of("salesforce", body, erase=True)] == ["lead.erased"]


@pytest.mark.parametrize(
    "body",
    [
        b"<",
        b"<a></b>",
        b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        b'<?xml version="1.0" encoding="what"?><a/>',
        b"<a>" * 40 + b"</a>" * 40,
        b"<a>\xff</a>",
    ],
)
def test_other_xml_is_a_dead_letter(body: bytes) -> None:
    """Entities are never read."""
    with pytest.raises(Unmapped, match=r"XML|document type|nested"):
        made_of("salesforce", body)


def test_an_error_of_the_api_is_a_dead_letter() -> None:
    """A list of errors, as Salesforce answers."""
    deal = {name: value for name, value in DEAL.items() if name != "ContactId"}
    made = asked("salesforce", message(("Opportunity", deal)), stages=STAGES)
    with pytest.raises(Unmapped, match="no answer about roles"):
        answered("salesforce", made.lookups[0], [{"errorCode": "INVALID_SESSION_ID", "message": "x"}])
