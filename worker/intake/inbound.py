"""A webhook as it came, before it is mapped: the topic of inbound records holds it. A wrong map can be mended and run again."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Final, Literal

import msgspec

MAX_BODY_BYTES: Final = 1_000_000

_BESIDE_BYTES: Final = 65_536
"""More than all that stands beside a body."""

REASONS: Final = {
    "not_inbound": "The value is no inbound record. Something else writes to the topic.",
    "no_source": "The connections have no source of that name, or one of another vendor.",
    "unmapped": "The map of the vendor cannot read the webhook.",
    "refused": "Parts of the webhook are no valid events. Its other events were sent.",
}
"""Why a webhook is a dead letter, each with its meaning."""

HINTS: Final = {
    "not_inbound": "Find out who writes to lead.inbound. Only collectors may.",
    "no_source": "Correct the connections and restart the mappers. Then replay PLACE, or run `leadpulse collect remap`.",
    "unmapped": "Vendor json: correct what the tool sends, or the source's `map`. Others: report the payload, without the "
    "person in it. Then replay PLACE.",
    "refused": "Correct the source at the vendor or in the connections. Then replay PLACE: events that were sent count once.",
}
"""What to do about such a letter."""

Kind = Literal["webhook", "lookup"]


class Inbound(msgspec.Struct, frozen=True):
    """A verified request of a vendor, or the answer to a look-up."""

    source: str
    """Name of the source in the connections."""
    vendor: str
    received_ms: int
    body: bytes
    method: str = "POST"
    content_type: str = ""
    query: str = ""
    """Without the parts that are secret."""
    headers: dict[str, str] = {}
    """A few, by their names in lower case: those that a map needs."""
    kind: Kind = "webhook"
    about: dict[str, str] = {}
    """Of a look-up: what was asked, in the words of the map that asked."""
    key_number: int = 0
    """Which of the source's secrets verified it, from 1; 0: none was needed."""


class _Wire(msgspec.Struct, omit_defaults=True):
    source: str
    vendor: str
    received_ms: int
    body: str = ""
    body_base64: str = ""
    method: str = "POST"
    content_type: str = ""
    query: str = ""
    headers: dict[str, str] = {}
    kind: Kind = "webhook"
    about: dict[str, str] = {}
    key_number: int = 0


_decode: Final = msgspec.json.Decoder(_Wire).decode


def encode_inbound(inbound: Inbound) -> bytes:
    """Return *inbound* as a record's value: JSON, the body as text where it is UTF-8.

    A text of control characters takes six bytes each in JSON. It is then written in base64, to fit into a record.
    """
    fields = {name: getattr(inbound, name) for name in inbound.__struct_fields__ if name != "body"}
    coded = (len(inbound.body) + 2) // 3 * 4
    try:
        written = msgspec.json.encode(_Wire(**fields, body=inbound.body.decode()))
        if len(written) <= coded + _BESIDE_BYTES:
            return written
    except UnicodeDecodeError:
        pass
    return msgspec.json.encode(_Wire(**fields, body_base64=b64encode(inbound.body).decode()))


def decode_inbound(value: bytes) -> Inbound:
    """Return what a record's value holds. Raises `ValueError` for anything else."""
    try:
        wire = _decode(value)
        body = b64decode(wire.body_base64, validate=True) if wire.body_base64 else wire.body.encode()
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ValueError(f"no inbound record: {error}") from error
    fields = {name: getattr(wire, name) for name in wire.__struct_fields__ if name not in ("body", "body_base64")}
    return Inbound(**fields, body=body)
