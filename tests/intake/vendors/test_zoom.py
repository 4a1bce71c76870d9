"""Zoom: registrations, and attendance from the report."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.inbound import events_of, made_of, told
from tests.kit.lookups import addresses, answered, asked, ids, said
from worker.intake.vendors.common import Unmapped

REGISTRANT = {
    "id": "U0BBBBBBBBBBfrUz1Q",
    "first_name": "Cory",
    "last_name": "Candidate",
    "email": "Coryc@Acme.example",
    "country": "US",
    "phone": "5550100",
    "industry": "Food",
    "org": "Cooking Org",
    "job_title": "Chef",
    "role_in_purchase_process": "Influencer",
    "no_of_employees": "51-100",
    "custom_questions": [{"title": "Budget?", "value": "10k"}],
    "status": "approved",
    "join_url": "https://acme.zoom.us/w/1?tk=x",
}


def registration(event: str = "webinar.registration_created", **registrant: Any) -> dict[str, Any]:
    """Return a webhook about a registration."""
    return {
        "event": event,
        "event_ts": 1626230691572,
        "payload": {
            "account_id": "AAAAAABBBB",
            "object": {
                "uuid": "4444AAAiAAAAAiAiAiiAii==",
                "id": 93398114182,
                "host_id": "x1yCzABCDEfg23HiJKl4mN",
                "topic": "My Webinar",
                "type": 5,
                "start_time": "2021-07-13T21:44:51Z",
                "duration": 60,
                "timezone": "America/Los_Angeles",
                "registrant": {**REGISTRANT, **registrant},
            },
        },
    }


def ended(uuid: str = "/abc//d==", **webinar: Any) -> dict[str, Any]:
    """Return the webhook at the end of a webinar."""
    held: dict[str, Any] = {
        "id": "93398114182",
        "uuid": uuid,
        "start_time": "2026-01-01T10:00:00Z",
        "end_time": "2026-01-01T11:00:00Z",
    }
    held |= {"host_id": "h", "topic": "t", "type": 5, "timezone": "UTC", "duration": 45, **webinar}
    return {"event": "webinar.ended", "event_ts": 1767265200123, "payload": {"account_id": "A", "object": held}}


def row(email: str, seconds: int, leave: str = "2026-01-01T11:00:00Z", **more: Any) -> dict[str, Any]:
    """Return a row of the report."""
    times = {"join_time": "2026-01-01T10:00:00Z", "leave_time": leave, "duration": seconds}
    return {"id": "p", "user_id": "1", "name": "Jill", "user_email": email, "status": "in_meeting", **times, **more}


def test_a_registration_tells_what_was_filled_in() -> None:
    """The person's own words, beside the registration."""
    registered, profile = events_of("zoom", registration())
    at = "2021-07-14T02:44:51.572Z"
    assert told(registered) == ("webinar.registered", "email:coryc@acme.example", at, {"webinar_id": "93398114182"})
    traits = {
        "email": "Coryc@Acme.example",
        "first_name": "Cory",
        "last_name": "Candidate",
        "role": "Chef",
        "phone": "5550100",
        "country": "US",
        "decision_role": "Influencer",
        "company.name": "Cooking Org",
        "company.industry": "Food",
        "company.size": 51,
    }
    assert told(profile) == ("profile.updated", "email:coryc@acme.example", at, {"traits": traits})


def test_a_registration_counts_when_it_is_approved() -> None:
    """Where approval is manual, `created` comes first and counts for nothing; both have one id."""
    assert made_of("zoom", registration(status="pending")).events == []
    created, approved = (made_of("zoom", registration(f"webinar.registration_{word}")) for word in ("created", "approved"))
    assert ids(created) == ids(approved)


def test_traits_of_the_source_win() -> None:
    """They see the registrant."""
    _, profile = events_of(
        "zoom", registration(), traits={"role": "custom_questions[0].value", "budget": "custom_questions[0].value"}
    )
    assert profile["data"]["traits"]["role"] == profile["data"]["traits"]["budget"] == "10k"


def test_an_expression_that_fails_refuses_the_profile_alone() -> None:
    """The registration is as good as before."""
    made = made_of("zoom", registration(), traits={"x": "length(nothing)"})
    assert [new.type for new in made.events] == ["webinar.registered"]
    assert "length(nothing)" in made.refused[0]


def test_the_report_is_asked_for_after_the_end() -> None:
    """A UUID with `//` is encoded twice, another one once. Without `api`, nobody attends."""
    made = asked("zoom", ended())
    assert addresses("zoom", made) == [
        "https://api.zoom.us/v2/report/webinars/%252Fabc%252F%252Fd%253D%253D/participants?page_size=300&include_fields=registrant_id",
        "https://api.zoom.us/v2/past_webinars/%252Fabc%252F%252Fd%253D%253D/absentees?page_size=300",
    ]
    assert [one.due_ms for one in made.lookups] == [1767265200123 + 30 * 60_000] * 2
    assert "/wPU%2FpR%3D%3D/" in addresses("zoom", asked("zoom", ended("wPU/pR==")))[0]
    assert made_of("zoom", ended()).passed_over == {"webinar.ended without api": 1}


