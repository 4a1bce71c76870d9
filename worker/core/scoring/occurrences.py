"""The memory of single occurrences, for rules whose sum does not fade as a whole.

A rule needs this memory for one of two reasons. Under `decay: {linear: …}` and `{window: …}` each occurrence fades by its own
age. And with `weigh` and `once_per`, a late event may move an occurrence that has a weight.
The memory is `Count.seen`. Its layout follows from the rule, and so from the key of the count:

- Half-life or no decay, without `weigh`: `seen` holds values as the module `once_per` packs them, and `sum` the faded number.
- The same with `weigh`: `sum` holds the faded weights. With `once_per`, `seen` holds values in this module's layout.
- `linear` or `window`: `seen` holds occurrences and values as one, in this module's layout. `sum` stays 0.

An entry is: instant (6 bytes), weight (8 bytes, only with `weigh`), mark of the value (6 bytes, only with `once_per`).
Each part is big-endian and rises with the number that it stands for. So the order of bytes is the order of entries: by instant,
at one instant by weight, then by mark. Past 64 entries the first is forgotten. That is the earliest, and at one instant the one
with the smaller weight. A sum keeps what it holds. Under `linear` and `window` a forgotten occurrence counts no more.

The 64 greatest entries of a union do not depend on the order of arrival. Nor does it matter which of two leads they came for.
A forgotten entry takes its value along. Such a value counts as new, as in the module `once_per`.
"""

from __future__ import annotations

import struct
from typing import Final

from worker.core.scoring.once_per import MARK_BYTES

KEPT: Final = 64
INSTANT_BYTES: Final = 6
WEIGHT_BYTES: Final = 8
MOST_BYTES: Final = KEPT * (INSTANT_BYTES + WEIGHT_BYTES + MARK_BYTES)

OWN: Final = b"\x80" + b"\0" * (MARK_BYTES - 1)
"""Mark of an event without a value: it is an occurrence of its own. No calendar day has it, and no hash but by chance."""

_SIGN: Final = 1 << 63
_ALL: Final = (1 << 64) - 1


def weight_bytes(weight: float) -> bytes:
    """Return *weight* as 8 bytes that are sorted as numbers are."""
    bits = int.from_bytes(struct.pack(">d", weight + 0.0), "big")  # −0.0 would differ from 0.0
    return (bits ^ (_ALL if bits & _SIGN else _SIGN)).to_bytes(WEIGHT_BYTES, "big")


def weight_of(packed: bytes) -> float:
    """Return the weight that `weight_bytes` packed."""
    bits = int.from_bytes(packed, "big")
    weight: float = struct.unpack(">d", (bits ^ (_SIGN if bits & _SIGN else _ALL)).to_bytes(WEIGHT_BYTES, "big"))[0]
    return weight


class Memory:
    """The layout of one rule's entries."""

    def __init__(self, *, weighed: bool, marked: bool) -> None:
        self.weighed = weighed
        self.marked = marked
        self.mark_at = INSTANT_BYTES + (WEIGHT_BYTES if weighed else 0)
        self.width = self.mark_at + (MARK_BYTES if marked else 0)

    def entry(self, at_ms: int, weight: float, mark: bytes) -> bytes:
        """Return the entry of one occurrence; *mark* is left out where no value counts once."""
        packed = at_ms.to_bytes(INSTANT_BYTES, "big")
        if self.weighed:
            packed += weight_bytes(weight)
        return packed + mark if self.marked else packed

    def find(self, seen: bytes, mark: bytes) -> int:
        """Return the offset of the entry with *mark*, or −1."""
        at = seen.find(mark)
        while at >= 0 and at % self.width != self.mark_at:
            at = seen.find(mark, at + 1)
        return at - self.mark_at if at >= 0 else at

    def instant(self, seen: bytes, at: int) -> int:
        """Return the instant of the entry at the offset *at*."""
        return int.from_bytes(seen[at : at + INSTANT_BYTES], "big")

    def weight(self, seen: bytes, at: int) -> float:
        """Return the weight of the entry at the offset *at*; 1 where none is kept."""
        return weight_of(seen[at + INSTANT_BYTES : at + INSTANT_BYTES + WEIGHT_BYTES]) if self.weighed else 1.0

    def mark(self, seen: bytes, at: int) -> bytes:
        """Return the mark of the entry at the offset *at*; empty where none is kept."""
        return seen[at + self.mark_at : at + self.width]

    def with_entry(self, seen: bytes, entry: bytes) -> bytes:
        """Return *seen* with one more entry; past 64 the first is forgotten."""
        width, cut = self.width, len(seen)
        while cut and seen[cut - width : cut] > entry:
            cut -= width
        grown = seen[:cut] + entry + seen[cut:]
        return grown[width:] if len(grown) > KEPT * width else grown

    def without(self, seen: bytes, at: int) -> bytes:
        """Return *seen* without the entry at the offset *at*."""
        return seen[:at] + seen[at + self.width :]

    def entries(self, seen: bytes) -> list[bytes]:
        """Return the entries in their order."""
        return [seen[at : at + self.width] for at in range(0, len(seen), self.width)]

    def replaces(self, entry: bytes, held: bytes) -> bool:
        """Return whether *entry* is the occurrence of its value, not *held*: it is earlier, or at the same instant heavier."""
        instant, before = entry[:INSTANT_BYTES], held[:INSTANT_BYTES]
        return instant < before or (instant == before and entry > held)

    def union(self, one: bytes, other: bytes) -> tuple[bytes, list[bytes]]:
        """Return both memories as one, and the entries that fell out because the other knew their value's occurrence."""
        kept: list[bytes] = []
        by_mark: dict[bytes, bytes] = {}
        doubled: list[bytes] = []
        for entry in self.entries(one) + self.entries(other):
            mark = entry[self.mark_at :]
            if not self.marked or mark == OWN:
                kept.append(entry)
                continue
            held = by_mark.get(mark)
            if held is None or self.replaces(entry, held):
                by_mark[mark] = entry
            if held is not None:
                doubled.append(held if by_mark[mark] is entry else entry)
        kept.extend(by_mark.values())
        kept.sort()
        return b"".join(kept[-KEPT:]), doubled
