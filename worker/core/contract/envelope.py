"""The envelope that `worker.core.contract.codec` reads in one typed call."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

MAX_NAME: Final = 16_384
"""Longest `id`, `source` and `subject`, in characters: outputs repeat them, and must still fit into a record."""

_Filled = Annotated[str, msgspec.Meta(min_length=1)]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]


class Usual(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """The envelope as nearly every producer sends it.

    Unknown attributes are forbidden here because msgspec skips them without looking: invalid UTF-8 in one would pass. The
    common optional ones are therefore named, and a record with any other takes the long way.
    """

    specversion: Literal["1.0"]
    id: _Name
    source: _Name
    type: _Filled
    subject: _Name
    time: str | None = None
    """`None`: the record's Kafka timestamp stands in."""
    data: dict[str, Any] | None = None
    datacontenttype: str | None = None
    dataschema: str | None = None
    partitionkey: str | None = None
    sequence: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
