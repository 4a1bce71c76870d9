"""ActiveCampaign: forms with brackets, as live accounts sent them."""

from __future__ import annotations

import pytest

from tests.kit.inbound import events_of, form, made_of, told
from tests.kit.lookups import ids, said
from worker.intake.vendors.common import Unmapped

STAGES = {"2": "crm.opportunity", "Won deals": "crm.won", "lost": "crm.lost"}
AT = "2024-02-28T10:45:41.000Z"
CONTACT = {
    "contact[id]": "3",
    "contact[email]": "Code.Test@gmail.com",
    "contact[first_name]": "John",
    "contact[last_name]": "Wick",
    "contact[phone]": "",
    "contact[ip]": "0.0.0.0",
    "contact[tags]": "1233",
    "contact[orgname]": "Continental",
    "contact[fields][seniority]": "vp",
}
DEAL = {
    "deal[id]": "1",
    "deal[title]": "Test Deal",
    "deal[orgid]": "1",
    "deal[stageid]": "1",
    "deal[stage_title]": "To Contact",
    "deal[value]": "1,044,055.00",
    "deal[value_raw]": "1044055",
    "deal[currency]": "usd",
    "deal[owner]": "1",
    "deal[owner_firstname]": "Anna",
    "deal[owner_lastname]": "",
    "deal[contactid]": "3",
    "deal[contact_email]": "Code.Test@gmail.com",
    "deal[status]": "0",
    "deal[fields][0][id]": "1",
    "deal[fields][0][key]": "Forecasted Close Date",
    "updated_fields[0]": "stage",
}


def event(kind: str, **fields: str) -> dict[str, str]:
    """Return the fields that every event has."""
    held = {
        "type": kind,
        "date_time": "2024-02-28T04:45:41-06:00",
        "initiated_from": "admin",
        "initiated_by": "admin",
        "list": "0",
    }
    return {**held, **fields}


def sent(*parts: dict[str, str]) -> bytes:
    """Return the body of a form."""
    return form(**{name: value for part in parts for name, value in part.items()})


def test_the_contact_is_the_lead_and_its_address_a_trait() -> None:
    """Own fields by the source's map."""
    [profile] = events_of("activecampaign", sent(event("update"), CONTACT), traits={"seniority": "fields.seniority"})
    traits = {
        "email": "Code.Test@gmail.com",
        "first_name": "John",
        "last_name": "Wick",
        "company.name": "Continental",
        "seniority": "vp",
    }
    assert told(profile) == ("profile.updated", "3", AT, {"traits": traits})


def test_our_own_writes_are_passed_over() -> None:
    """ActiveCampaign does not say what was changed."""
    made = made_of("activecampaign", sent(event("update", initiated_from="api"), CONTACT))
    assert (made.events, made.passed_over) == ([], {"our own change": 1})


def test_a_deal_is_in_a_stage_once() -> None:
    """Stages by id or title, and the status. Any field's update looks the same."""
    moved = DEAL | {"deal[stageid]": "2"}
    crm, profile = events_of("activecampaign", sent(event("deal_update"), CONTACT, moved), stages=STAGES)
    assert told(crm) == ("crm.opportunity", "3", AT, {"amount": 1044055, "owner": "Anna"})
    written = events_of("activecampaign", sent(event("deal_add"), moved | {"deal[value_raw]": ""}), stages=STAGES)[0]
    assert written["data"]["amount"] == 1044055.0
    assert told(profile) == ("profile.updated", "3", AT, {"traits": {"email": "Code.Test@gmail.com"}})
    later = sent(event("deal_update", date_time="2024-03-01T00:00:00Z"), CONTACT, moved | {"deal[value_raw]": "2"})
    assert ids(made_of("activecampaign", later, stages=STAGES))[0] == crm["id"]
    for fields, type_ in (({"deal[stage_title]": "Won deals"}, "crm.won"), ({"deal[status]": "2"}, "crm.lost")):
        assert events_of("activecampaign", sent(event("deal_add"), DEAL | fields), stages=STAGES)[0]["type"] == type_
    other = made_of("activecampaign", sent(event("deal_update"), DEAL), stages=STAGES)
    assert other.passed_over == {"deal_update to a stage that `stages` does not name": 1}


@pytest.mark.parametrize(
    ("kind", "type_"),
    [("open", "email.opened"), ("click", "email.clicked"), ("reply", "email.replied"), ("bounce", "email.bounced")],
)
def test_mails_of_campaigns_are_told(kind: str, type_: str) -> None:
    """The campaign's message is the mail."""
    mail = {"campaign[id]": "7", "campaign[message][id]": "9", "link[url]": "https://acme.example/demo", "bounce[type]": "hard"}
    first, profile = events_of("activecampaign", sent(event(kind), CONTACT, mail))
    data = {"message_id": "9", "campaign_id": "7", "url": "https://acme.example/demo"}
    assert told(first) == (type_, "3", AT, data)
    assert profile["type"] == "profile.updated"
    assert made_of("activecampaign", sent(event("bounce", **{"bounce[type]": "soft"}), CONTACT)).passed_over == {
        "soft bounce": 1
    }


def test_a_subscription_is_one_if_the_contact_made_it() -> None:
    """An import or a colleague is no activity of the lead."""
    made = made_of("activecampaign", sent(event("subscribe", initiated_from="public", list="4"), CONTACT))
    assert said(made)[1] == ("email.subscribed", "3", AT, {"list": "4"})
    assert [new.type for new in made_of("activecampaign", sent(event("subscribe"), CONTACT)).events] == ["profile.updated"]
    made = made_of("activecampaign", sent(event("unsubscribe"), CONTACT, {"campaign[id]": "0"}))
    assert said(made)[0] == ("email.unsubscribed", "3", AT, {"message_id": ""})


def test_a_contact_without_id_is_known_by_its_address() -> None:
    """0 stands for no id."""
    made = made_of("activecampaign", sent(event("open"), CONTACT | {"contact[id]": "0"}))
    assert {new.subject for new in made.events} == {"email:code.test@gmail.com"}


def test_a_repeat_is_the_same_event_and_what_is_missing_is_named() -> None:
    """Other kinds are counted."""
    body = sent(event("click"), CONTACT, {"link[url]": "a"})
    assert ids(made_of("activecampaign", body)) == ids(made_of("activecampaign", body))
    assert ids(made_of("activecampaign", body)) != ids(made_of("activecampaign", body.replace(b"=a", b"=b")))
    assert made_of("activecampaign", sent(event("sms_sent"))).passed_over == {"sms_sent": 1}
    with pytest.raises(Unmapped, match="without date_time"):
        made_of("activecampaign", sent({"type": "update"}, CONTACT))
    with pytest.raises(Unmapped, match="without contact"):
        made_of("activecampaign", sent(event("update")))
    with pytest.raises(Unmapped, match="without deal"):
        made_of("activecampaign", sent(event("deal_update"), DEAL | {"deal[id]": "", "deal[status]": "2"}), stages=STAGES)


@pytest.mark.parametrize("name", ["contact", "contact[id][x]", "[id]", "contact[[id]]", "contact[id", "a" + "[b]" * 50])
def test_odd_names_do_no_harm(name: str) -> None:
    """They are passed over, or lie beside the others."""
    assert made_of("activecampaign", sent(event("update"), CONTACT, {name: "x"})).events
