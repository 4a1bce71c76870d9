"""One example of each event, shown in the generated documents; the tests hold each to its schema and to the decoder."""

from __future__ import annotations

from typing import Any

from worker.core.contract import event_types, output_types

_DATA = {row.name: row.example for row in event_types.INPUTS}


def input_example(event_type: str) -> dict[str, Any]:
    """Return a structured CloudEvent of an input type."""
    data = _DATA[event_type]
    if event_type == event_types.CUSTOM:
        event_type = "custom.trade_show.visited"
    return {
        "specversion": "1.0",
        "id": "0190f5c2-7a51-7cc1-b0a6-2f3e4d5c6b7a",
        "source": f"/example/{event_type.partition('.')[0]}",
        "type": event_type,
        "subject": "lead-48213",
        "time": "2026-03-05T12:34:56.789Z",
    } | ({} if data is None else {"data": data})


_OUTPUTS = {row.name: row for row in output_types.OUTPUTS}

_CAUSE: dict[str, Any] = {
    "topic": "lead.events.web",
    "partition": 3,
    "offset": 1291,
    "event_id": "0190f5c2-7a51-7cc1-b0a6-2f3e4d5c6b7a",
}


def output_example(event_type: str) -> dict[str, Any]:
    """Return a published CloudEvent of an output type."""
    row = _OUTPUTS[event_type]
    data: dict[str, Any] = {"lead_id": "lead-48213", "cause": _CAUSE | {"topic": "lead.events.profile"}}
    match row.payload:
        case "duplicate":
            data = {"lead_id": "lead-48213", "email": "ada@acme.example", "held_by": ["lead-17"], "cause": data["cause"]}
        case "account":
            data = _account(event_type == "account.hot")
        case "transition" | "phase":
            data = _dossier(row)
    subject = data.get("account_id", "lead-48213")
    return {
        "specversion": "1.0",
        "type": event_type,
        "source": "/leadpulse/default",
        "id": f"{subject}:2",
        "subject": subject,
        "time": "2026-03-05T12:34:56.789Z",
        "datacontenttype": "application/json",
        "sequence": "2",
        "data": data,
    }


_GRID: dict[str, Any] = {
    "name": "saas-b2b",
    "version": 1,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}


def _account(hot: bool) -> dict[str, Any]:
    members = [
        {"lead_id": "lead-48213", "score": 78.5, "decision_role": "sponsor", "at": "2026-03-05T12:34:56.789Z"},
        {"lead_id": "lead-9", "score": 41.5, "decision_role": None, "at": "2026-03-05T11:20:00.000Z"},
    ][: 2 if hot else 1]
    return {
        "account_id": "account:acme.example",
        "domain": "acme.example",
        "leads": len(members),
        "sum": 120.0 if hot else 78.5,
        "max": 78.5,
        "roles": ["sponsor"],
        "members": members,
        "grid": _GRID,
        "cause": _CAUSE if hot else None,
    }


def _dossier(row: output_types.OutputType) -> dict[str, Any]:
    before, after = row.example or ("contact", "mql")
    return {
        "lead_id": "lead-48213",
        "from": before,
        "to": after,
        "score": 78.5,
        "fit": 30.0,
        "engagement": 48.5,
        "grade": "B1",
        **({"respond_by": "2026-03-05T16:34:56.789Z"} if row.name == "lead.sql" else {}),
        **({"stage": "mql", "phase": after} if row.payload == "phase" else {}),
        "grid": _GRID,
        "reasons": [
            {"kind": "fit", "id": "business-email", "points": 5.0},
            {"kind": "fit", "id": "icp-size", "points": 25.0},
            {
                "kind": "rule",
                "id": "pricing-page",
                "points": 24.0,
                "raw": 27.6,
                "count": 4,
                "last_at": "2026-03-05T12:34:56.789Z",
            },
            {"kind": "rule", "id": "demo", "points": 30.0, "raw": 30.0, "count": 1, "last_at": "2026-03-05T12:30:00.000Z"},
            {"kind": "velocity", "id": "comes-back", "points": 5.0, "count": 3},
            {"kind": "inactivity", "points": -5.0},
            {"kind": "clamp", "id": "engagement", "points": -5.5},
        ],
        "traits": {"email": "ada@acme.example", "company.size": 80, "email_domain": "acme.example", "email_kind": "business"},
        "recent": [
            {"time": "2026-03-05T12:30:00.000Z", "type": "demo.requested", "label": "demo"},
            {"time": "2026-03-05T12:34:56.789Z", "type": "page.viewed", "label": "/pricing"},
        ],
        "history": [{"stage": "mql", "at": "2026-03-04T09:00:00.000Z"}],
        "cause": _CAUSE,
    }
