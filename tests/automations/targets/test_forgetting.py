"""Erased leads that a target cannot find: a person hears of it, since nothing was deleted."""

from __future__ import annotations

import pytest

from worker.automations.acts import Act
from worker.automations.requests import Final, Http, Run
from worker.automations.targets.registry import KINDS
from worker.connections.file import parse_connections

CONNECTIONS = b"""
targets:
  brevo: {kind: brevo, token: "${KEY}"}
  activecampaign: {kind: activecampaign, token: "${KEY}", base_url: "https://acme.api-us1.com"}
  pipedrive: {kind: pipedrive, token: "${KEY}", base_url: "https://acme.pipedrive.com"}
"""
TARGETS = parse_connections(CONNECTIONS, "connections.yaml").targets


def _forgotten(name: str, lead_id: str) -> object:
    """Return the first step that forgets a lead, or what the steps return without one."""
    act = Act(
        rule=f"forget/{name}", source="/s", output="o", lead_id=lead_id, target=name, do="forget", fields={},
        type="lead.erased", at_ms=0, fresh_ms=1,
    )  # fmt: skip
    forget = KINDS[name].forget
    assert forget is not None
    try:
        return next(forget(TARGETS[name], act, Run()))
    except StopIteration as end:
        return end.value


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_an_erased_lead_that_cannot_be_found_is_not_done(name: str) -> None:
    """The event has no address. A lead that is an address is found by it, and a browser is nobody there."""
    with pytest.raises(Final, match="by hand"):
        _forgotten(name, "crm-1")
    assert isinstance(_forgotten(name, "email:ada@example.com"), Http)
    assert _forgotten(name, "visitor:1") == ""
