"""One example of each event, shown in the generated documents; the tests hold each to its schema and to the decoder."""

from __future__ import annotations

from typing import Any

_DATA: dict[str, dict[str, Any] | None] = {
    "page.viewed": {
        "url": "https://www.example.com/pricing",
        "page_type": "pricing",
        "session_id": "s-9f31",
        "duration_s": 42.5,
        "referrer": "https://www.google.com/",
        "utm": {"source": "newsletter", "campaign": "spring"},
    },
    "email.delivered": {"message_id": "m-771", "campaign_id": "spring"},
    "email.opened": {"message_id": "m-771", "campaign_id": "spring", "machine": True},
    "email.clicked": {
        "message_id": "m-771",
        "campaign_id": "spring",
        "url": "https://www.example.com/demo",
        "cta": "book-a-demo",
    },
    "email.replied": {"message_id": "m-771"},
    "email.bounced": {"message_id": "m-771"},
    "email.unsubscribed": {"message_id": "m-771"},
    "email.complained": {"message_id": "m-771"},
    "webinar.registered": {"webinar_id": "w-12"},
    "webinar.attended": {"webinar_id": "w-12", "minutes": 38, "share": 0.84},
    "webinar.no_show": {"webinar_id": "w-12"},
    "webinar.replayed": {"webinar_id": "w-12", "minutes": 10},
    "form.submitted": {"form_id": "contact-us", "fields": {"message": "Do you ship to Belgium?"}},
    "content.downloaded": {"content_id": "white-paper-7", "form_id": "download"},
    "demo.requested": {"form_id": "demo"},
    "trial.started": None,
    "quote.requested": {"form_id": "quote", "fields": {"seats": 120}},
    "social.shared": {"network": "linkedin", "url": "https://www.linkedin.com/posts/example"},
    "social.clicked": {"network": "linkedin", "url": "https://www.linkedin.com/posts/example"},
    "social.followed": {"network": "linkedin"},
    "profile.updated": {
        "traits": {
            "email": "ada@acme.example",
            "role": "CTO",
            "country": "FR",
            "phone": None,
            "company": {"name": "Acme", "domain": "acme.example", "size": 80},
        }
    },
    "lead.identified": {"anonymous_id": "v-5f0c"},
    "crm.accepted": {"owner": "grace"},
    "crm.rejected": {"reason": "no budget", "owner": "grace"},
    "crm.opportunity": {"amount": 24000, "owner": "grace"},
    "crm.won": {"amount": 22500.5},
    "crm.lost": {"reason": "chose a competitor"},
    "crm.no_show": {"owner": "grace"},
    "lead.erased": None,
}


def input_example(event_type: str) -> dict[str, Any]:
    """Return a structured CloudEvent of an input type."""
    data = _DATA[event_type]
    return {
        "specversion": "1.0",
        "id": "0190f5c2-7a51-7cc1-b0a6-2f3e4d5c6b7a",
        "source": f"/example/{event_type.partition('.')[0]}",
        "type": event_type,
        "subject": "lead-48213",
        "time": "2026-03-05T12:34:56.789Z",
    } | ({} if data is None else {"data": data})


_MOVES: dict[str, tuple[str, str]] = {
    "lead.mql": ("contact", "mql"),
    "lead.sql": ("mql", "sql"),
    "lead.cooled": ("sql", "mql"),
    "lead.excluded": ("mql", "excluded"),
    "lead.stage": ("sql", "opportunity"),
    "lead.sla_breached": ("sql", "sql"),
}

_CAUSE: dict[str, Any] = {
    "topic": "lead.events.web",
    "partition": 3,
    "offset": 1291,
    "event_id": "0190f5c2-7a51-7cc1-b0a6-2f3e4d5c6b7a",
}


def output_example(event_type: str) -> dict[str, Any]:
    """Return a published CloudEvent of an output type."""
    if event_type == "lead.erased":
        data: dict[str, Any] = {"lead_id": "lead-48213", "cause": _CAUSE | {"topic": "lead.events.profile"}}
    elif event_type == "lead.duplicate":
        cause = _CAUSE | {"topic": "lead.events.profile"}
        data = {"lead_id": "lead-48213", "email": "ada@acme.example", "held_by": ["lead-17"], "cause": cause}
    elif event_type.startswith("account."):
        data = _account(event_type == "account.hot")
    else:
        data = _dossier(event_type)
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


def _dossier(event_type: str) -> dict[str, Any]:
    before, after = _MOVES[event_type]
    return {
        "lead_id": "lead-48213",
        "from": before,
        "to": after,
        "score": 78.5,
        "fit": 30.0,
        "engagement": 48.5,
        "grade": "B1",
        **({"respond_by": "2026-03-05T16:34:56.789Z"} if event_type == "lead.sql" else {}),
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
