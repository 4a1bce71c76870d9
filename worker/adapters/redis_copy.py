"""Copies a partition out of Redis while its worker writes, and restores it into an empty one. See `checkpoint.lua`.

No call holds Redis for long: a slice has at most `SLICE` leads and about `SLICE_BYTES` bytes.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple

import msgspec

from worker.adapters.redis_client import FAILURES, Client, translated
from worker.adapters.redis_scan import lead_fields, phase_of
from worker.adapters.redis_store import RedisStore
from worker.core.contract.model import LeadWrite
from worker.errors import CopyOver, StoreRefused

SLICE: Final = 500
SLICE_BYTES: Final = 1024 * 1024
SILENCE_MS: Final = 60_000
"""A copy without a call for so long is over. Its reader is dead, so batches stop noting their changes."""

_KEYS_PAGE: Final = 1_000
_READABLE: Final = ("score", "fit", "engagement", "stage", "grade", "updated_at")
_NOT_KEPT: Final = frozenset({"owner", "notes", "rebuild", "restoring"})
"""Fields of the position that name its owner, and are not copied."""
_WRITE_FIELDS = attrgetter("lead", "score", "fit", "engagement", "stage", "grade", "updated_at", "due_ms", "rank", "phase")


class Stood(NamedTuple):
    """The position of a copied partition."""

    batch: int
    position: dict[str, str]
    """Every field but those that name its owner."""
    grid: bytes


class PartitionCopy:
    """A copy of one partition: `begin`, then `rows` of every lead of `leads_in`, then `changed` until it returns a position.

    A lost answer may have contained changed leads, so `StoreUnavailable` ends the copy, as `CopyOver` does.
    """

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self._token = uuid.uuid4().hex
        self._owner = ""
        self._batch = 0

    async def begin(self) -> None:
        """Make the next batches note the leads that they change.

        Raises `StoreRefused` where another copy is at work, or where there is nothing to copy.
        """
        while True:
            answer = await self._call("copy_begin", str(SILENCE_MS))
            if len(answer) == 2:
                self._owner, self._batch = answer[0].decode(), int(answer[1])
                return

    async def rows(self, leads: Sequence[str]) -> list[LeadWrite]:
        """Return the rows of the first of *leads*, as many as one call takes, but at least one."""
        batch, rows = await self._call("copy_rows", str(SILENCE_MS), self._owner, str(SLICE_BYTES), *leads[:SLICE])
        self._moved_to(int(batch))
        return [_write(row) for row in rows]

    async def keep(self) -> None:
        """Keep the copy alive while the scan finds no lead of this partition."""
        await self._call("copy_rows", str(SILENCE_MS), self._owner, str(SLICE_BYTES))

    async def changed(self) -> tuple[list[LeadWrite], Stood | None]:
        """Return rows of changed leads. If these were the last, also return the position at that moment."""
        batch, rows, *stood = await self._call("copy_changed", str(SILENCE_MS), self._owner, str(SLICE_BYTES), str(SLICE))
        self._moved_to(int(batch))
        writes = [_write(row) for row in rows]
        if not stood:
            return writes, None
        flat, grid = stood
        fields = {flat[i].decode(): flat[i + 1].decode() for i in range(0, len(flat), 2)}
        return writes, Stood(int(batch), {name: held for name, held in fields.items() if name not in _NOT_KEPT}, grid)

    async def end(self) -> None:
        """End the copy, if it is not over."""
        await self._call("copy_end")

    def _moved_to(self, batch: int) -> None:
        if batch < self._batch:
            raise CopyOver(f"{self._store.where} went back from batch {self._batch} to {batch}")
        self._batch = batch

    async def _call(self, function: str, *args: str) -> Any:
        try:
            return await self._store.call(function, self._token, *args)
        except StoreRefused as err:
            if "COPYOVER" in str(err):
                raise CopyOver(str(err)) from err
            raise


class Restore:
    """Restores a checkpoint into an empty partition: `begin`, `rows`, `end`.

    No worker can acquire the partition before the end. A restore that is cut short is begun again from its start. Any call may
    be repeated.
    """

    def __init__(self, client: Client, namespace: str, partition: int) -> None:
        self._client = client
        self._store = RedisStore(client, namespace, partition)
        self._prefix = f"{{{namespace}:{partition}}}:lead:"
        self._token = uuid.uuid4().hex

    async def begin(self) -> None:
        """Become the owner of the partition, and remove the rows of a restore that was cut short.

        Raises `StoreRefused` when the partition holds state.
        """
        while await self._store.call("restore_begin", self._token):
            pass
        commands: Any = self._client
        try:
            page: list[bytes] = []
            async for key in commands.scan_iter(match=f"{self._prefix}*", count=_KEYS_PAGE):
                page.append(key)
                if len(page) == SLICE:
                    await self._remove(page)
                    page = []
            await self._remove(page)
        except FAILURES as error:
            raise translated(error, self._store.where) from error

    async def _remove(self, keys: Sequence[bytes]) -> None:
        commands: Any = self._client
        if keys:
            await commands.delete(*keys)

    async def rows(self, writes: Sequence[LeadWrite]) -> None:
        """Write rows; a later row of a lead replaces an earlier one."""
        for first in range(0, len(writes), SLICE):
            part = writes[first : first + SLICE]
            fields = msgspec.msgpack.encode([_WRITE_FIELDS(write) for write in part])
            states = [write.state for write in part]
            await self._store.call("restore_rows", self._token, fields, *states, leads=[write.lead for write in part])

    async def end(self, position: Mapping[str, str], grid: bytes) -> None:
        """Write the position. From then on the partition is as if Redis had gone back in time to it."""
        flat = [part for pair in position.items() for part in pair]
        await self._store.call("restore_end", self._token, grid, *flat)


async def leads_in(client: Client, namespace: str) -> AsyncIterator[list[tuple[int, str]]]:
    """Yield the leads of *namespace*, erased ones too, with their partitions: page by page, in no order, some of them twice.

    A lead that is there from the first page to the last is among them.
    """
    commands: Any = client
    prefix = f"{{{namespace}:"
    page: list[tuple[int, str]] = []
    try:
        async for key in commands.scan_iter(match=f"{prefix}*}}:lead:*", count=_KEYS_PAGE):
            partition, _, lead = key.decode().removeprefix(prefix).partition("}:lead:")
            page.append((int(partition), lead))
            if len(page) == _KEYS_PAGE:
                yield page
                page = []
    except FAILURES as error:
        raise translated(error, f"namespace {namespace} in Redis") from error
    yield page


def _write(row: Sequence[Any]) -> LeadWrite:
    """Return the row of a lead. A row without a state is of a lead that is no longer stored."""
    lead, flat, due, rank = row
    fields = lead_fields({flat[i]: flat[i + 1] for i in range(0, len(flat), 2)})
    score, fit, engagement, stage, grade, updated_at = (fields.get(name, b"").decode() for name in _READABLE)
    return LeadWrite(
        lead.decode(),
        fields.get("state", b""),
        score,
        fit,
        engagement,
        stage,
        grade,
        updated_at,
        None if due is None else int(float(due)),
        None if rank is None else float(rank),
        phase_of(fields),
    )
