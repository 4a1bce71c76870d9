"""Who owns a lead: Kafka's default partitioner, whatever partition the record came on."""

from __future__ import annotations

from functools import lru_cache

_REMEMBERED_CHARS = 256


def murmur2(data: bytes) -> int:
    """Return Kafka's 32-bit murmur2 of *data* (seed 0x9747b28c), as the Java client's `Utils.murmur2`, unsigned."""
    length = len(data)
    m = 0x5BD1E995
    h = (0x9747B28C ^ length) & 0xFFFFFFFF
    whole = length & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little")
        k = (k * m) & 0xFFFFFFFF
        k ^= k >> 24
        k = (k * m) & 0xFFFFFFFF
        h = ((h * m) & 0xFFFFFFFF) ^ k
    rest = length - whole
    if rest:
        h ^= int.from_bytes(data[whole:], "little")
        h = (h * m) & 0xFFFFFFFF
    h ^= h >> 13
    h = (h * m) & 0xFFFFFFFF
    return h ^ (h >> 15)


def owner(lead: str, partitions: int) -> int:
    """Return the partition that owns *lead* out of *partitions*."""
    # Long ids are rare, and thousands of them would fill the memory.
    return _remembered(lead, partitions) if len(lead) <= _REMEMBERED_CHARS else _owner(lead, partitions)


def _owner(lead: str, partitions: int) -> int:
    return (murmur2(lead.encode()) & 0x7FFFFFFF) % partitions


_remembered = lru_cache(maxsize=1 << 16)(_owner)
