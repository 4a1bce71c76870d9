"""Made-up events of leads, and the records that carry them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.kit.grids import GRID
from worker.core.scoring.calendar import rfc3339

Message = dict[str, Any]


class Sent(NamedTuple):
    """One record to produce."""

    topic: str
    partition: int
    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp_ms: int | None = None
    """`None`: now."""


def now_ms() -> int:
    """Return this machine's time."""
    return int(time.time() * 1_000)


def traffic(seed: int, leads: int, count: int, *, around_ms: int | None = None, spread_s: float = 60.0) -> list[Message]:
    """Return *count* made-up events of *leads* leads: late ones, duplicates, erasures, unknown types among them."""
    rnd = random.Random(seed)
    base = around_ms if around_ms is not None else 1_760_000_000_000
    kinds: list[tuple[str, Callable[[], dict[str, Any]]]] = [
        (
            "page.viewed",
            lambda: {
                "url": f"https://x.example/{rnd.choice(['pricing', 'blog'])}",
                "page_type": rnd.choice(["pricing", "blog"]),
            },
        ),
        ("form.submitted", lambda: {"form_id": "demo"}),
        ("email.opened", lambda: {"message_id": f"m{rnd.randrange(50)}", "machine": rnd.random() < 0.1}),
        ("profile.updated", lambda: {"traits": {"email": f"a@{rnd.choice(['acme.example', 'gmail.com'])}", "role": "cto"}}),
        ("crm.accepted", dict),
        ("crm.rejected", dict),
        ("email.unsubscribed", lambda: {"message_id": "m1"}),
        ("lead.erased", dict),
        ("page.scrolled", dict),
    ]
    weights = [50, 15, 15, 8, 3, 2, 1, 0.5, 3]
    messages: list[Message] = []
    for n in range(count):
        if messages and rnd.random() < 0.03:
            messages.append(rnd.choice(messages[-200:]))
            continue
        kind, data = rnd.choices(kinds, weights)[0]
        at = base + int((n / count + rnd.gauss(0, 0.02)) * spread_s * 1_000)
        messages.append(
            {
                "specversion": "1.0",
                "id": f"{seed}-{n}",
                "source": "/test",
                "type": kind,
                "subject": f"lead-{min(int(rnd.paretovariate(0.8)), leads)}"
                if rnd.random() < 0.5
                else f"lead-{rnd.randrange(leads)}",
                "time": rfc3339(at),
                "data": data(),
            }
        )
    return messages


def people(seed: int, leads: int, count: int, **told: Any) -> list[Message]:
    """Return *traffic* with identified visitors: chains, circles, visitors that two leads claim."""
    rnd = random.Random(seed)
    said = traffic(seed, leads, count, **told)
    for number in range(count // 8):
        lead, visitor = f"lead-{rnd.randrange(1, leads // 2)}", f"lead-{rnd.randrange(1, leads)}"
        at = rnd.randrange(len(said))
        known = {"type": "lead.identified", "subject": lead, "data": {"anonymous_id": visitor}, "id": f"{seed}-who-{number}"}
        said.insert(at, said[at] | known)
    return said


def worded(seed: int, messages: list[Message]) -> list[Message]:
    """Return *messages* with what the words of `tests.kit.grids.WORDED` look at, the same for each copy of an event.

    That is amounts, sessions, lists, numbers as text, blanks, events of one's own, adjustments, and no time.
    """
    return [_worded(random.Random(f"{seed}/{message['id']}/{message['type']}"), message) for message in messages]


def _worded(rnd: random.Random, message: Message) -> Message:
    kind, data = message["type"], {**message["data"], "worth": rnd.choice([0, 1, 3.5, "4", " -2 ", "many", None, 80, "٣"])}
    if rnd.random() < 0.8:
        data |= {"session_id": rnd.choice(["s1", "s2", 3, " "]), "x": rnd.choice([1, "1", "", [1, 2], {"a": 1}, 2.5, True])}
    if kind == "page.viewed":
        paths = ["/pricing%2Fall", "/app#/pricing", "/preise-f%C3%BCr-teams", "/blog"]
        data = {key: value for key, value in data.items() if key != "page_type"} | {"url": rnd.choice(paths)}
        if rnd.random() < 0.25:
            kind = rnd.choice(["custom.call", "custom.call.made", "custom.fair", "email.subscribed"])
    if kind == "email.opened" and rnd.random() < 0.3:
        kind, data = "score.adjusted", data | {"points": rnd.choice([9, -7.5, "12", "-3.5", "", "x"]), "by": "ana"}
    if kind == "profile.updated":
        data["traits"] = data["traits"] | {
            "role": rnd.choice(["cto", "CMO", "cmo", " ", None]),
            "company": {"size": rnd.choice(["80", 5, 12, [5, 60], "many"])},
            "tags": rnd.choice([["vip"], ["student", "vip"], [], ["competitor"], [""], "vip", [{"a": 1}], ["x"] * 70]),
            "title": rnd.choice(["Head of Growth", "Chief", "Intern", ""]),
        }
    found = message | {"type": kind, "data": data}
    if rnd.random() < 0.05:
        del found["time"]
    return found


BASE = 1_760_000_000_000


def said(number: int, lead: str, kind: str, **data: Any) -> Message:
    """Return an event."""
    return {
        "specversion": "1.0", "id": str(number), "source": "/test", "type": kind, "subject": lead,
        "time": rfc3339(BASE + number * 1_000), "data": data,
    }  # fmt: skip


TIES = (
    GRID
    + """\
accounts: {enter: 40, leave: 25, active: 2, min_leads: 2, step: 3}
identity: {email: link}
"""
)


def colleagues(seed: int, count: int, **told: Any) -> list[Message]:
    """Return traffic of people who tell their company, role and address, change them, merge, and are erased."""
    rnd = random.Random(seed)
    said = people(seed, 40, count, **told)
    for number in range(count // 4):
        traits = {
            "company": {"domain": rnd.choice(["acme.example", "other.example", "gmail.com", None])},
            "decision_role": rnd.choice(["sponsor", "signatory", "influencer", "user"]),
            "email": f"p{rnd.randrange(25)}@acme.example",
        }
        profile = {"type": "profile.updated", "data": {"traits": traits}, "id": f"{seed}-who-is-{number}"}
        at = rnd.randrange(len(said))
        said.insert(at, said[at] | profile | {"subject": f"lead-{rnd.randrange(1, 40)}"})
        if number % 3 == 0:
            mail = {"type": "email.opened", "data": {"message_id": f"m{number}"}, "id": f"{seed}-mail-{number}"}
            said.insert(at, said[at] | mail | {"subject": f"email:p{rnd.randrange(25)}@acme.example"})
    return said
