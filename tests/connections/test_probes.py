"""Questions to live accounts, and how their answers are read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from worker.connections.probes import probes, read_answer
from worker.connections.secret import Secret
from worker.connections.targets import HubSpotTarget, ZohoTarget

X = Secret("${X}")


@pytest.mark.parametrize(
    ("answer", "fits"),
    [
        ({"fields": [{"api_name": "Email"}, {"api_name": "LeadPulse_Id", "unique": {"casesensitive": "false"}}]}, True),
        ({"fields": [{"api_name": "LeadPulse_Id", "unique": {}}]}, False),
        ({"fields": [{"api_name": "LeadPulse_Id"}]}, False),
        ({"fields": []}, False),
        ({}, False),
    ],
)
def test_zohos_field_must_allow_no_duplicates(answer: Any, fits: bool) -> None:
    """Else an upsert by it is refused."""
    target = ZohoTarget(kind="zoho", client_id=X, client_secret=X, refresh_token=X, id_field="LeadPulse_Id")
    _, field = probes(target)
    assert field.path == "/crm/v8/settings/fields?module=Leads"
    assert read_answer(field, json.dumps(answer).encode()) == ("", fits)


def test_the_vendors_own_ids_need_no_field() -> None:
    """One question is enough: whose account it is."""
    assert len(probes(HubSpotTarget(kind="hubspot", token=X, id_property="hs_object_id"))) == 1
    for id_field in ("", "id"):
        assert len(probes(ZohoTarget(kind="zoho", client_id=X, client_secret=X, refresh_token=X, id_field=id_field))) == 1
