"""The lives of simulated prospects: who is born, who visits, and which forms they send."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from worker.demo.agenda import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, WEEK_MS, Agenda, Prospect
from worker.demo.mails import Mails
from worker.demo.people import COUNTRIES, DOWNLOADS, PAGES, PERSONAS, RIVAL, SITE, Company, a_company, a_country, traits_of
from worker.demo.sales import answer

_HOT: Final = frozenset({"demo.requested", "quote.requested", "trial.started"})


class World:
    """The prospects, and what is going to happen to them."""

    def __init__(self, seed: int, leads: int, start_ms: int) -> None:
        agenda = self._agenda = Agenda(random.Random(f"{seed}/people"), start_ms)
        companies = [a_company(agenda.rnd, number) for number in range(max(2, leads // 4))]
        prospects = [self._born(number, companies) for number in range(leads)]
        self._mails = Mails(agenda, prospects, self._come_from)
        for lead in prospects:
            self._plan_visit(lead)
        monday_ms = start_ms - (start_ms - 4 * DAY_MS) % WEEK_MS  # 1970-01-05 was a Monday
        tuesday_ms = monday_ms + DAY_MS + 8 * HOUR_MS
        agenda.later(tuesday_ms if tuesday_ms >= start_ms else tuesday_ms + WEEK_MS, partial(self._mails.newsletter, 1))

    def happenings(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (instant in ms, CloudEvent) in the order of time, without an end."""
        return self._agenda.happenings()

    def _born(self, number: int, companies: list[Company]) -> Prospect:
        rnd = self._agenda.rnd
        persona = rnd.choices(PERSONAS, [persona.weight for persona in PERSONAS])[0]
        company = RIVAL if persona.name == "competitor" and rnd.random() < 0.6 else rnd.choice(companies)
        country = company.country if rnd.random() < 0.85 else a_country(rnd)
        stated, enriched = traits_of(rnd, persona, number, company, country)
        phase_number = rnd.randrange(len(persona.phases)) if rnd.random() < 0.5 else 0
        known = rnd.random() < persona.known
        return Prospect(
            number=number,
            persona=persona,
            country=country,
            ahead_ms=COUNTRIES[country][1] * MINUTE_MS,
            stated=stated,
            enriched=enriched,
            known=known,
            two_devices=rnd.random() < 0.3,
            proxy=rnd.random() < 0.35,
            scanner=rnd.random() < 0.12,
            phase_number=phase_number,
            # In the middle of the phase already, or those who begin would all decide in the same week.
            phase_ends_ms=self._agenda.now_ms
            + round(rnd.uniform(0.1, 1) * rnd.uniform(*persona.phases[phase_number].days) * DAY_MS),
            subscribed=known,
        )

    def _plan_visit(self, lead: Prospect) -> None:
        """Put the next visit on the agenda, or the next phase where that comes first."""
        visits = lead.phase.visits
        at_ms = self._agenda.now_ms + round(self._agenda.rnd.expovariate(visits / 7) * DAY_MS) if visits else lead.phase_ends_ms
        if at_ms >= lead.phase_ends_ms:
            self._agenda.later(lead.phase_ends_ms, partial(self._next_phase, lead))
        else:
            self._agenda.later(self._agenda.awake(lead, at_ms), partial(self._come_by, lead))

    def _next_phase(self, lead: Prospect) -> None:
        lead.phase_number = (lead.phase_number + 1) % len(lead.persona.phases)
        lead.phase_ends_ms = self._agenda.now_ms + self._agenda.days(*lead.phase.days)
        self._plan_visit(lead)

    def _come_by(self, lead: Prospect) -> None:
        if not lead.gone:
            self._visit(lead)
            self._plan_visit(lead)

    def _come_from(self, lead: Prospect, campaign: str) -> None:
        if not lead.gone:
            self._visit(lead, campaign)

    def _visit(self, lead: Prospect, campaign: str | None = None) -> None:
        """Make one session, from now on: pages, then acts. *campaign*: it began with a click in that mail."""
        rnd, phase = self._agenda.rnd, lead.phase
        session_id = f"s-{rnd.getrandbits(48):012x}"
        subject = lead.visitor_id if lead.aliased and lead.two_devices and rnd.random() < 0.4 else ""
        kinds = rnd.choices(tuple(phase.reads), tuple(phase.reads.values()), k=rnd.randint(*phase.pages))
        views = self._page_views(kinds, campaign, quick=lead.persona.quick)
        at_ms = self._read(lead, views, session_id, subject)
        if lead.persona.quick:
            return
        at_ms = self._send_forms(lead, at_ms)
        if self._often_here(lead, at_ms) and "pricing" in kinds and rnd.random() < 0.6:
            answer(self._agenda, lead, at_ms)  # sales call without being asked
        self._rarely(lead, at_ms, views[-1][0]["url"], session_id)

    @staticmethod
    def _often_here(lead: Prospect, at_ms: int) -> bool:
        """Return whether sales would notice this visit of *lead*."""
        return lead.known and lead.phase.visits >= 3 and at_ms >= lead.calm_until_ms

    def _read(self, lead: Prospect, views: list[tuple[dict[str, Any], int]], session_id: str, subject: str) -> int:
        """Send the page views of a session, and return when the last page is left."""
        at_ms = self._agenda.now_ms
        for data, stay_ms in views:
            view = {"url": data["url"], "session_id": session_id, "duration_s": stay_ms / 1000} | data
            self._agenda.emit(lead, at_ms, "page.viewed", SITE, view, machine=lead.persona.machine, subject=subject)
            at_ms += stay_ms
        return at_ms

    def _send_forms(self, lead: Prospect, at_ms: int) -> int:
        """Send the forms of a session, if any, and return when the last one is sent."""
        rnd = self._agenda.rnd
        for kind, share in lead.phase.acts.items():
            if rnd.random() < share and not (lead.in_deal and kind in _HOT):
                at_ms += rnd.randint(8, 90) * SECOND_MS
                self._act(lead, at_ms, kind)
        return at_ms

    def _page_views(self, kinds: list[str], campaign: str | None, *, quick: bool) -> list[tuple[dict[str, Any], int]]:
        """Return the data of each page view, and how long (ms) the prospect stays on the page."""
        rnd = self._agenda.rnd
        views = []
        for number, kind in enumerate(kinds):
            url = SITE + rnd.choice(PAGES[kind])
            stay_ms = rnd.randint(300, 3000) if quick else round(min(1800, 2 + rnd.lognormvariate(3.6, 0.9)) * SECOND_MS)
            views.append(({"url": url} | (self._came_from(campaign, quick=quick) if number == 0 else {}), stay_ms))
        return views

    def _came_from(self, campaign: str | None, *, quick: bool) -> dict[str, Any]:
        """Return what the first page view of a session carries of its origin."""
        rnd = self._agenda.rnd
        if campaign:
            return {"utm": {"source": "newsletter", "medium": "email", "campaign": campaign}}
        if not quick and rnd.random() < 0.6:
            return {"referrer": rnd.choice(("https://search.example/", "https://social.example/", "https://news.example/item"))}
        return {}

    def _rarely(self, lead: Prospect, at_ms: int, url: str, session_id: str) -> None:
        """End some sessions with a rare event."""
        agenda, rnd = self._agenda, self._agenda.rnd
        chance = rnd.random()
        if chance < 0.03:
            kind = "social.clicked" if chance < 0.015 else "social.shared" if chance < 0.025 else "social.followed"
            agenda.emit(lead, at_ms, kind, "/social", {"network": rnd.choice(("linkedin", "mastodon")), "url": url})
        elif chance < 0.04:
            agenda.emit(lead, at_ms, "chat.opened", SITE, {"session_id": session_id})  # a type that the worker does not know
        elif chance < 0.045 and lead.known:
            agenda.emit(lead, at_ms, "profile.updated", "/crm", {"traits": {"phone": None}})
        elif 0.045 <= chance < 0.06:
            agenda.emit(
                lead, at_ms, "custom.product.exported", "/product", {"report": "leads", "seconds": round(chance * 1000)}
            )
        elif 0.06 <= chance < 0.065:
            agenda.emit(lead, at_ms, "custom.trade_show.visited", "/fair", {"booth": "B12"})

    def _act(self, lead: Prospect, at_ms: int, kind: str) -> None:
        """Send a form of this kind. A visitor is known from then on."""
        agenda, rnd = self._agenda, self._agenda.rnd
        newcomer = not lead.known
        if newcomer:
            lead.known = lead.profiled = lead.aliased = True
        data = self._fields(lead, kind)
        agenda.emit(lead, at_ms, kind, SITE, data)
        if newcomer:
            self._identify(lead, at_ms)
        if kind == "form.submitted" or rnd.random() < 0.5:
            lead.subscribed = True
        if data["form_id"] == "newsletter":
            agenda.emit(lead, at_ms + 200, "email.subscribed", "/mail", {"list": "newsletter"})
        if kind == "content.downloaded" and rnd.random() < 0.7:
            self._nurture(lead, at_ms, data["content_id"])
        if kind in _HOT:
            answer(agenda, lead, at_ms)

    def _fields(self, lead: Prospect, kind: str) -> dict[str, Any]:
        """Return the data of a form's event."""
        rnd = self._agenda.rnd
        if kind == "content.downloaded":
            return {"form_id": "library", "content_id": rnd.choice(DOWNLOADS)}
        form_id = rnd.choice(("newsletter", "contact")) if kind == "form.submitted" else kind.partition(".")[0]
        return {"form_id": form_id, "fields": {"email": lead.stated["email"]}}

    def _identify(self, lead: Prospect, at_ms: int) -> None:
        """Send who a visitor is, and what an enrichment service adds later."""
        agenda = self._agenda
        agenda.emit(lead, at_ms + 400, "lead.identified", SITE, {"anonymous_id": lead.visitor_id})
        agenda.emit(lead, at_ms + 900, "profile.updated", SITE, {"traits": lead.stated})
        if lead.enriched:
            agenda.emit(lead, at_ms + agenda.minutes(300), "profile.updated", "/enrichment", {"traits": lead.enriched})

    def _nurture(self, lead: Prospect, at_ms: int, content_id: str) -> None:
        """Plan the mails that follow a download."""
        for number, wait_ms in enumerate((DAY_MS, 3 * DAY_MS, 7 * DAY_MS), start=1):
            name = f"nurture-{content_id}-{number}"
            self._agenda.later(self._agenda.awake(lead, at_ms + wait_ms), partial(self._mails.mail, lead, name))
