"""One act for an invented lead, marked as a test: it shows that a rule, its template and its target work together."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from worker.adapters.http_out import HttpOut
from worker.adapters.memory_ledger import MemoryLedger
from worker.adapters.memory_limits import MemoryLimits
from worker.adapters.smtp_out import SmtpOut
from worker.adapters.vendor_login import VendorLogin
from worker.automation_ports import AddAct, Outcome
from worker.automations.acts import Act
from worker.automations.calls import Calls, Lease, Logins, Named
from worker.automations.deliver import Attempt, Desk
from worker.automations.live import Files, VendorTokens, now_ms
from worker.automations.output import Output
from worker.automations.rules import Draft
from worker.automations.taking import pack
from worker.automations.targets.common import Kind
from worker.automations.targets.registry import KINDS
from worker.connections.unsubscribe import address
from worker.errors import AutomationsError
from worker.sending_ports import HttpSender, MailSender

MARK: Final = "[TEST] "
_MARKED: Final = ("subject", "title", "name", "text")
"""Fields that people read first. They begin with the mark."""

_LEASE_MS: Final = 60_000
_RESPOND_MS: Final = 4 * 3_600_000
_LEAD: Final = "leadpulse-test"


async def trial(files: Files, rule: str, to: str) -> dict[str, Any]:
    """Do one act of *rule* for an invented lead with the address *to*, and return how it ended.

    Raises `AutomationsError` for a rule that does not exist, and for an act that cannot be written.
    """
    async with HttpOut() as http, VendorLogin(files.connections.targets, files.environment) as login:
        return await tried(files, rule, to, http, SmtpOut(), VendorTokens(login))


async def _no_state(_lead: str, _trait: str) -> None:
    """An invented lead has none."""


async def _itself(lead: str) -> str:
    return lead


async def _no_aliases(_lead: str) -> tuple[str, ...]:
    """Return nothing, as for an invented lead."""
    return ()


async def _nothing_behind() -> None:
    """No ledger holds an invented lead."""


async def tried(
    files: Files, rule: str, to: str, http: HttpSender, mail: MailSender, logins: Logins, kinds: Mapping[str, Kind] = KINDS
) -> dict[str, Any]:  # fmt: skip
    """Do as `trial` does, by these senders."""
    draft = _draft(files, rule, to)
    act = draft.act
    ledger, limits = MemoryLedger(), MemoryLimits()
    targets = {
        name: Named(name, target, kinds[target.kind])
        for name, target in files.connections.targets.items()
        if target.kind in kinds
    }
    desk = Desk(
        calls=Calls(http, mail, limits, logins, files.environment, now_ms),
        limits=limits,
        targets=targets,
        ledger_of=lambda _: ledger,
        aliases_of=_no_aliases,
        lead_of=_itself,
        behind=_nothing_behind,
        now_ms=now_ms,
        age_now_ms=now_ms,
        paused=limits.paused,
        rewrite=lambda _: None,
        consents=_no_state,
        unsubscribe=lambda target, act: address(files.connections, target, files.environment, act.lead_id, act.id),
        read=files.rules.read,
    )
    added = AddAct(act.id, act.lead_id, act.target, (), pack(act), act.at_ms, now_ms())
    await ledger.take([added], now_ms())
    (row,) = await ledger.claim(act.target, now_ms(), _LEASE_MS, 1, "test")
    outcome = await Attempt(desk, ledger, _NoFence(), row, Lease()).run() or Outcome("unknown")
    return {
        "rule": act.rule, "target": act.target, "do": act.do, "state": outcome.state, "remote_id": outcome.remote_id or None,
        "detail": outcome.detail,
    }  # fmt: skip


class _NoFence:
    """Nothing is shared, so nothing must be crossed."""

    doubtful = behind = False

    async def cross(self) -> None:
        """Return at once."""

    stands = cross


def _draft(files: Files, rule: str, to: str) -> Draft:
    """Return the act of *rule* for the invented lead, marked as a test."""
    known = [one.id for one in files.rules.automations.acts]
    known += [f"{one.id}/{content.id}" for one in files.rules.automations.nurture for content in one.contents]
    if rule not in known:
        raise AutomationsError(f"there is no rule {rule!r}; the rules are {', '.join(known) or 'none'}")
    of_type = next((one.on[0] for one in files.rules.automations.acts if one.id == rule), "lead.phase")
    output = _invented(of_type, to)
    asked = Act(
        rule=rule, source=output.source, output=output.id, lead_id=output.lead_id, target="", do="", fields={}, type=of_type,
        at_ms=output.at_ms, fresh_ms=0, unwritten=output,
    )  # fmt: skip
    draft = files.rules.rewrite(asked)
    if draft is None or draft.dead:
        raise AutomationsError(f"{rule}: {draft.dead if draft else 'it cannot be written'}")
    return draft._replace(act=msgspec.structs.replace(draft.act, fields=_marked(draft.act.fields, to), unwritten=None))


def _marked(fields: dict[str, Any], to: str) -> dict[str, Any]:
    marked = {name: f"{MARK}{held}" if name in _MARKED and isinstance(held, str) else held for name, held in fields.items()}
    return {**marked, "to": to} if "to" in fields else marked


def _invented(type_: str, to: str) -> Output:
    """Return an output of a lead that does not exist. Its id differs each time, so no target takes it for a repeat."""
    at_ms = now_ms()
    data: dict[str, Any] = {
        "lead_id": _LEAD, "test": True, "from": "mql", "to": "sql", "score": 78.5, "fit": 30.0, "engagement": 48.5,
        "grade": "B1", "phase": None, "respond_by": _rfc3339(at_ms + _RESPOND_MS), "cause": None,
        "grid": {"name": "test", "version": 1, "sha256": ""},
        "reasons": [{"kind": "rule", "id": "test", "points": 78.5, "count": 1, "last_at": _rfc3339(at_ms)}],
        "traits": {
            "email": to, "first_name": "Test", "last_name": "LeadPulse", "name": "Test LeadPulse", "phone": "+33123456789",
            "country": "FR", "company.name": "LeadPulse test", "company.domain": "example.com",
        },
        "recent": [{"time": _rfc3339(at_ms), "type": "page.viewed", "label": "/test"}],
        "history": [],
    }  # fmt: skip
    return Output(
        id=f"{_LEAD}:{at_ms}", source="/leadpulse/test", type=type_, lead_id=_LEAD, at_ms=at_ms, time=_rfc3339(at_ms),
        sequence=at_ms, data=data, other={"specversion": "1.0"},
    )  # fmt: skip


def _rfc3339(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
