"""Segment's protocol: `page`, `track`, `identify`, `group` and `alias`, of Segment, RudderStack and Jitsu.

Fields as in the Segment Spec. The webhook destination sends them to `/in/NAME`, and libraries send them to `/v1/…`. A browser
is `visitor:ANONYMOUS_ID`. *Untested*: `previousId` is taken as a visitor's id, and all against a live account.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from worker.connections.sources import Segment, Source
from worker.intake.access_log import is_machine
from worker.intake.inbound import Inbound
from worker.intake.vendors.common import (
    Mapped,
    NewEvent,
    Unmapped,
    digest,
    email_id,
    iso_ms,
    objects_of,
    present,
    profile,
    text,
)
from worker.intake.vendors.expressions import traits_of
from worker.intake.vendors.mail_events import inner, word

NAMES: Final[Mapping[str, str]] = {
    "Demo Requested": "demo.requested",
    "Quote Requested": "quote.requested",
    "Trial Started": "trial.started",
    "Form Submitted": "form.submitted",
    "Content Downloaded": "content.downloaded",
}
"""Names of `track` that need no map of the source."""

BROWSER_TYPES: Final = ("page.", "form.", "content.", "demo.", "trial.", "quote.", "social.")
"""What a browser may send, beside its site's own `custom.` types."""

_OFFERS: Final = ("form.", "content.", "demo.", "trial.", "quote.")


class Caller(msgspec.Struct, frozen=True):
    """Who speaks Segment's protocol, and what it may say."""

    received_ms: int
    server: bool = False
    """It may name known leads and traits. A browser may not: it is a visitor alone."""
    identified: str | None = None
    """The lead that an identify token names, which a browser sent."""
    names: Mapping[str, str] = {}
    """Name of a `track` → event type, over `NAMES`."""
    traits: Mapping[str, str] = {}
    """Trait → JMESPath in the traits of `identify`, over those of the Segment Spec."""
    custom: frozenset[str] = frozenset()
    """Types `custom.NAME` that a browser may send, each also as the name of a `track`."""
    categories: tuple[str, ...] = ()
    """Categories of consent that scoring needs; none: all that the message names."""
    repair: bool = False
    """Times are of the caller's clock: `sentAt` tells by how much it is wrong."""


def events(inbound: Inbound, source: Source) -> Mapped:
    """Map what Segment's webhook destination sends: a message, a list of them, or `{"batch": […]}`. Raises `Unmapped`."""
    names = source.events if isinstance(source, Segment) else {}
    return of_messages(
        messages_of(objects_of(inbound)),
        Caller(inbound.received_ms, server=True, names=names, traits=source.traits, categories=categories_of(source)),
    )


def categories_of(source: Source) -> tuple[str, ...]:
    """Return the categories of consent that *source* asks for."""
    return source.consent_categories if isinstance(source, Segment) else ()