def test_a_person_attends_once_over_all_pages() -> None:
    """Someone who joined three times, on two pages, has the sum of the times."""
    report, _ = asked("zoom", ended()).lookups
    first = answered(
        "zoom",
        report,
        {"next_page_token": "a b/c", "participants": [row("Ada@acme.example", 600), row("bob@acme.example", 4000)]},
    )
    assert first.events == []
    assert addresses("zoom", first)[0].endswith("&next_page_token=a%20b%2Fc")
    page = {"next_page_token": "", "participants": [row("ada@acme.example", 1200, "2026-01-01T11:05:00.9999Z")]}
    last = answered("zoom", first.lookups[0], page)
    assert said(last) == [
        (
            "webinar.attended",
            "email:ada@acme.example",
            "2026-01-01T11:05:00.999Z",
            {"webinar_id": "93398114182", "minutes": 30.0, "share": 0.5},
        ),
        (
            "webinar.attended",
            "email:bob@acme.example",
            "2026-01-01T11:00:00.000Z",
            {"webinar_id": "93398114182", "minutes": 66.67, "share": 1.0},
        ),
    ]
    assert ids(last) == ids(answered("zoom", first.lookups[0], page))
    assert len(set(ids(last))) == 2


def test_our_own_people_and_those_who_waited_do_not_attend() -> None:
    """Hosts and panelists stand in the report too."""
    report, _ = asked("zoom", ended()).lookups
    rows = [row("host@us.example", 3600, internal_user=True), row("w@a.example", 60, status="in_waiting_room"), row("", 60)]
    made = answered("zoom", report, {"participants": rows})
    assert said(made) == []
    assert made.passed_over == {
        "participant of our own": 1,
        "participant in the waiting room": 1,
        "participant without email": 1,
    }


def test_a_participant_without_address_is_found_among_the_registrants() -> None:
    """The report names only the registration. Those who are not found are counted."""
    report, _ = asked("zoom", ended()).lookups
    rows = [row("", 600, registrant_id="R1"), row("ada@acme.example", 600), row("", 60, registrant_id="R9")]
    made = answered("zoom", report, {"participants": rows})
    assert made.events == []
    assert addresses("zoom", made) == ["https://api.zoom.us/v2/webinars/93398114182/registrants?page_size=300&status=approved"]
    people = {"registrants": [{"id": "R1", "email": "Ada@acme.example"}, {"id": "R2", "email": "b@acme.example"}]}
    last = answered("zoom", made.lookups[0], people)
    assert [(subject, data["minutes"]) for _, subject, _, data in said(last)] == [("email:ada@acme.example", 20.0)]
    assert last.passed_over == {"participant without email": 1}


def test_absentees_are_no_shows_page_by_page() -> None:
    """Each page for itself."""
    _, absentees = asked("zoom", ended()).lookups
    people = [{"id": "R1", "email": "Ada@acme.example"}, {"id": "R2", "email": ""}]
    made = answered("zoom", absentees, {"registrants": people, "next_page_token": "t"})
    assert said(made) == [
        ("webinar.no_show", "email:ada@acme.example", "2026-01-01T11:00:00.000Z", {"webinar_id": "93398114182"})
    ]
    assert addresses("zoom", made)[0].endswith("absentees?page_size=300&next_page_token=t")


def test_the_planned_length_stands_in_for_times_that_are_missing() -> None:
    """Without any length there is no share."""
    for webinar, share in (({"end_time": None, "start_time": None}, 0.2222), ({"start_time": None, "duration": 0}, None)):
        report, _ = asked("zoom", ended(**webinar)).lookups
        [(_, _, _, data)] = said(answered("zoom", report, {"participants": [row("a@b.example", 600)]}))
        assert data.get("share") == share


def test_a_webinar_without_a_report_is_a_dead_letter() -> None:
    """The vendor's own words are in the reason."""
    report, _ = asked("zoom", ended()).lookups
    with pytest.raises(Unmapped, match="Webinar does not exist"):
        answered("zoom", report, {"code": 3001, "message": "Webinar does not exist"})


def test_a_report_of_too_many_people_is_a_dead_letter() -> None:
    """Their sums would not fit in a record."""
    report, _ = asked("zoom", ended()).lookups
    rows = [row(f"somebody-{number:09}@acme-corporation.example", 1) for number in range(20_000)]
    with pytest.raises(Unmapped, match="more than fit"):
        answered("zoom", report, {"participants": rows, "next_page_token": "t"})


@pytest.mark.parametrize("field", ["event_ts", "email", "id"])
def test_a_registration_without_what_is_needed_is_a_dead_letter(field: str) -> None:
    """The reason says so."""
    body = registration()
    if field == "event_ts":
        del body["event_ts"]
    elif field == "email":
        body["payload"]["object"]["registrant"]["email"] = "nobody"
    else:
        del body["payload"]["object"]["id"]
    with pytest.raises(Unmapped, match="without email, webinar or event_ts"):
        made_of("zoom", body)


def test_other_events_are_counted() -> None:
    """Joins and leaves come in the report."""
    body = {"event": "webinar.participant_joined", "event_ts": 1, "payload": {"object": {"id": "1"}}}
    assert made_of("zoom", body).passed_over == {"webinar.participant_joined": 1}
