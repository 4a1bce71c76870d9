"""What a live account is asked to see whether a target works: read-only questions that change nothing and list no person."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import quote

import jmespath  # type: ignore[import-untyped]
import msgspec

from worker.connections.targets import (
    ActiveCampaignTarget,
    BrevoTarget,
    HubSpotTarget,
    PipedriveTarget,
    SalesforceTarget,
    Target,
    YousignTarget,
    ZohoTarget,
)


class Probe(NamedTuple):
    """One question to a target's API."""

    path: str
    """As `path_at` takes it."""
    account: str = ""
    """JMESPath of what names the account in the answer."""
    must: str = ""
    """JMESPath that must be true in the answer."""
    field: str = ""
    """The field of the account that the question is about. It matters for writing alone, so a fault is a warning."""
    absent: str = ""
    """What to do where the field is not there. `{target}` is the target's name."""
    unfit: str = ""
    """What to do where the field is not as it must be."""


def probes(target: Target) -> tuple[Probe, ...]:
    """Return the questions to *target*. Without one, the log-in alone can be tried, if the kind has any.

    The paths are those of the vendors' references. None was tried against a live account.
    """
    match target:
        case HubSpotTarget():
            name = target.id_property
            unique = Probe(
                f"{{properties}}/contacts/{quote(name, safe='')}",
                must="hasUniqueValue",
                field=name,
                absent="for acts, make it by `leadpulse act prepare {target}`, or name another in `id_property`",
                unfit="name another property in `id_property`: uniqueness cannot be changed later",
            )
            account = Probe("/account-info/{version}/details", "portalId")
            return (account,) if name == "hs_object_id" else (account, unique)
        case SalesforceTarget():
            name = target.id_field
            held = "for acts, `leadpulse act prepare {target}` tells what to make, or name another field in `id_field`"
            return (
                Probe(_soql("SELECT Name FROM Organization"), "records[0].Name"),
                Probe(_soql(f"SELECT {name} FROM {target.object} LIMIT 1"), field=name, absent=held),
            )
        case ZohoTarget():
            org = Probe("/crm/v8/org", "org[0].company_name")
            name = target.id_field
            if name in ("", "id"):
                return (org,)
            held = "for acts, make it by `leadpulse act prepare {target}`, without duplicates, or name another in `id_field`"
            must = f"length(fields[?api_name=='{name}' && unique] || `[]`) > `0`"
            return org, Probe(f"/crm/v8/settings/fields?module={target.object}", must=must, field=name, absent=held, unfit=held)
        case PipedriveTarget():
            return (Probe("/api/v1/users/me", "data.company_name"),)
        case ActiveCampaignTarget():
            return (Probe("/api/3/users/me"),)
        case BrevoTarget():
            return (Probe("/v3/account", "companyName"),)
        case YousignTarget():
            return (Probe("/signature_requests?limit=1"),)
        case _:
            return ()


def _soql(query: str) -> str:
    return f"/services/data/{{version}}/query?q={quote(query, safe='')}"


def read_answer(probe: Probe, body: bytes) -> tuple[str, bool]:
    """Return what names the account, empty where nothing does, and whether the answer is as it must be.

    Raises `ValueError` for an answer that is not JSON: something else than the API answers.
    """
    try:
        held: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError("the answer is not JSON") from error
    account = jmespath.search(probe.account, held) if probe.account else None
    named = str(account)[:100] if isinstance(account, str | int) else ""
    return named, not probe.must or jmespath.search(probe.must, held) is True
