"""Yousign's webhooks v3: `{"event_id", "event_name", "event_time", "data"}`.

The source's `events` says what a signature is. Without it, nothing is scored. The lead is the `external_id` of the signature
request, which `leadpulse act` gives, or else the only signer by the address. *Untested* against a live account.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import unquote

from worker.connections.sources import Source, Yousign
from worker.intake.inbound import Inbound
from worker.intake.vendors.common import Mapped, NewEvent, digest, email_id, objects_of, present, seconds_ms, text
from worker.intake.vendors.mail_events import NO_TIME, inner, word

_OUTPUT_ID: Final = re.compile(r"(.+):[0-9]+", re.DOTALL)


def events(inbound: Inbound, source: Source) -> Mapped:
    """Map Yousign's event. Raises `Unmapped`."""
    made = Mapped()
    types = source.events if isinstance(source, Yousign) else {}
    for one in objects_of(inbound):
        kind, data = text(one.get("event_name")) or "", one.get("data")
        type_ = types.get(kind)
        if type_ is None:
            made.passed_over[word(kind)] += 1
            continue
        subject, at_ms = lead_of(data), seconds_ms(one.get("event_time"))
        if subject is None or at_ms is None:
            made.refused.append(f"{kind}: {NO_TIME if subject else 'no external_id, and no address of one signer'}")
            continue
        id_ = text(one.get("event_id")) or digest(kind, inner(data, "signature_request", "id"), one.get("event_time"), subject)
        made.events.append(NewEvent(type_, subject, id_, at_ms, _data(type_, data)))
    return made


def lead_of(data: Any) -> str | None:
    """Return whose signature request it is: the lead of our output, or the only signer.

    Ours are `LEAD:SEQ`, percent-encoded, perhaps with `+`, the rule and the namespace behind.
    """
    external = text(inner(data, "signature_request", "external_id"))
    if external:
        whole, without_rule = unquote(external), unquote(external.partition("+")[0])
        output = _OUTPUT_ID.fullmatch(whole) or _OUTPUT_ID.fullmatch(without_rule)
        return output[1] if output else whole
    signers = inner(data, "signature_request", "signers")
    found = [inner(data, "signer")] if inner(data, "signer") else signers if isinstance(signers, list) else []
    return email_id(inner(found[0], "info", "email")) if len(found) == 1 else None


def _data(type_: str, data: Any) -> dict[str, Any]:
    if not type_.startswith("crm."):
        return {}
    declined = inner(data, "signature_request", "decline_information", "reason") or inner(data, "reason")
    return present(reason=text(declined))
