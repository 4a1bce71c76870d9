"""Scans all leads of a namespace in Redis, of all partitions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from worker.adapters.redis_client import FAILURES, Client, translated
from worker.core.contract.model import LeadWrite

_READABLE = ("score", "fit", "engagement", "stage", "grade", "updated_at")
_LEADS_PAGE = 500


async def leads_of(client: Client, namespace: str) -> AsyncIterator[tuple[int, LeadWrite]]:
    """Yield every lead of *namespace*, erased ones (their mark) too, with its partition, as it was written.

    In no order, and exact only while no worker writes. Raises `StoreUnavailable` and `StoreRefused` as the store does.
    """
    commands: Any = client
    prefix, page = f"{{{namespace}:", []
    try:
        async for place in _places(commands, prefix):
            page.append(place)
            if len(page) == _LEADS_PAGE:
                for found in await _writes(commands, prefix, page):
                    yield found
                page = []
        for found in await _writes(commands, prefix, page):
            yield found
    except FAILURES as error:
        raise translated(error, f"namespace {namespace} in Redis") from error


async def ids_of(client: Client, namespace: str) -> AsyncIterator[str]:
    """Yield the id of every lead of *namespace*, of erased ones and of aliases too. Raises as `leads_of` does."""
    try:
        async for _, lead in _places(client, f"{{{namespace}:"):
            yield lead
    except FAILURES as error:
        raise translated(error, f"namespace {namespace} in Redis") from error


async def _places(commands: Any, prefix: str) -> AsyncIterator[tuple[int, str]]:
    """Yield partition and id of each lead whose key begins with *prefix*."""
    async for key in commands.scan_iter(match=f"{prefix}*}}:lead:*", count=1_000):
        partition, _, lead = key.decode().removeprefix(prefix).partition("}:lead:")
        yield int(partition), lead


def lead_fields(held: dict[bytes, bytes]) -> dict[str, bytes]:
    """Return a lead's hash with its state in one piece. Redis may have several pieces, see `leadpulse.lua`."""
    pieces = sorted(name for name in held if is_piece(name))
    fields = {name.decode(): value for name, value in held.items() if not is_piece(name)}
    if pieces:
        fields["state"] = b"".join(name[1:] + held[name] for name in pieces)
    return fields


def phase_of(fields: dict[str, bytes]) -> str | None:
    """Return the phase in a lead's *fields*; `None`: the grid that wrote them has no phases."""
    phase = fields.get("phase")
    return None if phase is None else phase.decode()


def is_piece(name: bytes) -> bool:
    """Return whether a field of this name in a lead's hash is a piece of its state."""
    return name[:1] < b" "


async def _writes(commands: Any, prefix: str, page: Sequence[tuple[int, str]]) -> list[tuple[int, LeadWrite]]:
    async with commands.pipeline(transaction=False) as pipe:
        for partition, lead in page:
            tag = f"{prefix}{partition}}}:"
            pipe.hgetall(f"{tag}lead:{lead}")
            pipe.zscore(f"{tag}due", lead)
            pipe.zscore(f"{tag}rank", lead)
        answers: list[Any] = await pipe.execute()
    found = []
    for (partition, lead), held, due, rank in zip(page, answers[::3], answers[1::3], answers[2::3], strict=True):
        if not held:
            continue  # removed since its key was found
        fields = lead_fields(held)
        score, fit, engagement, stage, grade, updated_at = (fields.get(name, b"").decode() for name in _READABLE)
        due_ms = None if due is None else int(due)
        write = LeadWrite(
            lead, fields["state"], score, fit, engagement, stage, grade, updated_at, due_ms, rank, phase_of(fields)
        )
        found.append((partition, write))
    return found
