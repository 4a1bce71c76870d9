"""`leadpulse act prepare`: fields that states need are looked up, and made where the vendor's API can."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from tests.kit.vendors.base import OAuthVendor, Reply, Vendor
from tests.kit.vendors.hubspot import HubSpot
from tests.kit.vendors.pipedrive import Pipedrive
from tests.kit.vendors.salesforce import Salesforce
from tests.kit.vendors.zoho import Zoho
from worker.automations.models import Automations, Sync
from worker.automations.preparing import prepare
from worker.automations.targets.prepared import Prepared
from worker.connections.file import parse_connections
from worker.errors import AutomationsError

OAUTH = {"client_id": "${X}", "client_secret": "${X}"}
FIELDS = {"leadpulse_score": "score", "leadpulse_stage": "stage", "leadpulse_why": "reasons|top(5)"}


async def prepared(
    vendor: Vendor, settings: dict[str, Any], fields: dict[str, str], *, make: bool = True, secret: str = "x"
) -> list[Prepared]:
    """Prepare the target at *vendor* for *fields*."""
    written = {"targets": {"crm": {"kind": vendor.name, "base_url": vendor.url, **settings}}}
    held = parse_connections(msgspec.json.encode(written), "connections.yaml")
    automations = Automations(sync=(Sync(to="crm", fields=dict(fields)),) if fields else ())
    return await prepare("crm", held.targets, automations, {"X": secret}, make=make)


async def test_hubspots_properties_are_made_once() -> None:
    """In a group of our own, each with the type of its value; the id's values are unique."""
    async with HubSpot() as hub:
        hub.properties = {"email": {"type": "string"}, "leadpulse_stage": {"type": "string"}}
        looked = await prepared(hub, {"token": "${X}"}, FIELDS, make=False, secret=hub.token)
        assert [(one.name, one.state) for one in looked] == [
            ("leadpulse_id", "missing"), ("leadpulse_score", "missing"), ("leadpulse_stage", "there"),
            ("leadpulse_why", "missing"),
        ]  # fmt: skip
        made = await prepared(hub, {"token": "${X}"}, FIELDS, secret=hub.token)
        assert [one.state for one in made] == ["made", "made", "there", "made"]
        assert hub.properties["leadpulse_id"] == {
            "name": "leadpulse_id", "label": "Leadpulse id", "type": "string", "fieldType": "text", "groupName": "leadpulse",
            "hasUniqueValue": True,
        }  # fmt: skip
        assert hub.properties["leadpulse_score"]["type"] == "number"
        assert hub.properties["leadpulse_why"]["fieldType"] == "textarea"
        again = await prepared(hub, {"token": "${X}"}, FIELDS, secret=hub.token)
        assert {one.state for one in again} == {"there"}
        assert (hub.groups, hub.refusals) == (["contactinformation", "leadpulse"], [])


async def test_a_refusal_that_repeats_the_token_does_not_show_it() -> None:
    """Wherever it stands in the answer."""
    async with HubSpot(token="pat-of-the-portal-4711") as hub:
        hub.script("GET", "/properties", Reply(403, {"message": f"pat {hub.token} lacks scopes"}), times=9)
        with pytest.raises(AutomationsError, match="lacks scopes") as caught:
            await prepared(hub, {"token": "${X}"}, FIELDS, secret=hub.token)
        assert hub.token not in str(caught.value)


async def test_a_hubspot_property_that_cannot_serve_is_named() -> None:
    """Uniqueness cannot be added later, and a number takes no text."""
    async with HubSpot() as hub:
        hub.properties = {"leadpulse_id": {"type": "string"}, "leadpulse_stage": {"type": "number"}}
        found = await prepared(hub, {"token": "${X}"}, {"leadpulse_stage": "stage"}, secret=hub.token)
        assert [one.state for one in found] == ["by hand", "by hand"]
        assert "not unique" in found[0].what
        [found_one] = await prepared(
            hub, {"token": "${X}", "id_property": "hs_object_id"}, {"email": "subject"}, make=False, secret=hub.token
        )
        assert found_one.name == "email"


