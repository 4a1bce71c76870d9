"""What happens to the leads whose states are kept: between them they fill every field of a state."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from tests.kit.oracle_values import rfc3339
from tests.kit.stories import DAY, HOUR, START, Line, an_event

GRID: Final = """
grid: golden
version: 1
timezone: Europe/Paris
pages: {pricing: ["/pricing*"]}
score: {min: 0, max: 100}
fit:
  rules:
    - {id: cto, points: 12.5, where: {role: cto}}
    - {id: size, points: 3, where: {company.size: {gte: 50}}}
engagement:
  half_life: 7d
  rules:
    - {id: demo, points: 40, on: demo.requested, intent: true}
    - {id: view, points: 1, on: page.viewed, cap: 20}
    - {id: session, points: 2, on: page.viewed, once_per: session_id}
    - {id: day, points: 2, on: page.viewed, once_per: day, half_life: none}
    - {id: ever, points: 5, on: page.viewed, where: {page_type: pricing}, once_per: lead, intent: true}
    - {id: fresh, points: 3, on: email.clicked, once_per: message_id, expires_after: 30d}
    - {id: bounced, points: -4, on: email.bounced, half_life: none}
velocity:
  - {id: days, on: page.viewed, count: days, within: 7d, steps: {1: 1, 2: 2, 3: 3}}
  - {id: rise, on: email.clicked, count: rise, within: 3d, steps: {1: 1, 2: 2}}
  - {id: events, on: page.viewed, count: events, within: 4d, steps: {1: 1, 4: 4}}
  - {id: sessions, on: page.viewed, count: sessions, within: 4d, steps: {1: 1, 3: 3}}
inactivity: {after: 10d, every: 5d, points: -3, min: -9}
exclusions:
  - {id: rival, where: {company.domain: rival.example}}
  - {id: complained, on: email.complained}
stages:
  mql: {enter: 20, leave: 15}
  sql: {enter: 40, leave: 30, sla: 4h, intent_within: 20d}
  quiet: 2d
phases: {aware: 5, ready: {enter: 30, leave: 12}}
grades: {fit: {A: 10, B: 5, C: 0}, engagement: {1: 40, 2: 20, 3: 0}}
"""


class _Teller:
    """Writes stories down; events get ids in the order in which they arrive."""

    def __init__(self) -> None:
        self.lines: list[Line] = []

    def __call__(self, lead: str, at: int, kind: str, **data: Any) -> None:
        line = an_event(lead, len(self.lines), START + at, kind, data)
        if len(self.lines) % 2:
            line["id"] = str(UUID(int=len(self.lines) << 90 | 77))
        self.lines.append(line)

    def tick(self, at: int) -> None:
        self.lines.append({"tick": rfc3339(START + at)})


def _stories() -> list[Line]:
    tell = _Teller()
    company = {"name": "Acmé", "domain": "acme.example", "industry": "software", "size": 80}
    traits = {
        "email": "ada@acme.example",
        "role": "cto",
        "country": "FR",
        "seniority": "vp",
        "company": company,
        "own": [1, "a"],
    }
    # Climbs to sql by day 3, in time, late and twice over; a removal among the traits.
    tell("ada", 0, "profile.updated", traits=traits)
    tell("ada", 5, "profile.updated", traits={"phone": None, "company": {"type": "B2B"}})
    for day, url in enumerate(["/", "/pricing?x=1", "https://a.example/blog/été", "/pricing", "/"]):
        tell("ada", day * DAY // 2 + HOUR, "page.viewed", url=url, session_id=f"s{day // 2}")
    tell("ada", DAY, "page.viewed", url="/late", session_id="s-late")
    tell("ada", 2 * DAY + 3, "email.clicked", message_id="m1", cta="call")
    tell("ada", 3 * DAY, "demo.requested", form_id="demo")
    # Rejected: the ladder is closed.
    tell("bob", HOUR, "demo.requested")
    tell("bob", 2 * HOUR, "crm.rejected", reason="no budget")
    # Excluded by an event, and by a trait.
    tell("cyd", HOUR, "email.complained", message_id="m2")
    tell("dan", HOUR, "profile.updated", traits={"company": {"domain": "rival.example"}})
    # Erased; and erased and come back.
    tell("eve", HOUR, "demo.requested")
    tell("eve", 2 * HOUR, "lead.erased")
    tell("fay", HOUR, "lead.erased")
    tell("fay", 2 * HOUR, "email.bounced", message_id="m3")
    # More events and sessions than are remembered, labels of any kind, some late, one far older than the rest.
    tell("gus", -300 * DAY, "page.viewed", url="/old", session_id="old")
    labels = ["/", "/a", "/é" * 40, "/\0", "/\U0001f600" * 50, "/" + "z" * 200, ""]
    for number in range(80):
        at = number * 7 * HOUR + number - (30 * HOUR if number % 9 == 8 else 0)
        tell("gus", at, "page.viewed", url=labels[number * number % 7], session_id=f"s{number % 70}")
    # Machines only: an id is remembered, nothing else.
    tell("hal", HOUR, "email.opened", message_id="m4", machine=True)
    # Won, and judged by a tick since.
    tell("ivy", 20 * DAY, "demo.requested")
    tell("ivy", 20 * DAY + 1, "crm.opportunity")
    tell.tick(24 * DAY)
    # A demo that waits for its answer, judged at the tick, which is past its own time.
    tell("jon", 24 * DAY - HOUR, "profile.updated", traits={"role": "cto"})
    tell("jon", 24 * DAY - HOUR, "demo.requested")
    tell("jon", 24 * DAY - HOUR, "demo.requested")
    # Waits for a visitor's past.
    tell("lea", 24 * DAY - HOUR, "lead.identified", anonymous_id="kim")
    return tell.lines


def _later() -> list[Line]:
    tell = _Teller()
    tell.lines += [{}] * 1000  # ids of their own
    for number, lead in enumerate(["ada", "bob", "cyd", "dan", "eve", "fay", "gus", "hal", "ivy", "jon", "lea"]):
        at = 24 * DAY + number * HOUR
        tell(lead, at + 2, "page.viewed", url="/pricing", session_id="new")
        tell(lead, at, "page.viewed", url="/", session_id="s1")
        tell(lead, at - 2 * DAY, "email.clicked", message_id="m1", cta="call")
        tell(lead, at + 9, "profile.updated", traits={"role": "cto", "company": {"size": 40}})
        tell(lead, at + 10, "demo.requested", form_id="demo")
    tell.lines[:1000] = []
    tell.tick(26 * DAY)
    tell("jon", 26 * DAY + 1, "crm.accepted")
    tell("ada", 26 * DAY + 1, "lead.erased")
    tell.tick(80 * DAY)
    return tell.lines


STORIES: Final = _stories()
LATER: Final = _later()
