"""HubSpot: lists of changes, and what the API answers."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.kit.inbound import events_of, made_of, told
from tests.kit.lookups import addresses, answered, asked, ids, said
from worker.intake.vendors.common import Unmapped

STAGES = {"qualifiedtobuy": "crm.opportunity", "closedwon": "crm.won", "closedlost": "crm.lost", "UNQUALIFIED": "crm.rejected"}
AT, AT_TEXT = 1462216307945, "2016-05-02T19:11:47.945Z"


def change(kind: str, **fields: Any) -> dict[str, Any]:
    """Return one change of a webhook."""
    held = {"eventId": 100, "subscriptionId": 25, "portalId": 33, "appId": 1160452, "occurredAt": AT, "objectId": 123}
    return {**held, "subscriptionType": kind, "attemptNumber": 0, "changeSource": "CRM_UI", "sourceId": "userId:1", **fields}


def property_(name: str, value: Any, kind: str = "contact", **fields: Any) -> dict[str, Any]:
    """Return the change of one property."""
    return change(f"{kind}.propertyChange", propertyName=name, propertyValue=value, **fields)


def test_the_contact_is_the_lead_and_its_address_a_trait() -> None:
    """That links the two."""
    [profile] = events_of("hubspot", [property_("email", "Ada@acme.example")])
    assert told(profile) == ("profile.updated", "123", AT_TEXT, {"traits": {"email": "Ada@acme.example"}})


def test_a_property_is_a_trait_by_the_map() -> None:
    """The source's map over the vendor's; an emptied property removes its trait."""
    body = [
        property_("jobtitle", "CTO"),
        property_("numemployees", "80"),
        property_("jobtitle", ""),
        property_("numemployees", None),
    ]
    traits = [one["data"]["traits"] for one in events_of("hubspot", body)]
    assert traits == [{"role": "CTO"}, {"company.size": 80}, {"role": None}, {"company.size": None}]
    settings = {"traits": {"role": "hs_role", "seniority": "hs_seniority"}}
    body = [property_("jobtitle", "CTO"), property_("hs_role", "Head"), property_("hs_seniority", "")]
    made = made_of("hubspot", body, **settings)
    assert [new.data["traits"] for new in made.events] == [{"role": "Head"}, {"seniority": None}]
    assert made.passed_over == {"contact.propertyChange of another property": 1}


def test_both_forms_of_a_subscription_are_one() -> None:
    """Project apps subscribe to `object.…`."""
    generic = {**property_("jobtitle", "CTO", "object"), "objectTypeId": "0-1"}
    assert events_of("hubspot", [generic]) == events_of("hubspot", [property_("jobtitle", "CTO")])
    other = {**property_("jobtitle", "CTO", "object"), "objectTypeId": "0-2"}
    assert made_of("hubspot", [other]).passed_over == {"object.propertyChange": 1}


def test_a_deal_is_of_its_contacts() -> None:
    """A stage that `stages` names asks whose deal it is, and each contact for the lead that it was made for."""
    made = asked("hubspot", [property_("dealstage", "closedlost", "deal", objectId=77)], stages=STAGES)
    assert made.events == []
    [address] = addresses("hubspot", made)
    assert address == (
        "https://api.hubapi.com/crm/objects/2026-03/deals/77"
        "?properties=dealstage,amount,hubspot_owner_id,closed_lost_reason&associations=contacts"
    )
    assert addresses("hubspot", made, version="v3")[0].startswith("https://api.hubapi.com/crm/v3/objects/deals/77?")
    links = [
        {"id": "201", "type": "deal_to_contact"},
        {"id": "201", "type": "deal_to_contact_unlabeled"},
        {"id": "202", "type": "x"},
    ]
    answer = {
        "id": "77",
        "properties": {"amount": "1500.50", "dealstage": "closedlost", "hubspot_owner_id": "9", "closed_lost_reason": "price"},
        "associations": {"contacts": {"results": links}},
    }
    found = answered("hubspot", made.lookups[0], answer, stages=STAGES)
    assert addresses("hubspot", found) == [
        f"https://api.hubapi.com/crm/objects/2026-03/contacts/{contact}?properties=leadpulse_id" for contact in ("201", "202")
    ]
    owners = [
        answered("hubspot", one, {"id": "2", "properties": {"hs_object_id": "2", "createdate": "x", **more}}, stages=STAGES)
        for one, more in zip(found.lookups, ({"leadpulse_id": "email:ada@acme.example"}, {}), strict=True)
    ]
    data = {"amount": 1500.5, "owner": "9", "reason": "price"}
    assert [said(one)[0] for one in owners] == [
        ("crm.lost", "email:ada@acme.example", AT_TEXT, data), ("crm.lost", "202", AT_TEXT, data),
    ]  # fmt: skip
    assert len({ids(one)[0] for one in owners}) == 2
    assert found.lookups == answered("hubspot", made.lookups[0], answer, stages=STAGES).lookups
    answer["associations"] = {}
    assert answered("hubspot", made.lookups[0], answer).passed_over == {"deal without contacts": 1}


def test_a_deal_without_api_or_stage_is_counted() -> None:
    """Nothing is asked."""
    body = [
        property_("dealstage", "closedwon", "deal"),
        property_("dealstage", "new", "deal"),
        property_("amount", "1", "deal"),
    ]
    made = made_of("hubspot", body, stages=STAGES)
    assert (made.events, made.lookups) == ([], [])
    assert made.passed_over == {
        "dealstage without api": 1,
        "dealstage that `stages` does not name": 1,
        "deal.propertyChange": 1,
    }


def test_a_new_contact_is_asked_for() -> None:
    """With the properties that the source's map names plainly."""
    made = asked("hubspot", [change("contact.creation")], traits={"seniority": "hs_seniority", "x": "a.b"})
    [address] = addresses("hubspot", made)
    assert urlsplit(address).path == "/crm/objects/2026-03/contacts/123"
    names = parse_qs(urlsplit(address).query)["properties"][0].split(",")
    assert {"email", "jobtitle", "hs_seniority"} < set(names)
    properties = {"email": "Ada@acme.example", "jobtitle": "CTO", "numemployees": "51-200", "hs_seniority": "vp", "phone": None}
    [(type_, subject, at, data)] = said(
        answered("hubspot", made.lookups[0], {"id": "123", "properties": properties}, traits={"seniority": "hs_seniority"})
    )
    assert (type_, subject, at) == ("profile.updated", "123", AT_TEXT)
    assert data["traits"] == {"email": "Ada@acme.example", "role": "CTO", "company.size": 51, "seniority": "vp"}
    assert made_of("hubspot", [change("contact.creation")]).passed_over == {"contact.creation": 1}