async def test_salesforces_fields_are_told_by_hand() -> None:
    """As the log-in sees them; the token is fetched, and once more when it has ended."""
    async with Salesforce() as org:
        fields = {
            "LeadPulse_Score__c": "score",
            "LeadPulse_Grade__c": "score",
            "LeadPulse_Phase__c": "phase",
            "IsConverted": "stage",
        }
        found = await prepared(org, {**OAUTH, "base_url": org.url}, fields)
        assert [(one.name, one.state) for one in found] == [
            ("LeadPulse_Id__c", "there"), ("LeadPulse_Score__c", "there"), ("LeadPulse_Grade__c", "by hand"),
            ("LeadPulse_Phase__c", "by hand"), ("IsConverted", "by hand"),
        ]  # fmt: skip
        assert "make it on Lead: Text of 255 characters" in found[3].what
        assert org.refusals == []
        org.script("GET", "/describe$", Reply(401, [{"errorCode": "INVALID_SESSION_ID", "message": "Session expired"}]))
        await prepared(org, {**OAUTH, "base_url": org.url}, {})
        assert org.tokens == ["token-1", "token-2", "token-3"]


async def test_zohos_fields_are_made() -> None:
    """By their labels; where Zoho makes none, the user reads why."""
    async with Zoho() as crm:
        settings = {**OAUTH, "refresh_token": "${X}", "accounts_url": crm.url, "id_field": "LeadPulse_Id"}
        fields = {"LeadPulse_Score": "score", "LeadPulse_Why": "reasons|top(5)"}
        assert {one.state for one in await prepared(crm, settings, fields)} == {"made"}
        assert {one.state for one in await prepared(crm, settings, fields)} == {"there"}
        crm.most_fields = 0
        [*_, last] = await prepared(crm, settings, {**fields, "LeadPulse_Phase": "phase"})
        assert (last.state, "LIMIT_EXCEEDED" in last.what) == ("by hand", True)
        assert crm.refusals == []


async def test_pipedrives_fields_are_made_and_their_keys_told() -> None:
    """A field is written by its key, which is random."""
    async with Pipedrive() as crm:
        [made, _, _] = await prepared(crm, {"token": "${X}"}, FIELDS, secret=crm.token)
        key = made.what.rpartition(" ")[2]
        assert (made.state, crm.fields[key]["field_type"]) == ("made", "double")
        [again, *_] = await prepared(crm, {"token": "${X}"}, FIELDS, secret=crm.token)
        assert (again.state, again.what) == ("by hand", f"write its key in `fields`: {key}")
        found = await prepared(crm, {"token": "${X}"}, {key: "score", "f" * 40: "score", "name": "subject"}, secret=crm.token)
        assert [one.state for one in found] == ["there", "by hand", "there"]
        assert crm.refusals == []


async def test_a_refused_log_in_is_told() -> None:
    """In one line, without the token."""
    async with HubSpot() as hub:
        with pytest.raises(AutomationsError, match="the log-in is refused: HubSpot answers 401"):
            await prepared(hub, {"token": "${X}"}, {})
    async with Salesforce() as org:
        org.script("POST", "/token$", Reply(400, {"error": "invalid_client"}))
        with pytest.raises(AutomationsError, match="crm: the log-in failed"):
            await prepared(org, {**OAUTH, "base_url": org.url}, {})
        assert isinstance(org, OAuthVendor)


def command(folder: Path, *arguments: str, **environment: str) -> Result:
    """Run `leadpulse act prepare` over files in *folder*."""
    from worker.cli.act_prepare import prepare as prepare_command

    targets = {"crm": {"kind": "hubspot", "token": "${X}", "base_url": "http://127.0.0.1:9"}, "hook": {"kind": "webhook"}}
    targets["hook"] |= {"url": "https://x.example", "secret": "${X}"}
    (folder / "c.yaml").write_text(json.dumps({"targets": targets}))
    (folder / "a.yaml").write_text("sync: [{to: crm, object: contact, fields: {leadpulse_score: score}}]\n")
    files = ["--automations", str(folder / "a.yaml"), "--connections", str(folder / "c.yaml")]
    return CliRunner().invoke(prepare_command, [*arguments, *files], env=environment)


def test_the_command_names_what_stops_it(tmp_path: Path) -> None:
    """A target that is not there, one that needs no fields, a secret, a server that is away."""
    assert "has no target 'crn', did you mean 'crm'" in command(tmp_path, "crn").output.replace(";", ",").replace(":", ",")
    assert "hook: a target of kind webhook needs no fields" in command(tmp_path, "hook").output
    assert "the variable X is not set" in command(tmp_path, "crm", X="").output
    ended = command(tmp_path, "crm", X="secret")
    assert "crm: cannot be reached" in ended.output
    assert ended.exit_code == 1
