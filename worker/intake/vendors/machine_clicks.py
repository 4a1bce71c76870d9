"""Guesses at clicks that no person made, for vendors that do not flag them.

A scanner of links clicks as soon as a mail is delivered, several links at once, and links that no person sees. What tells so
stands in other events of the same message, so a `Trace` of each message is kept. The vendor's own flags come first, and a
source must ask for each guess.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, Final

import msgspec

from worker.connections.sources import Machines, Mailer, Source
from worker.intake.vendors.common import NewEvent, digest

KEPT_MS: Final = 86_400_000
"""How long a trace is worth keeping: vendors send a webhook again for about a day."""

_MOST_CLICKS: Final = 32
"""Clicks remembered of one message to one person: the latest."""

SOON: Final = "soon after delivery"
SEVERAL: Final = "several links at once"
TRAPPED: Final = "beside a hidden link"
AGENT: Final = "user agent"

_BESIDE_MS: Final = 60_000
"""A click this near to one on a hidden link, in the same message to the same person, is the same scanner's."""


class Trace(msgspec.Struct, array_like=True):
    """Records the delivery of one message to one person, and the clicks in it."""

    delivered_ms: int | None = None
    clicks: list[tuple[str, int]] = []
    """(hash of the link, when), in order of time."""
    trapped: list[int] = []
    """When a hidden link was clicked, in order of time."""


encode_trace: Final = msgspec.msgpack.Encoder().encode
_decode_trace: Final = msgspec.msgpack.Decoder(Trace).decode

Traces = MutableMapping[str, Trace]
"""By `key_of`."""


def decode_trace(held: bytes) -> Trace:
    """Return a trace that was written down; an empty one for other bytes, since a guess must not stop the mapper."""
    try:
        return _decode_trace(held)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Trace()


def key_of(source: str, event: NewEvent) -> str | None:
    """Return the key of the trace that *event* belongs to; `None` for an event that leaves none."""
    if event.type not in ("email.delivered", "email.clicked"):
        return None
    return digest(source, event.subject, event.data.get("message_id"))


def asks(source: Source) -> bool:
    """Return whether *source* asks for guesses that compare events of one message."""
    asked = source.machines if isinstance(source, Mailer) else Machines()
    return asked.click_after_delivery is not None or asked.links_within is not None or bool(asked.hidden_links)


def joined(traces: Traces, known: Mapping[str, Trace]) -> None:
    """Add what was *known* of the messages of *traces* to them."""
    for key, earlier in known.items():
        trace = traces[key]
        deliveries = [at_ms for at_ms in (trace.delivered_ms, earlier.delivered_ms) if at_ms is not None]
        trace.delivered_ms = min(deliveries, default=None)
        trace.clicks = _latest({*earlier.clicks, *trace.clicks})
        trace.trapped = sorted({*earlier.trapped, *trace.trapped})[-_MOST_CLICKS:]


def judged(source_name: str, source: Source, events: Iterable[NewEvent], traces: Traces) -> tuple[list[NewEvent], Counter[str]]:
    """Return *events* with `data.machine` where a guess of *source* fits, and how often each guess did.

    The events are added to *traces* first, all of them: so their order in a request does not matter.
    """
    found, reasons = list(events), Counter[str]()
    if not isinstance(source, Mailer) or not asks(source):
        return found, reasons
    keys = [key_of(source_name, event) for event in found]
    for key, event in zip(keys, found, strict=True):
        if key is not None:
            _add(traces.setdefault(key, Trace()), event, source.machines)
    made = []
    for key, event in zip(keys, found, strict=True):
        new = event
        if key is not None and event.type == "email.clicked" and event.data.get("machine") is not True:
            reason = _reason(event, traces[key], source.machines)
            if reason is not None:
                reasons[reason] += 1
                new = msgspec.structs.replace(event, data={**event.data, "machine": True})
        made.append(new)
    return made, reasons


def _add(trace: Trace, event: NewEvent, asked: Machines) -> None:
    if event.type == "email.clicked" and _page(event.data.get("url")) in asked.hidden_links:
        trace.trapped = sorted({*trace.trapped, event.at_ms})[-_MOST_CLICKS:]
    if event.type == "email.delivered":
        known = trace.delivered_ms
        trace.delivered_ms = event.at_ms if known is None else min(known, event.at_ms)
    elif (click := (_link(event.data), event.at_ms)) not in trace.clicks:
        trace.clicks = _latest({*trace.clicks, click})


def _latest(clicks: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    return sorted(clicks, key=lambda click: (click[1], click[0]))[-_MOST_CLICKS:]


def _reason(event: NewEvent, trace: Trace, asked: Machines) -> str | None:
    """Return why a click is a machine's. A click before the delivery is one, too: no person has the mail yet."""
    soon = asked.click_after_delivery
    if soon is not None and trace.delivered_ms is not None and event.at_ms - trace.delivered_ms < soon:
        return SOON
    if any(abs(at_ms - event.at_ms) <= _BESIDE_MS for at_ms in trace.trapped):
        return TRAPPED
    return SEVERAL if asked.links_within is not None and _clicks_another(event, trace, asked.links_within) else None


def _clicks_another(event: NewEvent, trace: Trace, within_ms: int) -> bool:
    link = _link(event.data)
    return any(other != link and abs(at_ms - event.at_ms) <= within_ms for other, at_ms in trace.clicks)


def _page(url: Any) -> str:
    """Return *url* without its query and fragment: mail tools add parameters to links."""
    return url.partition("#")[0].partition("?")[0] if isinstance(url, str) else ""


def _link(data: dict[str, Any]) -> str:
    return digest(data.get("url"))[:12]