@pytest.mark.parametrize(
    ("own", "lead"), [("lead-42", "lead-42"), ("email:ada@acme.example", "123"), (None, "123"), ("", "123")]
)
def test_a_new_contact_that_was_made_for_a_lead_is_that_lead(own: str | None, lead: str) -> None:
    """Else it would be a second lead with the same address. An address itself is linked to the contact's id."""
    made = asked("hubspot", [change("contact.creation")])
    properties = {"hs_object_id": "123", "email": "ada@acme.example", "leadpulse_id": own}
    found = answered("hubspot", made.lookups[0], {"id": "123", "properties": properties})
    assert [subject for _, subject, _, _ in said(found)] == [lead]


def test_a_status_of_the_contact_may_be_a_stage() -> None:
    """Sales send a lead back there."""
    made = made_of("hubspot", [property_("hs_lead_status", "UNQUALIFIED"), property_("hs_lead_status", "NEW")], stages=STAGES)
    assert said(made) == [("crm.rejected", "123", AT_TEXT, {})]
    assert made.passed_over == {"contact.propertyChange of another property": 1}


def test_only_a_deletion_for_privacy_erases() -> None:
    """Another one if the source says so."""
    body = [change("contact.privacyDeletion"), change("contact.deletion", eventId=101)]
    assert [one["type"] for one in events_of("hubspot", body)] == ["lead.erased"]
    assert [one["type"] for one in events_of("hubspot", body, erase=True)] == ["lead.erased", "lead.erased"]
    assert made_of("hubspot", [change("contact.merge")]).passed_over == {"contact.merge": 1}


def test_our_own_writes_are_passed_over() -> None:
    """Our properties whoever changed them, and all that our app changed."""
    body = [
        property_("leadpulse_score", "80"),
        property_("email", "a@b.example", changeSource="INTEGRATION", sourceId="1160452"),
        property_("email", "a@b.example", changeSource="INTEGRATION", sourceId="7"),
        property_("phone", "1", changeSource="CRM_UI", sourceId="1160452"),
    ]
    made = made_of("hubspot", body)
    assert made.passed_over == {"our own change": 2}
    assert [new.data["traits"] for new in made.events] == [{"email": "a@b.example"}, {"phone": "1"}]


@pytest.mark.parametrize("kind", [{}, {"subscriptionType": "object.creation", "objectTypeId": "0-1"}])
def test_a_contact_that_we_made_is_asked_for(kind: dict[str, str]) -> None:
    """Deals name its new id alone, so its address must link that id to the lead that we made it for."""
    ours = change("contact.creation", changeSource="INTEGRATION", sourceId="1160452", **kind)
    made = asked("hubspot", [ours])
    assert not made.passed_over
    [address] = addresses("hubspot", made)
    assert urlsplit(address).path == "/crm/objects/2026-03/contacts/123"


def test_one_bad_change_refuses_itself_alone() -> None:
    """The others of the list are sent."""
    body = [property_("jobtitle", "CTO"), change("contact.creation", occurredAt=None), property_("x", 1)]
    made = made_of("hubspot", body, traits={"y": "length(x)"})
    assert len(made.refused) == 3
    assert made_of("hubspot", body[:2]).refused == ["contact.creation without objectId or occurredAt"]


def test_a_repeat_is_the_same_event_and_another_change_is_not() -> None:
    """`attemptNumber` does not count."""
    one = property_("jobtitle", "CTO")
    first, again, other = (made_of("hubspot", [body]) for body in (one, one | {"attemptNumber": 3}, one | {"eventId": 101}))
    assert ids(first) == ids(again) != ids(other)


def test_an_error_of_the_api_is_a_dead_letter() -> None:
    """With HubSpot's words."""
    made = asked("hubspot", [change("contact.creation")])
    with pytest.raises(Unmapped, match="Object not found"):
        answered("hubspot", made.lookups[0], {"status": "error", "message": "Object not found"})
