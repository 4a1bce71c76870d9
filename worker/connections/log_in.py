"""How each vendor's API knows us: the header that logs us in."""

from __future__ import annotations

from collections.abc import Callable

from worker.connections.secret import Secret
from worker.connections.targets import (
    ActiveCampaignTarget,
    BrevoTarget,
    GoToTarget,
    HubSpotTarget,
    PipedriveTarget,
    SalesforceTarget,
    Target,
    YousignTarget,
    ZohoTarget,
    ZoomTarget,
)


def log_in(target: Target, resolved: Callable[[Secret], str], token: str) -> dict[str, str]:
    """Return the header that logs us in at *target*; empty where its kind has none.

    *resolved* returns a secret, and *token* is that of OAuth, where the target has one.
    """
    match target:
        case HubSpotTarget() | YousignTarget():
            return {"Authorization": f"Bearer {resolved(target.token)}"}
        case ZoomTarget() | GoToTarget() | SalesforceTarget():
            return {"Authorization": f"Bearer {token}"}
        case ZohoTarget():
            return {"Authorization": f"Zoho-oauthtoken {token}"}
        case PipedriveTarget():
            return {"x-api-token": resolved(target.token)}
        case ActiveCampaignTarget():
            return {"Api-Token": resolved(target.token)}
        case BrevoTarget():
            return {"api-key": resolved(target.token)}
        case _:
            return {}
