"""What simulated sales people do with a hot lead, as their CRM reports it."""

from __future__ import annotations

from functools import partial

from worker.demo.agenda import DAY_MS, Agenda, Prospect


def answer(agenda: Agenda, lead: Prospect, at_ms: int) -> None:
    """Let sales answer a hot lead: mostly within hours, sometimes never. A deal follows, or not."""
    rnd, persona = agenda.rnd, lead.persona
    lead.calm_until_ms = at_ms + 10 * DAY_MS
    if lead.in_deal or rnd.random() < 0.1:
        return
    owner = f"sales-{rnd.randint(1, 6)}"
    at_ms = agenda.in_office(at_ms + agenda.minutes(100))
    if rnd.random() >= persona.accepted:
        reason = (
            persona.name if persona.name in ("student", "competitor") else rnd.choice(("no budget", "no project", "too small"))
        )
        agenda.emit(lead, at_ms, "crm.rejected", "/crm", {"reason": reason, "owner": owner})
        return
    lead.in_deal = True
    agenda.emit(lead, at_ms, "crm.accepted", "/crm", {"owner": owner})
    minutes = rnd.randint(2, 25)
    agenda.emit(lead, at_ms, "custom.call.made", "/crm", {"minutes": minutes, "by": owner})
    if rnd.random() < 0.2:
        data = {"points": rnd.choice((-10, 5, 15)), "reason": f"a call of {minutes} minutes", "by": owner}
        agenda.emit(lead, at_ms, "score.adjusted", "/crm", data)
    at_ms = _deal(agenda, lead, agenda.in_office(at_ms + agenda.days(1, 5)), owner)
    agenda.later(at_ms, partial(setattr, lead, "in_deal", False))


def _deal(agenda: Agenda, lead: Prospect, at_ms: int, owner: str) -> int:
    """Let a lead that sales accepted come to an appointment, and perhaps buy. Return when that is over (ms)."""
    rnd = agenda.rnd
    if rnd.random() < 0.12:
        agenda.emit(lead, at_ms, "crm.no_show", "/crm", {"owner": owner})
        at_ms = agenda.in_office(at_ms + agenda.days(2, 6))
    if rnd.random() >= 0.6:
        return at_ms
    amount = round(rnd.lognormvariate(9.2, 0.7), -2)
    agenda.emit(lead, at_ms, "crm.opportunity", "/crm", {"amount": amount, "owner": owner})
    at_ms = agenda.in_office(at_ms + agenda.days(10, 40))
    if rnd.random() < lead.persona.wins:
        agenda.emit(lead, at_ms, "crm.won", "/crm", {"amount": amount, "owner": owner})
    elif rnd.random() < 0.7:
        agenda.emit(lead, at_ms, "crm.lost", "/crm", {"reason": rnd.choice(("price", "timing", "rival")), "owner": owner})
    return at_ms