def messages_of(found: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the messages in *found*, of which each may be a batch. A batch's `sentAt` and `context` are its messages' too.

    Raises `Unmapped`.
    """
    made: list[dict[str, Any]] = []
    for one in found:
        batch = one.get("batch")
        if batch is None:
            made.append(one)
            continue
        made += _batched(one, batch)
    return made


def _batched(one: dict[str, Any], batch: Any) -> list[dict[str, Any]]:
    if not isinstance(batch, list) or not all(isinstance(message, dict) for message in batch):
        raise Unmapped("`batch` is no list of objects")
    shared = {name: one[name] for name in ("sentAt", "context") if one.get(name) is not None}
    return [{**shared, **message} for message in batch]


def of_messages(messages: Iterable[dict[str, Any]], caller: Caller) -> Mapped:
    """Map messages of *caller*."""
    made = Mapped()
    for one in messages:
        kind = text(one.get("type")) or "?"
        handler, before = _HANDLERS.get(kind), len(made.events) + len(made.refused) + made.passed_over.total()
        reason = _unwanted(one, caller) if handler is not None else word(kind)
        if handler is None or reason is not None:
            made.passed_over[reason or "?"] += 1
            continue
        try:
            handler(made, one, caller)
        except Unmapped as error:
            made.refused.append(f"{kind}: {error}")
        if len(made.events) + len(made.refused) + made.passed_over.total() == before:
            made.passed_over[f"{kind} without anything to tell"] += 1
    return made


def _unwanted(one: dict[str, Any], caller: Caller) -> str | None:
    """Return why a message is not taken: the person has not agreed to all it asks for, or the visitor is a robot.

    Whom a server names is no robot, whatever program the server calls itself.
    """
    if not _agreed(inner(one, "context", "consent", "categoryPreferences"), caller.categories):
        return "without consent"
    agent = None if _known(one, caller) is not None else inner(one, "context", "userAgent")
    return "robot" if isinstance(agent, str) and agent.strip() and is_machine(agent) else None


def _agreed(consent: Any, categories: Sequence[str]) -> bool:
    """Return whether the person agreed to all *categories*, or without any to all that *consent* names.

    As Segment has it, a message without preferences flows, and a category that is missing in them is refused. So are all
    categories where the preferences are empty.
    """
    if not isinstance(consent, dict):
        return True
    return bool(consent) and all(consent.get(name) is True for name in categories or consent)


def _visitor(one: dict[str, Any]) -> str | None:
    anonymous = text(one.get("anonymousId"))
    return None if anonymous is None else anonymous if anonymous.startswith("visitor:") else f"visitor:{anonymous}"


def _known(one: dict[str, Any], caller: Caller) -> str | None:
    """Return the lead that a server or a token names; an address as an id is `email:ADDRESS`."""
    if not caller.server:
        return caller.identified
    user = text(one.get("userId"))
    return email_id(user) or user


def _at(one: dict[str, Any], caller: Caller) -> int:
    """Return when it happened. A library's clock is repaired by the time between `timestamp` and `sentAt`."""
    at_ms, sent_ms = iso_ms(one.get("timestamp")), iso_ms(one.get("sentAt"))
    if at_ms is None:
        at_ms = iso_ms(one.get("originalTimestamp"))
    if at_ms is None:
        return caller.received_ms
    if caller.repair and sent_ms is not None:
        at_ms = caller.received_ms - max(sent_ms - at_ms, 0)
    return max(min(at_ms, caller.received_ms) if caller.repair else at_ms, 0)


def _id(one: dict[str, Any]) -> str:
    names = ("type", "event", "anonymousId", "userId", "timestamp", "originalTimestamp", "properties", "traits")
    return text(one.get("messageId")) or digest(*(one.get(name) for name in names))


def _subject(made: Mapped, one: dict[str, Any], caller: Caller) -> str | None:
    """Return whose event it is: a known lead's only where the caller may name one."""
    subject = (_known(one, caller) if caller.server else None) or _visitor(one)
    if subject is None:
        made.refused.append(f"{word(one.get('type'))}: neither anonymousId nor a userId that may be named")
    return subject


def _page(made: Mapped, one: dict[str, Any], caller: Caller) -> None:
    subject = _subject(made, one, caller)
    if subject is None:
        return
    page = inner(one, "context", "page")
    data = present(
        url=text(inner(one, "properties", "url")) or text(inner(page, "url")) or text(inner(page, "path")),
        referrer=text(inner(one, "properties", "referrer")) or text(inner(page, "referrer")),
        session_id=text(inner(one, "context", "sessionId")),
        utm=_utm(inner(one, "context", "campaign")) or None,
    )
    if "url" in data:
        made.events.append(NewEvent("page.viewed", subject, _id(one), _at(one, caller), data))
    else:
        made.refused.append("page: no url")


def _utm(campaign: Any) -> dict[str, Any]:
    utm = {name: text(inner(campaign, name)) for name in ("source", "medium", "term", "content")}
    utm["campaign"] = text(inner(campaign, "name"))
    return present(**utm)


def _track(made: Mapped, one: dict[str, Any], caller: Caller) -> None:
    name = text(one.get("event")) or "?"
    type_ = name if name in caller.custom else caller.names.get(name) or NAMES.get(name)
    if type_ is None:
        made.passed_over[word(name)] += 1
    elif not caller.server and not (type_.startswith(BROWSER_TYPES) or type_ in caller.custom):
        made.passed_over[f"{type_} of a browser"] += 1
    elif (subject := _subject(made, one, caller)) is not None:
        properties = one.get("properties")
        made.events.append(NewEvent(type_, subject, _id(one), _at(one, caller), _data(type_, properties)))


def _data(type_: str, properties: Any) -> dict[str, Any]:
    """Return a track's data. What was filled in is kept under `fields`, so that no field of ours is taken from it."""
    held = properties if isinstance(properties, dict) else {}
    if not type_.startswith(_OFFERS):
        return held
    return present(
        form_id=text(held.get("form_id")) or text(held.get("formId")),
        content_id=text(held.get("content_id")) or text(held.get("contentId")),
        fields=held or None,
    )


def _identify(made: Mapped, one: dict[str, Any], caller: Caller) -> None:
    known, visitor = _known(one, caller), _visitor(one)
    if known is None:
        made.passed_over["identify without a lead that may be named"] += 1
        return
    if caller.server:
        traits = one.get("traits") if one.get("traits") is not None else inner(one, "context", "traits")
        found = traits_of(caller.traits, traits, _own(traits))
        made.events.extend(profile(known, _id(one), _at(one, caller), found))
    if visitor is not None:
        made.events.append(NewEvent("lead.identified", known, _id(one), _at(one, caller), {"anonymous_id": visitor}))


def _own(traits: Any) -> dict[str, Any]:
    """Return the traits that the Segment Spec reserves."""
    size = inner(traits, "company", "employee_count")
    return {
        "email": text(inner(traits, "email")),
        "phone": text(inner(traits, "phone")),
        "role": text(inner(traits, "title")),
        "first_name": text(inner(traits, "firstName")) or text(inner(traits, "first_name")),
        "last_name": text(inner(traits, "lastName")) or text(inner(traits, "last_name")),
        "country": text(inner(traits, "address", "country")),
        "company.name": text(inner(traits, "company", "name")),
        "company.industry": text(inner(traits, "company", "industry")),
        "company.size": size if isinstance(size, int) and not isinstance(size, bool) else None,
    }


def _group(made: Mapped, one: dict[str, Any], caller: Caller) -> None:
    known = _known(one, caller)
    if not caller.server or known is None:
        made.passed_over["group without a lead that may be named"] += 1
        return
    traits = one.get("traits")
    size = inner(traits, "employees")
    company = {
        "company.name": text(inner(traits, "name")),
        "company.industry": text(inner(traits, "industry")),
        "company.size": size if isinstance(size, int) and not isinstance(size, bool) else None,
        "company.country": text(inner(traits, "address", "country")),
    }
    made.events.extend(profile(known, _id(one), _at(one, caller), company))


def _alias(made: Mapped, one: dict[str, Any], caller: Caller) -> None:
    known, visitor = _known(one, caller), _visitor({"anonymousId": one.get("previousId")})
    if not caller.server or known is None or visitor is None:
        made.passed_over["alias without a lead that may be named"] += 1
    else:
        made.events.append(NewEvent("lead.identified", known, _id(one), _at(one, caller), {"anonymous_id": visitor}))


_HANDLERS: Final = {"page": _page, "track": _track, "identify": _identify, "group": _group, "alias": _alias}
