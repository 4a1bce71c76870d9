"""Events with trace context."""

from __future__ import annotations

import json
import random

from tests.kit.site import Site
from tests.kit.traffic import Message, Sent
from worker.core.contract.model import Headers

PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
"""A trace that is sampled."""


def traced(site: Site, messages: list[Message], contexts: dict[str, Headers], seed: int) -> list[Sent]:
    """Return *messages* as producers of all kinds write them, most with a context, noted in *contexts* by the event's id."""
    rnd = random.Random(seed)
    sent: list[Sent] = []
    for message in messages:
        parent = f"00-{rnd.randrange(1, 2**128):032x}-{rnd.randrange(1, 2**64):016x}-{rnd.choice(['00', '01'])}"
        how = rnd.choice(["header", "state", "extension", "binary", "none"])
        context: Headers = (("traceparent", parent.encode()),)
        if how == "state":
            context += (("tracestate", b"vendor=1"),)
        extension = {"traceparent": parent} if how == "extension" else {}
        one = site.sent(message | extension, crc=rnd.random() < 0.3)
        if how in ("header", "state"):
            one = one._replace(headers=context)
        if how == "binary":
            attributes = {**message, "traceparent": parent}
            data = attributes.pop("data")
            headers = tuple((f"ce_{name}", value.encode()) for name, value in attributes.items())
            one = one._replace(value=json.dumps(data).encode(), headers=headers)
        # An event sent twice counts once, with the context that it came with first.
        contexts.setdefault(message["id"], () if how == "none" else context)
        sent.append(one)
    return sent
