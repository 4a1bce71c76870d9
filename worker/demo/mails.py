"""Mails and webinars of the simulated company, and what prospects and machines do with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from worker.demo.agenda import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, WEEK_MS, Agenda, Prospect
from worker.demo.people import SITE


class Mails:
    """The mails that go to *leads*. A click in a campaign's mail calls *visit* with the lead and the campaign."""

    def __init__(self, agenda: Agenda, leads: Sequence[Prospect], visit: Callable[[Prospect, str], None]) -> None:
        self._agenda = agenda
        self._leads = leads
        self._visit = visit

    def newsletter(self, number: int) -> None:
        """Send this week's mail to all subscribers. Every second mail invites to the next week's webinar."""
        agenda = self._agenda
        webinar = (f"webinar-{number // 2:03d}", agenda.now_ms + 9 * DAY_MS + 6 * HOUR_MS) if number % 2 == 0 else None
        for lead in self._leads:
            if lead.known and lead.subscribed and not lead.gone:
                agenda.later(
                    agenda.now_ms + agenda.rnd.randrange(20 * MINUTE_MS),
                    partial(self.mail, lead, f"newsletter-{number:03d}", webinar),
                )
        agenda.later(agenda.now_ms + WEEK_MS, partial(self.newsletter, number + 1))

    def mail(self, lead: Prospect, campaign: str, webinar: tuple[str, int] | None = None) -> None:
        """Deliver one mail now. Machines look at it at once, people hours later."""
        if lead.gone or not lead.subscribed:
            return
        agenda, rnd, now_ms = self._agenda, self._agenda.rnd, self._agenda.now_ms
        about = {"message_id": f"{campaign}.{lead.number:06d}", "campaign_id": campaign}
        if rnd.random() < 0.008:
            lead.subscribed = False
            agenda.emit(lead, now_ms, "email.bounced", "/mail", {**about})
            return
        agenda.emit(lead, now_ms, "email.delivered", "/mail", {**about})
        cta, path = rnd.choices((("read", "/blog"), ("demo", "/demo"), ("pricing", "/pricing")), (8, 1, 1))[0]
        if webinar:
            cta, path = "register", "/webinars"
        link = {"url": SITE + path, "cta": cta}
        self._machines_look(lead, about, link)
        if rnd.random() < lead.phase.opens:
            self._open(lead, campaign, about, link, webinar)

    def _machines_look(self, lead: Prospect, about: dict[str, Any], link: dict[str, Any]) -> None:
        agenda, rnd, now_ms = self._agenda, self._agenda.rnd, self._agenda.now_ms
        if lead.proxy:
            agenda.emit(lead, now_ms + rnd.randint(5, 900) * SECOND_MS, "email.opened", "/mail", {**about}, machine=True)
        if lead.scanner:
            for _ in range(rnd.randint(1, 3)):
                agenda.emit(lead, now_ms + rnd.randint(1, 30) * SECOND_MS, "email.clicked", "/mail", about | link, machine=True)

    def _open(
        self,
        lead: Prospect,
        campaign: str,
        about: dict[str, Any],
        link: dict[str, Any],
        webinar: tuple[str, int] | None,
    ) -> None:
        agenda, rnd, phase = self._agenda, self._agenda.rnd, lead.phase
        opened_ms = agenda.awake(lead, agenda.now_ms + agenda.minutes(60))
        agenda.emit(lead, opened_ms, "email.opened", "/mail", {**about})
        acts_ms = opened_ms + rnd.randint(4, 60) * SECOND_MS
        self._react(lead, campaign, acts_ms, about, link)
        if webinar and rnd.random() < phase.webinars:
            self._webinar(lead, acts_ms + rnd.randint(60, 600) * SECOND_MS, *webinar)

    def _react(self, lead: Prospect, campaign: str, at_ms: int, about: dict[str, Any], link: dict[str, Any]) -> None:
        """Unsubscribe, reply, click, or do nothing."""
        agenda, rnd, phase = self._agenda, self._agenda.rnd, lead.phase
        chance = rnd.random()
        if chance < 0.005:
            self._unsubscribe(lead, at_ms, about, complains=chance < 0.001)
        elif chance < 0.02 and phase.visits >= 3:
            agenda.emit(lead, at_ms + agenda.minutes(5), "email.replied", "/mail", {**about})
        elif rnd.random() < phase.clicks:
            agenda.emit(lead, at_ms, "email.clicked", "/mail", about | link)
            agenda.later(at_ms + SECOND_MS, partial(self._visit, lead, campaign))

    def _unsubscribe(self, lead: Prospect, at_ms: int, about: dict[str, Any], *, complains: bool) -> None:
        agenda = self._agenda
        lead.subscribed = False
        kind = "email.complained" if complains else "email.unsubscribed"
        agenda.emit(lead, at_ms, kind, "/mail", {**about})
        if agenda.rnd.random() < 0.15:
            agenda.emit(lead, at_ms + agenda.days(0.5, 3), "lead.erased", "/crm", {})

    def _webinar(self, lead: Prospect, registers_ms: int, webinar_id: str, starts_ms: int) -> None:
        agenda, rnd = self._agenda, self._agenda.rnd
        if registers_ms >= starts_ms:
            return
        agenda.emit(lead, registers_ms, "webinar.registered", "/webinars", {"webinar_id": webinar_id})
        if rnd.random() < 0.45:
            minutes = max(1, round(60 * min(1.0, rnd.betavariate(3, 1.2))))
            seen = {"webinar_id": webinar_id, "minutes": minutes, "share": minutes / 60}
            agenda.emit(lead, starts_ms + minutes * MINUTE_MS + rnd.randrange(MINUTE_MS), "webinar.attended", "/webinars", seen)
            return
        agenda.emit(lead, starts_ms + 65 * MINUTE_MS, "webinar.no_show", "/webinars", {"webinar_id": webinar_id})
        if rnd.random() < 0.25:
            minutes = rnd.randint(5, 60)
            seen = {"webinar_id": webinar_id, "minutes": minutes, "share": minutes / 60}
            agenda.emit(lead, agenda.awake(lead, starts_ms + agenda.days(1, 5)), "webinar.replayed", "/webinars", seen)
