"""Files of events as a history: one CloudEvent a line in order of arrival, plain or gzipped, and ticks between them."""

from __future__ import annotations

import codecs
import gzip
import io
import sys
import zlib
from collections.abc import Collection, Iterator
from typing import Any, BinaryIO, Final, cast

import msgspec

from worker.core.contract.instants import instant
from worker.core.contract.output_types import ACTED, OUTPUT_TYPES
from worker.core.contract.tick_line import tick_of
from worker.errors import HistoryError
from worker.history.record import TICK, HistoryRecord, Refusal, Refusals, Wanted

_OURS: Final = "/leadpulse/"
_ERASE: Final = "/leadpulse/erase"
"""`source` of a `lead.erased` that a person asked for: an input, although its name is that of an output."""

_TYPES: Final = frozenset((*OUTPUT_TYPES, ACTED))


class _Line(msgspec.Struct, gc=False):
    type: str
    source: str | None = None
    subject: str | None = None
    time: str | None = None


_line: Final = msgspec.json.Decoder(_Line).decode


def is_output(type_: str, source: str | None) -> bool:
    """Return whether an event of this type and source is an output of LeadPulse, not an input."""
    return type_ in _TYPES and source is not None and source.startswith(_OURS) and source != _ERASE


class Lines:
    """The history in one file of lines. stdin (`-`) can be read once."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.end_ms: int | None = None
        self.refused = Refusals()
        self._name = "stdin" if source == "-" else source

    def events(
        self,
        types: Collection[str] | None = None,
        *,
        subjects: Collection[str] | None = None,
        from_ms: int | None = None,
        to_ms: int | None = None,
        ticks: bool = False,
    ) -> Iterator[HistoryRecord]:
        """Yield the events in the order of lines; see `History`."""
        wanted = Wanted(types, subjects, from_ms, to_ms, ticks)
        arrival_ms = 0
        try:
            with opened(self.source) as stream:
                for number, text in enumerate(stream, start=1):
                    line = text.strip()
                    if not line:
                        continue
                    found = self._record(line, number, arrival_ms)
                    if found is not None:
                        arrival_ms = self.end_ms = found.arrival_ms
                        if wanted.has(found):
                            yield found
        except (OSError, EOFError, zlib.error) as err:
            raise HistoryError(f"{self._name}: {err}") from None

    def _record(self, line: bytes, number: int, before_ms: int) -> HistoryRecord | None:
        try:
            held = _line(line)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as err:
            return self._tick(line, number, before_ms, str(err))
        at_ms = None if held.time is None else instant(held.time)
        output = is_output(held.type, held.source)
        arrival_ms = max(before_ms, at_ms or 0)
        return HistoryRecord(self._name, 0, number, None, None, line, (), arrival_ms, held.type, held.subject, output)

    def _tick(self, line: bytes, number: int, before_ms: int, why: str) -> HistoryRecord | None:
        """Return the tick in *line*; refuse it otherwise."""
        tick = tick_of(line)
        at_ms = instant(tick) if isinstance(tick, str) else None
        if at_ms is None:
            why = f"not a CloudEvent: {why}" if tick is None else f"{tick!r} is not RFC 3339 with an offset"
            self.refused.add(Refusal(self._name, number, why))
            return None
        return HistoryRecord(self._name, 0, number, None, None, line, (), max(before_ms, at_ms), TICK, None, False)


def opened(name: str) -> BinaryIO:
    """Open a file, an address of fsspec's, or stdin for `-`, to read lines of bytes.

    The first two bytes identify gzip, not the name. A byte order mark at the beginning is left out. Raises `OSError`.
    """
    raw: Any
    if name == "-":
        raw = getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)
    elif "://" in name:
        from worker.adapters.stored_files import address

        files, path = address(name)
        raw = files.open(path, "rb")
    else:
        raw = io.FileIO(name)
    plain_stream = io.BufferedReader(raw, 1 << 20)
    gzipped = plain_stream.peek(2)[:2] == b"\x1f\x8b"
    stream: Any = gzip.GzipFile(fileobj=plain_stream) if gzipped else plain_stream
    if stream.peek(len(codecs.BOM_UTF8)).startswith(codecs.BOM_UTF8):
        stream.read(len(codecs.BOM_UTF8))
    return cast(BinaryIO, stream)
